"""The wish that a batch ends early, which every wait listens to."""

from __future__ import annotations

import asyncio


class Stop:
    """Asked for once, by a signal, a budget or a dead service; waits end at once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason: str | None = None
        self.at_once = False  # do not even wait for what is under way

    @property
    def requested(self) -> bool:
        """True from the first request on."""
        return self._event.is_set()

    def request(self, reason: str) -> None:
        """End the batch; a second request ends it at once."""
        if self.requested:
            self.at_once = True
        else:
            self.reason = reason
        self._event.set()

    async def wait(self) -> None:
        """Until it is requested."""
        await self._event.wait()

    async def came_within(self, seconds: float) -> bool:
        """Sleep; True, and at once, where the batch is to stop."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        return True
