"""Two periods of one network with known differences: the table has exactly them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from mrf_assets.cli.app import main
from mrf_assets.definitions import build_defs
from mrf_assets.defs.changes import drift_specs
from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.errors import SettingError
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.lake.catalog import connect
from mrf_assets.lake.store import Store
from mrf_assets.quality.changes import changes_path, write_changes
from mrf_assets.quality.drift import DRIFT_CHECKS, drift_checks, measure_medians
from mrf_assets.quality.lake_rules import audit_catalog
from mrf_assets.report import write_report
from mrf_assets.schema import PROVIDER_SETS, PROVIDERS, RATE_CHANGES, RATES
from mrf_assets.settings import Settings, StatisticRules
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import document, render
from mrf_assets_tests.made_contracts import in_network_file, item, price, publish, tins
from mrf_assets_tests.table_rows import LABEL, Row, batch, row

BEFORE, NOW = "2026-10", "2026-11"
NETWORK = "acme"
Tables = dict[str, list[Row]]


def _publish(root: Path, period: str, tables: Tables, network: str = NETWORK) -> None:
    with Store(root).stage(network) as stage:
        with stage.part(LABEL) as writer:
            for table in (RATES, PROVIDERS, PROVIDER_SETS):
                writer.write(table.name, batch(table, *tables.get(table.name, ())))
        stage.settle(LABEL, period)
        stage.publish(period)


def _rate(code: str, amount: str, **values: Any) -> Row:  # noqa: ANN401 - values of the columns
    return row(
        RATES, **{"billing_code": code, "negotiated_rate": Decimal(amount), "billing_code_modifiers": None, **values}
    )


def _month(*rates: Row, suffix: str = "") -> Tables:
    """One group of one TIN; ids of files, sets and groups are of the month."""
    ids = {"file_id": f"f{suffix}"}
    set_id = 7 + len(suffix)
    return {
        RATES.name: [each | ids | {"provider_set_id": set_id} for each in rates],
        PROVIDERS.name: [row(PROVIDERS, **ids, provider_group_id=f"1{suffix}")],
        PROVIDER_SETS.name: [
            row(PROVIDER_SETS, **ids, provider_set_id=set_id, provider_group_id=f"1{suffix}"),
        ],
    }


def _found(root: Path) -> list[tuple[str, str, Decimal | None, Decimal | None]]:
    write_changes(Settings(output_dir=root), NETWORK)
    rows = pq.read_table(changes_path(root, NETWORK), partitioning=None).to_pylist()
    return [(it["change"], it["code"], it["previous_rate"], it["rate"]) for it in rows]


def _compared(root: Path, before: Tables, now: Tables) -> list[tuple[str, str, Decimal | None, Decimal | None]]:
    _publish(root, BEFORE, before)
    _publish(root, NOW, now)
    return _found(root)


def test_known_differences_are_found_exactly(tmp_path: Path) -> None:
    """One price added, one removed, two changed, the rest as it was; and by how much."""
    found = _compared(
        tmp_path,
        _month(_rate("1", "10"), _rate("2", "20"), _rate("3", "30"), _rate("4", "40.5")),
        _month(_rate("1", "10"), _rate("2", "25"), _rate("4", "40.4"), _rate("5", "50"), suffix="n"),
    )

    assert [
        ("changed", "2", Decimal(20), Decimal(25)),
        ("code removed", "3", Decimal(30), None),
        ("changed", "4", Decimal("40.5"), Decimal("40.4")),
        ("code added", "5", None, Decimal(50)),
    ] == found
    (two, *_, five) = pq.read_table(changes_path(tmp_path, NETWORK), partitioning=None).to_pylist()
    assert (NETWORK, NOW, BEFORE) == (two["network_id"], two["period"], two["previous_period"])
    assert (Decimal(5), 1.25, "dollars") == (two["difference"], two["ratio"], two["rate_unit"])
    assert (1, ["ein:123456789"]) == (two["tins"], two["first_tins"])
    assert (None, None, None) == (five["difference"], five["ratio"], five["paired_by"])


def test_the_summary_counts_what_is_in_the_table(tmp_path: Path) -> None:
    """And names the codes whose medians moved."""
    _compared(
        tmp_path,
        _month(_rate("1", "10"), _rate("2", "20"), _rate("3", "30"), _rate("4", "40")),
        _month(_rate("1", "10"), _rate("2", "25"), _rate("4", "10"), _rate("5", "50")),
    )
    made = write_changes(Settings(output_dir=tmp_path), NETWORK)

    assert {"same": 1, "changed": 2, "code added": 1, "code removed": 1} == made.counts
    assert (3, 1, 1, 4) == (made.compared, made.raised, made.lowered, made.rows)
    assert (2, 0.25) == (made.dollar_changes, made.median_ratio)


def test_the_codes_whose_medians_moved_most_are_named(tmp_path: Path) -> None:
    """Over contracts: from six on."""
    months = [(BEFORE, {"1": 10, "2": 20, "4": 40}), (NOW, {"1": 10, "2": 25, "4": 10})]
    for month, amounts in months:
        items = [
            item(code, [([number], [price(amount)]) for number in range(1, 7 if code != "1" else 6)])
            for code, amount in amounts.items()
        ]
        publish(tmp_path / "lake", NETWORK, in_network_file(tins(6), items), month)
    made = write_changes(Settings(output_dir=tmp_path / "lake"), NETWORK)

    assert [("HCPCS 4", 0.25), ("HCPCS 2", 1.25)] == [
        (it.title, it.ratio) for it in made.shifts if it.site == "nonfacility"
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"service_codes": ["22", "11"]},
        {"service_codes": ["11", "22", "11"]},
        {"billing_code_type_version": "2027"},
        {"description": "new words"},
        {"expiration_date": None},
    ],
)
def test_what_is_no_condition_changes_no_price(tmp_path: Path, values: Row) -> None:
    """Order, words and dates."""
    assert [] == _compared(tmp_path, _month(_rate("1", "10")), _month(_rate("1", "10", **values)))


@pytest.mark.parametrize(
    "values",
    [
        {"billing_class": "institutional"},
        {"billing_class": None},
        {"setting": "inpatient"},
        {"billing_code_modifiers": ["26"]},
        {"service_codes": ["11"]},
        {"severity_of_illness": "2"},
        {"negotiation_arrangement": "bundle"},
        {"bundled_codes": [{"billing_code": "9"}]},
    ],
)
def test_another_condition_is_another_price(tmp_path: Path, values: Row) -> None:
    """One goes, one comes."""
    found = _compared(tmp_path, _month(_rate("1", "10")), _month(_rate("1", "10", **values)))

    assert ["tin added", "tin removed"] == sorted(change for change, *_ in found)


def test_a_price_of_other_providers_is_another_price(tmp_path: Path) -> None:
    """They are told apart by their TINs."""
    now = _month(_rate("1", "10"))
    now[PROVIDERS.name][0]["tin_value"] = "987654321"

    found = _compared(tmp_path, _month(_rate("1", "10")), now)

    assert ["tin added", "tin removed"] == sorted(change for change, *_ in found)


def test_an_npi_that_joins_changes_no_price(tmp_path: Path) -> None:
    """The contract is the TIN's."""
    now = _month(_rate("1", "10"))
    now[PROVIDERS.name].append(row(PROVIDERS, npi=1000000004))

    assert [] == _compared(tmp_path, _month(_rate("1", "10")), now)


