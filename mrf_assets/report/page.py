"""The report as one HTML file: nothing is loaded from anywhere, and every text of a stranger is escaped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mrf_assets.files import as_store_error, atomic_write
from mrf_assets.quality.network_rules import Check, CheckResult
from mrf_assets.report import charts
from mrf_assets.report.figures import Figures, read_figures
from mrf_assets.settings import Settings
from mrf_assets.text import printable

REPORT_NAME = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report that was written, and what is in it."""

    path: Path
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that objects, or information, over all networks."""

    check: Check
    networks: list[str]
    rows: int
    sample: str


def write_report(
    settings: Settings,
    networks: Sequence[str] = (),
    *,
    path: Path | None = None,
    codes: Sequence[str] = (),
    most_codes: int = 6,
) -> Report:
    """Write the report of some networks, by default of all, into the output folder; visible when it is whole.

    Raises:
        MrfError: As its class says.
    """
    path = path or settings.output_dir.absolute() / REPORT_NAME
    figures = read_figures(settings, networks, codes, most_codes)
    try:
        with atomic_write(path) as partial_path:
            partial_path.write_text(render(figures), encoding="utf-8")
    except OSError as error:
        raise as_store_error(path, error) from error
    return Report(path=path, figures=figures)


def render(figures: Figures) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("mrf_assets", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["shown"] = _shown
    environment.filters["lines"] = lambda text: "\n".join(_shown(line) for line in text.splitlines())
    providers, now = figures.providers, dt.datetime.now(tz=dt.UTC)
    return environment.get_template("page.html.j2").render(
        figures=figures,
        days_old=providers.days_old(now) if providers else None,
        filled_chart=_chart(partial(charts.filled, providers), "filled") if providers else "",
        confidences_chart=_chart(partial(charts.confidences, providers), "confidences")
        if providers and any(providers.confidences.values())
        else "",
        distributions=[
            (code, _chart(partial(charts.distribution, code), f"prices-{number}") if code.measured else "")
            for number, code in enumerate(figures.code_prices)
        ],
        spread_chart=_chart(partial(charts.spread, figures.spreads), "spread") if figures.spreads else "",
        changes_chart=_chart(partial(charts.changed, figures.changes), "changes") if figures.changes else "",
        runs_chart=_chart(partial(charts.run_times, figures.runs), "runs") if figures.runs else "",
        rules=max((len(results) for results in figures.checks.values()), default=0),
        findings=_findings(figures.checks),
        made_at=f"{now:%Y-%m-%d %H:%M} UTC",
        version=version("mrf_assets"),
    )


def _shown(text: object) -> str:
    return printable("?" if text is None else str(text))


def _chart(chart: charts.Chart, title: str) -> Markup:
    return Markup(charts.svg(chart, title))  # noqa: S704 - made by matplotlib, which escapes the texts in it


def _findings(checks: Mapping[str, Sequence[CheckResult]]) -> list[Finding]:
    """By rule: errors first, information last, and of equal ones first those that most networks have."""
    notable: dict[tuple[str, str], list[tuple[str, CheckResult]]] = {}
    for network, results in checks.items():
        for result in results:
            if result.is_notable:
                notable.setdefault((result.check.table, result.check.name), []).append((network, result))
    findings = [
        Finding(
            check=found[0][1].check,
            networks=[network for network, _ in found],
            rows=sum(result.offending_rows for _, result in found),
            sample=found[0][1].sample,
        )
        for found in notable.values()
    ]
    return sorted(findings, key=lambda it: (it.check.rank, -len(it.networks), it.check.name))
