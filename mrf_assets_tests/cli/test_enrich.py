"""`mrf enrich` from the outside: files in, files out, signals, exit codes."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mrf_assets.cli.app import main
from mrf_assets.cli.enrich_run import BEGUN_LINE, SAVED_LINE, SHUTDOWN_LINE, UNCHANGED_LINE
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.lake.catalog import connect
from mrf_assets.providers import Enrichment, tuning_hint
from mrf_assets.providers.lookup import LookUpOptions, Statistics
from mrf_assets.schema import ENRICHED
from mrf_assets.settings import Settings, dollars_text
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import document, render
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.nppes_factory import bulk_row, bulk_zip, deactivated_bulk_row, listing, make_npis, provider
from mrf_assets_tests.nppes_server import BROKEN, FAULTS, REFUSED, NppesServer, Reply, refused

NPIS = make_npis(40)


@dataclass(slots=True)
class Desk:
    """A folder to stand in, a registry, and the command line."""

    folder: Path
    server: NppesServer
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    environ: dict[str, str] = field(default_factory=dict)

    def write_input(self, npis: Sequence[str], name: str = "npis.csv") -> None:
        """An input with names and priorities: the first is the most important."""
        with (self.folder / name).open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["NPI", "business_name", "rates"])
            for place, npi in enumerate(npis):
                lines.writerow([npi, _name(npi), len(npis) - place])

    def start(self, *flags: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """`mrf enrich` in a process of its own, for signals."""
        return subprocess.Popen(
            [sys.executable, "-m", "mrf_assets", "enrich", *flags],
            cwd=self.folder,
            env={**_clean_environ(), **self._settings(), "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *flags: str) -> tuple[int, str, str]:
        """`mrf enrich` here and now: exit code, stdout, stderr."""
        code: int | str | None = 0
        with self.monkeypatch.context() as patched:
            patched.chdir(self.folder)
            for name in os.environ.keys() - _clean_environ().keys():
                patched.delenv(name)
            for name, value in self._settings().items():
                patched.setenv(name, value)
            try:
                main(["enrich", *flags])
            except SystemExit as end:
                code = end.code
        told = self.capsys.readouterr()
        return int(code or 0), told.out, told.err

    def _settings(self) -> dict[str, str]:
        """The registry is the stub, and nothing waits long."""
        return {"MRF_NPI_API_URL": self.server.url, "MRF_RATE_LIMIT_DELAY": "0.001", **self.environ}

    def rows(self, output: str = "out") -> list[dict[str, Any]]:
        """The rows of an output, by DuckDB as anybody would read it."""
        source = f"'{self.folder}/{output}'" if output.endswith(".csv") else f"'{self.folder}/{output}/*.parquet'"
        return rows_of(f"SELECT * FROM {source} ORDER BY npi")

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the run."""
        found: dict[str, Any] = json.loads((self.folder / name).read_text())
        return found


def rows_of(sql: str) -> list[dict[str, Any]]:
    """What a query finds."""
    with duckdb.connect() as connection:
        cursor = connection.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _clean_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MRF_")}


def _name(npi: str) -> str:
    if not npi.isdecimal():
        return ""
    basic = provider(npi)["basic"]
    return str(basic.get("organization_name") or f"{basic['last_name']}, {basic['first_name']}").title()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """A registry that answers at once."""
    with NppesServer() as server:
        yield Desk(tmp_path, server, monkeypatch, capsys)


def numbers(npis: Sequence[str]) -> list[int]:
    """As they stand in an output."""
    return sorted(map(int, npis))


FLAGS = ("--input", "npis.csv", "--output", "out")


def test_ten_records_with_five_workers(desk: Desk) -> None:
    """S4.52: all enriched, and the five files that the run leaves."""
    desk.write_input(NPIS[:10])

    code, out, _ = desk.run(*FLAGS, "--max-workers", "5")

    assert 0 == code
    assert numbers(NPIS[:10]) == [row["npi"] for row in desk.rows()]
    assert {"matched"} == {row["status"] for row in desk.rows()}
    assert "Total: 10, Completed: 0, Pending: 10" in out
    assert "Success rate: 100.0%" in out
    assert desk.server.peak_concurrency <= 5
    left = {"enrichment_progress.json", "enrichment_progress.sqlite", "enrichment_report.json", "npis.csv", "out"}
    assert left <= {path.name for path in desk.folder.iterdir()}


def test_the_output_may_be_a_csv(desk: Desk) -> None:
    """S4.45: data_enriched.csv, all columns."""
    desk.write_input(NPIS[:10])

    assert 0 == desk.run("--input", "npis.csv", "--output", "data_enriched.csv")[0]

    rows = desk.rows("data_enriched.csv")
    assert numbers(NPIS[:10]) == [row["npi"] for row in rows]
    assert ENRICHED.arrow.names == list(rows[0])


def test_names_of_the_payer_are_matched(desk: Desk) -> None:
    """The stage org fills the confidence; without it, the columns are empty."""
    desk.write_input(NPIS[:10])

    desk.run(*FLAGS)
    assert all(row["name_confidence"] == 1 for row in desk.rows())

    desk.run(*FLAGS, "--stages", "npi")
    assert all(row["name_confidence"] is None for row in desk.rows())