def test_prices_without_providers_are_compared(tmp_path: Path) -> None:
    """They match among themselves."""
    before, now = _month(_rate("1", "10"), _rate("2", "20")), _month(_rate("1", "11"), _rate("2", "20"))
    for tables in (before, now):
        for each in tables[RATES.name]:
            each["provider_set_id"] = None

    assert [("changed", "1", Decimal(10), Decimal(11))] == _compared(tmp_path, before, now)
    (found,) = pq.read_table(changes_path(tmp_path, NETWORK), partitioning=None).to_pylist()
    assert (0, None) == (found["tins"], found["first_tins"])


def test_the_two_latest_periods_are_compared(tmp_path: Path) -> None:
    """Older ones are history, other networks are others."""
    _publish(tmp_path, "2026-09", _month(_rate("1", "1")))
    _publish(tmp_path, "2026-12", _month(_rate("1", "2")), network="other")

    assert [("changed", "1", Decimal(10), Decimal(11))] == _compared(
        tmp_path, _month(_rate("1", "10")), _month(_rate("1", "11"))
    )


def test_one_period_has_no_changes(tmp_path: Path) -> None:
    """The table is empty and says nothing of a comparison."""
    _publish(tmp_path, NOW, _month(_rate("1", "10")))
    made = write_changes(Settings(output_dir=tmp_path), NETWORK)

    assert (None, 0) == (made.period, made.rows)
    assert [] == pq.read_table(made.path, partitioning=None).to_pylist()


