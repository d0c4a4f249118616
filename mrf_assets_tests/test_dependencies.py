"""What is imported is declared, and an extra that is missing is one line that names it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
OF_USERS = ("alerts", "browser", "report", "ui")
OPTIONAL_MODULES = ("apprise", "playwright", "matplotlib", "dagster_webserver", "simdjson")


def _names(requirements: list[str]) -> set[NormalizedName]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def _imported(folder: str) -> Iterator[str]:
    """Top-level modules that the files of a folder import, wherever in the file."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def _distributions(folder: str) -> set[NormalizedName]:
    installed = packages_distributions()
    found = (installed.get(module, []) for module in set(_imported(folder)) - sys.stdlib_module_names)
    return {canonicalize_name(name) for names in found for name in names} - {canonicalize_name(PROJECT["name"])}


def _pins(file: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^\s;]+)", (ROOT / file).read_text(), re.MULTILINE))


def _without_extras(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a Python that has no package of an extra."""
    absent = "import sys; sys.modules |= dict.fromkeys(sys.argv.pop(1).split())\n"
    return subprocess.run(
        [sys.executable, "-c", absent + program, " ".join(OPTIONAL_MODULES), *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _mrf(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return _without_extras("from mrf_assets.__main__ import program; program()", *arguments, **variables)


def test_what_the_package_imports_is_declared() -> None:
    """By the project itself, and not only by something that it needs."""
    declared = _names([*PROJECT["dependencies"], *(each for extra in OF_USERS for each in EXTRAS[extra])])

    assert set() == _distributions("mrf_assets") - declared


@pytest.mark.parametrize("folder", ["mrf_assets_tests", "examples", "benchmarks"])
def test_what_tests_and_examples_import_is_pinned(folder: str) -> None:
    """`requirements-dev.txt` is all that they need."""
    pinned = {canonicalize_name(name) for name, _ in _pins("requirements-dev.txt")}

    assert set() == _distributions(folder) - pinned


def test_developers_get_every_extra() -> None:
    """So every test can run."""
    (own,) = (each for each in map(Requirement, EXTRAS["dev"]) if each.name == PROJECT["name"])

    assert set(EXTRAS) - {"dev"} == own.extras


def test_users_and_developers_get_the_same_versions() -> None:
    """`make pins` writes both files."""
    assert _pins("constraints.txt") == _pins("requirements-dev.txt")


def test_every_declared_package_is_pinned() -> None:
    """Whoever declares one runs `make pins`."""
    declared = _names([*PROJECT["dependencies"], *(each for extra in EXTRAS.values() for each in extra)])

    assert {canonicalize_name(PROJECT["name"])} == declared - {
        canonicalize_name(name) for name, _ in _pins("requirements-dev.txt")
    }


def test_commands_and_definitions_load_without_extras() -> None:
    """An extra is imported where it is used."""
    told = _without_extras(
        "import mrf_assets.definitions as it, mrf_assets.cli.app; print(len(it.defs.assets or ()) > 0)"
    )

    assert ("True\n", "") == (told.stdout, told.stderr)


def test_a_report_without_matplotlib_is_one_line(tmp_path: Path) -> None:
    """It says what to install."""
    told = _mrf("report", "--output-dir", str(tmp_path))

    assert (2, "Error: the report needs matplotlib: pip install 'mrf_assets[report]'\n") == (
        told.returncode,
        told.stderr,
    )


def test_the_asset_report_without_matplotlib_fails_with_that_line(tmp_path: Path) -> None:
    """The run has no traceback of ours, and is not retried."""
    told = _without_extras(
        "import dagster as dg\n"
        "from mrf_assets.definitions import defs\n"
        "with dg.DagsterInstance.ephemeral() as instance:\n"
        "    job = defs.resolve_job_def('write_report')\n"
        "    result = job.execute_in_process(instance=instance, raise_on_error=False)\n"
        "(failure,) = [it for it in result.all_events if it.is_step_failure]\n"
        "print(failure.step_failure_data.user_failure_data.description)\n",
        MRF_OUTPUT_DIR=str(tmp_path),
    )

    assert told.stdout == "the report needs matplotlib: pip install 'mrf_assets[report]'\n"


def test_alerts_without_apprise_stop_a_run_before_it_starts(tmp_path: Path) -> None:
    """Where there is somebody to alert."""
    listed = tmp_path / "urls.txt"
    listed.write_text("https://payer.example/a.json.gz\n")

    told = _mrf(
        *("run", "--source", "urls", "--input", str(listed), "--output-dir", str(tmp_path / "lake")),
        DAGSTER_HOME=str(tmp_path / "home"),
        MRF_ALERT_URLS="json://127.0.0.1/hook",
    )

    assert (2, "Error: MRF_ALERT_URLS needs apprise: pip install 'mrf_assets[alerts]'\n") == (
        told.returncode,
        told.stderr,
    )


def test_an_alert_without_apprise_is_a_line_in_the_log() -> None:
    """Sensors go on; without an address nothing is missed."""
    told = _without_extras(
        "from mrf_assets.alerts import Alert, send_alert\n"
        "print(send_alert(Alert(title='a'), 'json://127.0.0.1/hook'), send_alert(Alert(title='b'), None))\n"
    )

    assert (
        "False True\n",
        "no alert was sent (a): MRF_ALERT_URLS needs apprise: pip install 'mrf_assets[alerts]'\n",
    ) == (
        told.stdout,
        told.stderr,
    )


def test_discovery_without_playwright_is_one_line() -> None:
    """Where the browser is the only way that was asked for."""
    told = _mrf("discover", "https://payer.example/", "--mode", "scraping_only")

    expected = "a browser needs Playwright: pip install 'mrf_assets[browser]', or look without one: --no-browser"
    assert (2, f"Error: {expected}\n") == (told.returncode, told.stderr)
