"""The command line: flags in, clear words and exit codes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mrf_assets.cli.app import main
from mrf_assets_tests.dagster_fixtures import SECRET, Payer, Place, finished, key
from mrf_assets_tests.factory import Document, document, index, plans, render
from mrf_assets_tests.mrf_server import HTML_PAGE, Answer, MrfServer

_INDEX = index([("https://mrf.example/2026-11_pl-a-hr26_in-network-rates.json.gz", plans(2))])


@dataclass(frozen=True, slots=True)
class Told:
    """What the command line left on the console."""

    code: int
    out: str
    err: str


Mrf = Callable[..., Told]


@pytest.fixture(scope="module")
def payer() -> Iterator[Payer]:
    """A payer with two networks in its index; the file of one is not there."""
    with MrfServer() as server:
        payer = Payer(server)
        payer.publish("a")
        payer.publish_index("ab")
        yield payer


@pytest.fixture
def index_url(payer: Payer) -> str:
    """Where the payer's index is."""
    return payer.server.url("/2026-11-05_index.json")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty folder to stand in, with nothing in the environment."""
    for name in os.environ:
        if name.startswith("MRF_"):
            monkeypatch.delenv(name)
    place = Place(tmp_path / "here")
    place.root.mkdir()
    monkeypatch.chdir(place.root)
    monkeypatch.setenv("DAGSTER_HOME", str(place.home))
    return place


@pytest.fixture
def mrf(place: Place, capsys: pytest.CaptureFixture[str]) -> Mrf:
    """Run a command in this process, standing in `place`."""
    assert place.root == Path.cwd()

    def call(*arguments: str) -> Told:
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        assert isinstance(code, int)
        captured = capsys.readouterr()
        return Told(code, captured.out, captured.err)

    return call


def _put(place: Place, name: str, content: bytes | str | Document) -> None:
    data = content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else render(content)
    (place.root / name).write_bytes(data)


# --- sources that cannot be used ------------------------------------------------------------

_MOVED = "is an HTML or XML page, not data; open the address in a browser: the link has moved or expired"
_EMPTY = "the file is empty; the payer published nothing, or the download failed"
_NOT_THERE = "HTTP 404, the file is not there; get a newer index or drop the address"
_NOT_READ = "is of a kind that is not read; http(s), s3, gs, az, file:// and paths are"
_NO_FILES = "names no usable in-network file (0 reporting structures, 0 allowed-amount files)"
_ROWS = """file_url,plan_name
https://mrf.example/a.json,sound
ftp://mrf.example/b.json,p
,q
https://mrf.example/c.json,p,q
"""
_BAD_ROWS = (
    f"{{path}}: line 3: 'ftp://mrf.example/b.json' {_NOT_READ}; line 4: has no file_url; "
    "line 5: has 3 fields where the header has 2; quote the field"
)
_LINES = """# November
https://mrf.example/a.json
some words
https://mrf.example
"""
_BAD_LINES = (
    "{path}: line 3: 'some words' is no URL and no path (write ./name for a file without .json, .gz or .zip); "
    "line 4: 'https://mrf.example' names a host and no file"
)
_CUT_OFF = "ended early: the JSON of the index stops at byte 90; run it again, and tell the payer if it stays so"
_NO_STRUCTURE = "is no table of contents: reporting_structure is missing, its keys are a"
_NO_OBJECT = "is no table of contents: a JSON object with reporting_structure was expected"

_Content = bytes | str | Document | None
_BAD_SOURCES: dict[str, tuple[str, _Content, str]] = {  # kind, content, what is told
    "missing": ("index", None, "--input: {path}: no such file; check the path"),
    "missing list": ("urls", None, "--input: {path}: no such file; check the path"),
    "empty": ("index", b"", f"--input: {{path}}: {_EMPTY}"),
    "not JSON": ("index", "hello", "--input: {path}: is not JSON (it begins with 'hello'); check the address"),
    "a page": ("index", HTML_PAGE.body, f"--input: {{path}}: {_MOVED}"),
    "cut off": ("index", render(_INDEX)[:90], f"--input: {{path}} {_CUT_OFF}"),
    "rates": ("index", document(), "{path}: root: is an in-network-rates file; use --source url to ingest it"),
    "JSON of another kind": ("index", {"a": 1}, f"{{path}}: root: {_NO_STRUCTURE}"),
    "a list for an index": ("index", "[]", f"{{path}}: root: {_NO_OBJECT}"),
    "no files": ("index", _INDEX | {"reporting_structure": []}, f"{{path}}: reporting_structure: {_NO_FILES}"),
    "no file_url": ("csv", "url,plan\nx,y\n", "{path}: line 1: has no column file_url; the columns are: 'url', 'plan'"),
    "bad rows": ("csv", _ROWS, _BAD_ROWS),
    "bad lines": ("urls", _LINES, _BAD_LINES),
    "no lines": ("urls", "# none yet\n", "{path}: line 1: names no file; at least one URL was expected"),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("case", _BAD_SOURCES)
def test_a_bad_source_is_one_clear_line(mrf: Mrf, place: Place, command: str, case: str) -> None:
    """What it is, where, and what to do; exit code 2, and nothing was started or written."""
    source, content, expected = _BAD_SOURCES[case]
    name = f"source.{source}"
    if content is not None:
        _put(place, name, content)
    before = place.written()

    told = mrf(command, "--source", source, "--input", name)

    assert (2, "", f"Error: {expected.format(path=place.root / name)}\n") == (told.code, told.out, told.err)
    assert before == place.written()


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (
            "ftp://mrf.example/a.json",
            "ftp://mrf.example/a.json: only http, https, file://, local paths and object stores (s3, gs, az) are read",
        ),
        ("{server}/none.json", f"{{server}}/none.json: {_NOT_THERE}"),
        (f"{{server}}/none.json?Signature={SECRET}", f"{{server}}/none.json: {_NOT_THERE}"),
        ("{server}/moved.json", f"{{server}}/moved.json: {_MOVED}"),
    ],
)
def test_a_bad_address_is_one_clear_line(mrf: Mrf, place: Place, payer: Payer, location: str, expected: str) -> None:
    """The same over HTTP; a signature is not repeated."""
    payer.server.always("/moved.json", HTML_PAGE)
    base = payer.server.base_url

    told = mrf("run", "--source", "index", "--input", location.format(server=base))

    assert (2, "", f"Error: --input: {expected.format(server=base)}\n") == (told.code, told.out, told.err)
    assert [] == place.written()


def test_an_unsupported_scheme_is_refused_as_a_file_too(mrf: Mrf, place: Place) -> None:
    """`--source url` reads what an index may name, and no more."""
    told = mrf("run", "--source", "url", "--input", "ftp://mrf.example/a.json")

    assert 2 == told.code
    assert "Error: url: --input: 'ftp://mrf.example/a.json' is of a kind that is not read;" in told.err
    assert [] == place.written()


# --- flags that cannot be used --------------------------------------------------------------


_NO_ENTRY = "holds no entry, so nothing would be kept; add one entry a line or drop the flag"
_NO_TIN = "line 1 is '99213'; line 2 is 'a,b,c': expected an EIN (12-3456789 or 123456789) or an NPI (ten digits)"
_NO_NETWORK_ID = "are for --source url and urls; a source of kind index names its own"


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--cpt-whitelist", "none.txt", "none.txt: no such file; check the path"),
        ("--cpt-whitelist", "empty.txt", f"empty.txt: {_NO_ENTRY}"),
        ("--cpt-whitelist", "three.txt", "three.txt: line 2 is 'a,b,c': expected `code` or `type,code`"),
        ("--tin-whitelist", "three.txt", f"three.txt: {_NO_TIN}"),
        ("--rate-batch-size", "0", "--rate-batch-size: is 0; it must be 1 or more"),
        ("--keep-periods", "0", "--keep-periods: is 0; it must be 1 or more, or absent for all"),
        ("--network-id", "x", f"network_id, plans: {_NO_NETWORK_ID}"),
    ],
)
def test_a_bad_flag_is_one_clear_line(
    mrf: Mrf, place: Place, index_url: str, *, command: str, flag: str, value: str, expected: str
) -> None:
    """Before anything is started, and in the plan already."""
    _put(place, "empty.txt", "# soon\n")
    _put(place, "three.txt", "99213\na,b,c\n")
    before = place.written()

    told = mrf(command, "--source", "index", "--input", index_url, flag, value)

    assert (2, "", f"Error: {expected}\n") == (told.code, told.out, told.err)
    assert before == place.written()


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("10000", "Whitelist: kept 4 of 4 prices, in 1 of 6 items"),
        ("x", "⚠️ Whitelist: kept 0 of 0 prices, in 0 of 6 items"),
    ],
)
@pytest.mark.parametrize("command", ["run", "extract"])
def test_the_summary_tells_what_a_whitelist_kept(
    mrf: Mrf, place: Place, payer: Payer, *, command: str, code: str, line: str
) -> None:
    """A list that fits nothing is seen at once."""
    _put(place, "codes.csv", f"CPT,{code}\nLOCAL,none\n" if code != "x" else "LOCAL,none\n")
    source = [payer.url("a")] if command == "extract" else ["--source", "url", "--input", payer.url("a")]
    told = mrf(command, *source, "--cpt-whitelist", "codes.csv")

    assert 0 == told.code
    assert line in map(str.strip, told.out.splitlines())


def _all_that_is_left(folder: Path) -> Iterator[bytes]:
    """Names and contents of all files, parquet in plain text; not the plan, which alone keeps what is fetched."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("tasks.sqlite"):
            yield str(path).encode() + path.read_bytes()
            if path.suffix == ".parquet":
                yield str(pq.read_table(path).to_pylist()).encode()


