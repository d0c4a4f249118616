"""Downloads that go through the gate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from mrf_assets.errors import ConnectionLostError, ServerBusy
from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.fetch.rate import HostGate, HostLimits, Slot, host_gate
from mrf_assets.settings import Settings
from mrf_assets_tests.mrf_server import Answer, MrfServer

ONE = HostLimits(slots=1)
DEADLINE_SECONDS = 60


class WatchedGate:
    """A gate that tells when somebody has to wait."""

    def __init__(self, gate: HostGate) -> None:
        self.waiting = threading.Event()
        self._gate = gate

    def slot(self, host: str, *, sleep: Callable[[float], object] | None = None) -> AbstractContextManager[Slot]:
        """A slot of the gate behind it."""
        assert sleep is not None

        def watched(seconds: float) -> None:
            self.waiting.set()
            sleep(seconds)

        return self._gate.slot(host, sleep=watched)


class GateOfAnotherTime:
    """A gate whose own sleep passes the time, not that of the download."""

    def __init__(self, gate: HostGate) -> None:
        self._gate = gate

    def slot(self, host: str, *, sleep: Callable[[float], object] | None = None) -> AbstractContextManager[Slot]:
        """A slot of the gate behind it."""
        del sleep
        return self._gate.slot(host)


def test_all_downloads_of_a_process_share_its_gate(tmp_path: Path) -> None:
    """Options out of settings bring it with them, whoever makes them."""
    settings = Settings(host_state_dir=tmp_path)

    assert host_gate(settings) is FetchOptions.of(settings).gate


def test_a_download_keeps_its_place_until_it_is_closed(tmp_path: Path) -> None:
    """Another process waits for it, and gets the slot when the file is read."""
    with MrfServer({"/a.json": b"{}", "/b.json": b"[]"}) as server:
        mine = FetchOptions(gate=HostGate(tmp_path, ONE))
        gate = WatchedGate(HostGate(tmp_path, ONE))

        def read_other() -> bytes:
            with open_url(server.url("/b.json"), FetchOptions(gate=gate)) as raw:
                return raw.read(10)

        with ThreadPoolExecutor() as pool:
            with open_url(server.url("/a.json"), mine) as raw:
                other = pool.submit(read_other)
                assert gate.waiting.wait(DEADLINE_SECONDS)
                assert raw.read(1) == b"{"
                assert 0 == server.count("/b.json")
            assert b"[]" == other.result(DEADLINE_SECONDS)


def test_a_download_that_is_stopped_waits_for_no_turn(tmp_path: Path) -> None:
    """Closed by another thread, it leaves the line with an error, however long the line is."""
    with MrfServer({"/a.json": bytes(100), "/b.json": b"[]"}) as server:
        server.script("/a.json", Answer(truncate_at=10))
        gate = WatchedGate(HostGate(tmp_path, ONE))
        taken, leave = threading.Event(), threading.Event()

        def take_the_place() -> None:
            with open_url(server.url("/b.json"), FetchOptions(gate=HostGate(tmp_path, ONE))):
                taken.set()
                leave.wait()

        with ThreadPoolExecutor() as pool, ExitStack() as ending:
            ending.callback(leave.set)
            raw = ending.enter_context(open_url(server.url("/a.json"), FetchOptions(gate=gate)))
            pool.submit(take_the_place)
            assert 10 == len(raw.read(100))
            rest = pool.submit(raw.read, 100)
            assert taken.wait(DEADLINE_SECONDS)
            gate.waiting.clear()
            assert gate.waiting.wait(DEADLINE_SECONDS)
            raw.close()
            with pytest.raises(ConnectionLostError, match="stopped"):
                rest.result(DEADLINE_SECONDS)


def test_waiting_for_a_turn_takes_none_of_the_time_of_a_file(tmp_path: Path) -> None:
    """A host with a long line does not make its files time out."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    gate = HostGate(tmp_path, now=lambda: now[0], sleep=sleep)
    options = FetchOptions(gate=GateOfAnotherTime(gate), max_retries=0, total_timeout_seconds=10.0)
    with MrfServer({"/a.json": b"{}"}) as server:
        server.script("/a.json", Answer(status=503, headers={"Retry-After": "500"}))
        with pytest.raises(ServerBusy), open_url(server.url("/a.json"), options):
            pass
        with open_url(server.url("/a.json"), options) as raw:
            assert b"{}" == raw.read(10)

    assert 1500.0 == pytest.approx(now[0])
