"""The report: right numbers, one file, and a page that holds in a browser whatever payers write.

The browser's tests are skipped where no Chromium is installed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

import dagster as dg
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Page

from mrf_assets.batches.manifest import MANIFEST_NAME
from mrf_assets.cli.app import main
from mrf_assets.definitions import build_defs
from mrf_assets.errors import SettingError, StoreError
from mrf_assets.lake.reference_tables import Reference, write_table
from mrf_assets.lake.store import Store
from mrf_assets.providers.lookup.items import Item, LookUpFailure
from mrf_assets.providers.lookup.ledger import Ledger
from mrf_assets.report import Report, write_report
from mrf_assets.report.providers import read_providers
from mrf_assets.schema import FILES, PLANS, PROVIDER_DIRECTORY, PROVIDER_SETS, PROVIDERS, RATES, REJECTS
from mrf_assets.settings import Settings
from mrf_assets_tests import browser
from mrf_assets_tests.made_contracts import in_network_file, item, price, publish, tins
from mrf_assets_tests.small_lake import Lake, make_lake
from mrf_assets_tests.table_rows import LABEL, batch, row

_SCRIPT = "<script>document.title='owned'</script>"
_IMAGE = "<img src=https://evil.example/x onerror=\"document.title='owned'\">"
_HOSTILE = f"{_SCRIPT}{_IMAGE}&amp;'\" ${{7*7}} {{{{ 7*7 }}}} $\\frac{{1}}{{2}}$ \x1b[31m\u202eevil"


def _publish(root: Path, network: str, period: str, **rate: object) -> None:
    with Store(root).stage(network) as stage:
        with stage.part(LABEL) as writer:
            writer.write(RATES.name, batch(RATES, *(row(RATES, **rate) for _ in range(3))))
            writer.write(PROVIDERS.name, batch(PROVIDERS, row(PROVIDERS, tin_value=_HOSTILE)))
            writer.write(PROVIDER_SETS.name, batch(PROVIDER_SETS, row(PROVIDER_SETS)))
            writer.write(PLANS.name, batch(PLANS, row(PLANS, plan_name=_HOSTILE)))
            writer.write(REJECTS.name, batch(REJECTS, row(REJECTS, excerpt=_HOSTILE)))
            files = row(FILES, reporting_entity_name=_HOSTILE, filename=_HOSTILE, sha256=_HOSTILE)
            writer.write(FILES.name, batch(FILES, files))
        stage.settle(LABEL, period)
        stage.publish(period)


_TODAY = dt.datetime.now(tz=dt.UTC).replace(microsecond=0)


def _looked_up(npi: int, **values: object) -> dict[str, object]:
    """A row of the directory: an NPI in service, but for what is said."""
    sound: dict[str, object] = {
        "npi": npi,
        "rates": npi % 10,
        "networks": 1,
        "status": "matched",
        "provider_name": "ASPEN CLINIC",
        "entity_type": "organization",
        "source": "api",
        "fetched_at": _TODAY,
    }
    return sound | values


def _write_directory(root: Path, *rows: dict[str, object]) -> None:
    schema = PROVIDER_DIRECTORY.arrow
    write_table(Reference(root).directory, schema, [pa.RecordBatch.from_pylist(list(rows), schema=schema)])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of two networks whose every text is an attack."""
    root = tmp_path_factory.mktemp("hostile")
    for number, network in enumerate(("a", "b")):
        for month, period in enumerate(("2026-10", "2026-11")):
            _publish(
                root,
                network,
                period,
                billing_code=_HOSTILE,
                billing_code_type=_HOSTILE,
                billing_class=_HOSTILE,
                negotiated_rate=Decimal(10 + number + month),
            )
    entry = {
        "network_id": _HOSTILE,
        "status": "failed",
        "duration_seconds": 1.5,
        "extraction_timestamp": _HOSTILE,
        "unchanged": False,
        "error": _HOSTILE,
    }
    (root / MANIFEST_NAME).write_text(json.dumps({"extractions": [entry]}))
    texts = {"provider_name": _HOSTILE, "business_name": _HOSTILE, "matched_name": _HOSTILE, "credential": _HOSTILE}
    _write_directory(
        root,
        _looked_up(1234567893, name_confidence=1.0, **texts),
        _looked_up(1093817465, status="deactivated", **texts),
    )
    with Ledger(Reference(root).ledger) as ledger:
        item = Item(key="1", priority=0.0)
        ledger.add([LookUpFailure(item=item, reason=_HOSTILE, detail="", http_status=None, requests=1, seconds=0.0)])
    return write_report(Settings(output_dir=root))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three networks, two of them with two periods."""
    return make_lake(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def sound(lake: Lake) -> Report:
    """Their report."""
    return write_report(Settings(output_dir=lake.root))


# --- numbers --------------------------------------------------------------------------------


def test_the_coverage_is_that_of_the_documents(sound: Report, lake: Lake) -> None:
    """Prices and codes of each network's latest period."""
    expected = [
        (network, len(lake.latest(network=network)), len({it.code for it in lake.latest(network=network)}))
        for network in ("t~a", "t~b", "t~twin")
    ]

    assert expected == [(it.network_id, it.prices, it.codes) for it in sound.figures.coverage]
    assert [2, 2, 1] == [it.periods for it in sound.figures.coverage]
    assert [2, 2, 0] == [it.plans for it in sound.figures.coverage]


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Four networks, two of them copies; one has 60 contracts, one percentages alone."""
    root = tmp_path_factory.mktemp("visits") / "lake"
    levels = {"amber": 100, "birch": 200, "cedar": 200, "dune": 400}
    for name, level in levels.items():
        rates = [([number], [price(level + number)]) for number in range(1, 61 if name == "dune" else 11)]
        for month in ("2026-10", "2026-11"):
            publish(root, name, in_network_file(tins(60), [item("99213", rates), item("00840", rates)]), month)
    shares = [([number], [price(45, "percentage")]) for number in range(1, 8)]
    publish(root, "elm", in_network_file(tins(10), [item("99213", shares), item("CSTM-00", shares, "CSTM-ALL")]))
    return write_report(Settings(output_dir=root))


def test_the_medians_are_over_contracts(visits: Report) -> None:
    """Where there are enough; else the reason stands in their place, on the page, too."""
    (office,) = (it for it in visits.figures.code_prices if it.title == "HCPCS 99213, professional, nonfacility")

    assert [
        ("dune", 430.5, 60),
        ("birch", 205.5, 10),
        ("cedar", 205.5, 10),
        ("amber", 105.5, 10),
        ("elm", None, 0),
    ] == [(it.network_id, it.median, it.contracts) for it in office.networks]
    refusal = "No median: no contract has a comparable price, 6 are needed. Of 7 contracts 7 are percentages."
    assert refusal == office.networks[-1].refused_because
    assert refusal in visits.path.read_text()


def test_quantiles_are_shown_from_their_least_numbers_on(visits: Report) -> None:
    """p10 and p90 need 29 contracts, the quarters 11."""
    (office,) = (it for it in visits.figures.code_prices if it.title == "HCPCS 99213, professional, nonfacility")
    dune, birch = office.networks[:2]

    assert (406.9, 454.1) == (dune.p10, dune.p90)
    assert [None] * 4 == [birch.p10, birch.p25, birch.p75, birch.p90]


def test_the_spread_is_between_networks_of_different_contents(visits: Report) -> None:
    """Copies count once, anesthesia not at all; quarters of the medians, not their ends."""
    assert [(title, 3, 155.5, 318.0) for title in ("HCPCS 99213, professional, nonfacility",)] == [
        (it.title, it.networks, it.p25, it.p75) for it in visits.figures.spreads
    ]


@pytest.mark.parametrize(
    "sentence",
    [
        "No price of anesthesia: the file does not say per unit or per case ($401 to $460).",
        "No dollar price: this network pays 45 % of charges for all codes; ask for `percentage`.",
    ],
)
def test_a_refusal_stands_on_the_page(visits: Report, tmp_path: Path, sentence: str) -> None:
    """Where the code is asked for."""
    lake = visits.path.parent
    made = write_report(Settings(output_dir=lake), path=tmp_path / "page.html", codes=["00840", "CSTM-00"])

    assert sentence in made.path.read_text()


def test_changes_are_of_the_networks_with_two_periods(sound: Report) -> None:
    """The third has one."""
    assert ["t~a", "t~b"] == [it.network_id for it in sound.figures.changes]


def test_chosen_codes_are_shown_in_all_their_bill_types_and_sites(tmp_path: Path) -> None:
    """Four codes of two classes are twelve questions, more than are shown where none is chosen."""
    codes = [f"{number}" for number in range(4)]
    classes = ("institutional", "professional")
    with Store(tmp_path).stage("a") as stage:
        with stage.part(LABEL) as writer:
            rows = [row(RATES, billing_code=code, billing_class=kind) for code in codes for kind in classes]
            writer.write(RATES.name, batch(RATES, *rows))
            writer.write(PROVIDERS.name, batch(PROVIDERS, row(PROVIDERS)))
            writer.write(PROVIDER_SETS.name, batch(PROVIDER_SETS, row(PROVIDER_SETS)))
            writer.write(FILES.name, batch(FILES, row(FILES)))
        stage.settle(LABEL, "2026-11")
        stage.publish("2026-11")
    shown, most = (write_report(Settings(output_dir=tmp_path), codes=chosen).figures for chosen in (codes, ()))

    places = {("outpatient", "any"), ("professional", "nonfacility"), ("professional", "facility")}
    assert {(code, *place) for code in codes for place in places} == {
        (it.code, it.bill_type, it.site) for it in shown.code_prices
    }
    assert 6 == len(most.code_prices)


def test_information_is_listed_and_objects_to_nothing(tmp_path: Path) -> None:
    """A percentage of Medicare stands in the table of findings, and not in their number; a likely SSN never."""
    root = tmp_path / "lake"
    with Store(root).stage("a") as stage:
        with stage.part(LABEL) as writer:
            percent = row(RATES, negotiated_type="percentage", negotiated_rate=Decimal(155))
            writer.write(RATES.name, batch(RATES, percent))
            writer.write(PROVIDERS.name, batch(PROVIDERS, row(PROVIDERS, tin_value="071234567")))
            writer.write(PROVIDER_SETS.name, batch(PROVIDER_SETS, row(PROVIDER_SETS)))
            fresh = {"last_updated_on": _TODAY.date(), "repairs": {}}
            writer.write(FILES.name, batch(FILES, row(FILES, **fresh)))
        stage.settle(LABEL, f"{_TODAY:%Y-%m}")
        stage.publish(f"{_TODAY:%Y-%m}")

    page = write_report(Settings(output_dir=root), path=tmp_path / "report.html").path.read_text(encoding="utf-8")
    assert "in 1 network(s): 1 of them object." in page
    assert '<td class="info">info</td><td>rates.percent_of_something_else</td>' in page
    assert "providers.ein_prefix" in page
    assert "071234567" not in page


def test_networks_and_codes_may_be_chosen(lake: Lake, tmp_path: Path) -> None:
    """Nothing is told of the others."""
    made = write_report(Settings(output_dir=lake.root), ["t~b"], path=tmp_path / "b.html", codes=["470"])

    assert {"t~b"} == {it.network_id for it in made.figures.coverage} == set(made.figures.checks)
    assert {"470"} == {it.code for it in made.figures.code_prices}
    assert "t~twin" not in re.sub(r"<pre>.*?</pre>", "", made.path.read_text(), flags=re.DOTALL)


def test_a_code_that_nobody_published_gets_a_hint(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page comes nevertheless, with the codes that there are."""
    page = tmp_path / "page.html"
    main(["report", "--output-dir", str(lake.root), "--output", str(page), "--code", "9921", "--code", "470"])

    told = capsys.readouterr()
    assert "Hint: billing code '9921' is in no published price; there are: 99213 and 4 more\n" == told.err
    assert page.exists()


