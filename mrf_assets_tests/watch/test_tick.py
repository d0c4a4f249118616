"""The watched indexes, tick by tick, against a real server; Dagster is left out.

Indexes are read in this process here; that another process reads them, and what Dagster makes of
ticks, is seen in `test_sensors` and `test_index_sensor_live`.
"""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mrf_assets.errors import SourceProblems
from mrf_assets.fetch import FetchOptions, Validators, probe
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.settings import IndexWatching, Settings
from mrf_assets.urls.address import Address
from mrf_assets.watch.memory import IndexStore
from mrf_assets.watch.offers import Offer
from mrf_assets.watch.reader import read_registered
from mrf_assets.watch.registry import RegisteredIndex, add_index, remove_index
from mrf_assets.watch.tick import Ask, IndexWatch, SendAlert, Tick
from mrf_assets_tests.dagster_fixtures import SECRET, Payer, key
from mrf_assets_tests.factory import document, index, plans, render
from mrf_assets_tests.mrf_server import Answer, MrfServer

INDEX = "/2026-11-05_index.json"
OTHER = document(seed=1, codes=3)  # another file than those that are published
_YEAR = 366 * 24 * 60  # minutes
_MINUTE = 60.0


@dataclass
class Watched:
    """A payer, a registry, and an output folder that a watch fills."""

    payer: Payer
    root: Path
    time: float = 1_800_000_000.0
    cursor: str | None = None
    alerts: list[tuple[str, list[str]]] = field(default_factory=list)
    watching: IndexWatching = field(init=False)
    is_dead: bool = False  # the process that reads an index dies at once
    ask: Ask = probe
    alert: SendAlert | None = None

    def __post_init__(self) -> None:
        self.watching = IndexWatching(index_registry=self.root / "indexes.toml")

    @property
    def settings(self) -> Settings:
        """Of the watch and the runs."""
        return Settings(output_dir=self.root / "lake", connect_timeout_seconds=60, read_timeout_seconds=60)

    @property
    def store(self) -> IndexStore:
        """The watch's memory."""
        return IndexStore.under(self.settings.output_dir)

    def register(self, name: str = "acme", path: str = INDEX, **values: object) -> None:
        """Register an index of the payer's."""
        add_index(
            self.watching.registry,
            name,
            {"url": self.payer.server.url(path), "payer": "Acme", "poll_minutes": 10, **values},
            replace=True,
        )

    def tick(self, *, queued_runs: int = 0, minutes: float = 10) -> Tick:
        """Let time pass, look, and let Dagster take over what came of it."""
        tick = self.lost_tick(queued_runs=queued_runs, minutes=minutes)
        self.cursor = tick.cursor
        return tick

    def lost_tick(self, *, queued_runs: int = 0, minutes: float = 10) -> Tick:
        """Look, and let the daemon die before it takes anything over."""
        self.time += minutes * _MINUTE
        watch = IndexWatch(
            self.settings, self.watching, read_indexes=self._read, probe_file=self.ask, now=lambda: self.time
        )
        return watch.tick(self.cursor, queued_runs=queued_runs, alert=self.alert or self._alert)

    def _read(self, indexes: Sequence[RegisteredIndex], settings: Settings, seconds: float, batch_id: str) -> None:
        """Read indexes in this process."""
        assert 0 < seconds <= self.watching.sensor_tick_seconds
        for each in indexes:
            if self.is_dead:
                self.store.begins(each.name, self.time)
            else:
                read_registered(each, settings, lambda: self.time, batch_id=batch_id)

    def _alert(self, title: str, lines: Sequence[str]) -> bool:
        self.alerts.append((title, list(lines)))
        return True


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A payer with an index of four networks, which is registered."""
    with MrfServer() as server:
        made = Watched(Payer(server), tmp_path)
        for letter in "abcd":
            made.payer.publish(letter)
        made.payer.publish_index("abcd")
        made.register()
        yield made


def runs(tick: Tick) -> list[str]:
    """The networks that are to run."""
    return [offer.network_id for offer in tick.offers if offer.needs_run]


def keys(letters: str) -> list[str]:
    """Partition keys of networks."""
    return [key(letter) for letter in letters]


def offer_of(tick: Tick, letter: str) -> Offer:
    """What is told of one network."""
    (found,) = [offer for offer in tick.offers if offer.network_id == key(letter)]
    return found


def test_a_new_index_runs_all_its_networks(watched: Watched) -> None:
    """Each gets a partition, a version and a run."""
    tick = watched.tick()

    assert keys("abcd") == tick.partitions
    assert keys("abcd") == runs(tick)
    assert 4 == len({offer.run_key for offer in tick.offers})
    assert {"new"} == {offer.reason for offer in tick.offers}


def test_an_index_that_did_not_change_runs_nothing(watched: Watched) -> None:
    """Nor is it read again: one conditional request tells."""
    watched.tick()

    tick = watched.tick()

    assert ([], [], []) == (tick.offers, tick.partitions, watched.alerts)
    assert "if-none-match" in watched.payer.server.requests_of(INDEX)[-1].headers


def test_an_index_is_not_asked_before_its_time(watched: Watched) -> None:
    """The poll interval is the registry's."""
    watched.tick()
    asked = watched.payer.server.count(INDEX)

    watched.tick(minutes=9)

    assert asked == watched.payer.server.count(INDEX)