def test_progress_and_report_say_what_was_done(desk: Desk) -> None:
    """S4.12 and S4.46: the keys that were asked for, and quality figures."""
    desk.write_input(NPIS[:10])
    desk.server.script(NPIS[3], *[BROKEN] * 4)
    desk.environ["MRF_MAX_RETRIES"] = "1"

    code, _, _ = desk.run(*FLAGS)

    progress, report = desk.json("enrichment_progress.json"), desk.json("enrichment_report.json")
    assert 1 == code
    assert {"started_at", "last_updated"} <= progress.keys()
    assert (10, 9, [NPIS[3]], {"http_500": 1}) == (
        progress["total_records"],
        progress["completed_count"],
        progress["failed_ids"],
        progress["error_counts"],
    )
    assert sorted({*NPIS[:10]} - {NPIS[3]}) == sorted(progress["completed_ids"])
    assert 11 == progress["total_requests"]
    assert progress["total_bytes"] > 0
    assert {"matched": 9, "invalid": 0, "error": 1} == report["status_histogram"]
    assert (9, 1, 0, 90.0) == tuple(report[name] for name in ("completed", "failed", "pending", "success_rate_percent"))
    assert 1.0 == report["quality"]["fill_rates"]["npi"]
    assert 9 == report["quality"]["name_confidence_histogram"]["0.9-1.0"]
    assert 11 == report["this_run"]["requests"]
    (line,) = (desk.folder / "enrichment_errors.log").read_text().splitlines()
    assert (NPIS[3], "http_500", 500, 2) == tuple(
        json.loads(line)[name] for name in ("id", "reason", "http_status", "requests")
    )


def test_lines_of_progress_tell_counts_cost_and_names(desk: Desk) -> None:
    """S3.33, S4.39, S4.61: at the first record, where there is no terminal; then every half a minute."""
    desk.write_input(NPIS[:4])
    desk.environ["MRF_PRICE_PER_1000_REQUESTS"] = "10"

    _, out, _ = desk.run(*FLAGS, "--max-workers", "1")

    (line,) = [line for line in out.splitlines() if line.startswith("Enriching")]
    assert line.startswith(
        "Enriching: Processing 1/4 items, Successful: 1, Failed: 0, names: 100 % agree; "
        "requests: 1 (1 in the last minute), 0.0 MB, $0.01; failed: 0, rate: "
    )
    assert ", ETA 0:00:0" in line


def test_a_terminal_of_80_columns_shows_all_figures(desk: Desk) -> None:
    """S4.38, S4.50: what they say in the end."""
    desk.write_input([*NPIS[:9], "1234567890"])
    desk.environ |= {"TERM": "xterm", "COLUMNS": "80", "LINES": "20"}
    ours, theirs = pty.openpty()

    process = desk.start(*FLAGS, stdout=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone
        while block := os.read(ours, 10_000):
            shown += block
    process.communicate()
    os.close(ours)

    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"Enriching ━+ 10/10 failed: 1, rate: [0-9.]+ rec/min, ETA 0:00:00 *\r\n", text)
    assert "Processing 10/10 items, Successful: 9, Failed: 1, names: 100 % agree\r\n" in text
    assert "requests: 9 (9 in the last minute), 0.0 MB, $0.00\r\n" in text


def test_resume_after_an_interruption(desk: Desk) -> None:
    """S4.53: stopped after five of ten, gone on with, each asked for once."""
    desk.write_input(NPIS[:10])

    desk.run(*FLAGS, "--limit", "5")
    assert 5 == len(desk.rows())
    code, out, _ = desk.run(*FLAGS, "--resume")

    assert 0 == code
    assert "Total: 10, Completed: 5, Pending: 5" in out
    assert numbers(NPIS[:10]) == [row["npi"] for row in desk.rows()]
    assert {1} == set(desk.server.requests.values())


def test_without_resume_everything_is_fetched_again(desk: Desk) -> None:
    """S3.54: no answer is reused unless --max-age says so."""
    desk.write_input(NPIS[:10])

    desk.run(*FLAGS)
    _, _, err = desk.run(*FLAGS)

    assert "Cache fallback disabled - will always fetch fresh data" in err
    assert {2} == set(desk.server.requests.values())
    assert numbers(NPIS[:10]) == [row["npi"] for row in desk.rows()]


@pytest.mark.parametrize("output", ["out", "out.csv"])
def test_max_age_keeps_what_is_young_enough(desk: Desk, output: str) -> None:
    """Ten rows of just now stay, and the new ten are fetched."""
    desk.write_input(NPIS[:10])
    desk.run("--input", "npis.csv", "--output", output)
    desk.write_input(NPIS[:20])

    desk.run("--input", "npis.csv", "--output", output, "--max-age", "1d")

    assert {1} == set(desk.server.requests.values())
    assert numbers(NPIS[:20]) == [row["npi"] for row in desk.rows(output)]

    desk.run("--input", "npis.csv", "--output", output, "--max-age", "0s")
    assert {2} == set(desk.server.requests.values())


@pytest.mark.parametrize("flags", [(), ("--max-age", "0s")])
@pytest.mark.parametrize("output", ["out", "out.csv"])
def test_a_run_that_fails_costs_no_row(desk: Desk, output: str, flags: tuple[str, ...]) -> None:
    """The registry is down: what was looked up before stays, and is replaced by the run that comes through."""
    desk.write_input(NPIS[:10])
    command = ("--input", "npis.csv", "--output", output)
    desk.run(*command)
    before = desk.rows(output)
    desk.write_input(NPIS[1:10])
    desk.server.always(Reply(status=404))

    assert 1 == desk.run(*command, *flags)[0]
    assert [row for row in before if row["npi"] in numbers(NPIS[1:10])] == desk.rows(output)

    desk.server.always(None)
    assert 0 == desk.run(*command, "--retry-failed")[0]
    after = desk.rows(output)
    assert numbers(NPIS[1:10]) == [row["npi"] for row in after]
    assert all(row["fetched_at"] > max(old["fetched_at"] for old in before) for row in after)
    assert 9 == desk.json("enrichment_report.json")["quality"]["rows"]