def test_a_network_that_nobody_published_is_refused_with_those_that_are(lake: Lake) -> None:
    """As by `mrf check`."""
    with pytest.raises(SettingError, match=r"t~z is not published in .*; there are: t~a, t~b, t~twin$"):
        write_report(Settings(output_dir=lake.root), ["t~z"])


def test_run_times_come_from_the_manifest(hostile: Report, sound: Report) -> None:
    """Where there is one."""
    assert [(1.5, "failed")] == [(it.seconds, it.status) for it in hostile.figures.runs]
    assert [] == sound.figures.runs


# --- providers ------------------------------------------------------------------------------


def test_the_providers_are_told(lake: Lake, tmp_path: Path) -> None:
    """Statuses, how full the columns are, how alike the names, who is withdrawn, how old the rows, and what failed."""
    npis = range(1_000_000_000, 1_000_000_010)
    rows = [_looked_up(npi, name_confidence=(npi % 10) / 10) for npi in npis[:6]]
    rows += [_looked_up(npis[6], provider_name=None, fetched_at=_TODAY - dt.timedelta(days=100, hours=1))]
    rows += [_looked_up(npi, status="deactivated", deactivation_date=dt.date(2025, 3, 1)) for npi in npis[7:9]]
    rows += [{"npi": npis[9], "rates": 0, "networks": 1}]
    shutil.copytree(lake.root, tmp_path / "lake")
    root = tmp_path / "lake"
    _write_directory(root, *rows)
    with Ledger(Reference(root).ledger) as ledger:
        reasons = ["http_500", "timeout", "http_500"]
        ledger.add(
            LookUpFailure(
                item=Item(key=str(number), priority=0.0),
                reason=reason,
                detail="",
                http_status=None,
                requests=4,
                seconds=0.0,
            )
            for number, reason in enumerate(reasons)
        )
        made = write_report(Settings(output_dir=root), ["t~a"])

    found = made.figures.providers
    assert found is not None
    assert {"deactivated": 2, "matched": 7, "not looked up": 1} == found.statuses
    assert round(6 / 7, 4) == found.fill_rates["provider_name"]
    assert [1, 1, 1, 1, 1, 1, 0, 0, 0, 0] == list(found.confidences.values())
    assert [(npis[8], 8, dt.date(2025, 3, 1)), (npis[7], 7, dt.date(2025, 3, 1))] == [
        (it.npi, it.rates, it.deactivation_date) for it in found.withdrawn_npis
    ]
    assert (100, 0, 0) == found.days_old(_TODAY)
    assert [("http_500", 2), ("timeout", 1)] == list(found.failures.items())
    text = made.path.read_text()
    for told in ("10 NPIs: 2 deactivated, 7 matched, 1 not looked up", "Rows are up to 100 day(s) old", "2025-03-01"):
        assert told in text
    assert "provider_directory.fresh" in text


