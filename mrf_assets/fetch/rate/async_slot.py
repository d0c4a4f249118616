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
    left, held = Event(), ExitStack()

    def wait(seconds: float) -> None:
        if left.wait(seconds):
            raise InterruptedError

    entering = asyncio.ensure_future(asyncio.to_thread(held.enter_context, gate.slot(server_of(url), sleep=wait)))
    try:
        slot = await asyncio.shield(entering)
    except asyncio.CancelledError:
        left.set()
        entering.add_done_callback(partial(_let_go, held))
        raise
    try:
        yield slot
    finally:
        held.close()


def _let_go(held: ExitStack, entering: asyncio.Future[Slot]) -> None:
    """Give a slot back that came too late."""
    if not entering.cancelled() and entering.exception() is None:
        held.close()
