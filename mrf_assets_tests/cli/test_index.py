"""`mrf index`: what a person says and sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from mrf_assets.cli.app import main
from mrf_assets.settings import Settings
from mrf_assets.watch.memory import IndexStore
from mrf_assets.watch.reader import read_registered
from mrf_assets.watch.registry import read_registry
from mrf_assets_tests.dagster_fixtures import SECRET, SIGNATURE, Payer, key
from mrf_assets_tests.mrf_server import MrfServer

INDEX = "/2026-11-05_index.json"


class Mrf(Protocol):
    """`mrf index` in this process."""

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors."""


@pytest.fixture
def mrf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mrf:
    """The command with a registry and an output folder of its own."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MRF_OUTPUT_DIR", str(tmp_path / "lake"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(["index", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def payer() -> Iterator[Payer]:
    """An index of three networks."""
    with MrfServer() as server:
        made = Payer(server)
        made.publish_index("abc")
        yield made


def _look(tmp_path: Path) -> None:
    """Read all registered indexes, as the sensor does."""
    indexes, settings = read_registry(tmp_path / "home" / "indexes.toml"), Settings(output_dir=tmp_path / "lake")
    IndexStore.under(settings.output_dir).sync(indexes)
    for index in indexes:
        read_registered(index, settings)


def test_an_index_is_added_checked_listed_and_removed(tmp_path: Path, mrf: Mrf, payer: Payer) -> None:
    """The life of an entry; its signature is seen nowhere."""
    url = payer.server.url(INDEX) + SIGNATURE

    added = mrf("add", "acme", url, "--payer", "Acme Health", "--priority", "HIGH", "--poll-minutes", "30")
    checked = mrf("check")
    _look(tmp_path)
    listed = mrf("list")
    removed = mrf("remove", "acme")

    assert [0, 0, 0, 0] == [answer[0] for answer in (added, checked, listed, removed)]
    assert "acme, Acme Health, HIGH, every 30 minutes: http://127.0.0.1" in added[1]
    assert "acme: 3 structures read, 3 networks, 3 files, 0 problems" in checked[1]
    assert all(text in listed[1] for text in ("acme", "Acme Health", "HIGH", "ok"))
    assert "Its networks stay as they are." in removed[1]
    assert "No index is registered" in mrf("list")[1]
    assert SECRET not in str((added, checked, listed, removed))


def test_flags_change_a_registered_index_only_where_asked_for(tmp_path: Path, mrf: Mrf) -> None:
    """The next month's address keeps all else."""
    mrf("add", "acme", "https://payer.example/november.json", "--payer", "Acme", "--max-files", "5")

    refused = mrf("add", "acme", "https://payer.example/december.json", "--payer", "Acme")
    mrf("add", "acme", "https://payer.example/december.json", "--payer", "Acme", "--replace")

    (index,) = read_registry(tmp_path / "home" / "indexes.toml")
    assert (2, True) == (refused[0], "use --replace" in refused[2])
    assert ("https://payer.example/december.json", 5) == (index.url.real, index.max_files)