def test_invalid_records_are_failures_with_their_line(desk: Desk) -> None:
    """S4.54: bad check digit, nine digits, letters, empty, withdrawn, never issued."""
    known, withdrawn, unknown = NPIS[:3]
    desk.server.deactivated.add(withdrawn)
    desk.server.unknown.add(unknown)
    desk.write_input([known, "1234567890", "123456789", "abcdefghij", "", withdrawn, unknown])

    desk.run(*FLAGS)

    assert {int(known): "matched", int(withdrawn): "deactivated", int(unknown): "not_found"} == {
        row["npi"]: row["status"] for row in desk.rows()
    }
    lines = [json.loads(line) for line in (desk.folder / "enrichment_errors.log").read_text().splitlines()]
    assert [
        "line 3: '1234567890': wrong check digit",
        "line 4: '123456789': 9 digits, not 10",
        "line 5: 'abcdefghij': not a number",
        "line 6: no NPI",
    ] == [line["error"] for line in lines]
    histogram = desk.json("enrichment_report.json")["status_histogram"]
    assert {"matched": 1, "deactivated": 1, "not_found": 1, "invalid": 4, "error": 0} == histogram
    assert 3 == desk.server.total()


def test_invalid_records_count_as_failed_everywhere(desk: Desk) -> None:
    """S4.43, S4.46: console, exit code, alert, report and progress say the same, until the input is corrected."""
    bad = ["1234567890", "abcdefghij", ""]
    desk.write_input([*NPIS[:3], *bad])
    with MrfServer() as hooks:
        hooks.always("/hook", Answer(body=b""))
        desk.environ["MRF_ALERT_URLS"] = hooks.url("/hook").replace("http://", "json://")
        first = desk.run(*FLAGS)
        alert = json.loads(hooks.requests_of("/hook")[0].body)
        report, progress = desk.json("enrichment_report.json"), desk.json("enrichment_progress.json")
        retried = desk.run("--input", "npis.csv", "--output", "retry.csv", "--retry-failed")
        desk.write_input(NPIS[:6])
        corrected = desk.run(*FLAGS, "--resume")

    assert 1 == first[0]
    lines = "Completed: 3, failed: 3 (3 of them invalid), pending: 0\nSuccess rate: 50.0%\n"
    assert lines in first[1]
    assert "enrichment_errors.log; correct the invalid ones in the input and use --resume" in first[1]
    assert lines in alert["message"]
    assert ("failure", True) == (alert["type"], "Failed for invalid_npi: 3" in alert["message"])
    assert (3, 3, 50.0, {"invalid_npi": 3}) == tuple(
        report[name] for name in ("completed", "failed", "success_rate_percent", "error_counts")
    )
    assert (3, 3) == (progress["completed_count"], progress["failed_count"])
    assert (1, True) == (retried[0], lines in retried[1])
    assert (0, True) == (corrected[0], "Completed: 6, failed: 0, pending: 0\nSuccess rate: 100.0%\n" in corrected[1])


def test_earlier_runs_of_the_batch_count_in_its_summary(desk: Desk) -> None:
    """A failure of the first run is one of the batch until somebody retries it."""
    desk.write_input(NPIS[:4])
    desk.server.script(NPIS[0], Reply(status=404))
    desk.run(*FLAGS, "--limit", "2", "--max-workers", "1")

    code, out, _ = desk.run(*FLAGS, "--resume")

    assert 1 == code
    assert "Completed: 3, failed: 1, pending: 0\nSuccess rate: 75.0%\n" in out
    assert "--retry-failed looks them up again" in out


def test_the_last_errors_are_listed_in_progress_and_report(desk: Desk) -> None:
    """S4.12: a hundred of them, each with its id and reason, beside the counts of all."""
    bad = [f"bad {number}" for number in range(105)]
    desk.write_input([*bad, NPIS[0], NPIS[1]])
    desk.server.script(NPIS[0], Reply(status=404))

    desk.run(*FLAGS)

    for name in ("enrichment_progress.json", "enrichment_report.json"):
        told = desk.json(name)
        assert {"invalid_npi": 105, "http_404": 1} == told["error_counts"]
        assert 100 == len(told["errors"])
        (last,) = [each for each in told["errors"] if each["id"] == NPIS[0]]
        assert ("http_404", 404, 1) == (last["reason"], last["http_status"], last["requests"])
        lines = [f"line {number}" for number in range(8, 107)]
        assert lines == [each["id"] for each in told["errors"] if each["reason"] == "invalid_npi"]


@pytest.mark.parametrize("output", ["retry", "retry.csv"])
def test_nothing_to_try_again_is_said(desk: Desk, output: str) -> None:
    """No output is made, none is claimed, and the batch is the success that it was."""
    desk.write_input(NPIS[:3])
    desk.run(*FLAGS)

    code, out, _ = desk.run("--input", "npis.csv", "--output", output, "--retry-failed")

    report = desk.json("enrichment_report.json")
    assert 0 == code
    assert "Nothing to try again: no look-up of this batch has failed." in out
    assert "Success rate: 100.0%" in out
    assert "Output: none, as there is no row" in out
    assert (None, 100.0) == (report["output"], report["success_rate_percent"])
    assert not [path for path in desk.folder.glob("retry*") if path.is_file() or any(path.iterdir())]


def test_two_checkpoints_of_a_folder_share_no_file(desk: Desk) -> None:
    """Each batch has its own report and error log; those of the default checkpoint keep their names."""
    desk.write_input([NPIS[0], "123"])
    for checkpoint in ("enrichment_progress.json", "a.json", "a_progress.json", "b.json"):
        before = {path: path.read_bytes() for path in desk.folder.glob("*.*") if path.is_file()}
        desk.run("--input", "npis.csv", "--output", f"out_{checkpoint}", "--checkpoint", checkpoint)
        assert before == {path: path.read_bytes() for path in before}

    for begin in ("enrichment", "a", "a_progress", "b"):
        assert f"/out_{begin}" in f"/{desk.json(f'{begin}_report.json')['output']}"
        assert 1 == len((desk.folder / f"{begin}_errors.log").read_text().splitlines())


