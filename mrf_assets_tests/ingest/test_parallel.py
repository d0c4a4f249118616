"""Parts side by side: results in order, failures told, nobody left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest

from mrf_assets.errors import MalformedJson, PartDied
from mrf_assets.ingest.parallel import in_processes


def _nothing(_message: object) -> None:
    pass


def _double(number: int, tell: Callable[[str], None]) -> tuple[int, int]:
    tell(f"part {number}")
    logging.getLogger("mrf_assets.part").info("doubling %d", number)
    return os.getpid(), 2 * number


def _fail(number: int, _tell: Callable[[str], None]) -> int:
    if number == 2:
        raise MalformedJson("https://mrf.example/2.json", 81, "no JSON")
    if number:
        signal.pause()
    return number


def _die(_number: int, _tell: Callable[[str], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _be_wrong(_number: int, _tell: Callable[[str], None]) -> float:
    return 1 / 0


def test_results_come_in_the_order_of_the_items() -> None:
    """Each from a process of its own."""
    done = in_processes(_double, [1, 2, 3], 2, _nothing)

    assert [2, 4, 6] == [result for _, result in done]
    assert 3 == len({pid for pid, _ in done} - {os.getpid()})


def test_messages_and_log_lines_come_out_here(caplog: pytest.LogCaptureFixture) -> None:
    """As if the work were done in this process."""
    told: list[str] = []
    with caplog.at_level(logging.INFO, "mrf_assets"):
        in_processes(_double, [1, 2], 1, told.append)

    assert ["part 1", "part 2"] == told
    assert ["doubling 1", "doubling 2"] == caplog.messages


def test_the_first_failure_stops_the_others() -> None:
    """A part that would go on for ever is ended, and the error is the part's own."""
    with pytest.raises(MalformedJson, match="byte 81"):
        in_processes(_fail, [0, 1, 2], 3, _nothing)


def test_a_part_that_is_killed_is_told() -> None:
    """The system kills what takes too much memory; waiting for it would never end."""
    with pytest.raises(PartDied, match=r"file 1 .*SIGKILL"):
        in_processes(_die, [1], 1, _nothing)


def _wait_for_ever(_number: int, tell: Callable[[int], None]) -> None:
    tell(os.getpid())
    signal.pause()


def _print_now(message: int) -> None:
    print(message, flush=True)  # noqa: T201 - to the test


def test_parts_end_with_the_process_that_started_them() -> None:
    """It was killed: they would read their files to the end for nobody."""
    program = (
        "from mrf_assets_tests.ingest import test_parallel as it; "
        "it.in_processes(it._wait_for_ever, [1, 2], 2, it._print_now)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        parts = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
        parent.kill()

    _, alive = psutil.wait_procs(parts, timeout=60)
    assert [] == alive


def test_a_bug_keeps_its_traceback() -> None:
    """It is no expected failure, and must be found."""
    with pytest.raises(RuntimeError, match=r"(?s)division by zero.*_be_wrong"):
        in_processes(_be_wrong, [1], 1, _nothing)