def test_an_odd_address_leaves_its_secrets_nowhere(mrf: Mrf, place: Place, payer: Payer) -> None:
    """Neither in console, parquet, manifest, keys and logs, nor in Dagster's databases."""
    secret = "S3cr3tPassw0rd"
    there = payer.server.url(Payer.path("a")).replace("://", f"://u:{secret}@")
    gone, lost = (there.replace("pl-a", f"pl-{letter}") for letter in "xy")
    source = place.root.parent / "odd"
    source.mkdir()
    locations = [
        f"{there}?sv=1&amp;amp;sig={secret}",
        f"{gone}?unknown={secret}&sig={secret}",
        f"{lost};jsessionid={secret}",
        f"\ufeff{there}?sig={secret}",
        f"<{there}?{secret}>",
        f"{there.removeprefix('http:')}?sig={secret}",
    ]
    made = index([(location, plans(1)) for location in locations])
    made["reporting_structure"][0]["in_network_files"][0]["description"] = f"at {there}?sig={secret}"
    (source / "index.json").write_bytes(render(made))
    asked = ("--source", "index", "--input", str(source / "index.json"))
    planned, told = mrf("plan", *asked, "--json"), mrf("run", *asked, "--verbose")

    assert (0, 1) == (planned.code, told.code)
    assert "Problems in the source: 3" in told.err
    assert "Successful: 1/3" in told.out
    assert secret not in f"{planned} {told}"
    assert not [left[:200] for left in _all_that_is_left(place.root) if secret.encode() in left]