def test_the_report_has_the_options_as_values(desk: Desk) -> None:
    """Lists, numbers and null, as any program reads them."""
    desk.write_input(NPIS[:2])

    desk.run(*FLAGS, "--max-age", "12h", "--max-workers", "5")

    options = desk.json("enrichment_report.json")["options"]
    assert {
        "location": "npis.csv",
        "output": "out",
        "stages": ["npi", "org"],
        "max_age_seconds": 43_200,
        "resume": False,
        "budget_dollars": None,
        "checkpoint": "enrichment_progress.json",
    } == {name: options[name] for name in options if name not in ("batch", "retry_failed", "stage_delay_seconds")}
    assert (5, None) == (options["batch"]["max_workers"], options["batch"]["limit"])


@pytest.mark.parametrize(
    ("numbers", "hint"),
    [
        ({"requests": 100, "requests_refused": 10}, "raise MRF_RATE_LIMIT_DELAY, or set --max-rpm"),
        ({"requests": 10, "requests_failed": 5, "completed": 5, "failed": 5}, "raise MRF_MAX_RETRIES, then"),
        ({"requests": 5, "completed": 5}, "lower MRF_RATE_LIMIT_DELAY"),
    ],
)
def test_a_hint_names_the_variable_as_it_is_set(numbers: dict[str, int], hint: str) -> None:
    """MRF_ and all."""
    assert hint in tuning_hint(Statistics(**numbers), LookUpOptions())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (0.0, "$0.00"),
        (4e-7, "$0.0000004"),
        (0.0042, "$0.0042"),
        (0.02, "$0.02"),
        (0.1, "$0.10"),
        (12.5, "$12.50"),
        (1100, "$1,100.00"),
    ],
)
def test_small_amounts_are_not_zero_dollars(dollars: float, text: str) -> None:
    """A budget of half a cent is no budget of 0.00 dollars."""
    assert text == dollars_text(dollars)


def test_a_registry_with_a_limit_and_twenty_workers(desk: Desk) -> None:
    """S4.55: refusals are waited out, and nobody is lost."""
    desk.write_input(NPIS)
    with NppesServer(per_second=30, retry_after="1") as limited:
        desk.environ["MRF_NPI_API_URL"] = limited.url

        code, _, err = desk.run(*FLAGS, "--max-workers", "20")

    assert 0 == code
    assert numbers(NPIS) == [row["npi"] for row in desk.rows()]
    assert limited.refusals > 0
    assert "Rate limited, waiting 1s..." in err


def test_faults_of_all_kinds_are_retried(desk: Desk) -> None:
    """Each record meets another fault first."""
    desk.write_input(NPIS[:12])
    for npi, fault in zip(NPIS[:12], [*FAULTS, *FAULTS], strict=True):
        desk.server.script(npi, fault)

    assert 0 == desk.run(*FLAGS)[0]
    assert numbers(NPIS[:12]) == [row["npi"] for row in desk.rows()]
    assert {2} == set(desk.server.requests.values())


def test_failed_records_are_tried_again_into_another_file(desk: Desk) -> None:
    """S4.28."""
    desk.write_input(NPIS[:10])
    desk.server.script(NPIS[0], Reply(status=404))

    desk.run(*FLAGS)
    code, _, _ = desk.run("--input", "npis.csv", "--output", "data_enriched_retry.csv", "--retry-failed")

    assert 0 == code
    assert [int(NPIS[0])] == [row["npi"] for row in desk.rows("data_enriched_retry.csv")]
    assert numbers(NPIS[1:10]) == [row["npi"] for row in desk.rows()]


@pytest.mark.parametrize("output", ["out", "out.csv"])
def test_a_lost_checkpoint_is_made_anew_out_of_the_output(desk: Desk, output: str) -> None:
    """`--resume` without a ledger: what has a row is done, and people are told."""
    desk.write_input(NPIS[:12])
    desk.run("--input", "npis.csv", "--output", output, "--limit", "8")
    for lost in desk.folder.glob("enrichment_progress.*"):
        lost.unlink()

    code, out, err = desk.run("--input", "npis.csv", "--output", output, "--resume")

    assert 0 == code
    assert "enrichment_progress.sqlite is lost; 8 rows of" in err
    assert "Total: 12, Completed: 8, Pending: 4" in out
    assert {1} == set(desk.server.requests.values())
    assert numbers(NPIS[:12]) == [row["npi"] for row in desk.rows(output)]


@pytest.mark.parametrize("flag", ["--resume", "--retry-failed"])
@pytest.mark.parametrize("output", ["out", "out.csv"])
def test_a_wrong_checkpoint_costs_no_row(desk: Desk, flag: str, output: str) -> None:
    """Where nothing tells what is done, or another batch's ledger does: refused, and all rows stay."""
    desk.write_input(NPIS[:10])
    desk.run("--input", "npis.csv", "--output", output)
    other = ("--input", "npis.csv", "--output", output, "--checkpoint", "other/progress.json")

    lost = other if flag == "--retry-failed" else (*other[:3], "typo", *other[4:])
    code, _, err = desk.run(*lost, flag)

    assert 2 == code
    assert "other/progress.sqlite is not there" in err
    assert 10 == len(desk.rows(output))

    assert 1 == desk.run(*other, "--max-age", "1d")[0]
    assert 10 == len(desk.rows(output))

    desk.run("--input", "npis.csv", "--output", "other/out", "--checkpoint", "other/progress.json", "--limit", "1")
    code, _, err = desk.run(*other, flag)
    assert 1 == code
    assert "does not name" in err
    assert 10 == len(desk.rows(output))


