"""Slots at a host, shared by all processes of one user on the machine.

One small file for each host holds its pace, who has a slot, and who waits in the queue; it is read and
written under the file's lock. Whoever waits looks again and again, in the order of arrival. Slots of a process
that died are found by its lease.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path

import orjson

from mrf_assets.errors import SettingError, StoreError
from mrf_assets.fetch.rate.leases import Lease, is_alive
from mrf_assets.fetch.rate.pace import LONG_ANSWER_SECONDS, REFUSALS, HostLimits, Pace
from mrf_assets.settings import Settings, default_host_state_dir

logger = logging.getLogger(__name__)

_STATE_BYTES = 1 << 20
_TOLD_AFTER_SECONDS = 5.0  # of waiting; then at twice as much, and so on
_SHORTEST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.002, 0.25  # between two looks for a slot
_LONGEST_SLEEP_SECONDS = 1.0
_UNSEEN_SECONDS = 10.0  # a stopped process loses its place in the queue, so that the others go on
_SERVER_ERRORS = range(500, 600)
_STRANGE = re.compile(r"[^A-Za-z0-9.:\[\]_-]")
_SHOWN_CHARACTERS = 80


@dataclass(slots=True)
class _State:
    """What the file of a host holds. A token is `<lease>.<number>`."""

    pace: Pace = field(default_factory=Pace)
    open: dict[str, float] = field(default_factory=dict)  # token: when it was answered, 0 before
    queue: dict[str, float] = field(default_factory=dict)  # token: when it looked last; the first waits longest


class _HostFile:
    """The state of one host and its lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._fd = -1

    @contextmanager
    def locked(self) -> Iterator[_State]:
        """The state, for as long as the block lasts; what is changed in it is written at the block's end."""
        with self._threads:  # flock holds off other processes, not other threads
            try:
                self._lock()
                try:
                    state = self._read()
                    yield state
                    # One write from the start: who is killed in it leaves the old state or the new.
                    os.pwrite(self._fd, orjson.dumps(state) + b"\n", 0)
                finally:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
            except OSError as error:
                raise StoreError(
                    str(self._path), f"cannot be used ({error.strerror}); free space, or set MRF_HOST_STATE_DIR"
                ) from None

    def _lock(self) -> None:
        while True:
            if self._fd < 0:
                _own_folder(self._path.parent)
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if os.fstat(self._fd).st_nlink:
                return
            self.close()  # a cleaner of temporary folders took the file; others may have a new one

    def _read(self) -> _State:
        text, end, _ = os.pread(self._fd, _STATE_BYTES, 0).partition(b"\n")
        if not end:
            return _State()
        try:
            fields = orjson.loads(text)
            return _State(Pace(**fields["pace"]), fields["open"], fields["queue"])
        except (ValueError, TypeError, KeyError):  # of another version
            logger.warning("%s is not readable and is begun again", self._path)
            return _State()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


class HostSlot:
    """One request to a host, and the reading of its answer."""

    def __init__(self, gate: HostGate, host: str, token: str) -> None:
        self.host = host
        self.waited_seconds = 0.0
        self._gate, self._token = gate, token
        self._cuts_at_start = 0

    def answered(self, status: int, *, retry_after_seconds: float | None = None) -> None:
        """Say what the host answered, as soon as it is known; where no answer came, say nothing.

        Args:
            status: Of HTTP.
            retry_after_seconds: What a 429 or 503 asked for; all processes wait for so long, at most 15 minutes.
        """
        self._gate._answered(self, status, retry_after_seconds)  # noqa: SLF001 - one unit with its gate