def test_a_row_s_whitelist_reaches_its_network_alone(mrf: Mrf, place: Place, payer: Payer) -> None:
    """Through the plan and Dagster's run; the manifest has it."""
    payer.publish("c")
    _put(place, "codes.csv", "CPT,10000\n")
    _put(place, "list.csv", f"file_url,cpt_whitelist\n{payer.url('a')},codes.csv\n{payer.url('c')},\n")
    told = mrf("run", "--source", "csv", "--input", "list.csv", "--output-dir", str(place.output))

    assert 0 == told.code
    networks = Counter(key(letter) for row in place.rows("rates") for letter in "ac" if key(letter) in row)
    assert 0 < networks[key("a")] < networks[key("c")]
    manifest = json.loads((place.output / "manifest.json").read_text())
    assert [{"cpt_whitelist": str(place.root / "codes.csv")}, None] == [
        it.get("extra_args") for it in manifest["extractions"]
    ]


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_row_s_whitelist_is_checked_before_anything_is_started(mrf: Mrf, place: Place, command: str) -> None:
    """As a flag's is."""
    _put(place, "list.csv", "file_url,cpt_whitelist\nhttps://mrf.example/a.json,none.csv\n")
    told = mrf(command, "--source", "csv", "--input", "list.csv")

    assert 2 == told.code
    assert "none.csv: no such file; check the path" in told.err
    assert not (place.root / "mrf_output").exists()


@pytest.mark.parametrize("command", ["run", "plan", "check"])
def test_lost_zeros_of_a_whitelist_are_told_once(mrf: Mrf, place: Place, index_url: str, command: str) -> None:
    """They were restored; the list should be mended all the same."""
    _put(place, "codes.csv", "RC,450\nCPT,99213\n")
    source = [] if command == "check" else ["--source", "index", "--input", index_url]
    told = mrf(command, *source, "--cpt-whitelist", "codes.csv")

    line = "codes.csv: codes that lost their first zeros were padded: line 1: RC 0450 instead of 450"
    assert 1 == told.err.count(line)