def _interrupted(desk: Desk, how: signal.Signals, *flags: str) -> tuple[subprocess.Popen[str], str]:
    """A run that gets a signal while requests are under way; the registry is silent from the 15th on."""
    reached = threading.Event()
    counted = threading.Lock()

    def hold(_npi: str) -> None:
        with counted:
            if desk.server.total() == 15:
                reached.set()

    desk.server.on_request = hold
    process = desk.start(*FLAGS, "--max-workers", "4", *flags)
    assert reached.wait(60)
    process.send_signal(how)
    out, _ = process.communicate(timeout=60)
    return process, out


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_its_checkpoint(desk: Desk, how: signal.Signals) -> None:
    """S4.51: two lines, exit code 0, and --resume goes on; nothing under way is lost."""
    with NppesServer(latency_seconds=(0.05, 0.05)) as slow:
        desk.server = slow
        desk.write_input(NPIS)

        process, out = _interrupted(desk, how)

        assert 0 == process.returncode
        assert SHUTDOWN_LINE in out
        assert out.rstrip().endswith(SAVED_LINE)
        done = [row["npi"] for row in desk.rows()]
        assert 0 < len(done) < len(NPIS)
        assert 0 == desk.run(*FLAGS, "--resume")[0]
        assert numbers(NPIS) == [row["npi"] for row in desk.rows()]
        assert len(NPIS) == slow.total()


def test_an_interruption_while_the_input_is_read_ends_the_run_at_once(desk: Desk) -> None:
    """A million lines take half a minute; here the input is a pipe that never ends. The old batch is as it was."""
    desk.write_input(NPIS[:10])
    desk.run(*FLAGS)
    before = desk.rows(), desk.json("enrichment_progress.json")
    os.mkfifo(desk.folder / "endless.csv")

    process = desk.start("--input", "endless.csv", "--output", "out")
    with (desk.folder / "endless.csv").open("w") as pipe:
        pipe.write("npi\n")
        pipe.flush()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)

    assert (0, UNCHANGED_LINE) == (process.returncode, out.strip())
    assert before == (desk.rows(), desk.json("enrichment_progress.json"))
    assert 0 == desk.run(*FLAGS, "--resume")[0]
    assert 10 == desk.server.total()


