"""A batch over its ledger and its output: killed anywhere, gone on with, every row there once."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given, settings, strategies as st

from mrf_assets.errors import DiskFull, StoreError
from mrf_assets.providers.lookup import (
    Answer,
    Fresh,
    Item,
    Ledger,
    LookUp,
    LookUpBudget,
    LookUpFailure,
    LookUpOptions,
    LookUpReport,
    LookUpRun,
    Outcome,
    Output,
    Pool,
    Stop,
    adopt,
    drop_replaced,
    held,
    output_at,
    recover,
    renew,
    start_over,
)
from mrf_assets.providers.lookup.waiting_rows import Part
from mrf_assets.settings import Prices
from mrf_assets_tests import killed_batch
from mrf_assets_tests.killed_batch import Around
from mrf_assets_tests.providers.lookup.test_pool import Scripted, fast, items, lasting, passing, refusal

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("text", pa.string()),
        ("texts", pa.list_(pa.string())),
        ("number", pa.int64()),
        ("share", pa.float64()),
        ("flag", pa.bool_()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
STRICT = pa.schema([SCHEMA.field(0).with_nullable(False), *list(SCHEMA)[1:]])
_NOW = dt.datetime(2026, 11, 22, 8, 30, 1, 5, tzinfo=dt.UTC)


class Crash(BaseException):
    """Stands for a kill: nothing may catch it."""


class WatchedOutput(Around):
    """Tells when something was written."""

    def __init__(self, inner: Output) -> None:
        super().__init__(inner)
        self.wrote = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:
        """Write, and tell."""
        part = super().append(pieces, last)
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.wrote.set)
        else:
            self.wrote.set()
        return part


class CrashingOutput(Around):
    """An output that a crash hits before or after one of its writes."""

    def __init__(self, inner: Output, where: str, number: int) -> None:
        super().__init__(inner)
        self._where, self._number, self._appends = where, number, 0

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:
        """Write, unless it is time to crash."""
        is_time, self._appends = self._appends == self._number, self._appends + 1
        if is_time and self._where == "before":
            raise Crash
        part = super().append(pieces, last)
        if is_time:
            raise Crash
        return part


class Counting:
    """A look-up that counts, and gives a whole row."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def __call__(self, item: Item) -> Answer:
        """One request."""
        self.calls[item.key] += 1
        await asyncio.sleep(0)
        return Answer(row=row_of(item.key), size_bytes=100)