def test_an_index_without_validators_is_told_by_its_bytes(watched: Watched) -> None:
    """A server that says neither ETag nor Last-Modified is asked for all, and the plan is not written again."""
    content = render(index([(watched.payer.url("a"), plans(1))]))
    bare = Answer(body=content, headers={"ETag": "", "Last-Modified": ""})
    watched.payer.server.always(INDEX, bare)
    watched.tick()
    (before,) = watched.store.statuses()

    tick = watched.tick()

    (after,) = watched.store.statuses()
    assert [] == tick.offers
    assert before.read_at == after.read_at
    assert before.polled_at != after.polled_at


def test_changed_files_run_their_networks_alone(watched: Watched) -> None:
    """The address is the same, what lies there is not."""
    watched.tick()
    watched.tick()  # asks about the files for the first time
    watched.payer.publish("b", OTHER)

    tick = watched.tick()

    assert keys("b") == runs(tick)
    assert "content" == offer_of(tick, "b").reason


def test_content_that_was_published_before_the_first_question_is_known(watched: Watched) -> None:
    """What was read for a publication is what the first answer is held against."""
    watched.tick()
    ingest(key("b"), TaskStore.under(watched.settings.output_dir).load(key("b")), watched.settings)
    watched.payer.publish("b", OTHER)

    tick = watched.tick()

    assert keys("b") == runs(tick)


def test_content_that_is_published_as_it_is_runs_nothing(watched: Watched) -> None:
    """The first answer says what was read."""
    watched.tick()
    ingest(key("b"), TaskStore.under(watched.settings.output_dir).load(key("b")), watched.settings)

    assert [] == watched.tick().offers


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_look_that_was_ahead_silences_no_index(watched: Watched, *, is_broken: bool) -> None:
    """A clock that was wrong for one look: what it noted lies in the future, and counts as due."""
    watched.tick()
    if is_broken:
        watched.payer.server.remove(INDEX)
    watched.tick(minutes=_YEAR)
    asked = watched.payer.server.count(INDEX)
    watched.payer.publish_index("abc")

    tick = watched.tick(minutes=1 - _YEAR)

    assert watched.payer.server.count(INDEX) > asked
    assert keys("d") == [offer.network_id for offer in tick.offers if offer.is_retired]


def test_a_look_that_was_ahead_silences_no_file(watched: Watched) -> None:
    """Nor what it noted of a file."""
    watched.tick()
    watched.tick(minutes=_YEAR)
    watched.payer.publish("b", OTHER)

    assert keys("b") == runs(watched.tick(minutes=1 - _YEAR))


def test_files_are_not_asked_about_where_the_registry_says_so(watched: Watched) -> None:
    """Some servers give another ETag every time."""
    watched.register(probe_files=False)
    watched.tick()

    watched.tick()

    assert 0 == sum(watched.payer.server.counts("HEAD").values())


def test_only_so_many_files_are_asked_about_in_a_tick(watched: Watched) -> None:
    """The rest follow, those first that have waited longest."""
    watched.watching = watched.watching.changed(sensor_max_probes=3)
    watched.tick()

    watched.tick()
    first = set(watched.payer.server.counts("HEAD"))
    watched.tick(minutes=0)

    assert 3 == len(first)
    assert {watched.payer.path(letter) for letter in "abcd"} == set(watched.payer.server.counts("HEAD"))


