"""The report: right numbers, one file, and a page that holds in a browser whatever payers write.

The browser's tests are skipped where no Chromium is installed.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Literal

import dagster as dg
import pytest
from playwright.sync_api import Browser, Page

from mrf_assets.cli import main
from mrf_assets.definitions import build_defs
from mrf_assets.errors import SettingError, StoreError
from mrf_assets.report import REPORT_NAME, Report, write_report
from mrf_assets.report.figures import MANIFEST_NAME
from mrf_assets.schema import FILES, PLANS, PROVIDER_SETS, PROVIDERS, RATES, REJECTS
from mrf_assets.settings import Settings
from mrf_assets.store import Store
from mrf_assets_tests import browser
from mrf_assets_tests.lake import Lake, make_lake
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


def test_the_medians_count_each_price_once(sound: Report, lake: Lake) -> None:
    """As the documents say, for each code, class and network that is shown."""
    shown = sound.figures.code_prices

    assert 6 == len(shown)
    for code in shown:
        for it in code.networks:
            rates = [
                found.rate
                for found in lake.latest(
                    network=it.network_id,
                    code=(code.billing_code_type, code.billing_code),
                    billing_class=code.billing_class,
                    unit="dollars",
                )
                if found.rate > 0
            ]
            assert len(rates) == it.prices
            assert pytest.approx(float(median(rates))) == it.median


def test_the_spread_is_between_the_medians(sound: Report) -> None:
    """Of a code that is shown with its networks, too."""
    medians = {it.title: [network.median for network in it.networks] for it in sound.figures.code_prices}
    found = [it for it in sound.figures.spreads if it.title in medians]

    assert found
    for it in found:
        assert pytest.approx(min(medians[it.title])) == it.lowest_median
        assert pytest.approx(max(medians[it.title])) == it.highest_median


def test_changes_are_of_the_networks_with_two_periods(sound: Report) -> None:
    """The third has one."""
    assert ["t~a", "t~b"] == [it.network_id for it in sound.figures.changes]


def test_chosen_codes_are_shown_in_all_their_classes(tmp_path: Path) -> None:
    """Four codes of two classes are eight rows, two more than are shown where none is chosen."""
    codes = [f"{number}" for number in range(4)]
    classes = ("institutional", "professional")
    with Store(tmp_path).stage("a") as stage:
        with stage.part(LABEL) as writer:
            rows = [row(RATES, billing_code=code, billing_class=kind) for code in codes for kind in classes]
            writer.write(RATES.name, batch(RATES, *rows))
            writer.write(FILES.name, batch(FILES, row(FILES)))
        stage.settle(LABEL, "2026-11")
        stage.publish("2026-11")
    shown, most = (write_report(Settings(output_dir=tmp_path), codes=chosen).figures for chosen in (codes, ()))

    assert {(code, kind) for code in codes for kind in classes} == {
        (it.billing_code, it.billing_class) for it in shown.code_prices
    }
    assert 6 == len(most.code_prices)


def test_networks_and_codes_may_be_chosen(lake: Lake, tmp_path: Path) -> None:
    """Nothing is told of the others."""
    made = write_report(Settings(output_dir=lake.root), ["t~b"], path=tmp_path / "b.html", codes=["470"])

    assert {"t~b"} == {it.network_id for it in made.figures.coverage} == set(made.figures.checks)
    assert {"470"} == {it.billing_code for it in made.figures.code_prices}
    assert "t~twin" not in re.sub(r"<pre>.*?</pre>", "", made.path.read_text(), flags=re.DOTALL)


def test_run_times_come_from_the_manifest(hostile: Report, sound: Report) -> None:
    """Where there is one."""
    assert [(1.5, "failed")] == [(it.seconds, it.status) for it in hostile.figures.runs]
    assert [] == sound.figures.runs


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
@pytest.mark.parametrize("name", ["hostile", "sound"])
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


def test_the_report_is_an_asset_with_its_charts(lake: Lake) -> None:
    """As pictures in its metadata, beside the path."""
    definitions = build_defs(Settings(output_dir=lake.root))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("write_report").execute_in_process(instance=instance)

    (event,) = result.get_asset_materialization_events()
    facts = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (3, str(lake.root / REPORT_NAME)) == (facts["networks"], facts["path"])
    charts = [str(facts[name]) for name in ("prices", "spread", "changes")]
    assert all(it.startswith("![chart](data:image/png;base64,iVBOR") for it in charts)