@pytest.mark.parametrize("given", ["flag", "environment"])
def test_an_unknown_reader_starts_nothing(
    mrf: Mrf, place: Place, index_url: str, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """It would fail in each network alike."""
    flags = ["--reader", "nope"] if given == "flag" else []
    if not flags:
        monkeypatch.setenv("MRF_READER", "nope")

    told = mrf("run", "--source", "index", "--input", index_url, *flags)

    assert (2, "") == (told.code, told.out)
    name = "--reader" if flags else "MRF_READER"
    assert f"Error: {name}: is 'nope'; use one of: fast, ijson\n" == told.err
    assert [] == place.written()


@pytest.mark.parametrize(
    "flags",
    ["--source folder --input x", "--source index", "--source index --input x --workers 0"],
)
def test_a_flag_of_the_wrong_form_points_to_the_help(mrf: Mrf, place: Place, flags: str) -> None:
    """One line says what is wrong, two how to find out more."""
    told = mrf("run", *flags.split())

    assert (2, "") == (told.code, told.out)
    assert "Try 'mrf run --help' for help." in told.err
    assert 1 == sum(line.startswith("Error: ") for line in told.err.splitlines())
    assert [] == place.written()


def test_a_variable_of_the_wrong_kind_is_named(mrf: Mrf, index_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the user wrote it."""
    monkeypatch.setenv("MRF_RATE_BATCH_SIZE", "many")

    told = mrf("run", "--source", "index", "--input", index_url)

    assert (2, "Error: MRF_RATE_BATCH_SIZE: is 'many', which is no whole number\n") == (told.code, told.err)


def test_plan_flags_go_together(mrf: Mrf, place: Place, payer: Payer) -> None:
    """Four for each plan; what was given is counted."""
    told = mrf("extract", payer.url("a"), "--plan-name", "A", "--plan-name", "B", "--plan-id", "1")

    assert (2, "") == (told.code, told.out)
    assert told.err == (
        "Error: --plan-*: 2 --plan-name, 0 --plan-id-type, 1 --plan-id and 0 --plan-market-type were given; "
        "repeat all four for each plan\n"
    )
    assert [] == place.written()


@pytest.mark.parametrize("command", ["run", "extract"])
def test_an_output_folder_below_a_file_is_refused(mrf: Mrf, place: Place, payer: Payer, command: str) -> None:
    """The folder is named, and nothing is fetched."""
    _put(place, "file", "")
    fetched = payer.server.count(Payer.path("a"))
    source = [payer.url("a")] if command == "extract" else ["--source", "url", "--input", payer.url("a")]

    told = mrf(command, *source, "--output-dir", "file/lake")

    expected = f"Error: --output-dir: file/lake cannot be a folder, as {place.root}/file is a file; name another\n"
    assert (2, "", expected) == (told.code, told.out, told.err)
    assert fetched == payer.server.count(Payer.path("a"))


def test_a_home_that_is_a_file_is_refused(
    mrf: Mrf, place: Place, index_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named, and what to do with it."""
    _put(place, "file", "")
    monkeypatch.setenv("DAGSTER_HOME", str(place.root / "file" / "home"))

    told = mrf("run", "--source", "index", "--input", index_url)

    assert (2, "") == (told.code, told.out)
    assert (
        f"Error: DAGSTER_HOME: {place.root}/file/home cannot be used (Not a directory); set it to a folder of yours\n"
        == told.err
    )
    assert ["file"] == place.written()


# --- plan -----------------------------------------------------------------------------------


def test_plan_shows_networks_and_sizes(mrf: Mrf, index_url: str) -> None:
    """One line for each file, with a question mark where the server does not tell."""
    told = mrf("plan", "--source", "index", "--input", index_url)

    assert (0, "") == (told.code, told.err)
    assert "2 networks, 2 files" in told.out
    (there,) = [line for line in told.out.splitlines() if key("a") in line]
    (missing,) = [line for line in told.out.splitlines() if key("b") in line]
    assert [key("a"), "2026-11", "1 of 1", "2", "0.0 MB", Payer.path("a").rsplit("/", 1)[-1]] == [
        cell.strip() for cell in there.strip("│").split("│")
    ]
    assert "?" in missing
    assert "Total: 0.0 MB in 1 of 2 files; 1 file(s) do not tell their size." in told.out


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_plan_tells_what_a_whitelist_keeps_of_what_is_published(
    mrf: Mrf, place: Place, index_url: str, payer: Payer, form: list[str]
) -> None:
    """Before a run replaces it; no file is read for that. JSON stays JSON."""
    codes = list(dict.fromkeys(item["billing_code"] for item in document()["in_network"]))
    mrf("extract", payer.url("a"))
    asked = ("plan", "--source", "index", "--input", index_url, *form, "--cpt-whitelist", "codes.csv")
    _put(place, "codes.csv", codes[0])
    some = mrf(*asked)
    _put(place, "codes.csv", "00000")
    none, allowed = mrf(*asked), mrf(*asked, "--allow-empty")

    told = [each.err if form else each.out for each in (some, none, allowed)]
    assert [
        ["Whitelist: would keep 4 of 24 prices that are published, of 1 of 2 networks with a whitelist."],
        ["Whitelist: would keep 0 of 24 prices that are published, of 1 of 2 networks with a whitelist."],
        ["Whitelist: would keep 0 of 24 prices that are published, of 1 of 2 networks with a whitelist."],
    ] == [[line for line in each.splitlines() if line.startswith("Whitelist")] for each in told]
    assert f"  ⚠️ {key('a')}: 0 of 24 prices\n" in told[1]
    assert "1 network(s) have no wanted price now; `mrf run` refuses to empty them without --allow-empty." in told[1]
    assert "1 network(s) have no wanted price now; `mrf run` empties them." in told[2]


def test_plan_judges_each_network_by_its_own_whitelist(mrf: Mrf, place: Place, payer: Payer) -> None:
    """A row's wins over the flag, and is told of without one; a network that has none is not counted."""
    codes = list(dict.fromkeys(item["billing_code"] for item in document()["in_network"]))
    payer.publish("c", document(seed=ord("a"), codes=6, deviation_share=0.3))  # as that of network a
    for letter in "ac":
        mrf("extract", payer.url(letter))
    _put(place, "some.csv", codes[0])
    _put(place, "none.csv", "00000")
    _put(place, "list.csv", f"file_url,cpt_whitelist\n{payer.url('a')},none.csv\n{payer.url('c')},\n")
    asked = ("plan", "--source", "csv", "--input", "list.csv")
    rows_alone, with_flag = mrf(*asked), mrf(*asked, "--cpt-whitelist", "some.csv")

    assert [
        "Whitelist: would keep 0 of 24 prices that are published, of 1 of 1 networks with a whitelist.",
        "Whitelist: would keep 4 of 48 prices that are published, of 2 of 2 networks with a whitelist.",
    ] == [line for told in (rows_alone, with_flag) for line in told.out.splitlines() if line.startswith("Whitelist")]
    assert all(f"  ⚠️ {key('a')}: 0 of 24 prices\n" in told.out for told in (rows_alone, with_flag))


def test_plan_warns_of_a_network_whose_files_name_different_whitelists(mrf: Mrf, place: Place, payer: Payer) -> None:
    """Its run fails; what is planned is shown all the same."""
    for name in ("some.csv", "none.csv"):
        _put(place, name, "00000")
    rows = "".join(f"{payer.url(it)},n,{name}\n" for it, name in (("a", "some.csv"), ("b", "none.csv")))
    _put(place, "list.csv", f"file_url,network_id,cpt_whitelist\n{rows}")
    told = mrf("plan", "--source", "csv", "--input", "list.csv", "--no-sizes")

    assert (0, "Whitelist" in told.out) == (told.code, False)
    assert "n will fail: extra_args.cpt_whitelist: is " in told.err
    assert "give all of them one value" in told.err


def test_plan_writes_nothing(mrf: Mrf, place: Place, index_url: str) -> None:
    """No folder and no DAGSTER_HOME, with all the flags of a run."""
    flags = ("--source", "index", "--input", index_url, "--output-dir", "lake", "--workers", "4", "--verbose")

    assert 0 == mrf("plan", *flags).code
    assert [] == place.written()


def test_plan_downloads_no_file(mrf: Mrf, payer: Payer, index_url: str) -> None:
    """Sizes are asked for with HEAD."""
    before = payer.server.count(Payer.path("a"))

    mrf("plan", "--source", "index", "--input", index_url)

    assert before == payer.server.count(Payer.path("a"))


def test_plan_tells_the_problems_of_a_source(mrf: Mrf, place: Place) -> None:
    """What is unusable in an index does not stop the rest, and is told."""
    made = index([("https://mrf.example/a.json.gz", plans(1)), ("Missing file", plans(1))], allowed_amounts="array")
    _put(place, "index.json", made)

    told = mrf("plan", "--source", "index", "--input", "index.json", "--no-sizes")

    assert 0 == told.code
    assert "1 networks, 1 files" in told.out
    assert "Not ingested: 1 allowed-amounts file(s); they hold no negotiated rates." in told.out
    assert told.err.startswith(
        "Problems in the source: 1\n"
        "  reporting_structure[1].in_network_files[0]: 'Missing file' is no URL and no path (write ./name "
    )


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_plan_gives_up_a_host_that_does_not_answer(mrf: Mrf, place: Place, payer: Payer, form: list[str]) -> None:
    """One line says so; the files of other hosts have their sizes."""
    with MrfServer() as dead:
        paths = [f"/2026-11_pl-{number}-hr26_in-network-rates.json" for number in range(200)]
        for path in paths:
            dead.always(path, Answer(body=b"{}", cut_head_after=0))
        _put(place, "urls.txt", "\n".join([*map(dead.url, paths), payer.url("a")]))

        told = mrf("plan", "--source", "urls", "--input", "urls.txt", *form)

        asked = len(dead.requests)
        line = f"127.0.0.1:{dead.port} did not answer, so {200 - asked} of its files were not asked for their sizes"
    assert 0 == told.code
    assert asked < 20
    assert [line] == [each.partition(";")[0] for each in told.err.splitlines()]
    assert (200 if form else 0) == told.out.count('"size_bytes": null')
    assert "200 file(s) do not tell their size" in told.out or form


def test_plan_as_json_is_a_line_for_each_file(mrf: Mrf, payer: Payer, index_url: str) -> None:
    """For other programs; addresses are without signature."""
    told = mrf("plan", "--source", "index", "--input", index_url, "--json")

    lines = [json.loads(line) for line in told.out.splitlines()]
    assert {
        "network_id": key("b"),
        "period": "2026-11",
        "part": 1,
        "parts": 1,
        "url": payer.server.url(Payer.path("b")),
        "size_bytes": None,
        "plans": 2,
        "rule": "healthsparq_pl",
    } == lines[1]
    assert SECRET not in told.out


def test_plan_as_json_has_the_problems_of_a_source(mrf: Mrf, place: Place) -> None:
    """A line for each behind the files, and on stderr what a person is told; the exit code is that of the table."""
    made = index([("https://mrf.example/a.json.gz", plans(1)), ("N/A", plans(1))], allowed_amounts="array")
    made["reporting_structure"][0]["in_network_files"] += [{"description": "n"}, {"location": "ftp://mrf.example/x"}]
    _put(place, "index.json", made)
    asked = ("plan", "--source", "index", "--input", "index.json", "--no-sizes")
    table, told = mrf(*asked), mrf(*asked, "--json")

    file, *problems = [json.loads(line) for line in told.out.splitlines()]
    assert "mrf.example~a" == file["network_id"]
    assert [
        ("reporting_structure[0].in_network_files[1]", "has no location"),
        ("reporting_structure[0].in_network_files[2]", "'ftp://mrf.example/x' is of a kind that is not read"),
        ("reporting_structure[1].in_network_files[0]", "'N/A' is no URL and no path (write ./name for a file without"),
    ] == [(it["where"], it["problem"].partition(";")[0].partition(" .json")[0]) for it in problems]
    assert table.code == told.code == 0
    assert table.err in told.err
    assert "Problems in the source: 3" in table.err
    assert "Not ingested: 1 allowed-amounts file(s)" in told.err


def test_plan_as_json_has_the_problems_of_a_source_that_cannot_be_used(mrf: Mrf, place: Place) -> None:
    """With the exit code that says so."""
    _put(place, "urls.txt", "https://mrf.example/a.json.gz\nN/A\nftp://mrf.example/x\n")
    asked = ("plan", "--source", "urls", "--input", "urls.txt", "--no-sizes")
    table, told = mrf(*asked), mrf(*asked, "--json")

    assert ["line 2", "line 3"] == [json.loads(line)["where"] for line in told.out.splitlines()]
    assert (2, table.err) == (told.code, told.err)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("urls", "{good}\n{allowed}\n"),
        ("csv", "file_url\n{good}\n{allowed}\n"),
    ],
)
def test_plan_tells_the_allowed_amounts_files_of_a_list(mrf: Mrf, place: Place, kind: str, text: str) -> None:
    """By name, as those of an index; they would fail."""
    allowed = "2026-11-01_acme_ppo_allowed-amounts.json.gz"
    good = "https://mrf.example/2026-11-01_acme_ppo_in-network-rates.json.gz"
    _put(place, "list", text.format(good=good, allowed=f"https://mrf.example/{allowed}"))
    told = mrf("plan", "--source", kind, "--input", "list", "--no-sizes")

    assert "1 networks, 1 files" in told.out
    assert (
        f"Not ingested: 1 allowed-amounts file(s); they hold no negotiated rates. Their names: {allowed}\n" in told.out
    )


