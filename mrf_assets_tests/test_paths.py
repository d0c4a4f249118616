"""What may be a path of a setting or flag: folders of any readable name, and no addresses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from mrf_assets.batch_orchestrator import execute_batch
from mrf_assets.cli.app import cli, main
from mrf_assets.cli.options import LocalPath
from mrf_assets.defs.resources import Ingestor
from mrf_assets.errors import SettingError
from mrf_assets.lake.catalog import connect, write_catalog
from mrf_assets.lake.store import Store
from mrf_assets.providers import EnrichOptions
from mrf_assets.runner.batch import continue_batch
from mrf_assets.runner.history import all_statistics
from mrf_assets.settings import (
    DiscoverySettings,
    EnrichSettings,
    IndexWatching,
    Settings,
    dagster_home,
    default_host_state_dir,
)
from mrf_assets_tests.factory import document, render
from mrf_assets_tests.table_rows import publish_generation

ADDRESSES = (
    "s3://key:secret@bucket/lake",
    "gs://bucket/lake",
    "file:///lake",
    "HTTPS://example.com/lake?sig=x",
    "s3:/a",
)


def _options(command: click.Command, names: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Parameter]]:
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _options(each, (*names, name))
    else:
        for parameter in command.params:
            yield f"{' '.join(names)} {parameter.opts[0]}", parameter


PATH_OPTIONS = {name: it for name, it in _options(cli) if isinstance(it.type, click.Path)}


@pytest.mark.parametrize("name", PATH_OPTIONS)
def test_a_flag_that_takes_a_path_refuses_addresses(name: str) -> None:
    """In every command; the user and the query of the address are not shown."""
    option = PATH_OPTIONS[name]
    assert isinstance(option.type, LocalPath)
    for address in ADDRESSES:
        with pytest.raises(SettingError, match=f"{option.opts[0]}: begins with [A-Za-z0-9]+://, and only") as caught:
            option.type_cast_value(click.Context(cli), address)
        assert not {"secret", "sig"} & set(str(caught.value).replace(":", " ").replace("@", " ").split())


def test_all_commands_with_an_output_folder_are_among_them() -> None:
    """A command without would be missed by the test above."""
    with_folder = {name.rpartition(" ")[0] for name in PATH_OPTIONS if name.endswith(" --output-dir")}

    assert {"run", "plan", "extract", "manifest", "status", "stats", "retry-failed", "resume"} <= with_folder
    assert {"catalog", "query", "check", "changes", "report", "enrich"} <= with_folder


_CLASSES: tuple[Any, ...] = (Settings, EnrichSettings, IndexWatching, DiscoverySettings)
_PATH_SETTINGS = [
    pytest.param(kind, each, id=f"{kind.__name__}.{each}")
    for kind in _CLASSES
    for each, field in kind.model_fields.items()
    if "Path" in str(field.annotation)
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(("kind", "name"), _PATH_SETTINGS)
def test_a_setting_that_is_a_path_refuses_addresses(kind: Any, name: str, address: str) -> None:  # noqa: ANN401 - a class of settings
    """From the environment by the variable's name, and from Python."""
    with pytest.raises(SettingError, match=f"MRF_{name.upper()}: begins with"):
        kind.from_environment({f"MRF_{name.upper()}": address})
    with pytest.raises(SettingError, match=f"{name}: begins with"):
        kind(**{name: Path(address)})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda path: execute_batch([], output_dir=path), "output_dir"),
        (lambda path: continue_batch(path, failed_only=True), "output_dir"),
        (lambda path: all_statistics(path, None), "output_dir"),  # type: ignore[arg-type]  # it is refused before
        (lambda path: EnrichOptions(location=path, output=Path("o")), "--input"),
        (lambda path: EnrichOptions(location="x.csv", output=Path(path)), "--output"),
        (lambda path: EnrichOptions(location="x.csv", output=Path("o"), checkpoint=Path(path)), "--checkpoint"),
        (connect, "output_dir"),
        (write_catalog, "output_dir"),
        (lambda path: Ingestor(output_dir=path).settings, "output_dir"),
        (lambda path: dagster_home({"DAGSTER_HOME": path}), "DAGSTER_HOME"),
        (lambda path: default_host_state_dir({"MRF_HOST_STATE_DIR": path}), "MRF_HOST_STATE_DIR"),
    ],
)
def test_a_function_that_takes_a_path_refuses_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], object], name: str
) -> None:
    """No folder of that name is made."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SettingError, match=f"{name}: begins with s3://"):
        call("s3://bucket/lake")
    assert [] == list(tmp_path.iterdir())


def _mrf(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code: object = 0
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    assert isinstance(code, int)
    return code, captured.out, captured.err


ODD_NAMES = ["a?b", "a#b", "a*b", "x[1]*?", "it's", 'a "b"', "a%20b", "new\nline", "ñ", "a;b", "{a,b}"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_output_folder_of_any_name_is_filled_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Audit, catalog and queries see it alone, and nothing appears beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").write_bytes(render(document(seed=1)))
    publish_generation(Store(tmp_path / "aXb"), 8, network_id="other")
    publish_generation(Store(tmp_path / "x1yz"), 8, network_id="other")
    before = {path.name for path in tmp_path.iterdir()}

    assert 0 == _mrf(capsys, "extract", "x.json", "--network-id", "n", "--output-dir", name)[0]
    sql = "SELECT DISTINCT network_id FROM rates_by_npi"
    assert (0, "network_id\nn\n") == _mrf(capsys, "query", sql, "--format", "csv", "--output-dir", name)[:2]
    assert 2 != _mrf(capsys, "check", "--output-dir", name)[0]
    assert before | {name} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("command", [("extract", "x.json"), ("query", "SELECT 1"), ("stats",)])
def test_a_folder_that_is_not_utf_8_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """Before anything is written: as a flag, in the environment, and where one stands in it."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    by_flag = _mrf(capsys, *command, "--output-dir", str(folder / "lake"))
    monkeypatch.setenv("MRF_OUTPUT_DIR", str(folder / "lake"))
    by_variable = _mrf(capsys, *command)
    monkeypatch.delenv("MRF_OUTPUT_DIR")
    monkeypatch.chdir(folder)
    by_place = _mrf(capsys, *command, "--output-dir", "lake")

    for code, out, err in (by_flag, by_variable, by_place):
        assert (2, "", 1, True) == (code, out, err.count("\n"), "whose name is not UTF-8; rename it" in err)
    assert [] == list(folder.iterdir())