def test_paths_are_taken_from_where_the_person_is(tmp_path: Path, mrf: Mrf) -> None:
    """Not from the registry's folder."""
    (tmp_path / "codes.csv").write_text("99213\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "index.json").touch()

    mrf("add", "acme", "in/index.json", "--payer", "Acme", "--cpt-whitelist", "codes.csv")

    (index,) = read_registry(tmp_path / "home" / "indexes.toml")
    assert (str(tmp_path / "in/index.json"), tmp_path / "codes.csv") == (index.url.real, index.cpt_whitelist)


@pytest.mark.parametrize("url", ["not-a-url", "payer.example/index.json", "ftp://payer.example/index.json", "https://"])
def test_what_is_no_address_and_no_file_is_not_registered(tmp_path: Path, mrf: Mrf, url: str) -> None:
    """The sensor would fail on it at each look."""
    code, _, errors = mrf("add", "acme", url, "--payer", "Acme")

    assert (2, 1, False) == (code, len(errors.splitlines()), (tmp_path / "home" / "indexes.toml").exists())
    assert url.partition("://")[0] in errors


def test_a_whitelist_that_cannot_be_read_is_not_registered(tmp_path: Path, mrf: Mrf) -> None:
    """Rather now than at the next look."""
    (tmp_path / "index.json").touch()
    code, _, errors = mrf("add", "acme", "index.json", "--payer", "Acme", "--cpt-whitelist", "codes.csv")

    assert (2, True, False) == (code, "codes.csv" in errors, (tmp_path / "home").exists())


def test_a_check_tells_which_indexes_cannot_be_read(mrf: Mrf, payer: Payer) -> None:
    """Each by itself, and the exit code says that one is wrong."""
    mrf("add", "acme", payer.server.url(INDEX), "--payer", "Acme")
    mrf("add", "gone", payer.server.url("/gone.json"), "--payer", "Gone")

    code, told, _ = mrf("check")

    assert 1 == code
    assert "✅ acme" in told
    assert "❌ gone" in told
    assert "HTTP 404" in told
    assert "1 of 2 indexes can be read." in told
    assert (0, 2) == (mrf("check", "acme")[0], mrf("check", "acne")[0])


def test_a_check_writes_nothing(tmp_path: Path, mrf: Mrf, payer: Payer) -> None:
    """Neither plan nor memory."""
    mrf("add", "acme", payer.server.url(INDEX), "--payer", "Acme")

    mrf("check", "--whole")

    assert ["home"] == [path.name for path in tmp_path.iterdir()]


def test_a_list_as_json_has_what_a_program_needs(tmp_path: Path, mrf: Mrf, payer: Payer) -> None:
    """One line an index, with the networks that left."""
    mrf("add", "acme", payer.server.url(INDEX) + SIGNATURE, "--payer", "Acme")
    _look(tmp_path)
    payer.publish_index("ab")
    _look(tmp_path)

    _, told, _ = mrf("list", "--json", "--retired")

    line = json.loads(told)
    assert ("acme", payer.server.url(INDEX), "NORMAL") == (line["name"], line["url"], line["priority"])
    assert (2, 0, "ok") == tuple(line["status"][name] for name in ("networks", "failures", "state"))
    assert [key("c")] == list(line["retired"])


def test_a_list_says_why_an_index_fails(tmp_path: Path, mrf: Mrf, payer: Payer) -> None:
    """As the alert did."""
    mrf("add", "gone", payer.server.url("/gone.json"), "--payer", "Gone")
    _look(tmp_path)

    assert "failed 1 times: http://127.0.0.1" in mrf("list")[1]


def test_a_registry_with_problems_is_told_with_its_lines(tmp_path: Path, mrf: Mrf) -> None:
    """Whichever command meets it; exit code 2."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "indexes.toml").write_text("[indexes.acme]\n")

    added = ["add", "b", "https://mrf.example/x.json", "--payer", "B"]
    for command in (["list"], ["check"], ["remove", "acme"], added):
        code, _, errors = mrf(*command)
        assert (2, True) == (code, "line 1, indexes.acme: has no url; add one" in errors)


@pytest.mark.parametrize(
    "address",
    ["\ufeffhttps://u:S@h.example/i.json?sig=S", "<https://u:S@h.example/i.json?S>", "u:S@h.example/i.json?sig=S",
     "h.example/i.json?sig=S", "https://u:S?S@h.example/i.json", "https: //u:S@h.example/i.json?sig=S"],
)  # fmt: skip
def test_what_is_no_address_is_not_registered_and_not_quoted(tmp_path: Path, mrf: Mrf, address: str) -> None:
    """As a path, it would be kept with its login and its signature."""
    code, out, errors = mrf("add", "acme", address.replace("S", SECRET), "--payer", "Acme")

    assert 2 == code
    assert SECRET not in out + errors
    assert not (tmp_path / "home" / "indexes.toml").exists()


def test_a_registry_edited_by_hand_names_no_spoilt_address(tmp_path: Path, mrf: Mrf) -> None:
    """Its line is told, without the address."""
    (tmp_path / "home").mkdir()
    text = f'[indexes.acme]\npayer = "Acme"\nurl = "<https://u:{SECRET}@h.example/i.json?sig={SECRET}"\n'
    (tmp_path / "home" / "indexes.toml").write_text(text)
    code, out, errors = mrf("list")

    assert 2 == code
    assert "line 3, indexes.acme.url: is no URL: it begins with '<'" in errors
    assert SECRET not in out + errors