def test_a_list_of_allowed_amounts_files_alone_is_refused(mrf: Mrf, place: Place) -> None:
    """There is nothing to ingest."""
    _put(place, "list", "https://mrf.example/2026-11-01_acme_ppo_allowed-amounts.json.gz\n")
    told = mrf("plan", "--source", "urls", "--input", "list")

    assert 2 == told.code
    assert "names no in-network file, but 1 allowed-amounts file(s)" in told.err


def test_extract_takes_an_existing_path_whatever_its_name(mrf: Mrf, place: Place) -> None:
    """And says what is in it."""
    (place.root / "dir").mkdir()
    _put(place, "dir/2026-11-01_acme.7z", b"7z\xbc\xaf\x27\x1c" + bytes(60))
    told = mrf("extract", "dir/2026-11-01_acme.7z")

    assert 1 == told.code
    assert "7z" in told.err
    assert "no URL" not in told.err


@pytest.mark.parametrize(
    ("narrowed", "networks"), [(["--max-files", "1"], [key("a")]), (["--structures", "1"], [key("a")])]
)
def test_plan_shows_what_run_would_take(mrf: Mrf, index_url: str, narrowed: list[str], networks: list[str]) -> None:
    """The same flags narrow both."""
    told = mrf("plan", "--source", "index", "--input", index_url, "--no-sizes", "--json", *narrowed)

    assert networks == [json.loads(line)["network_id"] for line in told.out.splitlines()]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--priority", "HIGH"], {key("a"): "HIGH", key("b"): "HIGH"}),
        (["--min-priority", "NORMAL"], {key("a"): "NORMAL", key("b"): "NORMAL"}),
        (["--min-priority", "HIGH"], {}),
        (["--priority", "LOW", "--min-priority", "NORMAL"], {}),
        ([], {key("a"): None, key("b"): None}),
    ],
)
def test_plan_shows_the_priorities_that_run_would_give(
    mrf: Mrf, place: Place, index_url: str, flags: list[str], expected: dict[str, str | None]
) -> None:
    """And leaves out what it would leave out; it makes no DAGSTER_HOME for that."""
    planned = mrf("plan", "--source", "index", "--input", index_url, "--no-sizes", "--json", *flags)
    table = mrf("plan", "--source", "index", "--input", index_url, "--no-sizes", *flags)

    found = [json.loads(line) for line in planned.out.splitlines()]
    assert expected == {line["network_id"]: line.get("priority") for line in found}
    assert (not expected) == ("Left out: 2 network(s) of a priority below" in table.out)
    assert ("priority" in table.out) == bool(flags)
    assert not place.home.exists()