def row_of(key: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - values of the columns
    """A row with something in each column."""
    row = {
        "key": key,
        "text": "=1+1",
        "texts": ["a", "b,c"],
        "number": 7,
        "share": 0.5,
        "flag": True,
        "day": dt.date(2026, 1, 2),
        "at": _NOW,
    }
    return row | changes


def go(
    ledger: Ledger,
    output: Output,
    look_up: LookUp,
    *,
    schema: pa.Schema = SCHEMA,
    stop: Stop | None = None,
    budget: LookUpBudget | None = None,
    on_outcome: Any = lambda _outcome: None,  # noqa: ANN401 - a callable
    **changes: Any,  # noqa: ANN401 - fields of LookUpOptions
) -> LookUpReport:
    """One run, recovered first."""
    recover(ledger, output, schema)

    async def run() -> LookUpReport:
        options = fast(**{"give_up_after": 10**6} | changes)
        pool = Pool(look_up, options, budget=budget, stop=stop or Stop(), uniform=lambda low, _high: low)
        return await LookUpRun(ledger, output, schema, pool, on_outcome=on_outcome).run()

    return asyncio.run(run())


def keys_in(output: Output) -> list[str]:
    """The keys of the rows, as often as they are there."""
    return [row["key"] for rows in output.read() for row in rows.to_pylist()]


@pytest.fixture(params=["parts", "rows.csv"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Output:
    """A folder of parts, or a CSV."""
    return output_at(tmp_path / request.param, SCHEMA)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with thirty items."""
    with Ledger(tmp_path / "progress.sqlite") as ledger:
        ledger.add(items(30))
        yield ledger


def test_every_item_is_in_the_output_once(ledger: Ledger, output: Output) -> None:
    """Thirty items, thirty rows, and the values are those of the look-up."""
    report = go(ledger, output, Counting())

    assert sorted(item.key for item in items(30)) == sorted(keys_in(output))
    assert 30 == report.written_rows
    assert {"done": 30} == dict(ledger.counts())
    (first, *_) = [row for rows in output.read() for row in rows.to_pylist()]
    assert row_of(first["key"]) == first


def test_a_second_run_asks_for_nothing(ledger: Ledger, output: Output) -> None:
    """What is done stays done."""
    go(ledger, output, Counting())
    again = Counting()

    go(ledger, output, again)

    assert 0 == again.calls.total()
    assert 30 == len(keys_in(output))


def test_failures_are_in_the_ledger_with_their_reason(ledger: Ledger, output: Output) -> None:
    """Not in the output, and not lost."""
    go(ledger, output, Scripted({"4": [lasting()], "7": [passing()] * 4}))

    assert [("4", "http_404", 404, 1), ("7", "http_500", 500, 4)] == [
        (failed.key, failed.reason, failed.http_status, failed.attempts) for failed in ledger.failed()
    ]
    assert 28 == len(keys_in(output))


def test_failures_can_be_tried_again_into_another_output(ledger: Ledger, output: Output, tmp_path: Path) -> None:
    """S4.28: data_enriched_retry.csv holds what came the second time, alone."""
    go(ledger, output, Scripted({"4": [lasting()], "7": [lasting()]}))
    other = output_at(tmp_path / "retry.csv", SCHEMA)

    assert 2 == ledger.retry_failed()
    go(ledger, other, Counting())

    assert ["4", "7"] == sorted(keys_in(other))
    assert 28 == len(keys_in(output))


def test_a_hopeless_failure_is_not_tried_again(ledger: Ledger) -> None:
    """What is wrong with the input is not cured by the service."""
    ledger.add([LookUpFailure(item=Item(key="x"), reason="bad", detail="d", http_status=None, requests=0, seconds=0)])

    assert 0 == ledger.retry_failed("bad")


def test_the_important_come_first(tmp_path: Path, output: Output) -> None:
    """By priority, then in the order given."""
    with Ledger(tmp_path / "progress.sqlite") as ledger:
        ledger.add([Item(key="a", priority=1), Item(key="b", priority=3), Item(key="c"), Item(key="d", priority=3)])
        go(ledger, output, Counting(), max_workers=1)

    assert ["b", "d", "a", "c"] == keys_in(output)


def test_the_unimportant_can_wait(tmp_path: Path, output: Output) -> None:
    """S4.60: those of less priority stay pending."""
    with Ledger(tmp_path / "progress.sqlite") as ledger:
        ledger.add([Item(key="a", priority=1), Item(key="b", priority=3)])
        go(ledger, output, Counting(), least_priority=2)

        assert ["b"] == keys_in(output)
        assert {"done": 1, "pending": 1} == dict(ledger.counts())


def test_a_limit_ends_the_run_and_the_next_goes_on(ledger: Ledger, output: Output) -> None:
    """`--limit 12`, then another 12."""
    go(ledger, output, Counting(), limit=12)
    assert 12 == len(keys_in(output))

    go(ledger, output, Counting(), limit=12)

    assert 24 == len(set(keys_in(output))) == len(keys_in(output))


def test_fifty_items_are_taken_out_of_the_ledger_at_a_time(tmp_path: Path, output: Output) -> None:
    """S3.39: of a million, the rest stays there."""
    running: set[int] = set()
    with Ledger(tmp_path / "progress.sqlite") as ledger:
        ledger.add(items(120))

        async def look_up(item: Item) -> Answer:
            running.add(ledger.counts()["running"])
            return Answer(row=row_of(item.key))

        go(ledger, output, look_up, max_workers=1, checkpoint_interval=1)

    assert 50 == max(running)


def test_rows_are_visible_while_the_run_goes_on(ledger: Ledger, output: Output) -> None:
    """The eleventh look-up is held until the first part is written: ten rows are there by then."""
    watched = WatchedOutput(output)
    seen: list[int] = []

    async def look_up(item: Item) -> Answer:
        if item.key == "10":
            watched.loop = asyncio.get_running_loop()
            await watched.wrote.wait()
            seen.append(len(keys_in(output)))
        return Answer(row=row_of(item.key))

    go(ledger, watched, look_up, max_workers=1)

    assert [10] == seen


def test_parts_grow_with_the_output(tmp_path: Path) -> None:
    """Two thousand rows, ten at a time, are not two hundred files."""
    output = output_at(tmp_path / "parts", SCHEMA)
    with Ledger(tmp_path / "progress.sqlite") as ledger:
        ledger.add(items(2_000))
        go(ledger, output, Counting(), max_workers=20)
        assert 2 < len(ledger.parts(ledger.name_of(output.path))) < 100
    assert 2_000 == len(set(keys_in(output)))


@pytest.mark.parametrize("max_workers", [1, 7, 20])
def test_a_budget_stops_the_run_resumably(
    ledger: Ledger, output: Output, caplog: pytest.LogCaptureFixture, max_workers: int
) -> None:
    """A warning at 80 %, the end at 100 %, which is looked at before each request: not one is made beyond it."""
    stop, prices = Stop(), Prices(price_per_1000_requests=1.0)

    report = go(ledger, output, Counting(), budget=LookUpBudget(0.02, prices), stop=stop, max_workers=max_workers)

    assert "the budget of $0.02 is spent" == report.stop_reason
    assert "80 % of the budget is spent: $0.016 of $0.02" in caplog.text
    assert 20 == len(keys_in(output))
    go(ledger, output, Counting())
    assert 30 == len(set(keys_in(output))) == len(keys_in(output))


def test_a_retry_costs_as_much_as_a_first_try(ledger: Ledger, output: Output) -> None:
    """Ten requests are paid for, and the first item takes four of them."""
    budget, look_up = LookUpBudget(0.01, Prices(price_per_1000_requests=1.0)), Scripted({"0": [passing()] * 3})

    go(ledger, output, look_up, budget=budget, max_workers=1)

    assert 10 == look_up.calls.total()
    assert 7 == len(keys_in(output))


def test_what_was_corrected_in_the_input_is_not_failed_any_more(ledger: Ledger) -> None:
    """Entries that come again stay as they are, with what is wrong with them now."""

    def bad(key: str, detail: str = "letters") -> LookUpFailure:
        return LookUpFailure(item=Item(key=key), reason="bad", detail=detail, http_status=None, requests=0, seconds=0)

    ledger.add([bad("line 3"), bad("line 4")])
    ledger.add([*items(30), bad("line 4", "digits"), bad("line 5")], replaced_reason="bad")

    assert [("line 4", "digits", 0), ("line 5", "letters", 0)] == [
        (failed.key, failed.error, failed.attempts) for failed in ledger.failed()
    ]
    assert 32 == ledger.counts().total()


def test_two_processes_cannot_work_on_one_batch(ledger: Ledger) -> None:
    """The second is told so."""
    with pytest.raises(StoreError, match="another process"), Ledger(ledger.path):
        pass


def test_two_processes_cannot_write_to_one_output(output: Output) -> None:
    """With a ledger each, they would write parts of the same names. The lock leaves no file."""
    with held(output), pytest.raises(StoreError, match="another process writes to it"), held(output):
        pass
    with held(output):
        pass

    assert [] == list(output.path.parent.iterdir())


@pytest.mark.parametrize("what", ["before", "after"])
def test_a_crash_at_a_write_loses_and_doubles_nothing(ledger: Ledger, output: Output, what: str) -> None:
    """Before the write the rows wait in the ledger; after it, what stands there without being named is removed."""
    first, again = Counting(), Counting()
    with pytest.raises(Crash):
        go(ledger, CrashingOutput(output, what, 1), first)

    go(ledger, output, again)

    assert sorted(item.key for item in items(30)) == sorted(keys_in(output))
    assert (first.calls + again.calls).total() <= 30 + 10 + 10


def test_rows_that_wait_for_another_output_are_written_there(ledger: Ledger, output: Output, tmp_path: Path) -> None:
    """A crash, then a run with another --output."""
    with pytest.raises(Crash):
        go(ledger, CrashingOutput(output, "before", 0), Counting(), limit=10)
    other = output_at(tmp_path / "other", SCHEMA)

    go(ledger, other, Counting())

    assert sorted(item.key for item in items(30)) == sorted(keys_in(output) + keys_in(other))
    assert 10 == len(keys_in(output))


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["ok", "ok", "passing", "refusal", "lasting"]), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(1, 15),
    st.lists(st.tuples(st.sampled_from(["outcome", "before", "after"]), st.integers(0, 8)), max_size=5),
    st.booleans(),
)
def test_nothing_is_lost_or_doubled_whatever_fails_and_crashes(
    kinds: list[str], workers: int, interval: int, crashes: list[tuple[str, int]], as_csv: bool
) -> None:
    """Any failures, any crashes; after each crash the batch is gone on with, and at the end all is there once."""
    faults = {"passing": passing, "refusal": refusal, "lasting": lasting}
    expected = {str(number) for number, kind in enumerate(kinds) if kind != "lasting"}
    calls: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        output = output_at(Path(folder) / ("rows.csv" if as_csv else "parts"), SCHEMA)
        for crash in [*crashes, None]:
            # A lasting fault stays in each run; what passes comes again in each.
            look_up = Scripted({str(n): [faults[kind]()] for n, kind in enumerate(kinds) if kind != "ok"})
            broken, on_outcome = _crashing(output, crash)
            with Ledger(Path(folder) / "progress.sqlite") as ledger:
                ledger.add(items(len(kinds)))
                try:
                    go(
                        ledger,
                        broken,
                        look_up,
                        on_outcome=on_outcome,
                        max_workers=workers,
                        checkpoint_interval=interval,
                    )
                except Crash:
                    assert crash is not None
            calls += look_up.calls
        with Ledger(Path(folder) / "progress.sqlite") as ledger:
            states = ledger.counts()
        assert sorted(expected) == sorted(keys_in(output))
    assert (len(expected), len(kinds) - len(expected)) == (states["done"], states["failed"])
    needed = sum({"ok": 1, "lasting": 1}.get(kind, 2) for kind in kinds)
    assert calls.total() <= needed + 2 * len(crashes) * (interval + workers)


def _crashing(output: Output, crash: tuple[str, int] | None) -> tuple[Output, Any]:
    if crash is None:
        return output, lambda _outcome: None
    where, number = crash
    if where != "outcome":
        return CrashingOutput(output, where, number), lambda _outcome: None
    seen: list[Outcome] = []

    def on_outcome(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) > number:
            raise Crash

    return output, on_outcome


def test_a_new_start_keeps_the_old_rows_until_there_are_new_ones(ledger: Ledger, output: Output) -> None:
    """All items are asked for again; what is read meanwhile, or after a failure, is what was there."""
    go(ledger, output, Counting())
    again = Scripted({"4": [lasting()]})

    assert 0 == start_over(ledger, output, SCHEMA, items(5))
    assert 30 == len(keys_in(output))
    go(ledger, output, again)
    assert 29 == drop_replaced(ledger, output, "key")

    assert 5 == again.calls.total()
    rows = [row for piece in output.read() for row in piece.to_pylist()]
    assert ["0", "1", "2", "3", "4"] == sorted(row["key"] for row in rows)
    assert {"4": "=1+1"} == {row["key"]: row["text"] for row in rows if row["text"] is not None}

    ledger.retry_failed()
    go(ledger, output, again)
    assert 1 == drop_replaced(ledger, output, "key")
    assert {None} == {row["text"] for piece in output.read() for row in piece.to_pylist()}


def test_a_new_start_that_is_stopped_costs_no_row(ledger: Ledger, output: Output) -> None:
    """Of items that are not wanted any more, too: they go when all others are there."""
    go(ledger, output, Counting())

    start_over(ledger, output, SCHEMA, items(20))
    go(ledger, output, Counting(), limit=10)
    assert 10 == drop_replaced(ledger, output, "key")
    assert sorted(item.key for item in items(30)) == sorted(keys_in(output))

    go(ledger, output, Counting())
    assert 20 == drop_replaced(ledger, output, "key")
    assert sorted(item.key for item in items(20)) == sorted(keys_in(output))


def test_a_new_start_may_keep_what_is_fresh(ledger: Ledger, output: Output) -> None:
    """Items with a row that is young enough are not asked for."""
    old = Counting()

    async def look_up(item: Item) -> Answer:
        await old(item)
        return Answer(row=row_of(item.key, at=_NOW - dt.timedelta(days=int(item.key))))

    go(ledger, output, look_up)
    again = Counting()

    kept = start_over(ledger, output, SCHEMA, items(20), Fresh(key="key", at="at", since=_NOW - dt.timedelta(days=9)))
    go(ledger, output, again)
    drop_replaced(ledger, output, "key")

    assert 10 == kept == again.calls.total()
    assert sorted(item.key for item in items(20)) == sorted(keys_in(output))


def test_a_new_start_keeps_nothing_of_the_future(ledger: Ledger, output: Output) -> None:
    """The clock was wrong when it was looked up."""
    now = dt.datetime.now(tz=dt.UTC)

    async def look_up(item: Item) -> Answer:
        return Answer(row=row_of(item.key, at=now + dt.timedelta(days=int(item.key) - 10)))

    go(ledger, output, look_up)

    assert 11 == start_over(
        ledger, output, SCHEMA, items(20), Fresh.younger_than(dt.timedelta(days=99), key="key", at="at")
    )


def test_a_new_start_goes_on_without_parts_that_are_gone(ledger: Ledger, output: Output) -> None:
    """That is what people are told to do then."""
    go(ledger, output, Counting())
    if output.path.is_dir():
        next(output.path.glob("part-*")).unlink()
    else:
        output.path.unlink()

    start_over(ledger, output, SCHEMA, items(30))
    go(ledger, output, Counting())
    drop_replaced(ledger, output, "key")

    assert sorted(item.key for item in items(30)) == sorted(keys_in(output))


def test_after_a_renewal_the_next_part_is_the_newest(ledger: Ledger, tmp_path: Path) -> None:
    """Of an item with two rows the later part counts, by its name."""
    output = output_at(tmp_path / "parts", SCHEMA)
    go(ledger, output, Counting())
    renew(ledger, output, ["0", "1"])
    go(ledger, output, Counting())
    before = max(path.name for path in output.path.iterdir())

    drop_replaced(ledger, output, "key")
    (rewritten,) = [path.name for path in output.path.iterdir()]
    renew(ledger, output, ["2"])
    go(ledger, output, Counting())

    assert before < rewritten < max(path.name for path in output.path.iterdir())
    assert 31 == len(keys_in(output))


@pytest.mark.parametrize("name", ["parts", "rows.csv"])
@pytest.mark.parametrize(
    ("number", "step"), [(number, step) for number, steps in killed_batch.STEPS.items() for step in steps]
)
def test_a_kill_at_any_step_loses_and_doubles_nothing(name: str, number: int, step: str, tmp_path: Path) -> None:
    """Of a first round, and of one that replaces all rows: after the kill all old rows are there to read."""
    killed = subprocess.run(
        [sys.executable, "-m", "mrf_assets_tests.killed_batch", str(tmp_path), name, str(number), step], check=False
    )
    assert -signal.SIGKILL == killed.returncode
    output = output_at(tmp_path / name, killed_batch.SCHEMA)
    if number == killed_batch.SECOND and name == "parts":  # a CSV may end in half a line
        assert set(keys_in(output)) >= {item.key for item in list(killed_batch.items())[:-5]}
    calls: list[str] = []
    with Ledger(tmp_path / "progress.sqlite") as ledger:
        recover(ledger, output, killed_batch.SCHEMA)
        done = ledger.counts()["done"]
        if number == killed_batch.FIRST:
            assert done == len(keys_in(output)) == len(set(keys_in(output)))
        killed_batch.go(ledger, output, number, calls)

    rows = [row for piece in output.read() for row in piece.to_pylist()]
    wanted = killed_batch.ITEMS - (0 if number == killed_batch.FIRST else 5)
    assert sorted(map(str, range(wanted))) == sorted(row["key"] for row in rows)
    assert {number} == {row["round"] for row in rows}
    assert wanted - done == len(calls)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".new", ".next"))]


class Unplugged(Ledger):
    """A ledger of which only that is left after a power cut that was brought to the disk."""

    def __init__(self, path: Path, saved: Path) -> None:
        super().__init__(path)
        self.saved, self.turn = saved, threading.Lock()

    def sync(self) -> None:
        """What is there now, and no more, is on the disk then."""
        with self.turn, TemporaryDirectory() as now:
            for suffix in ("", "-wal"):
                shutil.copy(f"{self.path}{suffix}", now)
            super().sync()
            shutil.copytree(now, self.saved, dirs_exist_ok=True)


class Photographed(Around):
    """After each write a power cut leaves the rows, and the ledger as it was brought to the disk last."""

    def __init__(self, inner: Output, ledger: Unplugged, folder: Path) -> None:
        super().__init__(inner)
        self.cuts: list[Path] = []
        self._ledger, self._folder = ledger, folder

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:
        """Write, and keep what would be left."""
        part = super().append(pieces, last)
        self.cuts.append(self._folder / f"cut-{len(self.cuts)}")
        with self._ledger.turn:
            shutil.copytree(self._ledger.saved, self.cuts[-1])
        (shutil.copytree if self.path.is_dir() else shutil.copy)(self.path, self.cuts[-1] / self.path.name)
        return part


@pytest.mark.parametrize("name", ["parts", "rows.csv"])
@pytest.mark.parametrize("is_carried", [False, True])
def test_a_power_cut_leaves_ledger_and_output_in_agreement(name: str, is_carried: bool, tmp_path: Path) -> None:
    """At the worst moments, with rows that were looked up and with those of the bulk files."""
    (tmp_path / "now").mkdir()
    output = output_at(tmp_path / "now" / name, SCHEMA)
    with Unplugged(tmp_path / "now" / "progress.sqlite", tmp_path / "saved") as ledger:
        ledger.add(items(95))
        photographed = Photographed(output, ledger, tmp_path)
        if is_carried:
            keys = [item.key for item in items(30)]
            ledger.carry(keys, [row_of(key) for key in keys], ledger.name_of(output.path))
        go(ledger, photographed, Counting(), max_workers=4)

    assert photographed.cuts
    for cut in photographed.cuts:
        again = Counting()
        with Ledger(cut / "progress.sqlite") as left:
            go(left, output_at(cut / name, SCHEMA), again)
        assert sorted(item.key for item in items(95)) == sorted(keys_in(output_at(cut / name, SCHEMA)))


@pytest.mark.parametrize("name", ["parts", "rows.csv"])
@pytest.mark.parametrize("how", ["moved", "linked"])
def test_a_batch_goes_on_in_another_place(tmp_path: Path, name: str, how: str) -> None:
    """Its folder is moved, or reached by another path; rows that wait are written where the output is now."""
    here, there = tmp_path / "here", tmp_path / "far" / "there"
    with Ledger(here / "state" / "progress.sqlite") as ledger:
        ledger.add(items(30))
        output = output_at(here / "data" / name, SCHEMA)
        with pytest.raises(Crash):
            go(ledger, CrashingOutput(output, "before", 1), Counting(), limit=20, max_workers=1)
        other = output_at(here / "data" / f"retry-{name}", SCHEMA)
        ledger.carry(["28", "29"], [row_of("28"), row_of("29")], ledger.name_of(other.path))
    there.parent.mkdir()
    if how == "moved":
        here.rename(there)
    else:
        there.symlink_to(here)

    with Ledger(there / "state" / "progress.sqlite") as ledger:
        output = output_at(there / "data" / name, SCHEMA)
        go(ledger, output, Counting())

    assert sorted(map(str, range(28))) == sorted(keys_in(output))
    assert ["28", "29"] == keys_in(output_at(there / "data" / f"retry-{name}", SCHEMA))
    assert (how == "linked") == here.exists()


def test_a_ledger_that_was_moved_alone_can_be_removed(output: Output, tmp_path: Path) -> None:
    """It does not find its rows, and says so; without it, they are taken over."""
    moved = tmp_path / "a" / "b" / "moved.sqlite"
    with Ledger(tmp_path / "first.sqlite") as ledger:
        ledger.add(items(30))
        go(ledger, output, Counting())
    moved.parent.mkdir(parents=True)
    ledger.path.rename(moved)

    with Ledger(moved) as wrong, pytest.raises(StoreError, match=rf"or remove {moved}: a new one is made"):
        recover(wrong, output, SCHEMA)
    moved.unlink()
    with Ledger(moved) as new:
        assert 30 == adopt(new, output, items(30), "key")
        recover(new, output, SCHEMA)


def _duckdb_copy(output: Output, columns: str) -> None:
    for path in output.path.glob("part-*.parquet"):
        copy = path.with_name("copy")
        with duckdb.connect() as connection:
            connection.execute(f"COPY (SELECT {columns} FROM '{path}') TO '{copy}' (FORMAT parquet)")
        copy.replace(path)


@pytest.mark.parametrize("columns", ["*", '* REPLACE (number::VARCHAR AS number, "at" AT TIME ZONE \'UTC\' AS "at")'])
def test_parts_that_another_program_wrote_are_taken_over_in_our_types(
    ledger: Ledger, tmp_path: Path, columns: str
) -> None:
    """DuckDB keeps neither what may be null nor the names within lists."""
    output = output_at(tmp_path / "parts", STRICT)
    go(ledger, output, Counting(), schema=STRICT)
    before = [row for piece in output.read() for row in piece.to_pylist()]
    _duckdb_copy(output, columns)

    assert before == [row for piece in output.read() for row in piece.to_pylist()]
    start_over(ledger, output, STRICT, items(30))
    go(ledger, output, Counting(), limit=10, schema=STRICT)
    assert 10 == drop_replaced(ledger, output, "key")
    assert sorted(item.key for item in items(30)) == sorted(keys_in(output))


def test_parts_of_other_types_are_refused_before_the_ledger_is_replaced(ledger: Ledger, tmp_path: Path) -> None:
    """The names are ours, and what is in them never was."""
    output = output_at(tmp_path / "parts", SCHEMA)
    go(ledger, output, Counting())
    _duckdb_copy(output, "* REPLACE ([number] AS number)")

    with pytest.raises(StoreError, match=r"part-000001.parquet: cannot be read .* move it away"):
        start_over(ledger, output, SCHEMA, items(5))
    assert {"done": 30} == dict(ledger.counts())


@pytest.mark.parametrize(
    "columns", ["* REPLACE ('x' || number AS number)", "* REPLACE (NULL::VARCHAR AS key)", "* REPLACE ('x' AS day)"]
)
def test_a_value_of_another_type_is_told_and_leaves_nothing_half_written(
    ledger: Ledger, tmp_path: Path, columns: str
) -> None:
    """In a part; the rows stay as they are."""
    output = output_at(tmp_path / "parts", STRICT)
    go(ledger, output, Counting(), limit=10, schema=STRICT)
    _duckdb_copy(output, columns)

    start_over(ledger, output, STRICT, items(30))
    go(ledger, output, Counting(), schema=STRICT)
    with pytest.raises(StoreError, match=r"cannot be read .* move it away"):
        drop_replaced(ledger, output, "key")
    assert {".parquet"} == {path.suffix for path in output.path.iterdir()}


@pytest.mark.parametrize(("ours", "odd"), [(",7,", ",seven,"), (",2026-01-02,", ",yesterday,"), (",true,", ",yes,")])
def test_a_cell_of_another_type_is_told_and_leaves_nothing_half_written(
    ledger: Ledger, tmp_path: Path, ours: str, odd: str
) -> None:
    """In a CSV that a person has changed."""
    output = output_at(tmp_path / "rows.csv", SCHEMA)
    go(ledger, output, Counting(), limit=10)
    output.path.write_text(output.path.read_text().replace(ours, odd, 1))

    start_over(ledger, output, SCHEMA, items(30))
    go(ledger, output, Counting())
    with pytest.raises(StoreError, match=r"rows.csv: cannot be read .* move it away"):
        drop_replaced(ledger, output, "key")
    assert not list(tmp_path.glob(".rows*"))


def test_what_is_not_utf_8_is_told(ledger: Ledger, tmp_path: Path) -> None:
    """Else a rewrite would put another sign in its place."""
    output = output_at(tmp_path / "rows.csv", SCHEMA)
    go(ledger, output, Counting(), limit=1)
    output.path.write_bytes(output.path.read_bytes().replace(b"1+1", b"1\xff1"))

    with pytest.raises(StoreError, match="cannot be read"):
        keys_in(output)


def test_a_lost_ledger_is_made_anew_out_of_the_rows(ledger: Ledger, output: Output, tmp_path: Path) -> None:
    """What has a row is done; the rest is asked for; no row is touched."""
    go(ledger, output, Counting(), limit=12)
    before, again = keys_in(output), Counting()

    with Ledger(tmp_path / "new.sqlite") as new:
        assert 12 == adopt(new, output, items(30), "key")
        assert 0 == adopt(new, output, items(30), "key")
        go(new, output, again)

    assert before == keys_in(output)[:12]
    assert sorted(item.key for item in items(30)) == sorted(keys_in(output))
    assert 18 == again.calls.total()


def test_a_torn_line_of_a_csv_is_not_taken_for_a_row(ledger: Ledger, tmp_path: Path) -> None:
    """Its ledger is lost, and the last write was cut off: in a cell, in quotes, or before the line's end."""
    output = output_at(tmp_path / "rows.csv", SCHEMA)
    go(ledger, output, Counting())
    whole = output.path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1

    for cut in range(last, len(whole)):
        output.path.write_bytes(whole[:cut])
        assert [(29, last)] == [(part.rows, part.size_bytes) for part in output.found()]


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("cell", ["torn", '"torn \n in quotes', "torn,'-1,[],7"])
def test_a_new_start_cuts_off_a_torn_line(ledger: Ledger, tmp_path: Path, cell: str, is_lost: bool) -> None:
    """As a kill in a write leaves it, whether the ledger is there or not."""
    output = output_at(tmp_path / "rows.csv", SCHEMA)
    go(ledger, output, Counting(), limit=10)
    whole = output.path.read_bytes()
    output.path.write_bytes(whole + cell.encode())

    with Ledger(tmp_path / "new.sqlite") as new:
        begun = new if is_lost else ledger
        start_over(begun, output, SCHEMA, items(5))
        recover(begun, output, SCHEMA)

    assert whole == output.path.read_bytes()


def test_a_header_that_is_torn_is_no_file_of_others(ledger: Ledger, tmp_path: Path) -> None:
    """The disk was full at the first write."""
    output = output_at(tmp_path / "rows.csv", SCHEMA)
    output.path.write_text("key,te")

    start_over(ledger, output, SCHEMA, items(5))
    go(ledger, output, Counting())

    assert 5 == len(keys_in(output))


def test_a_line_that_is_broken_in_the_middle_is_told_before_the_ledger_is_replaced(
    ledger: Ledger, tmp_path: Path
) -> None:
    """Cutting it off would cost the rows behind it."""
    output = output_at(tmp_path / "rows.csv", SCHEMA)
    go(ledger, output, Counting())
    first, second, *others = output.path.read_text().splitlines(keepends=True)
    output.path.write_text("".join([first, second, "\n", *others]))

    with pytest.raises(StoreError, match="a line has not 8 cells; mend it"):
        start_over(ledger, output, SCHEMA, items(5))
    assert {"done": 30} == dict(ledger.counts())
    with pytest.raises(StoreError, match="a line has not 8 cells"):
        keys_in(output)


def test_a_new_start_writes_what_waits(ledger: Ledger, output: Output, tmp_path: Path) -> None:
    """Rows that a killed run committed and did not write: into this output, and into another."""
    with pytest.raises(Crash):
        go(ledger, CrashingOutput(output, "before", 0), Counting(), limit=10)
    other = output_at(tmp_path / f"retry-{output.path.name}", SCHEMA)
    ledger.carry(["20", "21"], [row_of("20"), row_of("21")], ledger.name_of(other.path))

    start_over(ledger, output, SCHEMA, items(30))

    assert sorted(map(str, range(10))) == sorted(keys_in(output))
    assert ["20", "21"] == keys_in(other)


def test_a_new_start_tells_the_rows_that_it_cannot_write(
    ledger: Ledger, output: Output, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written before them is gone: this ledger is of no use any more."""
    other = output_at(tmp_path / "retry.csv", SCHEMA)
    go(ledger, other, Counting(), limit=10)
    other.path.unlink()
    ledger.carry(["20", "21"], [row_of("20"), row_of("21")], ledger.name_of(other.path))

    start_over(ledger, output, SCHEMA, items(30))

    assert {"pending": 30} == dict(ledger.counts())
    assert "retry.csv: is shorter" in caplog.text
    assert "2 rows that waited for it are given up" in caplog.text


def test_a_new_start_on_a_full_disk_leaves_the_old_batch(ledger: Ledger, output: Output) -> None:
    """Its rows wait until there is room."""
    with pytest.raises(Crash):
        go(ledger, CrashingOutput(output, "before", 0), Counting(), limit=10)

    with pytest.raises(DiskFull):
        start_over(ledger, FullDisk(output), SCHEMA, items(30))
    assert 10 == ledger.counts()["done"]
    recover(ledger, output, SCHEMA)
    assert 10 == len(keys_in(output))


def test_a_part_that_cannot_be_read_is_told(ledger: Ledger, tmp_path: Path) -> None:
    """By its name, and what to do; not a traceback."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-000001.parquet").write_bytes(b"PAR1 no, it is not")

    with pytest.raises(StoreError, match=r"part-000001.parquet: cannot be read .* move it away"):
        start_over(ledger, output_at(tmp_path / "parts", SCHEMA), SCHEMA, items(1))


def test_a_new_start_that_fails_leaves_the_old_batch(ledger: Ledger, output: Output) -> None:
    """An input that breaks in the middle: ledger and output are as they were."""
    go(ledger, output, Counting())

    def broken() -> Iterator[Item]:
        yield Item(key="new")
        raise Crash

    with pytest.raises(Crash):
        start_over(ledger, output, SCHEMA, broken())

    assert {"done": 30} == dict(ledger.counts())
    recover(ledger, output, SCHEMA)
    assert 30 == len(keys_in(output))


@pytest.mark.parametrize("is_reading", [False, True])
def test_a_new_start_does_not_replace_a_ledger_that_is_open_elsewhere(
    ledger: Ledger, output: Output, is_reading: bool
) -> None:
    """A person looks into it with sqlite3: the log of the old ledger would be taken for the new one's."""
    go(ledger, output, Counting())
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as shell:
        shell.execute("BEGIN" if is_reading else "SELECT 1")
        shell.execute("SELECT count(*) FROM items").fetchone()
        ledger.note("a", "b")

        with pytest.raises(StoreError, match="is open in another program"):
            start_over(ledger, output, SCHEMA, items(5))
        assert {"done": 30} == dict(ledger.counts())

    start_over(ledger, output, SCHEMA, items(5))
    assert {"pending": 5} == dict(ledger.counts())


def test_rows_that_were_written_and_are_gone_are_told(ledger: Ledger, output: Output) -> None:
    """Going on would leave a hole that nobody sees."""
    go(ledger, output, Counting())
    if output.path.is_dir():
        next(output.path.glob("part-*")).unlink()
    else:
        output.path.unlink()

    with pytest.raises(StoreError, match="put it back or start over"):
        recover(ledger, output, SCHEMA)


def test_a_file_of_others_is_not_touched(ledger: Ledger, tmp_path: Path) -> None:
    """Neither a CSV nor a parquet file that no batch wrote."""
    stranger = tmp_path / "stranger.csv"
    stranger.write_text("a,b\n1,2\n")
    with pytest.raises(StoreError, match="not of this command"):
        recover(ledger, output_at(stranger, SCHEMA), SCHEMA)
    assert "a,b\n1,2\n" == stranger.read_text()

    other = output_at(tmp_path / "parts", pa.schema([("a", pa.int64())]))
    other.restore([], 0)
    other.append([pa.table({"a": [1]})], None)
    with pytest.raises(StoreError, match="not of this command"):
        recover(ledger, output_at(tmp_path / "parts", SCHEMA), SCHEMA)
    assert (tmp_path / "parts" / "part-000001.parquet").exists()


def test_the_rows_of_another_ledger_are_not_removed(ledger: Ledger, output: Output, tmp_path: Path) -> None:
    """A checkpoint that is lost, or of another batch: its ledger does not name the rows that are there."""
    go(ledger, output, Counting())

    with Ledger(tmp_path / "other.sqlite") as other:
        other.add(items(5))
        with pytest.raises(StoreError, match="give the --checkpoint that wrote them"):
            recover(other, output, SCHEMA)

    assert 30 == len(keys_in(output))


def test_the_rows_of_a_batch_that_came_between_are_not_removed(ledger: Ledger, output: Output, tmp_path: Path) -> None:
    """Another ledger started over in our output: the parts have our names, and are not ours."""
    go(ledger, output, Counting(), limit=10)
    with Ledger(tmp_path / "other.sqlite") as other:
        start_over(other, output, SCHEMA, items(200))
        go(other, output, Counting())

    with pytest.raises(StoreError, match="give the --checkpoint that wrote them"):
        recover(ledger, output, SCHEMA)

    assert 210 == len(keys_in(output))


def test_a_new_start_takes_over_the_rows_of_another_ledger(ledger: Ledger, output: Output, tmp_path: Path) -> None:
    """From then on they are its own, and the other ledger's no more."""
    go(ledger, output, Counting(), limit=10)
    with Ledger(tmp_path / "other.sqlite") as other:
        start_over(other, output, SCHEMA, items(5))
    with Ledger(tmp_path / "other.sqlite") as other:
        go(other, output, Counting())
        drop_replaced(other, output, "key")
        assert 5 == len(keys_in(output))

    with pytest.raises(StoreError):
        recover(ledger, output, SCHEMA)
    assert 5 == len(keys_in(output))


def test_a_long_cell_can_be_read(tmp_path: Path) -> None:
    """Of more than 131,072 characters, where Python's reader stops unless told otherwise."""
    output = output_at(tmp_path / "rows.csv", SCHEMA)
    output.append([pa.Table.from_pylist([row_of("k", text="x" * 200_000)], schema=SCHEMA)], None)

    ((row,),) = [table.to_pylist() for table in output.read()]
    assert "x" * 200_000 == row["text"]


def test_a_disk_that_refuses_is_one_clear_error(ledger: Ledger, tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot be written"):
        recover(ledger, output_at(tmp_path / "file" / "parts", SCHEMA), SCHEMA)


class FullDisk(Around):
    """An output that is refused in the middle of a part."""

    def append(self, pieces: Iterable[pa.Table], last: Part | None) -> Part:  # noqa: ARG002 - of `Output`
        """One piece, and no more."""
        next(iter(pieces))
        raise DiskFull(str(self.path), 0, 0, 0)


def test_a_disk_that_is_full_in_the_middle_of_a_part_is_that_error_alone(
    ledger: Ledger, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is told, the rows wait in the ledger, and with more room they are written."""
    others: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", others.append)

    with pytest.raises(DiskFull):
        go(ledger, FullDisk(output), Counting())
    gc.collect()

    assert [] == others
    go(ledger, output, Counting())
    assert sorted(item.key for item in items(30)) == sorted(keys_in(output))


def test_a_failure_ends_what_is_under_way_before_it_is_told(ledger: Ledger, output: Output) -> None:
    """Else look-ups would go on over a client that is closed."""
    ended: list[str] = []
    recover(ledger, output, SCHEMA)

    async def look_up(item: Item) -> Answer:
        if int(item.key) < 10:
            return Answer(row=row_of(item.key))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item.key)
        raise AssertionError

    def on_checkpoint(_outcomes: list[Outcome]) -> None:
        raise DiskFull("", 0, 0, 0)

    async def run() -> int:
        pool = Pool(look_up, fast(max_workers=15))
        with pytest.raises(DiskFull):
            await LookUpRun(ledger, output, SCHEMA, pool, on_checkpoint=on_checkpoint).run()
        return len(ended)

    assert asyncio.run(run()) > 0


def test_progress_is_told_while_no_look_up_ends(ledger: Ledger, output: Output) -> None:
    """A service that refuses everything is waited for, half an hour long; here, until three beats were felt."""
    recover(ledger, output, SCHEMA)
    beats = 0

    async def run() -> LookUpReport:
        told = asyncio.Event()

        def on_beat() -> None:
            nonlocal beats
            beats += 1
            if beats == 3:
                told.set()

        async def look_up(item: Item) -> Answer:
            await told.wait()
            return Answer(row=row_of(item.key))

        batch = LookUpRun(ledger, output, SCHEMA, Pool(look_up, fast()), on_beat=on_beat, beat_seconds=0.001)
        return await asyncio.wait_for(batch.run(), 60)

    assert 30 == asyncio.run(run()).written_rows
    assert beats >= 3


def test_progress_that_cannot_be_told_is_an_error(ledger: Ledger, output: Output) -> None:
    """Of the run's end: what was looked up until then is kept."""
    recover(ledger, output, SCHEMA)

    async def run() -> LookUpReport:
        told = asyncio.Event()

        def on_beat() -> None:
            told.set()
            raise Crash

        async def look_up(item: Item) -> Answer:
            await told.wait()
            return Answer(row=row_of(item.key))

        return await LookUpRun(ledger, output, SCHEMA, Pool(look_up, fast()), on_beat=on_beat, beat_seconds=0.001).run()

    with pytest.raises(Crash):
        asyncio.run(run())
    assert 30 == len(keys_in(output))


def test_what_is_done_can_be_counted_without_opening_the_batch(ledger: Ledger, output: Output, tmp_path: Path) -> None:
    """A dry run looks, and does not lock."""
    go(ledger, output, Counting(), limit=12)

    assert 12 == Ledger.peek(ledger.path, [item.key for item in items(30)])
    assert 0 == Ledger.peek(tmp_path / "none.sqlite", ["1"])


def test_why_items_failed_can_be_read_beside_a_batch_that_goes_on(ledger: Ledger, tmp_path: Path) -> None:
    """Counted by reason; where there is no ledger, none did."""
    failures = [
        LookUpFailure(item=item, reason=reason, detail="", http_status=None, requests=1, seconds=0.0)
        for item, reason in zip(items(33)[30:], ("timeout", "http_500", "timeout"), strict=True)
    ]
    ledger.add(failures)

    assert {"timeout": 2, "http_500": 1} == Ledger.peek_reasons(ledger.path) == ledger.reasons()
    assert {} == Ledger.peek_reasons(tmp_path / "none.sqlite")
    (tmp_path / "no.sqlite").write_text("no database")
    with pytest.raises(StoreError, match="the batch cannot be read"):
        Ledger.peek_reasons(tmp_path / "no.sqlite")


def test_states_are_what_sqlite_shows(ledger: Ledger, output: Output) -> None:
    """The ledger is a plain SQLite file in WAL mode that a person can look into."""
    go(ledger, output, Scripted({"4": [lasting()]}), limit=10)

    with closing(sqlite3.connect(ledger.path)) as db:
        states = dict(db.execute("SELECT state, count(*) FROM items GROUP BY 1").fetchall())
        (mode,) = db.execute("PRAGMA journal_mode").fetchone()
    assert ({"done": 9, "failed": 1, "pending": 20}, "wal") == (states, mode)


_CELLS = st.fixed_dictionaries(
    {
        "key": st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1),
        "text": st.none() | st.text(st.characters(codec="utf-8"), min_size=1),
        "texts": st.none() | st.lists(st.text(st.characters(codec="utf-8"))),
        "number": st.none() | st.integers(-(2**63), 2**63 - 1),
        "share": st.none() | st.floats(allow_nan=False),
        "flag": st.none() | st.booleans(),
        "day": st.none() | st.dates(),
        "at": st.none() | st.datetimes(min_value=dt.datetime(1, 1, 2), timezones=st.just(dt.UTC)),  # noqa: DTZ001 - hypothesis adds it
    }
)


@given(st.lists(_CELLS, min_size=1, max_size=20))
@example([row_of("\r", text="a\rb")])
def test_a_csv_gives_back_what_was_put_in(rows: list[dict[str, Any]]) -> None:
    """Types, nulls, quotes, line breaks, and text that looks like a formula."""
    with TemporaryDirectory() as folder:
        output = output_at(Path(folder) / "rows.csv", SCHEMA)
        output.append([pa.Table.from_pylist(rows, schema=SCHEMA)], None)

        assert rows == [row for table in output.read() for row in table.to_pylist()]


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)"])
def test_a_cell_never_is_a_formula(text: str, tmp_path: Path) -> None:
    """Names come from strangers, and CSVs are opened with spreadsheets."""
    output = output_at(tmp_path / "rows.csv", SCHEMA)
    output.append([pa.Table.from_pylist([row_of("k", text=text)], schema=SCHEMA)], None)

    assert f"k,'{text}," in output.path.read_text()


def test_options_have_the_defaults_that_were_asked_for() -> None:
    """Ten workers, three retries, ten outcomes per checkpoint, two starts a second."""
    options = LookUpOptions()

    assert (10, 3, 10, 0.5) == (
        options.max_workers,
        options.max_retries,
        options.checkpoint_interval,
        options.rate_limit_delay_seconds,
    )
