"""Blocks that a thread makes while the ones before them are read."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress

_BLOCKS_AHEAD = 8
_LEFT_AFTER_SECONDS = 0.1  # how soon a full queue notices that nobody reads it any more
_Ahead = queue.Queue[bytes | BaseException | None]  # blocks, then what ended them


def read_ahead(
    blocks: Iterator[bytes], hang_up: Callable[[], None], most_blocks: int = _BLOCKS_AHEAD
) -> Generator[bytes]:
    """The same blocks, made in a thread of their own while the last ones are worked on.

    igzip lets go of Python's lock, so fetching and decompressing overlap with extraction where a
    core is free. Errors come out where their block would have.

    Args:
        blocks: What is read.
        hang_up: Ends the wait for a block that does not come; called where the blocks are left early, by an interrupt
            or an error, before the thread is waited for.
        most_blocks: Made before they are asked for.
    """
    ahead: _Ahead = queue.Queue(most_blocks)
    is_left = threading.Event()
    thread = threading.Thread(target=_make_ahead, args=(blocks, ahead, is_left), name="read-ahead", daemon=True)
    thread.start()
    try:
        yield from _taken(ahead)
    except BaseException:
        is_left.set()
        hang_up()
        raise
    finally:
        thread.join()


def _make_ahead(blocks: Iterator[bytes], ahead: _Ahead, is_left: threading.Event) -> None:
    def hand_over(what: bytes | BaseException | None) -> None:
        while not is_left.is_set():
            with suppress(queue.Full):
                ahead.put(what, timeout=_LEFT_AFTER_SECONDS)
                return

    try:
        for block in blocks:
            hand_over(block)
            if is_left.is_set():
                return
    except BaseException as error:  # noqa: BLE001 - raised again where the blocks are used
        hand_over(error)
    else:
        hand_over(None)


def _taken(ahead: _Ahead) -> Iterator[bytes]:
    while (item := ahead.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