def test_plan_knows_what_is_published_when_it_gives_priorities(mrf: Mrf, index_url: str) -> None:
    """A network that was published just now has less to gain than one that never was."""
    mrf("run", "--source", "index", "--input", index_url)
    planned = mrf("plan", "--source", "index", "--input", index_url, "--no-sizes", "--json", "--min-priority", "LOW")

    assert {key("a"): "LOW", key("b"): "NORMAL"} == {
        line["network_id"]: line["priority"] for line in map(json.loads, planned.out.splitlines())
    }


def test_plan_takes_a_budget(mrf: Mrf, index_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs a price, as for a run; the downloads are estimated."""
    refused = mrf("plan", "--source", "index", "--input", index_url, "--budget", "20")
    monkeypatch.setenv("MRF_PRICE_PER_GB", "0.09")
    told = mrf("plan", "--source", "index", "--input", index_url, "--budget", "20")

    assert (2, 1) == (refused.code, len(refused.err.splitlines()))
    assert "--budget: needs a price to count with" in refused.err
    assert (
        "Budget: 20.00 dollars; these downloads cost about 0.00; CPU time is counted while the batch runs." in told.out
    )


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("MRF_READER=abacus", "MRF_READER: is 'abacus'; use one of: fast, ijson"),
        ("MRF_ALERT_URLS=nonsense", "alert"),
        ("MRF_MAX_RETRIES=-1", "MRF_MAX_RETRIES: is -1; it must be 0 or more"),
    ],
)
def test_plan_and_run_refuse_the_same_settings(
    mrf: Mrf, monkeypatch: pytest.MonkeyPatch, command: str, variable: str, reason: str
) -> None:
    """In one line, before anything is read."""
    monkeypatch.setenv(*variable.split("="))
    told = mrf(command, "--source", "index", "--input", "index.json")

    assert (2, "", 1) == (told.code, told.out, len(told.err.splitlines()))
    assert reason in told.err


def test_an_unknown_variable_is_reported(mrf: Mrf, index_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, and the command goes on."""
    monkeypatch.setenv("MRF_OUTPT_DIR", "lake")
    told = mrf("plan", "--source", "index", "--input", index_url, "--no-sizes", "--json")

    assert (0, "⚠️ MRF_OUTPT_DIR is no setting and is ignored; did you mean MRF_OUTPUT_DIR?\n") == (told.code, told.err)


# --- the console ----------------------------------------------------------------------------

_NASTY = "a\u202eb"  # turns the rest of a line around


def _nasty_index() -> dict[str, Any]:
    return index(
        [
            ("https://mrf.example/\x1b[31mred.json.gz", plans(1)),
            ("https://mrf.example/\x9b31mred.json.gz", plans(1)),
            (f"https://mrf.example/{_NASTY}.json.gz", plans(1)),
        ]
    )


@pytest.mark.parametrize("flags", [["--json"], []], ids=["json", "table"])
def test_a_name_cannot_steer_the_terminal(mrf: Mrf, place: Place, flags: list[str]) -> None:
    """Escape sequences and marks of direction never reach it, whether a file is planned or refused."""
    _put(place, "index.json", _nasty_index())

    told = mrf("plan", "--source", "index", "--input", "index.json", "--no-sizes", *flags)

    assert 0 == told.code
    assert not set("\x1b\x9b\u202e") & set(told.out + told.err)


def test_a_log_line_cannot_steer_the_terminal(place: Place) -> None:
    """A file's own name is told as it is read."""
    _put(place, f"{_NASTY}.json", document())

    done = place.mrf("extract", f"{_NASTY}.json")

    assert 0 == done.returncode
    assert "reading " in done.stderr
    assert "\u202e" not in done.stdout + done.stderr


# --- extract --------------------------------------------------------------------------------


def test_extract_publishes_and_prints(mrf: Mrf, place: Place, payer: Payer) -> None:
    """One file on the spot: rows and paths on stdout, and no DAGSTER_HOME."""
    told = mrf(
        *("extract", payer.url("a"), "--output-dir", "lake"),
        *("--plan-name", "Willow", "--plan-id-type", "EIN", "--plan-id", "12-3456789", "--plan-market-type", "Group"),
    )

    assert 0 == told.code
    assert f"✅ {key('a')} (" in told.out
    assert "  rates: 24 rows\n" in told.out
    assert all(f"  {place.output / path}\n" in told.out for path in place.tables())
    assert [("Willow", "ein", "12-3456789", "group")] == [row[1:5] for row in place.rows("plans")]
    assert not place.home.exists()


def test_extract_tells_warnings(mrf: Mrf, place: Place) -> None:
    """What the audit found and let pass."""
    made = document(codes=1)
    made["in_network"][0]["negotiated_rates"][0]["negotiated_prices"][0]["negotiated_rate"] = 0
    _put(place, "a.json", made)

    told = mrf("extract", "a.json", "--output-dir", "lake")

    assert 0 == told.code
    assert "  ⚠️ rates.dollars_are_positive: 1 rows; At most 2.5 % of prices are amounts in dollars" in told.out


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (_INDEX, "is a table of contents (an index); ingest it with --source index"),
        (b"", _EMPTY),
        (b"hello", "is not JSON (it begins with 'hello'); check the address"),
        (HTML_PAGE.body, _MOVED),
        (None, "no such file; check the path"),
    ],
    ids=["index", "empty", "not JSON", "page", "missing"],
)
def test_extract_of_something_else_is_one_clear_line(
    mrf: Mrf, place: Place, content: bytes | Document | None, expected: str
) -> None:
    """Exit code 1: the network failed; nothing is published, nothing is left in the making."""
    if content is not None:
        _put(place, "a.json", content)

    told = mrf("extract", "a.json", "--output-dir", "lake")

    assert (1, "") == (told.code, told.out)
    assert f"Error: {place.root}/a.json: {expected}" == told.err.splitlines()[-1]
    assert "Traceback" not in told.err
    assert ({}, []) == (place.published(), place.leftovers())


