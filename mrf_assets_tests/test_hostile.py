"""Hostile files through the command line for real: nothing outside, no secret anywhere, flat memory, clear words.

One batch for each reader ingests all of them, in processes of its own; tests look at what it left.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from urllib.parse import quote

import pytest

from mrf_assets_tests.dagster_fixtures import Place
from mrf_assets_tests.factory import Document, document, gzipped, index, remote_document, render, zipped
from mrf_assets_tests.hostile import (
    ATTACKS,
    GIB,
    SECRETS,
    attacked,
    deep,
    emptiness,
    endless,
    gzipped_blocks,
    many_elements,
    nested_zip,
    packed_twice,
    secret_query,
    zip_of_many,
    zip_of_names,
)
from mrf_assets_tests.mrf_server import Answer, MrfServer

pytestmark = pytest.mark.timeout(1_200)  # dozens of networks and gigabytes, maybe on a busy machine
_MAX_MB = 400
# Runs a command and writes the most memory that one of its processes had: the kernel's account, in KB.
_MEASURED = (
    "import resource, subprocess, sys; done = subprocess.run(sys.argv[2:]); "
    "used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss; "
    "open(sys.argv[1], 'w').write(str(used)); sys.exit(done.returncode)"
)


@dataclass(frozen=True, slots=True)
class Done:
    """What one command did."""

    code: int
    out: str
    err: str
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A place with a home and a temporary folder of its own, and what lies around it."""

    root: Path

    @property
    def place(self) -> Place:
        """Where the command runs."""
        return Place(self.root / "work")

    def run(self, *arguments: str, reader: str = "fast") -> Done:
        """Run the command line to its end."""
        for folder in (self.place.root, self.root / "user", self.root / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        told = self.root / "peak"
        own = {"HOME": str(self.root / "user"), "TMPDIR": str(self.root / "tmp"), "MRF_READER": reader}
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, str(told), sys.executable, "-m", "mrf_assets", *arguments],
            env=self.place.environment | own,
            cwd=self.place.root,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr, int(told.read_text()) / 1024)

    def strays(self) -> list[str]:
        """What lies outside of the output folder and DAGSTER_HOME."""
        allowed = (self.place.output, self.place.home, self.root / "peak")
        return [
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if not path.is_dir() and not any(path.is_relative_to(each) for each in allowed)
        ]


def _address(server: MrfServer, path: str, more: str = "") -> str:
    """With userinfo and signatures: both are secrets."""
    return server.url(path).replace("://", f"://user:{SECRETS[0]}@") + f"?{more}{secret_query()}"


@cache
def _bomb() -> bytes:
    return gzipped_blocks(emptiness(512 << 20))


_BOMB = "unpacks to more than 200 times its size"
# Each refused file: its name, what the server sends, and what is said of it.
_REFUSED: dict[str, tuple[Callable[[], Iterator[bytes]], str]] = {
    "bomb.json.gz": (lambda: iter([_bomb()]), _BOMB),
    "bomb-twice.json.gz": (lambda: iter([packed_twice(_bomb())]), _BOMB),
    "zip-bomb.zip": (lambda: iter([zipped({"a.json": b"".join(emptiness(80 << 20))})]), _BOMB),
    "zip-in-zip.zip": (lambda: iter([nested_zip(render(document()), 9)]), "a zip inside of a zip"),
    "many.zip": (lambda: zip_of_many(100_000), "is a zip of more than 1000 files"),
    "deep-lists.json": (lambda: iter([deep("item", 10_000)]), "is nested deeper than 64 levels"),
    "deep-objects.json": (lambda: iter([deep("price", 10_000, kind=b"{")]), "is nested deeper than 64 levels"),
    "deep-unknown.json": (lambda: iter([deep("unknown key", 10_000)]), "is nested deeper than 64 levels"),
    "long-header.json": (endless("text", "header", GIB).blocks, "one value or element of more than 16777216 bytes"),
    "long-unknown.json": (endless("text of escapes", "unknown key", GIB).blocks, "of more than 16777216 bytes"),
    "long-rate.json": (endless("decimals", "price", GIB).blocks, "one value or element of more than 16777216 bytes"),
    "long-reference.json": (endless("list of numbers", "reference", GIB).blocks, "has one "),
    "crowded-rate.json": (many_elements("rate", b"[],", 15 << 20).blocks, "of more than 1048576 values"),
    "crowded-reference.json": (many_elements("reference", b"{},", 15 << 20).blocks, "of more than 1048576 values"),
    "dead-references.json": (
        lambda: iter([render(document(groups=3, remote_references="http://127.0.0.1:9/refs"))]),
        "3 of 3 remote provider references could not be had",
    ),
}
# Names of files, as they stand in an address; each leads to a good file.
_NAMES = (
    "..%2f..%2f..%2f..%2fetc%2fcron.d%2fx.json",
    "%2fetc%2fpasswd.json",
    "CON.json",
    "%00.json",
    "%1b[31m%1b]0;owned%07.json",
    "a%0d%0aERROR%20b.json",
    "x" * 300 + ".json",
    "';%20DROP%20TABLE%20rates;%20--.json",
    "%3Cscript%3Ealert(1)%3C%2fscript%3E.json",
    "$(touch%20owned)%60id%60%e2%80%aegnp.json",
)