@pytest.mark.parametrize("flag", ["--fresh", "--retry-failed"])
def test_an_interruption_after_a_new_start_says_what_is_left(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    """The ledger is the new one already, and nobody was asked for."""
    desk.write_input(NPIS[:10])
    desk.server.script(NPIS[0], Reply(status=404))
    desk.run(*FLAGS)
    before = desk.rows()

    def interrupted(*_args: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Enrichment, "_workers", interrupted)
        code, out, _ = desk.run(*FLAGS, flag)

    assert (0, BEGUN_LINE) == (code, out.strip())
    assert before == desk.rows()
    desk.run(*FLAGS, "--resume")
    assert numbers(NPIS[:10]) == [row["npi"] for row in desk.rows()]
    assert 10 + (10 if flag == "--fresh" else 1) == desk.server.total()


def test_strict_exit_tells_the_signal(desk: Desk) -> None:
    """130, as a shell expects it."""
    with NppesServer(latency_seconds=(0.05, 0.05)) as slow:
        desk.server = slow
        desk.write_input(NPIS)

        process, _ = _interrupted(desk, signal.SIGINT, "--strict-exit")

    assert 130 == process.returncode


def test_a_kill_loses_no_more_than_the_last_checkpoint(desk: Desk) -> None:
    """`kill -9` in flight, then --resume: each record once, at most interval plus workers asked for again."""
    with NppesServer(latency_seconds=(0.05, 0.05)) as slow:
        desk.server = slow
        desk.write_input(NPIS)

        process, _ = _interrupted(desk, signal.SIGKILL, "--checkpoint-interval", "3")
        assert -signal.SIGKILL == process.returncode
        code, _, _ = desk.run(*FLAGS, "--resume", "--checkpoint-interval", "3")

        assert 0 == code
        assert numbers(NPIS) == [row["npi"] for row in desk.rows()]
        assert slow.total() - len(NPIS) <= 3 + 4


@pytest.mark.parametrize("output", ["out", "out.csv"])
def test_two_commands_cannot_write_to_one_output(desk: Desk, output: str) -> None:
    """The second, with a --checkpoint of its own, is refused while the first is at work, and costs it nothing."""
    desk.write_input(NPIS)
    flags = ("--input", "npis.csv", "--output", output)
    second: list[tuple[int, str, str]] = []

    def start_another(_npi: str) -> None:
        if desk.server.total() == 15:
            second.append(_outcome(desk.start(*flags, "--checkpoint", "other/progress.json")))

    desk.server.on_request = start_another
    first = _outcome(desk.start(*flags))

    assert [(0, 1)] == [(first[0], code) for code, _, _ in second]
    assert "another process writes to it" in second[0][2]
    assert numbers(NPIS) == [row["npi"] for row in desk.rows(output)]


def _outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_dry_run_asks_nobody_and_writes_nothing(desk: Desk) -> None:
    """S4.69: what is new and known, requests, time and cost."""
    desk.write_input([*NPIS[:10], NPIS[0]])
    desk.run(*FLAGS, "--limit", "4")
    before = {path: path.stat().st_mtime_ns for path in desk.folder.rglob("*")}
    desk.environ |= {"MRF_PRICE_PER_1000_REQUESTS": "1000", "MRF_RATE_LIMIT_DELAY": "0.5"}

    code, out, _ = desk.run(*FLAGS, "--resume", "--dry-run")

    assert 0 == code
    assert "Total: 11, Completed: 4, Pending: 6" in out
    assert "Duplicates: 1, invalid: 0" in out
    assert "Estimate: 6 requests, 0:00:03 at the first rate, $6.00. Nothing was written." in out
    assert before == {path: path.stat().st_mtime_ns for path in desk.folder.rglob("*")}
    assert 4 == desk.server.total()


@pytest.mark.parametrize(("flags", "known"), [((), 0), (("--max-age", "1d"), 8), (("--max-age", "0s"), 0)])
def test_a_dry_run_knows_which_rows_are_young_enough(desk: Desk, flags: tuple[str, ...], known: int) -> None:
    """What would stay is not estimated."""
    desk.write_input(NPIS[:8])
    desk.run(*FLAGS)
    desk.write_input(NPIS[:10])

    _, out, _ = desk.run(*FLAGS, *flags, "--dry-run")

    assert f"Total: 10, Completed: {known}, Pending: {10 - known}" in out


def test_a_dry_run_tells_all_problems_of_the_input(desk: Desk) -> None:
    """S4.70: with line numbers, exit code 2."""
    desk.write_input([NPIS[0], "123", ""])

    code, _, err = desk.run(*FLAGS, "--dry-run")

    assert 2 == code
    assert "line 3: '123': 3 digits, not 10" in err
    assert "line 4: no NPI" in err


@pytest.mark.parametrize("rates", ["nan", "inf", "many"])
def test_a_priority_that_is_no_number_is_told_with_its_line(desk: Desk, rates: str) -> None:
    """By the dry run, and by the run, which goes on without that line."""
    (desk.folder / "npis.csv").write_text(f"npi,rates\n{NPIS[0]},{rates}\n{NPIS[1]},2\n")

    code, _, err = desk.run(*FLAGS, "--dry-run")
    assert 2 == code
    assert "line 2" in err
    assert "rates is no number" in err

    assert 1 == desk.run(*FLAGS)[0]
    assert [int(NPIS[1])] == [row["npi"] for row in desk.rows()]


def test_invalid_lines_that_a_resumed_run_meets_first_are_logged(desk: Desk) -> None:
    """S4.47: once each, whichever run meets them."""
    desk.write_input([NPIS[0], "123"])
    desk.run(*FLAGS)
    desk.write_input([NPIS[0], "123", "456"])
    desk.run(*FLAGS, "--resume")
    desk.run(*FLAGS, "--resume")

    lines = (desk.folder / "enrichment_errors.log").read_text().splitlines()
    assert ["line 3", "line 4"] == [json.loads(line)["id"] for line in lines]


def test_a_budget_stops_the_run(desk: Desk) -> None:
    """S4.65: resumable, and told."""
    desk.write_input(NPIS)
    desk.environ["MRF_PRICE_PER_1000_REQUESTS"] = "100"

    code, out, _ = desk.run(*FLAGS, "--budget", "1", "--max-workers", "1")

    assert 1 == code
    assert "Stopped: the budget of $1.00 is spent" in out
    assert 10 == len(desk.rows())


def test_people_are_told_of_the_end(desk: Desk) -> None:
    """S4.67 and S4.68: a summary, a run with failures, and one that could not begin."""
    desk.write_input(NPIS[:5])
    with MrfServer() as hooks:
        hooks.always("/hook", Answer(body=b""))
        desk.environ["MRF_ALERT_URLS"] = hooks.url("/hook").replace("http://", "json://")
        _, out, _ = desk.run(*FLAGS)
        desk.server.script(NPIS[0], Reply(status=404))
        desk.run(*FLAGS)
        desk.run("--input", "none.csv", "--output", "out")
        told = [json.loads(request.body) for request in hooks.requests_of("/hook")]

    assert "(0 refused, 5 in the last minute)" in out
    assert [
        ("Enrichment of npis.csv ended", "success"),
        ("Enrichment of npis.csv ended", "failure"),
        ("Enrichment of none.csv failed", "failure"),
    ] == [(alert["title"], alert["type"]) for alert in told]
    assert "Completed: 5, failed: 0, pending: 0\nSuccess rate: 100.0%" in told[0]["message"]
    assert "Failed for http_404: 1" in told[1]["message"]
    assert "none.csv cannot be read" in told[2]["message"]


def test_no_login_of_netrc_leaves_the_machine(desk: Desk) -> None:
    """Neither to the registry nor, with the alert, to a webhook: the command in a process of its own."""
    (desk.folder / ".netrc").write_text("default login user password S3cr3t\n")
    (desk.folder / ".netrc").chmod(0o600)
    desk.write_input(NPIS[:2])
    with MrfServer() as hooks:
        hooks.always("/hook", Answer(body=b""))
        desk.environ |= {"HOME": str(desk.folder), "MRF_ALERT_URLS": hooks.url("/hook").replace("http://", "json://")}
        code, _, _ = _outcome(desk.start(*FLAGS))
        (alert,) = hooks.requests_of("/hook")

    assert 0 == code
    assert [None] * 3 == [headers.get("authorization") for headers in [*desk.server.headers, alert.headers]]


def test_a_dead_registry_stops_the_run(desk: Desk) -> None:
    """Forty thousand records are not burned on a service that is down."""
    npis = make_npis(300, seed=1)
    desk.write_input(npis)
    desk.server.always(Reply(status=404))

    code, out, _ = desk.run(*FLAGS)

    assert 1 == code
    assert "look-ups failed in a row" in out
    assert desk.server.total() < 100


def test_priorities_come_first(desk: Desk) -> None:
    """S4.59 and S4.60: the most rates first, and none below --min-priority."""
    desk.write_input(NPIS)

    desk.run(*FLAGS, "--max-workers", "1", "--min-priority", "31")

    assert NPIS[:10] == [query["number"] for query in desk.server.queries]


def test_a_parquet_file_is_an_input(desk: Desk) -> None:
    """Any file with a column of NPIs."""
    desk.write_input(NPIS[:5])
    duckdb.sql(f"COPY (FROM '{desk.folder}/npis.csv') TO '{desk.folder}/npis.parquet'")

    assert 0 == desk.run("--input", "npis.parquet", "--output", "out")[0]
    assert numbers(NPIS[:5]) == [row["npi"] for row in desk.rows()]


def test_what_is_published_is_an_input(desk: Desk) -> None:
    """asset:providers: the NPIs of the published networks, those of most rates first."""
    published = document(seed=5, codes=[("CPT", "99213"), ("CPT", "70450")])
    (desk.folder / "a.json").write_bytes(render(published))
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="t", raw_id="a", period="2026-11")
    task = FileTask(address=Address(str(desk.folder / "a.json")), network_id="t~a", identity=identity)
    ingest(task.network_id, [task], Settings(output_dir=desk.folder / "lake")).require_published()

    code, _, _ = desk.run("--input", "asset:providers", "--output", "out", "--output-dir", "lake", "--max-workers", "1")

    lake = f"{desk.folder}/lake/*/*"
    rates = rows_of(f"""
        SELECT npi, count(r.provider_set_id) AS rates FROM '{lake}/providers-*.parquet' p
        LEFT JOIN '{lake}/provider_sets-*.parquet' s USING (file_id, provider_group_id)
        LEFT JOIN '{lake}/rates-*.parquet' r USING (file_id, provider_set_id)
        WHERE npi IS NOT NULL GROUP BY npi ORDER BY rates DESC, npi""")
    assert 0 == code
    assert len(rates) > 5
    assert [str(row["npi"]) for row in rates] == [query["number"] for query in desk.server.queries]