# --- manifest -------------------------------------------------------------------------------


def test_a_manifest_of_no_batch_says_what_to_do(mrf: Mrf, place: Place) -> None:
    """The output folder is looked for first; nothing is made in its place."""
    told = mrf("manifest", "--output-dir", "lake")

    assert (2, "") == (told.code, told.out)
    assert f"Error: --output-dir: {place.output} holds no plan; name the folder that `mrf run` wrote to\n" == told.err
    assert [] == place.written()


def test_a_manifest_of_another_home_says_what_to_do(mrf: Mrf, place: Place, payer: Payer) -> None:
    """Batches are recorded in DAGSTER_HOME."""
    mrf("extract", payer.url("a"), "--output-dir", "lake")

    told = mrf("manifest", "--output-dir", "lake")

    assert (2, "") == (told.code, told.out)
    assert told.err == (
        f"Error: DAGSTER_HOME: no batch of {place.output} has run with {place.home}; set it as for `mrf run`, "
        "or use --all\n"
    )


def test_an_unknown_batch_is_named(mrf: Mrf, place: Place, payer: Payer) -> None:
    """With where it was looked for."""
    mrf("extract", payer.url("a"), "--output-dir", "lake")

    told = mrf("manifest", "--output-dir", "lake", "--batch", "20260101_000000-abcd")

    assert (2, "") == (told.code, told.out)
    assert told.err == (
        f"Error: --batch: 20260101_000000-abcd has no runs in DAGSTER_HOME={place.home}; "
        "without --batch it is the latest\n"
    )