@pytest.mark.parametrize("name", ["file", "file/lake", "file/far/below"])
@pytest.mark.parametrize(
    "command", [("run", "--source", "url", "--input", "x.json"), ("extract", "x.json"), ("stats",)]
)
def test_an_output_folder_that_is_a_file_or_below_one_is_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    name: str,
) -> None:
    """With exit code 2: nothing was started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()

    expected = f"Error: --output-dir: {name} cannot be a folder, as {tmp_path}/file is a file; name another\n"
    assert (2, "", expected) == _mrf(capsys, *command, "--output-dir", name)


def test_a_backslash_beside_a_pattern_is_refused() -> None:
    """DuckDB takes it for a separator there."""
    with pytest.raises(SettingError, match="has both a backslash and one of"):
        Settings.from_environment({"MRF_OUTPUT_DIR": "a\\b*"})


@pytest.mark.parametrize("char", ["?", "%"])
def test_a_dagster_home_that_dagster_cannot_take_is_refused(char: str) -> None:
    """It writes the folder into an SQLite URL as it is, and finds another file there."""
    with pytest.raises(SettingError, match=rf"DAGSTER_HOME: /a\{char}b holds a \{char}, which Dagster cannot take"):
        dagster_home({"DAGSTER_HOME": f"/a{char}b"})


@pytest.mark.parametrize("command", [("stats",), ("status",), ("manifest",), ("manifest", "--all"), ("index", "list")])
def test_a_command_that_only_reads_makes_no_dagster_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """In no folder that one happens to stand in."""
    publish_generation(Store(tmp_path / "lake"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("MRF_OUTPUT_DIR", str(tmp_path / "lake"))
    _mrf(capsys, *command)

    assert [] == list(here.iterdir())