@pytest.mark.parametrize("content", [b"no database, really " * 100, b""])
def test_a_ledger_of_look_ups_that_is_broken_is_left_out(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The directory is told all the same, and a warning names the ledger."""
    _write_directory(tmp_path, _looked_up(1234567893))
    ledger = Reference(tmp_path).ledger
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(content)

    found = read_providers(tmp_path)

    assert found is not None
    assert (1, {}) == (found.npis, found.failures)
    assert f"{ledger}: the batch cannot be read" in caplog.text


def test_without_enrichment_the_page_says_how(sound: Report) -> None:
    """There are no figures, and a sentence."""
    assert sound.figures.providers is None
    assert "Nobody was looked up: the job <code>enrich_npis</code>" in sound.path.read_text()


def test_a_broken_directory_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning that says how it is made anew; the rest is told."""
    _publish(tmp_path, "a", "2026-11")
    Reference(tmp_path).directory.parent.mkdir()
    Reference(tmp_path).directory.write_bytes(b"PAR1 and no more")
    made = write_report(Settings(output_dir=tmp_path))

    assert (None, 1) == (made.figures.providers, len(made.figures.coverage))
    assert any("materialize the asset provider_directory again" in record.getMessage() for record in caplog.records)


def test_a_directory_of_nobody_is_told(tmp_path: Path) -> None:
    """No row: no age, no chart of names."""
    _publish(tmp_path, "a", "2026-11")
    _write_directory(tmp_path)
    made = write_report(Settings(output_dir=tmp_path))

    assert "<p>0 NPIs: none.</p>" in made.path.read_text()


def test_a_manifest_that_is_none_is_told(lake: Lake) -> None:
    """With what to do."""
    path = lake.root / MANIFEST_NAME
    path.write_text("[]")
    with pytest.raises(StoreError, match="is no manifest"):
        write_report(Settings(output_dir=lake.root))
    path.unlink()


def test_nothing_to_report_is_told(tmp_path: Path) -> None:
    """And writes nothing."""
    with pytest.raises(SettingError, match="nothing is published"):
        write_report(Settings(output_dir=tmp_path))
    assert [] == list(tmp_path.iterdir())


def test_the_command_line_writes_the_report(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says where."""
    monkeypatch.setenv("MRF_OUTPUT_DIR", str(lake.root))
    main(["report", "t~a", "--output", str(tmp_path / "page.html")])

    assert f"{tmp_path / 'page.html'}: 1 network(s)\n" == capsys.readouterr().out
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


# --- the page -------------------------------------------------------------------------------


def test_the_page_loads_nothing(hostile: Report, sound: Report) -> None:
    """No address of any kind but the names of XML's namespaces, and nothing that could run."""
    for made in (hostile, sound):
        text = made.path.read_text()
        assert {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"} >= set(
            re.findall(r"""xmlns[:a-z]*="([^"]*)""", text)
        )
        assert [] == re.findall(r"<script|<link|<img|<iframe|<image|@import|url\((?!#)|\b(?:src|on[a-z]+)=\"", text)
        assert "\x1b" not in text
        assert "\u202e" not in text


@dataclass
class Shown:
    """A page in the browser, and what it did."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser."""
    with browser.chromium() as started:
        yield started


@contextlib.contextmanager
def _opened(browser: Browser, report: Report, width: int, scheme: Literal["light", "dark"]) -> Iterator[Shown]:
    with contextlib.closing(
        browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=False)
    ) as page:
        shown = Shown(page)
        page.on("console", lambda message: shown.errors.append(message.text))
        page.on("pageerror", lambda error: shown.errors.append(str(error)))
        page.on("request", lambda request: shown.requests.append(request.url))
        page.goto(report.path.as_uri())
        page.wait_for_load_state("networkidle")
        yield shown


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("name", ["hostile", "visits"])
def test_the_page_holds_in_a_browser(
    chromium: Browser,
    request: pytest.FixtureRequest,
    name: str,
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    """No error, no request but for itself, nothing wider than the screen, and the charts have the theme's colors."""
    report: Report = request.getfixturevalue(name)
    with _opened(chromium, report, width, scheme) as shown:
        page = shown.page
        assert ([], [report.path.as_uri()]) == (shown.errors, shown.requests)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("svg").count() >= 3
        ink = page.evaluate("getComputedStyle(document.body).color")
        labels = page.evaluate("[...document.querySelectorAll('svg text')].map(it => getComputedStyle(it).fill)")
        assert ink in labels
        assert {"light": "rgb(27, 33, 41)", "dark": "rgb(230, 234, 238)"}[scheme] == ink


@pytest.mark.browser
def test_hostile_texts_are_shown_as_texts(chromium: Browser, hostile: Report) -> None:
    """In tables and in charts: no element of theirs exists, no template of theirs is filled in."""
    with _opened(chromium, hostile, 1280, "light") as shown:
        page = shown.page
        assert page.title() == "Negotiated rates: 2 network(s)"
        assert 0 == page.locator("script, img").count()
        cell = page.locator("#coverage + div td:nth-child(2)").first.inner_text()
        assert _HOSTILE.replace("\x1b", "�").replace("\u202e", "�") == cell
        labels = page.locator("svg text").all_text_contents()
        assert any(label.startswith("<script>") for label in labels)


# --- in Dagster -----------------------------------------------------------------------------


def test_the_report_is_an_asset_with_its_charts(visits: Report) -> None:
    """As pictures in its metadata, beside the path."""
    definitions = build_defs(Settings(output_dir=visits.path.parent))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("write_report").execute_in_process(instance=instance)

    (event,) = result.get_asset_materialization_events()
    facts = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (5, str(visits.path)) == (facts["networks"], facts["path"])
    charts = [str(facts[name]) for name in ("prices", "spread", "changes")]
    assert all(it.startswith("![chart](data:image/png;base64,iVBOR") for it in charts)