def test_a_network_that_is_not_published_is_told(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(SettingError, match="acme is not published in "):
        write_changes(Settings(output_dir=tmp_path), NETWORK)


def test_differences_of_whole_documents_are_found_exactly(tmp_path: Path) -> None:
    """Through the pipeline, with renumbered groups: as many changes as prices were touched."""
    for period, first_group in ((BEFORE, 1), (NOW, 500)):
        made = document(seed=3, codes=12, groups=4, first_group_id=1, rates_per_item=1, prices_per_rate=1)
        if period == NOW:
            for entry in made["provider_references"]:
                entry["provider_group_id"] += first_group
            for item in made["in_network"]:
                for rate in item["negotiated_rates"]:
                    rate["provider_references"] = [it + first_group for it in rate["provider_references"]]
            for item in made["in_network"][:3]:
                price = item["negotiated_rates"][0]["negotiated_prices"][0]
                price["negotiated_rate"] = float(price["negotiated_rate"]) + 1
            made["in_network"].pop()
        source = tmp_path / f"{period}.json"
        source.write_bytes(render(made))
        identity = NetworkIdentity(rule="explicit", rule_version=1, scope="t", raw_id=NETWORK, period=period)
        task = FileTask(address=Address(str(source)), network_id=NETWORK, identity=identity)
        ingest(NETWORK, [task], Settings(output_dir=tmp_path / "lake")).require_published()

        if period == BEFORE:
            holders = {
                number: {(group["tin"]["type"], group["tin"]["value"]) for group in entry["provider_groups"]}
                for entry in made["provider_references"]
                for number in [entry["provider_group_id"]]
            }
            held = [
                len(set().union(*(holders[number] for number in item["negotiated_rates"][0]["provider_references"])))
                for item in made["in_network"]
            ]

    found = write_changes(Settings(output_dir=tmp_path / "lake"), NETWORK)
    assert (sum(held[:3]), held[-1]) == (found.raised, found.count("code removed"))
    assert sum(held) == found.compared + held[-1]


# --- drift ----------------------------------------------------------------------------------


def _drift(root: Path, **settings: Any) -> set[str]:  # noqa: ANN401 - values of the fields
    with connect(root, rules=StatisticRules(min_contracts=1)) as connection:
        measure_medians(connection)
        results = audit_catalog(connection, checks=drift_checks(Settings(output_dir=root, **settings)))
    return {result.check.name for result in results[NETWORK] if not result.passed}


def _group(tables: Tables, tin_value: str) -> Tables:
    """With a group more."""
    more = [row(PROVIDERS, provider_group_id="x", tin_value=tin_value)]
    return tables | {PROVIDERS.name: [*tables[PROVIDERS.name], *more]}


_TEN = [_rate(f"{number}", "10") for number in range(10)]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (_month(*_TEN), set()),
        (_month(*_TEN, *(_rate("1", f"{amount}", billing_class=None) for amount in (9, 11))), set()),
        (_month(*_TEN, *(_rate("1", f"{amount}", billing_class=None) for amount in (8, 9, 11))), {"drift_of_rows"}),
        (_month(*_TEN[:9]), set()),
        (_month(*_TEN[:8]), {"drift_of_codes"}),
        (_group(_month(*_TEN), "123456789"), set()),
        (_group(_month(*_TEN), "987654321"), {"drift_of_tins"}),
        (_month(*_TEN[1:], _rate("0", "12")), set()),
        (_month(*_TEN[1:], _rate("0", "12.1")), {"drift_of_medians"}),
        (_month(*_TEN[1:], _rate("0", "8")), {"drift_of_medians"}),
    ],
)
def test_a_drift_fails_its_rule_alone(tmp_path: Path, now: Tables, expected: set[str]) -> None:
    """Up to the threshold a network may move."""
    _publish(tmp_path, BEFORE, _month(*_TEN))
    _publish(tmp_path, NOW, now)

    assert expected == _drift(tmp_path)


