"""Slots at a host, between threads, processes, and those that died."""

from __future__ import annotations

import http.client
import logging
import multiprocessing as mp
import pickle
import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from mrf_assets.errors import SettingError
from mrf_assets.fetch.rate import HostGate, HostLimits, backoff_seconds, host_gate
from mrf_assets.fetch.rate.pace import FORGET_SECONDS, FREE_STARTS, MAX_RETRY_AFTER_SECONDS
from mrf_assets.settings import Settings
from mrf_assets_tests.token_bucket import ThrottledServer, TokenBucket

HOST = "payer.example:443"
SPAWN = mp.get_context("spawn")
ONE = HostLimits(slots=1)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Seconds, as `time.monotonic` gives them."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds


class Stepper:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self._asleep, self._wake = threading.Semaphore(0), threading.Semaphore(0)

    def sleep(self, _seconds: float) -> None:
        """Say so, and wait for the test."""
        self._asleep.release()
        self._wake.acquire()

    def wait_until_asleep(self) -> None:
        """Until the gate has looked and found no slot."""
        assert self._asleep.acquire(timeout=60)

    def wake(self) -> None:
        """Let it look again."""
        self._wake.release()


class Waiter:
    """A thread of another process, as far as the gate can tell: it has a gate of its own."""

    def __init__(self, state_dir: Path, now: Callable[[], float]) -> None:
        self.stepper = Stepper()
        self.inside, self._leave = threading.Event(), threading.Event()
        self._gate = HostGate(state_dir, ONE, now=now, sleep=self.stepper.sleep)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._gate.slot(HOST):
            self.inside.set()
            self._leave.wait()

    def leave(self) -> None:
        """Give the slot back and end."""
        self._leave.set()
        self._thread.join()
        self._gate.close()


def no_sleep(_seconds: float) -> None:
    """For gates that must never have to wait."""
    raise AssertionError("had to wait")


def take_and_keep(state_dir: Path, slots: int, parent: Connection) -> None:
    """In a process: take all slots of the host, say so, and never leave them."""
    gate = HostGate(state_dir, HostLimits(slots=slots))
    with ExitStack() as held:
        for _ in range(slots):
            held.enter_context(gate.slot(HOST))
        parent.send("held")
        parent.recv()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Where the processes of a test share their state."""
    return tmp_path / "hosts"


def keeper(state_dir: Path, slots: int) -> tuple[SpawnProcess, Connection]:
    """A process that has taken all slots, and keeps them while it and the pipe live."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=take_and_keep, args=(state_dir, slots, theirs))
    process.start()
    assert ours.recv() == "held"
    return process, ours


def test_places_are_free_again_at_once_when_their_process_is_killed(state_dir: Path) -> None:
    """The first look after `kill -9` finds them."""
    process, _pipe = keeper(state_dir, 2)
    looks = []

    def kill(seconds: float) -> None:
        looks.append(seconds)
        process.kill()
        process.join()

    with HostGate(state_dir, HostLimits(slots=2), sleep=kill).slot(HOST):
        assert 1 == len(looks)


def test_a_process_that_holds_a_place_gets_a_second_and_no_third(state_dir: Path) -> None:
    """A file's references are asked for while the file is open."""
    gate = HostGate(state_dir, ONE, sleep=no_sleep)
    with gate.slot(HOST), gate.slot(HOST), pytest.raises(AssertionError, match="had to wait"), gate.slot(HOST):
        pass


def test_two_processes_never_wait_for_each_others_host(state_dir: Path) -> None:
    """Each reads a file from the one host, and its references from the other."""
    gate, other = (HostGate(state_dir, ONE, sleep=no_sleep) for _ in range(2))
    with gate.slot("a.example"), other.slot("b.example"), gate.slot("b.example"), other.slot("a.example"):
        pass


def test_hosts_do_not_wait_for_each_other(state_dir: Path) -> None:
    """Each has slots of its own."""
    gate, other = (HostGate(state_dir, ONE, sleep=no_sleep) for _ in range(2))
    with gate.slot(HOST), other.slot("other.example"):
        pass


