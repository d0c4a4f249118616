"""A slot at a host for who lives in an event loop: the gate that `fetch` uses blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from threading import Event

from mrf_assets.fetch import Gate, Slot
from mrf_assets.urls import server_of


@asynccontextmanager
async def host_slot(gate: Gate, url: str) -> AsyncIterator[Slot]:
    """A slot of the gate that `fetch` uses: pages of browsers and plain requests share one host's pace."""
    cancellation, resources = Event(), ExitStack()

    def wait(seconds: float) -> None:
        if cancellation.wait(seconds):
            raise InterruptedError

    entry = asyncio.ensure_future(asyncio.to_thread(resources.enter_context, gate.slot(server_of(url), sleep=wait)))
    try:
        slot = await asyncio.shield(entry)
    except asyncio.CancelledError:
        cancellation.set()
        entry.add_done_callback(partial(_let_go, resources))
        raise
    try:
        yield slot
    finally:
        resources.close()


def _let_go(resources: ExitStack, entry: asyncio.Future[Slot]) -> None:
    """Give a slot back that came too late."""
    if not entry.cancelled() and entry.exception() is None:
        resources.close()