def test_a_host_that_does_not_answer_holds_nobody_up(watched: Watched) -> None:
    """What was asked in vain waits for its next turn, and the others have theirs."""
    watched.watching = watched.watching.changed(sensor_max_probes=2, sensor_tick_seconds=1.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        dead = f"http://127.0.0.1:{silent.getsockname()[1]}"
        urls = [dead + watched.payer.path(letter) for letter in "ab"] + [watched.payer.url(letter) for letter in "cd"]
        watched.payer.server.put(INDEX, render(index([(url, plans(1)) for url in urls])))
        watched.tick()

        watched.tick()
        watched.tick(minutes=0)

    assert {watched.payer.path(letter) for letter in "cd"} == set(watched.payer.server.counts("HEAD"))


def test_an_answer_that_breaks_the_asking_holds_nobody_up(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """It counts as none, is logged without its signature, and its turn is over; what changed elsewhere runs."""

    def ask(address: Address, options: FetchOptions) -> Validators | None:
        if watched.payer.path("a") in address.real:
            raise ValueError(address.real)
        return probe(address, options)

    watched.tick()
    watched.tick()
    watched.ask = ask
    watched.payer.publish("b", OTHER)

    tick = watched.tick()

    assert keys("b") == runs(tick)
    assert f"{watched.payer.path('a')}: no answer that can be read (ValueError)" in caplog.text
    assert SECRET not in caplog.text
    assert [] == watched.store.probe_due("acme", 1.0, watched.time, 10)


def test_an_absurd_header_of_one_file_stops_no_other(watched: Watched) -> None:
    """5,000 digits were more than Python reads, in every tick anew."""
    watched.tick()
    watched.tick()
    watched.payer.server.always(watched.payer.path("a"), Answer(headers={"Content-Length": "9" * 5_000}))
    watched.payer.publish("b", OTHER)

    assert keys("b") == runs(watched.tick())


def test_a_new_period_of_a_network_runs_it(watched: Watched) -> None:
    """The key is the same, the address is not."""
    watched.tick()
    listed = [(watched.payer.url(letter), plans(2, seed=ord(letter))) for letter in "acd"]
    december = watched.payer.url("b").replace("2026-11-05", "2026-12-05")
    watched.payer.server.put(INDEX, render(index([*listed, (december, plans(2, seed=ord("b")))])))

    tick = watched.tick()

    assert [(key("b"), "files", "2026-12")] == [(it.network_id, it.reason, it.period) for it in tick.offers]


def test_other_plans_run_a_network(watched: Watched) -> None:
    """Plans are a published table: left as they were, it would be wrong."""
    watched.tick()
    listed = [(watched.payer.url(letter), plans(2, seed=ord(letter))) for letter in "abc"]
    watched.payer.server.put(INDEX, render(index([*listed, (watched.payer.url("d"), plans(3, seed=ord("d")))])))

    assert keys("d") == runs(watched.tick())


def test_new_signatures_run_nothing_and_are_taken_into_the_plan(watched: Watched) -> None:
    """Links expire: a run that comes later needs the latest ones."""
    watched.tick()
    listed = [(watched.payer.url(letter).replace(SECRET, "N3w"), plans(2, seed=ord(letter))) for letter in "abcd"]
    watched.payer.server.put(INDEX, render(index(listed)))

    tick = watched.tick()

    (task,) = TaskStore.under(watched.settings.output_dir).load(key("a"))
    assert [] == tick.offers
    assert "Signature=N3w" in task.address.real


def test_a_network_that_left_is_retired_once(watched: Watched) -> None:
    """It is told of, nothing runs, and its plan stays."""
    watched.tick()
    watched.payer.publish_index("abd")

    tick, next_tick = watched.tick(), watched.tick()

    assert (True, False) == (offer_of(tick, "c").is_retired, offer_of(tick, "c").needs_run)
    assert keys("c") == [offer.network_id for offer in tick.offers]
    assert [] == next_tick.offers
    assert keys("c") == [network_id for network_id, _ in watched.store.retired("acme")]
    assert 1 == len(TaskStore.under(watched.settings.output_dir).load(key("c")))


def test_a_network_that_returns_is_revived_without_a_run(watched: Watched) -> None:
    """Its data are those of the same version."""
    watched.tick()
    watched.payer.publish_index("abd")
    watched.tick()
    watched.payer.publish_index("abcd")

    tick = watched.tick()

    assert [("revived", False, False)] == [(it.reason, it.is_retired, it.needs_run) for it in tick.offers]
    assert [] == watched.store.retired("acme")


def test_a_network_that_returns_with_other_files_runs(watched: Watched) -> None:
    """It is what it was, with a new version."""
    watched.tick()
    watched.payer.publish_index("abd")
    watched.tick()
    listed = [(watched.payer.url(letter), plans(2, seed=ord(letter))) for letter in "abd"]
    watched.payer.server.put(INDEX, render(index([*listed, (watched.payer.url("c"), plans(5))])))

    assert keys("c") == runs(watched.tick())


def test_a_version_that_comes_back_is_run_again(watched: Watched) -> None:
    """What is published is of the version between; the run key must not be the first one's."""
    first = offer_of(watched.tick(), "d")
    listed = [(watched.payer.url(letter), plans(2, seed=ord(letter))) for letter in "abc"]
    watched.payer.server.put(INDEX, render(index([*listed, (watched.payer.url("d"), plans(3))])))
    watched.tick()
    watched.payer.publish_index("abcd")

    last = offer_of(watched.tick(), "d")

    assert first.version == last.version
    assert first.run_key != last.run_key


BROKEN = {
    "gone": Answer(status=404),
    "no JSON": Answer(body=b"<!DOCTYPE html><html>moved</html>", headers={"Content-Type": "text/html"}),
    "cut off": Answer(body=b'{"reporting_structure": [{"in_network_files": [{"location": "https://a.example/x.js'),
    "empty": Answer(body=b""),
    "without files": Answer(body=b'{"reporting_structure": []}'),
    "absurdly small": Answer(
        body=render(index([("https://a.example/2026-11-05_pl-a-hr26_in-network-rates.json", [])]))
    ),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_a_broken_index_changes_nothing_and_alerts_once(watched: Watched, answer: Answer) -> None:
    """Neither partitions nor runs nor the plan; and people hear of it one time, however often it is tried."""
    watched.tick()
    plan = [TaskStore.under(watched.settings.output_dir).load(each) for each in keys("abcd")]
    watched.payer.server.always(INDEX, answer)

    ticks = [watched.tick() for _ in range(3)]

    assert [] == [offer for tick in ticks for offer in tick.offers] + [it for tick in ticks for it in tick.partitions]
    assert plan == [TaskStore.under(watched.settings.output_dir).load(each) for each in keys("abcd")]
    assert [] == watched.store.retired("acme")
    assert ["Index acme cannot be read"] == [title for title, _ in watched.alerts]
    assert SECRET not in str(watched.alerts)


def test_indexes_that_fail_together_are_told_together(watched: Watched) -> None:
    """One alert that nobody takes costs seconds, ten of them the tick; and all that is to run is found before."""
    waiting: list[int] = []

    def alert(title: str, lines: Sequence[str]) -> bool:
        watched.alerts.append((title, list(lines)))
        waiting.append(sum(status.pending for status in watched.store.statuses()))
        return len(lines) > 10

    watched.alert = alert
    for number in range(10):
        watched.register(f"gone-{number}", f"/gone-{number}.json")

    for _ in range(10):
        watched.tick(minutes=60)

    title, lines = watched.alerts[-1]
    assert "10 indexes cannot be read" == title
    assert all(any(line.startswith(f"gone-{number}: ") for line in lines) for number in range(10))
    assert 10 > len(watched.alerts)
    assert {0} == set(waiting)


def test_an_index_that_recovers_goes_on_where_it_was(watched: Watched) -> None:
    """And breaks anew with a new alert."""
    watched.tick()
    for _ in range(2):
        watched.payer.server.script(INDEX, *[Answer(status=404)] * 2)
        watched.tick()
        watched.tick()
        watched.payer.publish_index("abcd")
        assert [] == watched.tick(minutes=60).offers

    assert 2 == len(watched.alerts)


def _moved(watched: Watched) -> None:
    watched.payer.publish_index("a", "/2026-12-05_index.json")
    watched.register(path="/2026-12-05_index.json")


def _another_whitelist(watched: Watched) -> None:
    codes = watched.root / "codes.csv"
    codes.write_text("99213\n")
    watched.payer.publish_index("a")
    watched.register(cpt_whitelist=str(codes))


def _dropped_by_another(watched: Watched) -> None:
    """The other index stops naming `d`, so that this one is read once more, whatever its server says of it."""
    watched.payer.publish_index("x", "/other.json")
    watched.payer.publish_index("a")


@pytest.mark.parametrize("change", [_moved, _another_whitelist, _dropped_by_another])
def test_an_index_that_names_absurdly_less_is_not_believed_whatever_else_changed(
    watched: Watched, change: Callable[[Watched], None]
) -> None:
    """Payers move their indexes every month: a wrong new address must not retire all networks."""
    remove_index(watched.watching.registry, "acme")
    watched.payer.publish_index("dx", "/other.json")
    watched.register("other", "/other.json")
    watched.tick()
    watched.register()
    watched.tick()

    change(watched)
    offers = watched.tick().offers + watched.tick().offers

    assert [] == [offer for offer in offers if offer.index_name == "acme"]
    assert [] == watched.store.retired("acme")
    assert ["Index acme cannot be read"] == [title for title, _ in watched.alerts]


def test_a_selection_may_name_as_little_as_it_likes(watched: Watched) -> None:
    """Who asks for one file gets one."""
    watched.tick()
    watched.register(max_files=1)

    tick = watched.tick()

    assert keys("bcd") == [offer.network_id for offer in tick.offers if offer.is_retired]
    assert [] == watched.alerts


def test_a_copy_with_other_validators_is_read_once(watched: Watched) -> None:
    """An index that is uploaded again as it was has another ETag, which is asked for from then on."""
    watched.tick()
    body = watched.payer.server.stored(INDEX)
    watched.payer.server.always(INDEX, Answer(body=body, headers={"ETag": '"again"'}))
    watched.tick()

    watched.tick()

    assert '"again"' == watched.payer.server.requests_of(INDEX)[-1].headers["if-none-match"]


def test_an_index_that_names_less_is_believed_where_the_registry_says_so(watched: Watched) -> None:
    """A payer may well split its index."""
    watched.tick()
    watched.payer.publish_index("a")
    watched.tick()
    watched.register(smallest_share=0.1)

    tick = watched.tick(minutes=60)

    assert keys("bcd") == [offer.network_id for offer in tick.offers if offer.is_retired]


def test_a_broken_index_does_not_hold_up_the_others(watched: Watched) -> None:
    """Each by itself."""
    watched.register("gone", "/gone.json")

    tick = watched.tick()

    assert keys("abcd") == runs(tick)
    assert ["Index gone cannot be read"] == [title for title, _ in watched.alerts]


def test_an_index_whose_reader_died_is_told_and_read_again(watched: Watched) -> None:
    """Nobody waits for a process that is gone."""
    watched.is_dead = True
    watched.tick()
    watched.is_dead = False

    noticed, tick = watched.tick(), watched.tick()

    assert ["Index acme cannot be read"] == [title for title, _ in watched.alerts]
    assert [[], keys("abcd")] == [runs(noticed), runs(tick)]


def test_runs_are_requested_up_to_a_number_and_the_rest_follow(watched: Watched) -> None:
    """In the index's order; nothing twice, nothing lost."""
    watched.watching = watched.watching.changed(sensor_max_runs=3)

    ticks = [runs(watched.tick(minutes=0)) for _ in range(3)]

    assert [keys("abc"), keys("d"), []] == ticks


def test_runs_that_wait_already_count(watched: Watched) -> None:
    """The queue does not grow without bound."""
    watched.watching = watched.watching.changed(sensor_max_runs=3)

    assert keys("a") == runs(watched.tick(queued_runs=2))
    assert [] == runs(watched.tick(queued_runs=100))


def test_what_dagster_did_not_take_over_is_offered_again(watched: Watched) -> None:
    """With the same run keys: those that were started are not started twice."""
    lost = watched.lost_tick()

    tick = watched.tick()

    assert lost.partitions == tick.partitions
    assert [offer.run_key for offer in lost.offers] == [offer.run_key for offer in tick.offers]
    assert [] == watched.tick().offers


def test_a_cursor_that_was_reset_asks_for_everything_anew(watched: Watched) -> None:
    """As a new DAGSTER_HOME does; in the old one the run keys are known."""
    first = watched.tick()
    watched.tick()
    watched.cursor = None

    tick = watched.tick()

    assert [offer.run_key for offer in first.offers] == [offer.run_key for offer in tick.offers]
    assert keys("abcd") == tick.partitions


@pytest.mark.parametrize("cursor", ["nonsense", "[]", "{}", '{"store": "other", "tick": 7}', '{"tick": null}'])
def test_a_cursor_that_is_none_of_ours_is_no_cursor(watched: Watched, cursor: str) -> None:
    """People can type anything into the UI."""
    watched.cursor = cursor

    assert keys("abcd") == runs(watched.tick())


def test_a_folder_that_was_emptied_is_filled_anew(watched: Watched) -> None:
    """Though Dagster knows the versions: their run keys are not those of before."""
    before = {offer.run_key for offer in watched.tick().offers}
    for path in (watched.settings.output_dir / ".mrf").glob("*.sqlite*"):
        path.unlink()

    after = {offer.run_key for offer in watched.tick().offers}

    assert 4 == len(after - before)


def test_urgent_indexes_come_first(watched: Watched) -> None:
    """Their networks run before those that were registered first."""
    watched.payer.publish("x")
    watched.payer.publish_index("x", "/urgent.json")
    watched.register("urgent", "/urgent.json", priority="URGENT")

    tick = watched.tick()

    assert keys("xabcd") == runs(tick)
    assert [20, 0, 0, 0, 0] == [offer.priority for offer in tick.offers]


def test_a_network_of_two_indexes_belongs_to_one(watched: Watched) -> None:
    """BCBSA's licensees name each other's: two owners would take turns, and run it every time."""
    watched.tick()
    watched.payer.publish_index("dx", "/other.json")
    watched.register("other", "/other.json")

    ticks = [watched.tick() for _ in range(3)]

    assert [keys("x"), [], []] == [runs(tick) for tick in ticks]


def test_a_network_that_its_index_drops_goes_to_the_other_that_names_it(watched: Watched) -> None:
    """It never left."""
    watched.payer.publish_index("dx", "/other.json")
    watched.register("other", "/other.json")
    watched.tick()
    watched.payer.publish_index("abc")

    ticks = [watched.tick(), watched.tick()]
    watched.payer.publish_index("x", "/other.json")
    last = watched.tick()

    assert [] == [offer for tick in ticks for offer in tick.offers if offer.is_retired]
    assert [(key("d"), "other")] == [(it.network_id, it.index_name) for it in last.offers if it.is_retired]


def test_an_index_that_is_no_longer_registered_leaves_its_networks_alone(watched: Watched) -> None:
    """They are watched by nobody, and not retired; registered again, nothing has to run."""
    watched.tick()
    remove_index(watched.watching.registry, "acme")
    gone = watched.tick()
    watched.register()

    back = watched.tick()

    assert ([], []) == (gone.offers, back.offers)


def test_the_index_whitelist_goes_with_the_plan(watched: Watched) -> None:
    """So that a backfill from the UI keeps to it too; another list runs everything."""
    codes = watched.root / "codes.csv"
    codes.write_text("99213\n")
    watched.register(cpt_whitelist=str(codes))
    watched.tick()
    (task,) = TaskStore.under(watched.settings.output_dir).load(key("a"))
    codes.write_text("99214\n")

    tick = watched.tick()

    assert (str(codes), {"cpt_whitelist": str(codes)}) == (task.index_whitelist, task.arguments)
    assert keys("abcd") == runs(tick)


def test_max_files_keeps_an_index_small(watched: Watched) -> None:
    """As the command line's flag does; taken away again, the rest come."""
    watched.register(max_files=2)
    first = watched.tick()
    watched.register(max_files=None)

    assert [keys("ab"), keys("cd")] == [runs(first), runs(watched.tick())]


def test_a_registry_with_problems_stops_the_tick(watched: Watched) -> None:
    """The tick is shown as failed, with the lines."""
    watched.tick()
    watched.watching.registry.write_text('[indexes.acme]\nurl = "x.json"\n')

    with pytest.raises(SourceProblems, match=r"line 1, indexes\.acme: has no payer"):
        watched.tick()


def test_the_cursor_is_small_and_the_memory_is_private(watched: Watched) -> None:
    """What grows with an index stands beside the plan; neither holds a signature."""
    tick = watched.tick()

    memory = watched.settings.output_dir / ".mrf" / "indexes.sqlite"
    assert {"store", "tick"} == json.loads(tick.cursor).keys()
    assert 60 > len(tick.cursor)
    assert 0o600 == stat.S_IMODE(memory.stat().st_mode)
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in memory.parent.glob("indexes.sqlite*"))