def test_a_host_is_the_same_in_any_case(state_dir: Path) -> None:
    """Names of hosts have none."""
    gate, other = (HostGate(state_dir, ONE, sleep=no_sleep) for _ in range(2))
    with (
        gate.slot("Payer.example"),
        pytest.raises(AssertionError, match="had to wait"),
        other.slot("payer.EXAMPLE"),
    ):
        pass


def test_who_came_first_goes_first(state_dir: Path) -> None:
    """A slot that becomes free is not for the one who looks first."""
    clock = Clock()
    with HostGate(state_dir, ONE, now=clock).slot(HOST):
        first = Waiter(state_dir, clock)
        first.stepper.wait_until_asleep()
        second = Waiter(state_dir, clock)
        second.stepper.wait_until_asleep()
    second.stepper.wake()
    second.stepper.wait_until_asleep()
    first.stepper.wake()

    assert first.inside.wait(60)
    assert not second.inside.is_set()

    first.leave()
    clock.now += 1  # until the next start is due
    second.stepper.wake()
    assert second.inside.wait(60)
    second.leave()


def test_the_line_goes_on_without_one_who_stopped_looking(state_dir: Path) -> None:
    """A process that was stopped by a signal does not hold the others up."""
    clock = Clock()
    with HostGate(state_dir, ONE, now=clock).slot(HOST):
        stopped = Waiter(state_dir, clock)
        stopped.stepper.wait_until_asleep()
    clock.now += 11
    with HostGate(state_dir, ONE, now=clock, sleep=no_sleep).slot(HOST):
        pass

    stopped.stepper.wake()
    assert stopped.inside.wait(60)
    stopped.leave()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("adaptive", [True, False])
def test_retry_after_pauses_all_processes(state_dir: Path, status: int, adaptive: bool) -> None:
    """What one was told holds for all, adaptive or not."""
    clock, limits = Clock(), HostLimits(adaptive=adaptive)
    with HostGate(state_dir, limits, now=clock).slot(HOST) as slot:
        slot.answered(status, retry_after_seconds=30.0)
    with HostGate(state_dir, limits, now=clock, sleep=clock.sleep).slot(HOST) as later:
        assert 1030.0 == pytest.approx(clock.now)
        assert 30.0 == pytest.approx(later.waited_seconds)


@pytest.mark.parametrize(
    ("asked", "waited"), [(1e9, MAX_RETRY_AFTER_SECONDS), (float("inf"), MAX_RETRY_AFTER_SECONDS), (float("nan"), 0.0)]
)
def test_a_host_cannot_ask_for_a_pause_without_end(state_dir: Path, asked: float, waited: float) -> None:
    """A month of silence is not what a batch waits for."""
    clock = Clock()
    gate = HostGate(state_dir, HostLimits(adaptive=False), now=clock, sleep=clock.sleep)
    with gate.slot(HOST) as slot:
        slot.answered(429, retry_after_seconds=asked)
    with gate.slot(HOST):
        assert waited == pytest.approx(clock.now - 1000.0)


def test_a_fixed_rate_is_kept_between_processes(state_dir: Path) -> None:
    """Four starts at two a second take one and a half seconds, whoever starts."""
    clock, starts = Clock(), []
    limits = HostLimits(start_rate_per_second=2.0, adaptive=False)
    for _ in range(4):
        with HostGate(state_dir, limits, now=clock, sleep=clock.sleep).slot(HOST) as slot:
            starts.append(clock.now - 1000.0)
            slot.answered(429)

    assert [0.0, 0.5, 1.0, 1.5] == pytest.approx(starts, abs=0.021)  # a start that was missed by 20 ms is made up for


def test_a_refusal_slows_down_all_processes(state_dir: Path) -> None:
    """Without Retry-After, half a second of silence."""
    clock = Clock()
    with HostGate(state_dir, now=clock).slot(HOST) as slot:
        slot.answered(429)
    with HostGate(state_dir, now=clock, sleep=clock.sleep).slot(HOST):
        assert 0.5 == pytest.approx(clock.now - 1000.0)


