"""`mrf check`: a report for people, lines for machines, and an exit code for CI."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mrf_assets import quality
from mrf_assets.cli.app import main
from mrf_assets.lake.store import Store
from mrf_assets.quality.drift import DRIFT_CHECKS
from mrf_assets.quality.lake_rules import CATALOG_CHECKS, audit_catalog
from mrf_assets.quality.network_audit import audit
from mrf_assets.quality.network_rules import CHECKS, CheckResult
from mrf_assets.schema import FILES, PROVIDER_SETS, PROVIDERS, RATES
from mrf_assets_tests.table_rows import LABEL, Row, batch, row

RULES = len(CHECKS) + len(CATALOG_CHECKS) + len(DRIFT_CHECKS)
Check = Callable[..., tuple[int, str, str]]


def _publish(root: Path, network: str, **rate: object) -> None:
    rows: dict[str, tuple[Row, ...]] = {
        RATES.name: (row(RATES, **rate),),
        PROVIDERS.name: (row(PROVIDERS),),
        PROVIDER_SETS.name: (row(PROVIDER_SETS),),
        FILES.name: (row(FILES, repairs={}, last_updated_on=dt.date(2999, 11, 5)),),
    }
    with Store(root).stage(network) as stage:
        with stage.part(LABEL) as writer:
            for table in (RATES, PROVIDERS, PROVIDER_SETS, FILES):
                writer.write(table.name, batch(table, *rows[table.name]))
        stage.settle(LABEL, "2999-11")  # never old
        stage.publish("2999-11")


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run the command over `lake`."""
    monkeypatch.setenv("MRF_OUTPUT_DIR", str(tmp_path / "lake"))

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(("check", *arguments))
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, captured.out, captured.err

    return call


def test_sound_networks_pass(check: Check, tmp_path: Path) -> None:
    """One line says how much was judged, another which rules found nothing to judge."""
    _publish(tmp_path / "lake", "a", negotiated_rate=Decimal(10))
    _publish(tmp_path / "lake", "b", negotiated_rate=Decimal(11))

    code, out, err = check("--strict")
    judged, not_judged = out.splitlines()
    assert (0, f"2 network(s), {RULES} rules: 0 error(s), 0 warning(s).", "") == (code, judged, err)
    assert (
        "Not judged, as there was nothing to judge: rate_changes.drift_of_medians, rates.class_of_code, "
        "rates.component_order, rates.cpt_magnitude, rates.drg_flat_amount, rates.drg_magnitude, rates.drug_unit, "
        "rates.npi_type_fits_class, rates.site_order, rates.specialty_fits, rates.whitelist_coverage. Ghost rates need "
        "--taxonomy-codes and the asset provider_directory."
    ) == not_judged


def test_a_warning_is_reported_and_fails_strictly_alone(check: Check, tmp_path: Path) -> None:
    """With rule, network and rows."""
    _publish(tmp_path / "lake", "a", negotiated_rate=Decimal(0))

    code, out, _ = check()
    (line,) = [line for line in out.splitlines() if "dollars_are_positive" in line]
    assert ["warn", "rates.dollars_are_positive", "a", "1", "1"] == [cell.strip() for cell in line.split("│")[1:6]]
    assert (0, 1) == (code, check("--strict")[0])


def test_information_is_listed_and_never_fails(check: Check, tmp_path: Path) -> None:
    """A percentage of Medicare is nobody's mistake."""
    _publish(tmp_path / "lake", "a", negotiated_type="percentage", negotiated_rate=Decimal(155))

    code, out, _ = check("--strict")
    (line,) = [line for line in out.splitlines() if "percent_of_something_else" in line]
    assert ["info", "rates.percent_of_something_else", "a", "1", "1"] == [it.strip() for it in line.split("│")[1:6]]
    assert (0, True) == (code, "0 error(s), 0 warning(s)." in out)


def test_an_error_fails(check: Check, tmp_path: Path) -> None:
    """What would never have been published."""
    _publish(tmp_path / "lake", "a", provider_set_id=99)

    assert 1 == check()[0]


def test_json_has_every_rule_of_the_networks_asked_for(check: Check, tmp_path: Path) -> None:
    """One object a line, with a sample where something offends."""
    _publish(tmp_path / "lake", "a", expiration_date=None)
    _publish(tmp_path / "lake", "b")

    code, out, _ = check("a", "--format", "json")
    lines = [json.loads(line) for line in out.splitlines()]
    (failed,) = [line for line in lines if not line["passed"]]
    assert (0, {"a"}, RULES) == (
        code,
        {it["network_id"] for it in lines},
        len(lines),
    )
    assert ("expiration_date_present", 1) == (failed["rule"], failed["offending_rows"])
    assert [{"file_id": "f", "billing_code_type": "CPT", "billing_code": "10001"}] == failed["sample"]


def test_nothing_to_judge_is_no_success(check: Check) -> None:
    """An empty folder in CI is a mistake."""
    code, _, err = check()

    assert (2, True) == (code, "nothing is published in" in err)


def test_a_network_that_is_not_there_is_told(check: Check, tmp_path: Path) -> None:
    """With those that are."""
    _publish(tmp_path / "lake", "a")

    assert (2, "", "Error: network: z is not published; there are: a\n") == check("z")


def test_a_file_that_is_broken_is_told(check: Check, tmp_path: Path) -> None:
    """Also where it is not the first one that a view reads."""
    for network in ("a", "b"):
        _publish(tmp_path / "lake", network)
    for path in (tmp_path / "lake" / "network_id=b").rglob("rates-*"):
        path.write_bytes(b"")
    code, _, err = check()

    assert (2, 1) == (code, err.count("\n"))  # it could not be judged: no rule failed
    assert "network_id=b" in err
    assert err.endswith("; ask again, or ingest its network again\n")


def test_a_network_that_is_replaced_meanwhile_is_judged(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its files and the reading of them; and what was judged is what stood there."""
    _publish(tmp_path / "lake", "a", negotiated_rate=Decimal(0))
    memory_mb = []

    def overtaken(tables: dict[str, list[Path]], *values: Any, **limits: Any) -> list[CheckResult]:  # noqa: ANN401 - of `audit`
        _publish(tmp_path / "lake", "a", negotiated_rate=Decimal(10))
        memory_mb.append(limits["memory_mb"])
        return audit(tables, *values, **limits)

    monkeypatch.setattr(quality, "audit", overtaken)
    code, out, err = check("--strict", "--memory-mb", "300")

    assert (1, "", [300]) == (code, err, memory_mb)
    assert "dollars_are_positive" in out


def test_a_network_that_is_removed_meanwhile_is_judged_by_what_was_read(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules that compare had their turn before."""
    _publish(tmp_path / "lake", "a", negotiated_rate=Decimal(10))

    def then_removed(*values: Any, **more: Any) -> dict[str, list[CheckResult]]:  # noqa: ANN401 - of `audit_catalog`
        compared = audit_catalog(*values, **more)
        shutil.rmtree(tmp_path / "lake" / "network_id=a")
        return compared

    monkeypatch.setattr(quality, "audit_catalog", then_removed)
    compared = len(CATALOG_CHECKS) + len(DRIFT_CHECKS)

    code, out, err = check()
    assert (0, f"1 network(s), {compared} rules: 0 error(s), 0 warning(s).", "") == (code, out.splitlines()[0], err)