@pytest.fixture
def lake(desk: Desk) -> Path:
    """An output folder with one network, among whose numbers one is no NPI."""
    published = document(seed=5, codes=[("CPT", "99213"), ("CPT", "70450")])
    published["provider_references"][0]["provider_groups"][0]["npi"] = [int(NPIS[0]), 1234567890]
    (desk.folder / "a.json").write_bytes(render(published))
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="t", raw_id="a", period="2026-11")
    task = FileTask(address=Address(str(desk.folder / "a.json")), network_id="t~a", identity=identity)
    ingest(task.network_id, [task], Settings(output_dir=desk.folder / "lake")).require_published()
    return desk.folder / "lake"


_FILL = ("--input", "asset:providers", "--output-dir", "lake")


def test_without_an_output_the_lake_itself_gets_names(desk: Desk, lake: Path) -> None:
    """The views have them, though Dagster never ran; a published number that is no NPI ends in no error."""
    code, told, _ = desk.run(*_FILL)

    with connect(lake) as connection:
        named = connection.execute("SELECT count(*) FROM provider_directory WHERE provider_name IS NOT NULL").fetchall()
        found = connection.execute(
            "SELECT any_value(provider_name) FROM rates_by_provider WHERE npi = ?", [int(NPIS[0])]
        ).fetchall()
    assert 0 == code
    assert "invalid_npi" in told
    assert [(len(desk.server.queries),)] == named
    basic = provider(NPIS[0])["basic"]
    assert [(basic.get("organization_name") or f"{basic['first_name']} {basic['last_name']}",)] == found


def test_a_lake_that_is_filled_again_asks_for_what_is_new(desk: Desk, lake: Path) -> None:
    """Its progress lies with it, wherever one stands."""
    desk.run(*_FILL)
    asked = len(desk.server.queries)

    assert 0 == desk.run(*_FILL)[0]
    assert 0 < asked == len(desk.server.queries)
    assert (lake / "reference").is_dir()
    assert not (desk.folder / "enrichment_progress.sqlite").exists()


@pytest.mark.parametrize("flags", [("--retry-failed",), ("--stages", "npi"), ("--checkpoint", "mine.json")])
def test_flags_that_need_an_output_are_refused(desk: Desk, lake: Path, flags: tuple[str, ...]) -> None:
    """They would do nothing."""
    code, _, told = desk.run(*_FILL, *flags)

    assert 2 == code
    assert f"{flags[0]}: needs --output" in told
    assert not (lake / "reference").exists()


def test_the_stage_deep_completes_what_the_registry_does_not_tell(desk: Desk) -> None:
    """Withdrawn NPIs get their date and, where the month still had it, their entry; unknown ones may be found."""
    known, withdrawn, gone, unknown = NPIS[:4]
    desk.server.deactivated |= {withdrawn, gone}
    desk.server.unknown.add(unknown)
    month = "NPPES_Data_Dissemination_November_2026_V2.zip"
    rows = [deactivated_bulk_row(withdrawn, "11/03/2026"), bulk_row(gone), bulk_row(unknown)]
    desk.write_input([known, withdrawn, gone, unknown])
    with MrfServer({"/NPI_Files.html": listing(month), f"/{month}": bulk_zip(rows)}) as cms:
        desk.environ["MRF_NPI_FILES_URL"] = cms.url("/NPI_Files.html")
        code, _, _ = desk.run(*FLAGS, "--stages", "npi,org,deep", "--delay", "0", "--output-dir", "lake")

    found = {str(row["npi"]): row for row in desk.rows()}
    assert 0 == code
    assert ("matched", "api") == (found[known]["status"], found[known]["source"])
    assert ("deactivated", dt.date(2026, 11, 3)) == (found[withdrawn]["status"], found[withdrawn]["deactivation_date"])
    assert ("deactivated", 1.0) == (found[gone]["status"], found[gone]["name_confidence"])
    assert ("matched", "bulk", month) == tuple(found[unknown][name] for name in ("status", "source", "source_file"))


def test_what_the_stage_deep_downloads_is_paid_for(desk: Desk) -> None:
    """By GB, in the cost and in what was received; the dry run counts it too."""
    month = "NPPES_Data_Dissemination_November_2026_V2.zip"
    archive = bulk_zip([bulk_row(NPIS[0])])
    desk.write_input(NPIS[:1])
    desk.environ["MRF_PRICE_PER_GB"] = "1000"
    flags = (*FLAGS, "--stages", "npi,deep", "--delay", "0")
    with MrfServer({"/NPI_Files.html": listing(month), f"/{month}": archive}) as cms:
        desk.environ["MRF_NPI_FILES_URL"] = cms.url("/NPI_Files.html")
        _, out, _ = desk.run(*flags, "--dry-run")
        assert "$1,100.00" in out
        desk.run(*flags)

    report = desk.json("enrichment_report.json")
    received = report["this_run"]["received_bytes"]
    assert received > len(archive)
    assert received / 1e6 == pytest.approx(report["cost_dollars"], abs=1e-6)