@pytest.mark.parametrize("status", [200, 206, 302, 404, 500])
def test_other_answers_slow_nobody_down(state_dir: Path, status: int) -> None:
    """A missing file or a bug of the server says nothing of how often it may be asked."""
    clock = Clock()
    gate = HostGate(state_dir, now=clock, sleep=no_sleep)
    for _ in range(FREE_STARTS):
        with gate.slot(HOST) as slot:
            slot.answered(status, retry_after_seconds=60.0)


def test_a_long_wait_is_told_with_its_reason(state_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Which host, how long, and why; what a stranger named his host is shown without control characters."""
    clock = Clock()
    gate = HostGate(state_dir, now=clock, sleep=clock.sleep)
    with gate.slot("evil\n\x1b[2Jhost") as slot:
        slot.answered(429, retry_after_seconds=60.0)
    with caplog.at_level(logging.INFO, "mrf_assets.fetch.rate"), gate.slot("evil\n\x1b[2Jhost"):
        pass

    told = [text for record in caplog.records if "waiting" in (text := record.getMessage())]
    assert "evil??[2Jhost: waiting for 5 s: it asked for a pause, 55 s more" == told[0]
    assert 4 == len(told)  # after 5, 10, 20 and 40 seconds


def test_an_error_gives_the_place_back(state_dir: Path) -> None:
    """As does everything else that ends the block."""
    gate, other = (HostGate(state_dir, ONE, sleep=no_sleep) for _ in range(2))
    with pytest.raises(KeyboardInterrupt), gate.slot(HOST):
        raise KeyboardInterrupt
    with other.slot(HOST):
        pass


def test_who_gives_up_waiting_leaves_the_line(state_dir: Path) -> None:
    """Ctrl-C while waiting holds nobody up."""
    clock = Clock()

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    held, waiting = HostGate(state_dir, ONE, now=clock), HostGate(state_dir, ONE, now=clock, sleep=interrupt)
    with held.slot(HOST), pytest.raises(KeyboardInterrupt), waiting.slot(HOST):
        pass
    with HostGate(state_dir, ONE, now=clock, sleep=no_sleep).slot(HOST):
        pass


def test_a_gate_survives_the_way_into_another_process(state_dir: Path) -> None:
    """Pickled, it shares the same state."""
    gate = HostGate(state_dir, ONE, sleep=no_sleep)
    copy: HostGate = pickle.loads(pickle.dumps(gate))  # noqa: S301 - made one line above

    assert (gate.state_dir, gate.limits) == (copy.state_dir, copy.limits)


def test_a_host_is_new_again_after_a_long_silence(state_dir: Path) -> None:
    """Whoever was killed at it then does not keep its past alive."""
    clock = Clock()
    process, _pipe = keeper(state_dir, 1)
    process.kill()
    process.join()
    gate = HostGate(state_dir, now=clock, sleep=no_sleep)
    with gate.slot(HOST) as slot:
        slot.answered(429)
    clock.now += FORGET_SECONDS + 1
    for _ in range(FREE_STARTS):
        with gate.slot(HOST):
            pass


def test_a_forked_child_is_a_process_of_its_own(state_dir: Path) -> None:
    """It does not act for its parent: the parent's slot is not its slot."""
    fork = mp.get_context("fork")
    ours, theirs = fork.Pipe()
    gate = HostGate(state_dir, ONE, sleep=no_sleep)

    def child() -> None:
        try:
            with gate.slot(HOST):
                theirs.send("inside")
        except AssertionError as error:
            theirs.send(str(error))

    with gate.slot(HOST):
        process = fork.Process(target=child)
        process.start()
        assert "had to wait" == ours.recv()
        process.join()


def test_a_cleaner_of_temporary_folders_does_no_harm(state_dir: Path) -> None:
    """All that is lost is what was learnt."""
    gate, other = (HostGate(state_dir, ONE, sleep=no_sleep) for _ in range(2))
    with gate.slot(HOST):
        shutil.rmtree(state_dir)
    with gate.slot(HOST), pytest.raises(AssertionError, match="had to wait"), other.slot(HOST):
        pass


def test_a_state_that_cannot_be_read_is_begun_anew(state_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A later version may have written it."""
    gate = HostGate(state_dir, ONE, sleep=no_sleep)
    with gate.slot(HOST):
        pass
    (file,) = state_dir.glob("*.json")
    file.write_text('{"pace": {"unheard_of": 1}}\n')
    with gate.slot(HOST):
        pass

    assert "is not readable and is begun again" in caplog.text


def test_the_dead_leave_no_files(state_dir: Path) -> None:
    """Leases of those that were killed are removed by the next process."""
    process, _pipe = keeper(state_dir, 1)
    process.kill()
    process.join()
    gate = HostGate(state_dir)
    with gate.slot(HOST):
        assert 1 == len(list(state_dir.glob("*.lease")))
    gate.close()

    assert not list(state_dir.glob("*.lease"))


def test_nothing_in_the_folder_is_named_by_strangers_or_open_to_them(state_dir: Path) -> None:
    """The host's name is hashed; folder and files are the owner's alone."""
    with HostGate(state_dir).slot("../../etc/passwd"):
        names = sorted(path.name for path in state_dir.iterdir())
        modes = {path.stat().st_mode & 0o077 for path in (state_dir, *state_dir.iterdir())}

    assert not any("passwd" in name for name in names)
    assert {0} == modes


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """Others could put a state there."""
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(SettingError, match="only you can write"), HostGate(open_to_all).slot(HOST):
        pass


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """In a shared temporary folder anybody can lay one."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="only you can write"), HostGate(tmp_path / "link").slot(HOST):
        pass


def test_all_of_a_process_go_through_one_gate(state_dir: Path) -> None:
    """Settings that say the same are one gate; it has what they say."""
    settings = Settings(host_state_dir=state_dir, host_concurrency=2, host_start_rate_per_second=3.0)
    gate = host_gate(settings)

    assert gate is host_gate(settings.changed(output_dir=Path("elsewhere")))
    assert HostLimits(slots=2, start_rate_per_second=3.0, adaptive=True) == gate.limits
    assert state_dir == gate.state_dir


ALLOWED_PER_SECOND = 20
WORKERS = 8
FILES_EACH = 45
MAX_ATTEMPTS = 6


def ask_for_files(state_dir: Path, port: int, worker: int, parent: Connection) -> None:
    """In a process: get the files of one worker, each with as many attempts as a download has."""
    gate = HostGate(state_dir)
    attempts = []
    for number in range(FILES_EACH):
        for attempt in range(1, MAX_ATTEMPTS + 1):
            with gate.slot(f"127.0.0.1:{port}") as slot:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                connection.request("GET", f"/{worker}/{number}")
                response = connection.getresponse()
                slot.answered(response.status)
                body = response.read()
                connection.close()
            if response.status == http.client.OK:
                assert body == f"file {worker}/{number}".encode()
                attempts.append(attempt)
                break
            threading.Event().wait(backoff_seconds(attempt))
    parent.send(attempts)


def test_eight_processes_lose_nothing_at_a_host_that_allows_twenty_a_second(state_dir: Path) -> None:
    """Real processes, real sockets, a real token bucket: all files come, and fewer than 5 % of requests get a 429."""
    paths = {
        f"{worker}/{number}": f"file {worker}/{number}".encode()
        for worker in range(WORKERS)
        for number in range(FILES_EACH)
    }
    with ThrottledServer(paths, TokenBucket(ALLOWED_PER_SECOND, ALLOWED_PER_SECOND)) as server:
        pipes = [SPAWN.Pipe() for _ in range(WORKERS)]
        processes = [
            SPAWN.Process(target=ask_for_files, args=(state_dir, server.port, worker, theirs))
            for worker, (_, theirs) in enumerate(pipes)
        ]
        for process in processes:
            process.start()
        attempts = [ours.recv() for ours, _ in pipes]
        for process in processes:
            process.join()
        requests, refusals, peak = len(server.requests), server.refusals, server.peak_concurrency

    most = max(max(each) for each in attempts)
    print(f"\n{requests} requests, {refusals} answered 429 ({refusals / requests:.1%}), at most {most} attempts a file")  # noqa: T201
    assert [FILES_EACH] * WORKERS == [len(each) for each in attempts]
    assert refusals < 0.05 * requests
    assert peak <= HostLimits().slots