def test_thresholds_of_drift_are_settings(tmp_path: Path) -> None:
    """What is too much for one is right for another."""
    _publish(tmp_path, BEFORE, _month(*_TEN))
    _publish(tmp_path, NOW, _month(*_TEN[:4]))

    assert {"drift_of_rows", "drift_of_codes"} == _drift(tmp_path)
    assert set() == _drift(tmp_path, drift_rows_share=0.6, drift_codes_share=0.6)


def test_one_period_does_not_drift(tmp_path: Path) -> None:
    """There is nothing to have moved from."""
    _publish(tmp_path, NOW, _month(*_TEN))

    assert set() == _drift(tmp_path)


# --- ways to it -----------------------------------------------------------------------------


def test_the_catalog_shows_the_changes(tmp_path: Path) -> None:
    """Of all networks for which they are made; their columns are the table's."""
    for network in ("acme", "a=b", "never"):
        _publish(tmp_path, BEFORE, _month(_rate("1", "10")), network)
        _publish(tmp_path, NOW, _month(_rate("1", "11")), network)
        if network != "never":
            write_changes(Settings(output_dir=tmp_path), network)

    with connect(tmp_path) as connection:
        found = connection.execute("SELECT network_id, change, difference FROM rate_changes ORDER BY ALL")
        assert [("a=b", "changed", Decimal(1)), ("acme", "changed", Decimal(1))] == found.fetchall()
        columns = [it[0] for it in connection.execute("FROM rate_changes LIMIT 0").description or ()]
    assert RATE_CHANGES.arrow.names == columns


def test_the_changes_are_an_asset_with_checks_of_drift(tmp_path: Path) -> None:
    """One partition per network, the summary as metadata."""
    _publish(tmp_path, BEFORE, _month(*_TEN))
    _publish(tmp_path, NOW, _month(*_TEN[:4], _rate("9", "11")))
    job = build_defs(Settings(output_dir=tmp_path)).resolve_job_def("compare_months")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(NETWORK_PARTITIONS.name or "", [NETWORK])
        result = job.execute_in_process(instance=instance, partition_key=NETWORK)
        shown = instance.event_log_storage.get_asset_check_partition_info([spec.key for spec in drift_specs()])

    (event,) = result.get_asset_materialization_events()
    assert [True] * len(DRIFT_CHECKS) == [info.is_current for info in shown]
    facts = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (0, 5, 1, BEFORE) == tuple(facts[it] for it in ("code_added", "code_removed", "raised", "previous_period"))
    found = {it.check_name: it.passed for it in result.get_asset_check_evaluations()}
    assert {check.name for check in DRIFT_CHECKS} == set(found)
    assert (False, True) == (found["drift_of_rows"], found["drift_of_tins"])


def test_the_command_line_tells_the_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In shares, within 80 columns."""
    monkeypatch.setenv("MRF_OUTPUT_DIR", str(tmp_path))
    _publish(tmp_path, BEFORE, _month(*_TEN))
    _publish(tmp_path, NOW, _month(*_TEN[:4], _rate("9", "11")))
    _publish(tmp_path, NOW, _month(*_TEN), network="new")
    main(["changes"])

    lines = capsys.readouterr().out.splitlines()
    assert [
        f"acme, {BEFORE} to {NOW}: 1 of 5 TIN-prices changed",
        "  1 raised, 0 lowered; median 1.100 of 1 in dollars",
        "  0 by another method, 0 not paired",
        "  added: 0 by TINs, 0 of new codes; removed: 0 and 5",
        "  NPIs: 0 joined, 0 left",
        "  drift: drift_of_rows, drift_of_codes",
        "new: one period, nothing to compare",
    ] == lines


def test_the_command_line_says_why_months_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, and the report does, too."""
    monkeypatch.setenv("MRF_OUTPUT_DIR", str(tmp_path))
    for month in ("2026-01", NOW):
        publish(tmp_path, "acme", in_network_file(tins(1), [item("1", [([1], [price(10)])])]), month)
    main(["changes"])

    reason = "No trend: 2026-01 and 2026-11 are 10 months apart, 4 are the most that are compared."
    assert f"acme, 2026-01 to {NOW}: {reason}\n" == capsys.readouterr().out
    assert reason in write_report(Settings(output_dir=tmp_path)).path.read_text()