_GOOD = 2  # files with hostile texts


def _good(nth: int) -> Document:
    return attacked(document(seed=nth, codes=5, schema="v2" if nth else "v1", inline_share=0.3))


def _publish(server: MrfServer, names: tuple[str, ...] = _NAMES) -> str:
    """Serve everything, and an index over it."""
    listed: list[tuple[str, list[dict[str, str]]]] = []
    fields = ("plan_name", "plan_id_type", "plan_id", "plan_market_type", "issuer_name")
    plans = [dict.fromkeys(fields, attack) for attack in ATTACKS]
    for path, (stream, _) in _REFUSED.items():
        server.always(f"/bad/{path}", Answer(stream=stream))
        listed.append((_address(server, f"/bad/{path}"), plans))
    for nth, attack in enumerate(ATTACKS[-_GOOD:]):
        server.put(f"/good/{nth}.json.gz", gzipped(render(_good(nth))))
        listed.append((_address(server, f"/good/{nth}.json.gz", f"v={quote(attack)}&"), plans))
    for nth, name in enumerate(names):
        server.always(f"/names/{nth}", Answer(body=render(document(seed=nth, codes=2))))
        listed.append((_address(server, f"/names/{nth}", f"fileName={name}&"), plans))
    server.put("/good/names.zip", zip_of_names([*ATTACKS[:10], "../../../../escaped.json"], render(_good(1))))
    listed.append((_address(server, "/good/names.zip"), plans))
    references = document(groups=2, remote_references=server.url("/refs"))
    references["provider_references"][0]["location"] = _address(server, "/refs/there.json")
    references["provider_references"][1]["location"] = _address(server, "/refs/gone.json")
    server.put("/refs/there.json", render(remote_document("x")))
    server.put("/good/references.json", render(references))
    listed.append((_address(server, "/good/references.json"), plans))
    # Those that are names of hosts would ask a name server.
    hosts = [attack for attack in ATTACKS if not attack.isalnum()]
    listed += [(f"https://user:{SECRETS[0]}@{attack}?{secret_query()}", plans) for attack in hosts]
    made = index(listed)
    for structure, attack in zip(made["reporting_structure"], ATTACKS * 9, strict=False):
        structure[attack] = attack
        for file in structure["in_network_files"]:
            file["description"] = attack
    server.put("/2026-11-05_index.json", render(made))
    return _address(server, "/2026-11-05_index.json")


@dataclass(frozen=True, slots=True)
class Batch:
    """The batch over all hostile files."""

    sandbox: Sandbox
    done: Done
    around: list[str]  # beside the sandbox, before
    published: int  # networks that should be


@pytest.fixture(scope="module", params=["fast", "ijson"])
def batch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """One batch of two workers over everything."""
    around = tmp_path_factory.mktemp("around")
    (around / "neighbour").mkdir()
    (around / "neighbour" / "file").write_text("untouched")
    sandbox = Sandbox(around / "deep" / "down" / "here")
    with MrfServer() as server:
        names = _NAMES if request.param == "fast" else _NAMES[:2]  # no reader sees them
        location = _publish(server, names)
        before = sorted(str(path) for path in around.rglob("*"))
        done = sandbox.run("run", "--source", "index", "--input", location, "--workers", "2", reader=request.param)
    return Batch(sandbox, done, before, _GOOD + len(names) + 2)


def test_nothing_lies_outside(batch: Batch) -> None:
    """Neither beside the output folder and DAGSTER_HOME, nor in the home and the temporary folder, nor around."""
    root = batch.sandbox.root.parents[2]
    now = [path for path in root.rglob("*") if path not in batch.sandbox.root.parents and path != batch.sandbox.root]
    outside = sorted(str(path) for path in now if not path.is_relative_to(batch.sandbox.root))

    assert batch.around == outside
    assert [] == batch.sandbox.strays()
    assert not Path("/tmp/owned").exists()  # noqa: S108 - what one of the attacks would make