class HostGate:
    """Lets requests to a host through: so many at a time, so many a second, none while it asks for a pause.

    All processes that use the same folder share the counts. A process that holds one slot gets a second even where
    all are taken: a file's references are asked for while the file is open, and processes that each hold a slot
    would wait for each other. Made again in another process when it is pickled.

    Args:
        state_dir: Folder of the shared state; made for its owner alone.
        limits: What no host is asked beyond.
        now: Seconds of a clock that all processes share; CLOCK_MONOTONIC is the machine's.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        state_dir: Path,
        limits: HostLimits | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.state_dir = state_dir
        self.limits = limits or HostLimits()
        self._now, self._sleep = now, sleep
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._files: dict[str, _HostFile] = {}
        self._own_slots: set[HostSlot] = set()  # of all hosts
        self._lease: Lease | None = None
        _gates.add(self)

    def __reduce__(self) -> tuple[type[HostGate], tuple[Path, HostLimits]]:
        return HostGate, (self.state_dir, self.limits)

    @contextmanager
    def slot(self, host: str, *, sleep: Callable[[float], object] | None = None) -> Iterator[HostSlot]:
        """Wait until `host` may be asked; it has one slot less until the block ends.

        Args:
            host: Name and port, in one spelling for one server.
            sleep: Waits for some seconds, in place of the gate's; an error that it raises ends the waiting.

        Raises:
            SettingError: The folder of the shared state belongs to somebody else or cannot be made.
            StoreError: It cannot be written.
        """
        slot = HostSlot(self, host, self._token())
        try:
            self._wait(slot, sleep or self._sleep)
            self._own_slots.add(slot)
            yield slot
        finally:
            self._own_slots.discard(slot)
            with self._file(host).locked() as state:
                state.open.pop(slot._token, None)  # noqa: SLF001
                state.queue.pop(slot._token, None)  # noqa: SLF001

    def close(self) -> None:
        """Give everything back; a later request opens it again."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()
            if self._lease:
                self._lease.close()
                self._lease = None

    def _after_fork(self) -> None:
        """Locks of the parent's files would be shared with it."""
        self._lock = threading.Lock()
        for file in self._files.values():
            file.close()
        self._files, self._own_slots = {}, set()
        if self._lease:
            self._lease.close()
            self._lease = None

    def _token(self) -> str:
        with self._lock:
            if self._lease is None or not self._lease.is_held:
                _own_folder(self.state_dir)
                self._lease = Lease(self.state_dir)
            return f"{self._lease.name}.{next(self._numbers)}"

    def _file(self, host: str) -> _HostFile:
        with self._lock:
            if host not in self._files:
                name = hashlib.sha256(host.lower().encode("utf-8", "surrogatepass")).hexdigest()[:32]
                self._files[host] = _HostFile(self.state_dir / f"{name}.json")
            return self._files[host]

    def _wait(self, slot: HostSlot, sleep: Callable[[float], object]) -> None:
        file = self._file(slot.host)
        wait_start = self._now()
        tell_at = _TOLD_AFTER_SECONDS
        while True:
            with file.locked() as state:
                sleep_seconds, why = self._try(state, slot, wait_start)
            slot.waited_seconds = self._now() - wait_start
            if not why:
                return
            if slot.waited_seconds >= tell_at:
                logger.info("%s: waiting for %.0f s: %s", _shown(slot.host), slot.waited_seconds, why)
                tell_at = slot.waited_seconds * 2
            sleep(sleep_seconds)

    def _try(self, state: _State, slot: HostSlot, wait_start: float) -> tuple[float, str]:
        """Take a slot, or (when to look again, why)."""
        token, now, limits, pace = slot._token, self._now(), self.limits, state.pace  # noqa: SLF001
        if state.queue or len(state.open) >= pace.slots_within(limits) or pace.is_stale(now):
            self._drop_dead(state, now)
            pace.try_more_slots(now, limits)
        if not state.open and pace.is_stale(now):
            pace = state.pace = Pace(last_used=now)
        ahead = list(state.queue).index(token) if token in state.queue else len(state.queue)
        slots = pace.slots_within(limits)
        seconds = pace.seconds_to_start(now, limits, ahead)
        if len(state.open) + ahead >= slots:
            if len(self._own_slots) != 1:
                state.queue[token] = now
                look_seconds = min(max((now - wait_start) / 8, _SHORTEST_LOOK_SECONDS), _LONGEST_LOOK_SECONDS)
                before = f", {ahead} wait before" if ahead else ""
                return look_seconds, f"{len(state.open)} of {slots} slots are taken{before}"
            seconds = pace.seconds_to_start(now, limits)
        if seconds > 0:
            state.queue[token] = now
            pause = pace.paused_until - now
            rate = pace.rate_within(limits) or 0.0
            why = f"it asked for a pause, {pause:.0f} s more" if pause > 0 else f"{rate:.3g} starts a second"
            return min(seconds, _LONGEST_SLEEP_SECONDS), why
        state.queue.pop(token, None)
        state.open[token] = 0.0
        slot._cuts_at_start = pace.started(now, limits)  # noqa: SLF001
        return 0.0, ""

    def _drop_dead(self, state: _State, now: float) -> None:
        """Free the slots of the dead, and let the queue go on without those who stopped looking."""
        assert self._lease
        dead = {
            lease
            for lease in {_lease_of(token) for token in (*state.open, *state.queue)} - {self._lease.name}
            if not is_alive(self.state_dir, lease)
        }
        for token in [token for token in state.open if _lease_of(token) in dead]:
            del state.open[token]
        for token, last_look in list(state.queue.items()):
            if _lease_of(token) in dead or not 0 <= now - last_look <= _UNSEEN_SECONDS:
                del state.queue[token]

    def _answered(self, slot: HostSlot, status: int, retry_after_seconds: float | None) -> None:
        token = slot._token  # noqa: SLF001
        with self._file(slot.host).locked() as state:
            now, pace = self._now(), state.pace
            if status not in REFUSALS:
                if token in state.open:
                    state.open[token] = now
                if status not in _SERVER_ERRORS:
                    pace.accepted(now, self.limits, cuts_at_start=slot._cuts_at_start)  # noqa: SLF001
                return
            long_answers = sum(0 < answer_time <= now - LONG_ANSWER_SECONDS for answer_time in state.open.values())
            cut = pace.refused(
                now,
                self.limits,
                cuts_at_start=slot._cuts_at_start,  # noqa: SLF001
                long_answers=long_answers,
            )
            if retry_after_seconds is not None and retry_after_seconds > 0:
                pace.pause(now, retry_after_seconds)
            pause, rate, slots = pace.paused_until - now, pace.rate, pace.slots_within(self.limits)
        if cut:
            logger.info(
                "%s answered %d: a pause of %.1f s, then %.3g starts a second and %d slots",
                _shown(slot.host), status, max(pause, 0.0), rate, slots,
            )  # fmt: skip


