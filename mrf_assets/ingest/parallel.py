"""The parts of a network side by side, a process for each, as many at a time as cores are free.

What a part logs and tells comes out in the parent, as if it were done there. One part that fails
stops the others: without all of its parts a network is not published.
"""

from __future__ import annotations

import logging
import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from mrf_assets.child_processes import ForwardingHandler, end_with_parent, start_child
from mrf_assets.errors import MrfError, PartDied

_Item = TypeVar("_Item")
Message = TypeVar("Message")
_Result = TypeVar("_Result")

_PACKAGE = logging.getLogger("mrf_assets")


class _Done:
    def __init__(self, result: Any) -> None:  # noqa: ANN401 - whatever the work gives
        self.result = result


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _picklable(record: logging.LogRecord) -> logging.LogRecord:
    """The record with its text made here: arguments may not travel."""
    record.msg, record.args, record.exc_info = record.getMessage(), None, None
    return record


def _child(parent: Connection, work: Callable[[Any, Callable[[Any], None]], Any], item: Any, log_level: int) -> None:  # noqa: ANN401 - of `in_processes`
    # The parent stops its parts itself; a Ctrl-C of the terminal must not reach them first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _PACKAGE.setLevel(log_level)
    _PACKAGE.addHandler(ForwardingHandler(parent, _picklable))
    try:
        message: _Done | _Failed = _Done(work(item, parent.send))
    except MrfError as error:
        message = _Failed(error)
    except Exception as error:  # noqa: BLE001 - a bug: its traceback belongs into the run's log
        message = _Failed(RuntimeError(f"{error!r}\n{traceback.format_exc()}"))
    parent.send(message)


def in_processes(
    work: Callable[[_Item, Callable[[Message], None]], _Result],
    items: Sequence[_Item],
    processes: int,
    on_message: Callable[[Message], None],
) -> list[_Result]:
    """`work` on every item, at most `processes` at a time; results in the order of the items.

    `work` and all that crosses must be picklable; what it hands to its second argument comes to
    `on_message` here.

    Raises:
        MrfError: The first that a part raised; the others are stopped.
        PartDied: A part's process ended without a word, killed by the system for memory, say.
    """
    queue = list(enumerate(items))[::-1]
    busy: dict[Connection, tuple[int, SpawnProcess]] = {}
    results: dict[int, _Result] = {}
    try:
        while queue or busy:
            while queue and len(busy) < processes:
                number, item = queue.pop()
                ours, process = start_child(_child, work, item, _PACKAGE.getEffectiveLevel())
                busy[ours] = number, process
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                number, process = busy[connection]
                message = _next_message(connection, process, number)
                if isinstance(message, logging.LogRecord):
                    logging.getLogger(message.name).handle(message)
                elif isinstance(message, _Failed):
                    raise message.error
                elif isinstance(message, _Done):
                    results[number] = message.result
                    del busy[connection]
                    process.join()
                else:
                    on_message(message)
    finally:
        for _, process in busy.values():
            process.kill()  # SIGTERM may be ignored: Dagster lets it be what SIGINT is, which `nohup` jobs ignore
        for _, process in busy.values():
            process.join()
    return [results[number] for number in range(len(items))]


def _next_message(connection: Connection, process: SpawnProcess, number: int) -> Any:  # noqa: ANN401 - one of several kinds
    try:
        return connection.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        code = process.exitcode or 0
        raise PartDied(number + 1, signal.Signals(-code).name if code < 0 else f"exit code {code}") from None