def test_folders_are_made_of_safe_letters(batch: Batch) -> None:
    """Partition keys are the only names of strangers that become paths."""
    names = {
        part
        for path in batch.sandbox.place.output.rglob("*")
        for part in path.relative_to(batch.sandbox.place.output).parts
    }

    assert {name for name in names if name.startswith("network_id=")}
    assert set() == {name for name in names if not re.fullmatch(r"[A-Za-z0-9_.~=%-]{1,200}", name)}


def test_no_secret_is_in_any_artefact(batch: Batch) -> None:
    """Signatures and passwords stand in the plan alone, which its owner alone can read."""
    plan = batch.sandbox.place.output / ".mrf" / "tasks.sqlite"
    files = [path for path in batch.sandbox.root.rglob("*") if path.is_file() and not path.name.startswith(plan.name)]
    found = {
        (str(path.relative_to(batch.sandbox.root)), secret)
        for path in files
        for secret in SECRETS
        if secret.encode() in path.read_bytes()
    }

    assert len(files) > 50
    assert set() == found
    assert SECRETS[0].encode() in plan.read_bytes()
    assert 0o600 == plan.stat().st_mode & 0o777
    assert [] == [secret for secret in SECRETS if secret in batch.done.out + batch.done.err]


def test_every_refused_file_says_why(batch: Batch) -> None:
    """In one line, with what to do."""
    for path, (_, reason) in _REFUSED.items():
        lines = [
            line for line in (batch.done.out + batch.done.err).splitlines() if f"/bad/{path}" in line and reason in line
        ]
        assert lines, path


def test_good_files_with_hostile_texts_are_published(batch: Batch) -> None:
    """What a text says does not matter."""
    published = list(batch.sandbox.place.output.glob("network_id=*/period=*/rates-*.parquet"))

    assert batch.published == len(published)
    assert 1 == batch.done.code


def test_no_traceback_and_no_control_character_is_told(batch: Batch) -> None:
    """A person reads the console, in a terminal."""
    told = batch.done.out + batch.done.err

    assert "Traceback" not in told
    assert None is re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", told)


def test_logs_hold_no_control_character(batch: Batch) -> None:
    """They are read in a terminal, too."""
    logs = list(batch.sandbox.place.output.glob("logs/**/*.log"))

    assert logs
    for log in logs:
        assert None is re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", log.read_text()), log


def test_memory_stays_flat(batch: Batch) -> None:
    """Of every process of the batch, over gigabytes of harm."""
    assert batch.done.peak_mb < _MAX_MB


_INDEXES: dict[str, tuple[Callable[[], Iterator[bytes]], str]] = {
    "bomb": (lambda: iter([_bomb()]), _BOMB),
    "members": (lambda: zip_of_many(100_000), "is a zip of more than 1000 files"),
    "deep": (lambda: iter([b'{"x":' + b"[" * 10_000]), "is nested deeper than 64 levels"),
    "deeper": (lambda: iter([b'{"x":', *[b'{"a":' * 200_000] * 1_000]), "is nested deeper than 64 levels"),
    "text": (endless("text", "header", GIB).blocks, "one value or element of more than 16777216 bytes"),
    "unknown": (endless("number", "unknown key", GIB).blocks, "one value or element of more than 16777216 bytes"),
    "page": (lambda: iter([b"<html>" + b"x" * GIB]), "is an HTML or XML page"),
}


@pytest.mark.parametrize("kind", _INDEXES)
def test_a_hostile_index_starts_nothing(kind: str, tmp_path: Path) -> None:
    """One line, the exit code of bad input, flat memory, and nothing left."""
    stream, reason = _INDEXES[kind]
    sandbox = Sandbox(tmp_path / "sandbox")
    with MrfServer() as server:
        server.always("/index", Answer(stream=stream))
        done = sandbox.run("run", "--source", "index", "--input", _address(server, "/index"))

    (line,) = done.err.splitlines()
    assert reason in line
    assert 2 == done.code
    assert [] == [secret for secret in SECRETS if secret in done.out + done.err]
    assert [] == sandbox.strays()
    assert done.peak_mb < _MAX_MB


@pytest.mark.parametrize("kind", ["csv", "urls"])
def test_a_hostile_list_starts_nothing(kind: str, tmp_path: Path) -> None:
    """A line of a gigabyte, too."""
    sandbox = Sandbox(tmp_path / "sandbox")
    with MrfServer() as server:
        server.always("/list", Answer(stream=partial(iter, [b"file_url\n", *[b"x" * (1 << 20)] * 1024])))
        done = sandbox.run("run", "--source", kind, "--input", _address(server, "/list"))

    (line,) = done.err.splitlines()
    assert "longer than 1 MiB" in line
    assert (2, []) == (done.code, sandbox.strays())
    assert done.peak_mb < _MAX_MB
