"""The charts of the report: figures -> matplotlib -> SVG for the page, PNG for Dagster.

matplotlib weighs 80 MB with what it needs, but is well kept and typed, and draws SVG and PNG without a browser or a
script; pygal weighs 1 MB, but its SVG asks another host for a script unless told not to, and it draws no PNG alone.
Colors are the light theme's; in SVG they become the CSS variables of the page, so that one chart fits both themes.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from mrf_assets.errors import MissingExtra
from mrf_assets.quality.changes import Changes
from mrf_assets.report.figures import CodePrices, Run, Spread
from mrf_assets.report.providers import Providers
from mrf_assets.text import printable

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ModuleNotFoundError:
    raise MissingExtra("the report", "matplotlib", "report") from None

INK, MUTED, FIRST, SECOND, THIRD, FOURTH = "#1b2129", "#6a7480", "#2f6fb3", "#c2571a", "#2b8a57", "#8a5fb0"
COLORS = {INK: "ink", MUTED: "muted", FIRST: "first", SECOND: "second", THIRD: "third", FOURTH: "fourth"}
_MAX_ROWS = 25  # of one chart
_LABEL_CHARACTERS = 36
_WIDTH_INCHES = 5.0  # 360 points: a phone's width, where a point of text is a pixel
_STYLE: dict[Any, Any] = {  # keys are matplotlib's, a type of 300 words
    "svg.fonttype": "none",
    "text.parse_math": False,  # a payer's `$` is no formula
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
Chart = Callable[[], Figure]


def svg(chart: Chart, title: str) -> str:
    """A chart as an `<svg>` for a page that defines the colors."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}):
        out = io.StringIO()
        chart().savefig(out, format="svg", transparent=True, metadata=_METADATA)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r' id="(figure|axes|patch|text|line2d|matplotlib\.axis|LineCollection|legend)_?\d+"', "", text)
    for color, name in COLORS.items():
        text = text.replace(color, f"var(--{name})")
    return text.replace("<svg", '<svg role="img"', 1)


def png(chart: Chart) -> str:
    """A chart as a data URI."""
    with mpl.rc_context(_STYLE):
        out = io.BytesIO()
        chart().savefig(out, format="png", dpi=110, facecolor="white")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def distribution(code: CodePrices) -> Figure:
    """Of each network with a median: the line spans p10 to p90, the box the middle half, where there are such."""
    networks = code.measured[:_MAX_ROWS][::-1]
    figure, axes = _canvas(len(networks), [it.network_id for it in networks])
    for row, it in enumerate(networks):
        if it.p10 is not None and it.p90 is not None:
            axes.hlines(row, it.p10, it.p90, color=MUTED, linewidth=1.5, zorder=1)
        if it.p25 is not None and it.p75 is not None:
            axes.barh(row, it.p75 - it.p25, left=it.p25, height=0.55, color=FIRST, zorder=2)
    medians = [it.median or 0 for it in networks]
    axes.plot(medians, range(len(networks)), "|", color=INK, markersize=11, markeredgewidth=2.5, zorder=3)
    axes.set_xlim(left=0)
    axes.set_xlabel("dollars")
    return figure


def spread(spreads: Sequence[Spread]) -> Figure:
    """The upper quarter of the networks' medians to the lower, question by question."""
    rows = spreads[:_MAX_ROWS][::-1]
    figure, axes = _canvas(len(rows), [it.title for it in rows])
    bars = axes.barh(range(len(rows)), [it.ratio for it in rows], height=0.6, color=FIRST)
    axes.bar_label(bars, [f"{it.ratio:,.1f}x" for it in rows], padding=3, color=INK)
    axes.set_xlim(0, max(it.ratio for it in rows) * 1.18)
    axes.set_xlabel("p75 / p25 of the networks' medians")
    return figure


def changed(changes: Sequence[Changes]) -> Figure:
    """Prices by what happened to them, network by network."""
    rows = changes[:_MAX_ROWS][::-1]
    figure, axes = _canvas(len(rows), [it.network_id for it in rows], legend=True)
    offsets = [0] * len(rows)
    for name, color in (("raised", SECOND), ("lowered", THIRD), ("added", FIRST), ("removed", FOURTH)):
        counts = [_moved(it)[name] for it in rows]
        axes.barh(range(len(rows)), counts, left=offsets, height=0.6, color=color, label=name)
        offsets = [before + count for before, count in zip(offsets, counts, strict=True)]
    axes.set_xlim(0, max(1, *offsets) * 1.05)
    axes.set_xlabel("TIN-prices")
    figure.legend(loc="outside upper center", ncols=4, columnspacing=1, handlelength=1)
    return figure


def _moved(changes: Changes) -> dict[str, int]:
    return {
        "raised": changes.raised,
        "lowered": changes.lowered,
        "added": changes.count("tin added", "code added"),
        "removed": changes.count("tin removed", "code removed"),
    }


def filled(providers: Providers) -> Figure:
    """The share of the NPIs in service that have a value, column by column."""
    rows = list(providers.fill_rates.items())[:_MAX_ROWS][::-1]
    figure, axes = _canvas(len(rows), [name for name, _ in rows])
    bars = axes.barh(range(len(rows)), [100 * share for _, share in rows], height=0.6, color=FIRST)
    axes.bar_label(bars, [f"{share:.1%}" for _, share in rows], padding=3, color=INK)
    axes.set_xlim(0, 118)
    axes.set_xlabel("% of the NPIs in service")
    return figure


def confidences(providers: Providers) -> Figure:
    """How alike payers' and registry's names are, from 0 at the bottom to 1."""
    rows = list(providers.confidences.items())
    figure, axes = _canvas(len(rows), [tenth for tenth, _ in rows])
    axes.barh(range(len(rows)), [count for _, count in rows], height=0.8, color=FIRST)
    axes.set_xlim(0, max(1, *(count for _, count in rows)) * 1.05)
    axes.set_ylabel("confidence")
    axes.set_xlabel("NPIs")
    return figure


def run_times(runs: Sequence[Run]) -> Figure:
    """Seconds of the slowest networks."""
    rows = [it for it in runs if it.seconds is not None][:_MAX_ROWS][::-1]
    figure, axes = _canvas(len(rows), [it.network_id for it in rows])
    colors = [FIRST if it.status == "success" else SECOND for it in rows]
    axes.barh(range(len(rows)), [it.seconds or 0 for it in rows], height=0.6, color=colors)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds")
    return figure


def _canvas(rows: int, labels: Sequence[str], *, legend: bool = False) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_INCHES, 0.7 + 0.26 * rows + 0.3 * legend), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(range(rows), [_short(label) for label in labels])
    axes.set_ylim(-0.7, rows - 0.3)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.10g}"))
    return figure, axes


def _short(label: str) -> str:
    label = printable(label)
    return label if len(label) <= _LABEL_CHARACTERS else f"{label[: _LABEL_CHARACTERS - 1]}…"