# --- the program ----------------------------------------------------------------------------


def test_the_version_is_that_of_the_package(mrf: Mrf) -> None:
    """It stands in one place."""
    assert Told(0, f"mrf, version {version('mrf_assets')}\n", "") == mrf("--version")


@pytest.mark.parametrize("command", ["run", "plan", "extract", "manifest"])
def test_every_command_has_help(mrf: Mrf, command: str) -> None:
    """What it does in a sentence, and its flags."""
    told = mrf(command, "--help")

    assert (0, "") == (told.code, told.err)
    assert told.out.startswith(f"Usage: mrf {command} [OPTIONS]")
    assert "--output-dir" in told.out


def test_without_a_command_the_help_is_shown(mrf: Mrf) -> None:
    """All four commands, and an exit code that tells scripts that nothing ran."""
    told = mrf()

    assert 2 == told.code
    assert all(f"\n  {command} " in told.out + told.err for command in ("run", "plan", "extract", "manifest"))


@pytest.mark.parametrize("module", ["mrf_assets", "mrf_assets.batch_orchestrator"])
def test_modules_take_the_flags_of_the_command(tmp_path: Path, module: str) -> None:
    """`python -m mrf_assets run` and `python -m mrf_assets.batch_orchestrator` are one program."""
    place = Place(tmp_path)
    command = ["run"] if module == "mrf_assets" else []

    done = place.mrf(*command, "--source", "csv", "--input", "none.csv", "--workers", "2", module=module)

    assert (2, "") == (done.returncode, done.stdout)
    assert f"Error: --input: {tmp_path}/none.csv: no such file; check the path\n" == done.stderr


def test_a_closed_pipe_is_no_traceback(place: Place, index_url: str) -> None:
    """`mrf plan | head` ends in silence."""
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        [sys.executable, "-m", "mrf_assets", "plan", "--source", "index", "--input", index_url, "--json"],
        env=place.environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(writer)
        _, err = process.communicate(timeout=60)

    assert (1, "") == (process.returncode, err)


def test_ctrl_c_while_an_index_is_read_starts_nothing(place: Place, payer: Payer) -> None:
    """The exit code is that of an interrupted program."""
    url = payer.publish_index("ab", "/held.json")
    gate = payer.server.hold("/held.json", at=20)
    with place.start("run", "--source", "index", "--input", url) as process:
        assert gate.reached.wait(60)
        process.send_signal(signal.SIGINT)
        done = finished(process)

    assert (130, "") == (done.returncode, done.stdout)
    assert ["Stopped; no network was started."] == done.stderr.split("\n")[-2:-1]
    assert [] == place.written()