def test_the_check_reaches_the_registry(desk: Desk) -> None:
    """S2.38; a registry that is down is told, with exit code 1."""
    code, out, _ = desk.run("--check")
    assert (0, "✅") == (code, out[0])

    desk.server.always(BROKEN)
    code, _, err = desk.run("--check")
    assert 1 == code
    assert "HTTP 500" in err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--output", "out"), "--input: is missing"),
        (("--input", "npis.csv"), "--output: is missing"),
        (("--input", "none.csv", "--output", "out"), "none.csv cannot be read"),
        (("--input", "empty.csv", "--output", "out"), "no column named npi"),
        (
            (*FLAGS, "--stages", "npi,poc"),
            "poc: npi replaces poc; choose among npi (the registry's entry of each NPI), org (",
        ),
        ((*FLAGS, "--stages", "org"), "npi must be among them"),
        ((*FLAGS, "--max-age", "soon"), "--max-age: is 'soon'"),
        ((*FLAGS, "--max-age", "1d", "--fresh"), "--max-age: contradicts --fresh"),
        ((*FLAGS, "--max-age", "1d", "--resume"), "--max-age: contradicts --resume; give one of them"),
        ((*FLAGS, "--max-age", "1d", "--retry-failed"), "--max-age: contradicts --retry-failed"),
        ((*FLAGS, "--fresh", "--resume"), "--fresh: contradicts --resume"),
        ((*FLAGS, "--fresh", "--retry-failed"), "--fresh: contradicts --retry-failed"),
        ((*FLAGS, "--ramp", "10:30"), "FROM:TO"),
        ((*FLAGS, "--max-workers", "21"), "--max-workers: is 21; it must be 1 to 20"),
        ((*FLAGS, "--resume"), "--resume: "),
        ((*FLAGS, "--checkpoint", "x.sqlite"), "--checkpoint: x.sqlite may share a file with another checkpoint"),
        ((*FLAGS, "--stages", "poc,fund"), "fund, poc: org replaces fund; npi replaces poc; choose among"),
        ((*FLAGS, "--checkpoint", "enrichment_report.json"), "name another"),
        ((*FLAGS, "--checkpoint", "enrichment.json"), "name another"),
        ((*FLAGS, "--checkpoint", "a_errors.log"), "name another"),
        ((*FLAGS, "--budget", "5"), "--budget: needs a price to count with; set MRF_PRICE_PER_1000_REQUESTS"),
        ((*FLAGS, "--budget", "5", "--dry-run"), "--budget: needs a price"),
        ((*FLAGS, "--retry-failed", "--dry-run"), "enrichment_progress.sqlite is not there; give the --checkpoint"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(desk: Desk, flags: tuple[str, ...], told: str) -> None:
    """Nothing is asked, nothing is written."""
    desk.write_input(NPIS[:3])
    (desk.folder / "empty.csv").write_text("a,b\n")

    code, _, err = desk.run(*flags)

    assert 2 == code
    assert told in err
    assert "Traceback" not in err
    assert 0 == desk.server.total()
    assert not (desk.folder / "out").exists()


def test_an_empty_input_is_no_error(desk: Desk) -> None:
    """Nothing to do."""
    desk.write_input([])

    assert 0 == desk.run(*FLAGS)[0]


def test_the_old_name_is_an_alias(desk: Desk) -> None:
    """S4.25: scripts/run_production_enrichment.py takes the same flags."""
    script = Path(__file__).parents[2] / "scripts" / "run_production_enrichment.py"

    done = subprocess.run(
        [sys.executable, script, "--check"],
        env={**_clean_environ(), "MRF_NPI_API_URL": desk.server.url, "PYTHONPATH": str(script.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "✅") == (done.returncode, done.stdout[0])


def test_the_ramp_raises_the_workers(desk: Desk) -> None:
    """S4.71: --ramp 2:5 never has more than five at a time, and the run ends well."""
    desk.write_input(NPIS)

    assert 0 == desk.run(*FLAGS, "--ramp", "2:5")[0]
    assert desk.server.peak_concurrency <= 5
    assert numbers(NPIS) == [row["npi"] for row in desk.rows()]


def test_names_of_strangers_cannot_steer_the_terminal(desk: Desk) -> None:
    """An error page with escape sequences stays text."""
    desk.write_input(NPIS[:1])
    desk.server.always(Reply(status=404, body=b"\x1b[2Jgone\x07"))

    _, out, err = desk.run(*FLAGS, "--verbose")

    assert "\x1b" not in out + err


def test_a_registry_that_only_refuses_is_told_while_it_does(desk: Desk) -> None:
    """No look-up ends, and the line of progress comes all the same."""
    desk.write_input(NPIS[:4])
    desk.server.always(REFUSED)

    process = desk.start(*FLAGS)
    too_late = threading.Timer(60, process.kill)
    too_late.start()
    assert process.stdout is not None
    line = next((line for line in process.stdout if line.startswith("Enriching")), "")
    too_late.cancel()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert line.startswith("Enriching: Processing 0/4 items, Successful: 0, Failed: 0")


def test_refusals_without_a_wait_are_waited_out_too(desk: Desk) -> None:
    """One 429 with, one without Retry-After."""
    desk.write_input(NPIS[:2])
    desk.server.script(NPIS[0], REFUSED)
    desk.server.script(NPIS[1], refused("1"))

    code, _, err = desk.run(*FLAGS)

    assert 0 == code
    assert 2 == err.count("Rate limited, waiting 1s...")