def host_gate(settings: Settings) -> HostGate:
    """The gate of this process for these settings; always the same one."""
    limits = HostLimits(
        slots=settings.host_concurrency,
        start_rate_per_second=settings.host_start_rate_per_second,
        adaptive=settings.adaptive_rate_limiting,
    )
    return _gate((settings.host_state_dir or default_host_state_dir()).absolute(), limits)


@lru_cache(maxsize=8)
def _gate(state_dir: Path, limits: HostLimits) -> HostGate:
    return HostGate(state_dir, limits)


def _lease_of(token: str) -> str:
    return token.partition(".")[0]


def _shown(host: str) -> str:
    """A host's name as a log may hold it: it comes from strangers."""
    return _STRANGE.sub("?", host[:_SHOWN_CHARACTERS])


def _own_folder(folder: Path) -> None:
    """Make the folder, for its owner alone; refuse one that others could have filled."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise SettingError("host_state_dir", f"{folder} cannot be made ({error.strerror}); name another") from None
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise SettingError(
            "host_state_dir", f"{folder} is not a folder that only you can write; remove it or name another"
        )


_gates: weakref.WeakSet[HostGate] = weakref.WeakSet()


def _forget_in_child() -> None:
    for gate in list(_gates):
        with suppress(OSError):
            gate._after_fork()  # noqa: SLF001


os.register_at_fork(after_in_child=_forget_in_child)
