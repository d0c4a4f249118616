"""What a download does besides giving bytes: turns at a host, connections kept, conditions, spools, and stops."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mrf_assets.errors import ConnectionLostError, NotModified, ServerBusy, StoreError
from mrf_assets.fetch import FetchOptions, Validators, open_url, probe
from mrf_assets_tests.mrf_server import Answer, MrfServer

_DATA = bytes(range(256)) * 1_000
_HALF = len(_DATA) // 2
_OPTIONS = FetchOptions(connect_timeout_seconds=60, read_timeout_seconds=60, wait=lambda _seconds: None)


@pytest.fixture
def server() -> Iterator[MrfServer]:
    """A server with one file at /a.json."""
    with MrfServer({"/a.json": _DATA}) as running:
        yield running


def _fetched(url: str, options: FetchOptions = _OPTIONS) -> bytes:
    with open_url(url, options) as raw:
        return b"".join(iter(lambda: raw.read(1 << 16), b""))


class _Slot:
    def __init__(self, told: list[object]) -> None:
        self._told = told

    def answered(self, status: int, *, retry_after_seconds: float | None = None) -> None:
        self._told.append((status, retry_after_seconds))


class _NotingGate:
    """Writes down who asks, what was answered, and when the place is given back."""

    def __init__(self) -> None:
        self.told: list[object] = []

    @contextmanager
    def slot(self, host: str, *, sleep: Callable[[float], object] | None = None) -> Iterator[_Slot]:
        del sleep
        self.told.append(host)
        try:
            yield _Slot(self.told)
        finally:
            self.told.append("left")


def test_every_request_has_a_turn_of_its_own(server: MrfServer) -> None:
    """Retries, redirects and resumes as well; the place is held while the body is read, and not while we wait."""
    gate = _NotingGate()
    host = f"127.0.0.1:{server.port}"
    server.script("/moved", Answer(status=302, headers={"Location": "/a.json"}))
    server.script(
        "/a.json",
        Answer(status=429, headers={"Retry-After": "9"}),
        Answer(cut_after=_HALF),
    )
    server.script("/moved", Answer(status=302, headers={"Location": "/a.json"}))
    server.script("/moved", Answer(status=302, headers={"Location": "/a.json"}))
    options = _OPTIONS.changed(gate=gate, wait=lambda _seconds: gate.told.append("wait"))
    assert _DATA == _fetched(server.url("/moved"), options)

    moved = [host, (302, None), "left"]
    assert gate.told == [
        *moved, host, (429, 9.0), "left", "wait",
        *moved, host, (200, None), "left", "wait",
        *moved, host, (206, None), "left",
    ]  # fmt: skip


def test_a_request_without_an_answer_tells_the_gate_nothing() -> None:
    """There is nothing to learn of a host that was not reached; its place is free again."""
    gate = _NotingGate()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # nobody listens there
        with pytest.raises(ConnectionLostError):
            _fetched(f"http://127.0.0.1:{port}/a.json", _OPTIONS.changed(gate=gate, max_retries=0))

    assert [f"127.0.0.1:{port}", "left"] == gate.told


def test_a_probe_has_its_turn_too(server: MrfServer) -> None:
    """HEAD is a request."""
    gate = _NotingGate()
    probe(server.url("/a.json"), _OPTIONS.changed(gate=gate))

    assert [f"127.0.0.1:{server.port}", (200, None), "left"] == gate.told


def test_connections_are_kept_for_the_next_file(server: MrfServer) -> None:
    """Hundreds of small references of one host cost one handshake."""
    for _ in range(5):
        _fetched(server.url("/a.json"))
        probe(server.url("/a.json"), _OPTIONS)

    assert 1 == server.connections


def test_connections_are_not_kept_where_a_setting_says_so(server: MrfServer) -> None:
    """`connection_pooling` off: to compare, and for servers that take kept connections ill."""
    for _ in range(3):
        _fetched(server.url("/a.json"), _OPTIONS.changed(connection_pooling=False))

    assert 3 == server.connections


def test_a_file_that_has_not_changed_is_not_sent(server: MrfServer, tmp_path: Path) -> None:
    """The server says 304, the disk says the same; a change is read."""
    (tmp_path / "a.json").write_bytes(_DATA)
    for url in (server.url("/a.json"), str(tmp_path / "a.json")):
        known = probe(url, _OPTIONS)
        with pytest.raises(NotModified), open_url(url, _OPTIONS, if_changed_from=known):
            pass
    server.put("/a.json", b"new")
    (tmp_path / "a.json").write_bytes(b"new")
    for url in (server.url("/a.json"), str(tmp_path / "a.json")):
        with open_url(url, _OPTIONS, if_changed_from=known) as raw:
            assert b"new" == raw.read(100)


def test_a_date_is_a_condition_where_there_is_no_etag(server: MrfServer) -> None:
    """If-Modified-Since, as the server wrote it."""
    known = Validators(last_modified=server.last_modified)
    with pytest.raises(NotModified), open_url(server.url("/a.json"), _OPTIONS, if_changed_from=known):
        pass


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Validators(etag='"1"', size_bytes=1), Validators(etag='"1"'), True),
        (Validators(etag='"1"', last_modified="x", size_bytes=1), Validators(etag='"2"', last_modified="x"), False),
        (Validators(last_modified="x", size_bytes=1), Validators(etag='"1"', last_modified="x", size_bytes=1), True),
        (Validators(last_modified="x", size_bytes=1), Validators(last_modified="x", size_bytes=2), False),
        (Validators(last_modified="x"), Validators(last_modified="x"), False),
        (Validators(size_bytes=1), Validators(size_bytes=1), False),
        (Validators(), Validators(), False),
    ],
)
def test_a_state_is_the_same_only_where_that_is_sure(one: Validators, other: Validators, same: bool) -> None:
    """In doubt a file is read again."""
    assert same is one.same_as(other) is other.same_as(one)


def test_a_spooled_file_is_whole_before_it_is_handed_out(tmp_path: Path) -> None:
    """The server is done with it; nothing of it stays on the disk."""
    with (
        MrfServer({"/a.json": _DATA}) as server,
        open_url(server.url("/a.json"), _OPTIONS.changed(spool_dir=tmp_path)) as raw,
    ):
        known = probe(server.url("/a.json"), _OPTIONS)
        assert known is not None
        told = (raw.size_bytes, raw.etag, raw.transfer.requests)
        server.stop()
        assert _DATA == raw.read(len(_DATA) + 1)

    assert told == (known.size_bytes, known.etag, 1)
    assert [] == list(tmp_path.iterdir())


def test_a_disk_that_takes_no_spool_is_told(server: MrfServer, tmp_path: Path) -> None:
    """The folder, the reason, and the setting that helps."""
    options = _OPTIONS.changed(spool_dir=tmp_path / "none")
    with pytest.raises(StoreError, match=r"cannot be spooled .*switch spool_downloads off"):
        _fetched(server.url("/a.json"), options)


def test_a_local_file_is_not_spooled(tmp_path: Path) -> None:
    """It is on the disk already."""
    (tmp_path / "a.json").write_bytes(_DATA)

    assert _DATA == _fetched(str(tmp_path / "a.json"), _OPTIONS.changed(spool_dir=tmp_path / "none"))


def test_closing_ends_a_read_in_another_thread(server: MrfServer) -> None:
    """Ctrl-C does not wait for a server that is silent."""
    gate = server.hold("/a.json", at=_HALF)
    failed: list[BaseException] = []
    with open_url(server.url("/a.json"), _OPTIONS.changed(read_timeout_seconds=600)) as raw:

        def read() -> None:
            try:
                while raw.read(1 << 20):
                    pass
            except ConnectionLostError as error:
                failed.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        assert gate.reached.wait(60)
        raw.close()
        reader.join(60)
        assert not reader.is_alive()
    gate.release()
    assert "was stopped" in str(failed[0])
    assert 1 == server.count("/a.json")


def test_closing_ends_a_wait_for_another_attempt(server: MrfServer) -> None:
    """Nor for a server that asks for ten minutes."""
    server.script("/a.json", Answer(cut_after=_HALF), Answer(status=503, headers={"Retry-After": "600"}))
    failed: list[BaseException] = []
    is_waiting = threading.Event()

    class Gate(_NotingGate):
        """Says when the second answer is there: what follows is the wait."""

        @contextmanager
        def slot(self, host: str, *, sleep: Callable[[float], object] | None = None) -> Iterator[_Slot]:
            with super().slot(host, sleep=sleep) as slot:
                yield slot
            if len(self.told) > 3:
                is_waiting.set()

    options = FetchOptions(connect_timeout_seconds=60, read_timeout_seconds=60, gate=Gate())
    with open_url(server.url("/a.json"), options) as raw:

        def read() -> None:
            try:
                while raw.read(1 << 20):
                    pass
            except (ConnectionLostError, ServerBusy) as error:
                failed.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        assert is_waiting.wait(60)
        raw.close()
        reader.join(60)
        assert not reader.is_alive()
    assert "was stopped" in str(failed[0])


def test_a_host_that_is_gone_is_asked_once_for_each_further_file() -> None:
    """Hundreds of references on a dead host cost one round of retries, and it is found when it is back."""
    waits: list[float] = []
    options = _OPTIONS.changed(wait=waits.append)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for name in "abc":
            with pytest.raises(ConnectionLostError, match="no answer"):
                _fetched(f"http://127.0.0.1:{port}/{name}.json", options)
    assert 3 == len(waits)
    with MrfServer({"/a.json": _DATA}, port=port) as server:
        assert _DATA == _fetched(server.url("/a.json"), options)
    with pytest.raises(ConnectionLostError, match="no answer"):
        _fetched(f"http://127.0.0.1:{port}/a.json", options)
    assert 6 == len(waits)
