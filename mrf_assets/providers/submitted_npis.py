"""The registry's entries of a list of NPIs that somebody names; nothing that is published is read or changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrf_assets.providers.inputs import INVALID
from mrf_assets.providers.lookup import Item, LookUpOptions, Pool, Result, Statistics, Unfinished
from mrf_assets.providers.nppes import npi_problem
from mrf_assets.settings import EnrichSettings

OnProgress = Callable[[Statistics], None]


@dataclass(slots=True, kw_only=True)
class FoundProviders:
    """What the registry said of a list of NPIs; each of them is in one of the two."""

    rows: list[dict[str, Any]] = field(default_factory=list)  # of `schema.NPI_REGISTRY`
    failures: dict[str, str] = field(default_factory=dict)  # NPI -> why it has no row
    statistics: Statistics = field(default_factory=Statistics)


def look_up_npis(
    npis: Sequence[str], settings: EnrichSettings, options: LookUpOptions, on_progress: OnProgress = lambda _: None
) -> FoundProviders:
    """Ask the registry for each NPI once, whatever was looked up before.

    Args:
        npis: As text; those that cannot be one are failures, and not asked for.
        settings: Where the registry is.
        options: How politely it is asked.
        on_progress: Gets the counts after each answer.

    Raises:
        SettingError: The registry's address cannot be used.
    """
    result = FoundProviders()
    problems = {npi: npi_problem(npi) for npi in dict.fromkeys(npis)}
    result.failures = {npi: f"{INVALID}: {problem}" for npi, problem in problems.items() if problem is not None}
    items = [Item(key=npi) for npi, problem in problems.items() if problem is None]
    result.statistics.total, result.statistics.failed = len(problems), len(result.failures)
    asyncio.run(_ask(items, result, settings, options, on_progress))
    return result


async def _ask(
    items: Sequence[Item],
    result: FoundProviders,
    settings: EnrichSettings,
    options: LookUpOptions,
    on_progress: OnProgress,
) -> None:
    from mrf_assets.providers.nppes.client import NppesClient  # noqa: PLC0415 - imports aiohttp, 0.15 s

    async with NppesClient.of(settings) as client:
        pool = Pool(client.look_up, options, statistics=result.statistics)
        pending_keys = {item.key for item in items}
        async for outcome in pool.outcomes(iter(items)):
            if isinstance(outcome, Unfinished):
                continue
            pending_keys.discard(outcome.item.key)
            if isinstance(outcome, Result):
                result.rows.append(dict(outcome.row))
            else:
                result.failures[outcome.item.key] = f"{outcome.reason}: {outcome.detail}"
            on_progress(result.statistics)
        result.failures |= dict.fromkeys(sorted(pending_keys), f"not asked: {pool.stop.reason}")
        result.statistics.failed += len(pending_keys)
