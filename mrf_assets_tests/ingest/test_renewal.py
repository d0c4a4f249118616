"""A signed link that has expired: the index has a newer one, and one worker fetches it for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from mrf_assets.errors import AccessRefused
from mrf_assets.fetch import open_url
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.ingest.plan import Renewal, TaskStore
from mrf_assets.ingest.renewal import renewed_task
from mrf_assets.ingest.results import NetworkResult
from mrf_assets.lake.store import Store
from mrf_assets.settings import Limits, Settings
from mrf_assets.sources import SourceOptions, read_index
from mrf_assets.stream.raw_file import RawFile
from mrf_assets.tasks import FileTask
from mrf_assets.urls.address import Address
from mrf_assets_tests.dagster_fixtures import Place, key
from mrf_assets_tests.factory import document, gzipped, index, plans, render
from mrf_assets_tests.mrf_server import REFUSED, Answer, MrfServer

_INDEX = "/2026-11-05_index.json"
_OLD, _NEW = "0ldS3cret", "N3wS3cret"


class Payer:
    """An index whose links are signed, and files that are had with the present signature alone."""

    def __init__(self, server: MrfServer, letters: str) -> None:
        self.server, self.letters = server, letters
        for letter in letters:
            server.put(self.path(letter), gzipped(render(document(seed=ord(letter), codes=2))))

    @staticmethod
    def path(letter: str, folder: str = "prd") -> str:
        """Where a network's file lies."""
        return f"/{folder}/2026-11-05_pl-{letter}-hr26_Cardinal-National_in-network-rates.json.gz"

    def publish_index(self, signature: str, letters: str | None = None, folder: str = "prd") -> str:
        """Serve an index with links that have this signature; gives its own signed address."""
        listed = [
            (f"{self.server.url(self.path(letter, folder))}?Signature={signature}", plans(1))
            for letter in letters or self.letters
        ]
        return f"{self.server.put(_INDEX, render(index(listed)))}?Signature={_OLD}"

    def expire(self) -> None:
        """From now on only the new signature is taken."""
        for letter in self.letters:
            self.server.sign(self.path(letter), _NEW)


@pytest.fixture
def payer() -> Iterator[Payer]:
    """Two networks; nothing has expired yet."""
    with MrfServer() as server:
        yield Payer(server, "ab")


@pytest.fixture
def plan(tmp_path: Path, payer: Payer) -> TaskStore:
    """The networks of the index, planned with the old links."""
    store = TaskStore.under(tmp_path)
    store.save(read_index(payer.publish_index(_OLD), open_url))
    return store


@pytest.fixture
def run(tmp_path: Path, plan: TaskStore) -> Callable[[str], NetworkResult]:
    """Ingest a network as it is planned."""

    def ingest_network(letter: str) -> NetworkResult:
        return ingest(key(letter), plan.load(key(letter)), Settings(output_dir=tmp_path))

    return ingest_network


def _refusal(task: FileTask) -> AccessRefused:
    return AccessRefused(task.address.shown, "HTTP 403, access refused; a signed link expires")


# --- it works -------------------------------------------------------------------------------


def test_an_expired_link_is_renewed_from_the_index(
    payer: Payer, plan: TaskStore, run: Callable[[str], NetworkResult]
) -> None:
    """The file is read with the new link, and the plan has it from then on."""
    payer.expire()
    payer.publish_index(_NEW)

    result = run("a")

    assert result.published
    assert [True, True] == [_NEW in plan.load(key(letter))[0].address.real for letter in "ab"]
    assert 2 == payer.server.count(_INDEX)


def test_a_renewed_file_is_the_same_file(payer: Payer, plan: TaskStore, run: Callable[[str], NetworkResult]) -> None:
    """Signatures are no part of it, and its plans stay."""
    before = plan.load(key("a"))
    payer.expire()
    payer.publish_index(_NEW)
    run("a")

    (after,) = plan.load(key("a"))

    assert before == [replace(after, address=before[0].address)]


def test_the_next_network_needs_no_renewal(payer: Payer, run: Callable[[str], NetworkResult]) -> None:
    """Its link was renewed with the first one's."""
    payer.expire()
    payer.publish_index(_NEW)
    run("a")
    run("b")

    assert (2, 1) == (payer.server.count(_INDEX), payer.server.count(Payer.path("b")))


def test_a_link_that_expires_in_the_middle_is_renewed(payer: Payer, run: Callable[[str], NetworkResult]) -> None:
    """The connection breaks, the rest is refused: the file is read from its start with the new link."""
    path = Payer.path("a")
    undisturbed = run("a").files[0].row["sha256"]
    payer.server.script(path, Answer(truncate_at=100), REFUSED)
    payer.publish_index(_NEW)

    assert undisturbed == run("a").files[0].row["sha256"]


def test_a_file_that_has_moved_is_found_by_its_place(
    payer: Payer, plan: TaskStore, run: Callable[[str], NetworkResult]
) -> None:
    """The same part of the same network and period, under another address."""
    moved = Payer.path("a", "eu")
    payer.expire()
    payer.server.put(moved, payer.server.stored(Payer.path("a")))
    payer.publish_index(_NEW, folder="eu")

    result = run("a")

    assert [payer.server.url(moved)] == [file.row["source_url"] for file in result.files]
    assert result.files[0].task == plan.load(key("a"))[0]


def test_parts_in_processes_of_their_own_are_renewed(tmp_path: Path, payer: Payer, plan: TaskStore) -> None:
    """Each asks the plan, and the index is read again once."""
    names = [f"/prd/2026-11_890_58B0_in-network-rates_{number}_of_2.json.gz" for number in (1, 2)]
    for name in names:
        payer.server.put(name, gzipped(render(document(seed=len(name), codes=2))))
        payer.server.sign(name, _NEW)

    def publish(signature: str) -> str:
        listed = [(f"{payer.server.url(name)}?Signature={signature}", plans(1)) for name in names]
        return payer.server.put("/parts.json", render(index(listed)))

    (network_id,) = plan.save(read_index(publish(_OLD), open_url))
    publish(_NEW)

    result = ingest(network_id, plan.load(network_id), Settings(output_dir=tmp_path, part_processes=2))

    assert (2, 2) == (len(result.files), payer.server.count("/parts.json"))


def test_workers_of_one_index_read_it_again_once(tmp_path: Path) -> None:
    """All of them, over processes, meet the expiry; none fails."""
    place = Place(tmp_path / "place")
    with MrfServer() as server:
        payer = Payer(server, "abcd")
        payer.expire()
        server.script(_INDEX, Answer(body=_body(payer, _OLD)))
        payer.publish_index(_NEW)
        done = place.run(server.url(_INDEX), 3)

        assert (0, [key(letter) for letter in "abcd"]) == (done.returncode, place.networks())
        assert 2 == server.count(_INDEX)
    _expect_no_secret(place)


def _body(payer: Payer, signature: str) -> bytes:
    payer.publish_index(signature)
    return payer.server.stored(_INDEX)


def _expect_no_secret(place: Place) -> None:
    """Signatures stand in the plan, and nowhere else."""
    holders = {
        path.name
        for path in place.root.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in (_OLD, _NEW))
    }
    assert {"tasks.sqlite"} == {name.removesuffix("-wal") for name in holders}


def test_who_waits_for_the_index_takes_what_was_read(payer: Payer, plan: TaskStore) -> None:
    """Four threads meet the expiry at once: one opens the index, and holds it until all of them are there."""
    (task,) = plan.load(key("a"))
    payer.publish_index(_NEW)
    arrived, opened = threading.Barrier(4, timeout=60), list[Address]()

    def opener(address: Address) -> AbstractContextManager[RawFile]:
        opened.append(address)
        return open_url(address)

    def renew() -> FileTask:
        arrived.wait()
        return renewed_task(task, _refusal(task), TaskStore(plan.path), opener, limits=Limits())

    with ThreadPoolExecutor(4) as pool:
        renewed = [future.result() for future in [pool.submit(renew) for _ in range(4)]]

    assert [f"{task.address.shown}?Signature={_NEW}"] * 4 == [each.address.real for each in renewed]
    assert 1 == len(opened)


# --- it does not ----------------------------------------------------------------------------


def test_an_index_that_has_no_newer_link_is_told(payer: Payer, run: Callable[[str], NetworkResult]) -> None:
    """Nothing more can be done, and one more try is all that is made."""
    payer.expire()

    with pytest.raises(AccessRefused) as caught:
        run("a")

    address, listed = payer.server.url(Payer.path("a")), payer.server.url(_INDEX)
    assert (
        f"{address}: HTTP 403, access refused; and its index {listed} still has the same link: "
        "try again later, or ask the payer"
    ) == str(caught.value)


def test_a_new_link_that_is_refused_too_is_the_end(payer: Payer, run: Callable[[str], NetworkResult]) -> None:
    """No second renewal."""
    payer.expire()
    payer.publish_index("another")

    with pytest.raises(AccessRefused, match="HTTP 403, access refused; a signed link expires"):
        run("a")

    assert (2, 2) == (payer.server.count(_INDEX), payer.server.count(Payer.path("a")))


def test_a_file_that_has_left_its_index_is_told(
    tmp_path: Path, payer: Payer, run: Callable[[str], NetworkResult]
) -> None:
    """With what to do; nothing is published or left behind."""
    payer.expire()
    payer.publish_index(_NEW, "b")

    with pytest.raises(AccessRefused, match="names it no longer: run it over the index again"):
        run("a")

    assert [] == Store(tmp_path).networks()
    assert [] == list((tmp_path / ".mrf" / "staging").iterdir())


def test_the_next_month_in_the_index_is_another_file(payer: Payer, run: Callable[[str], NetworkResult]) -> None:
    """The same network of another period does not take the place of this one."""
    payer.expire()
    later = payer.path("a").replace("2026-11", "2026-12")
    payer.server.put(_INDEX, render(index([(f"{payer.server.url(later)}?Signature={_NEW}", plans(1))])))

    with pytest.raises(AccessRefused, match="names it no longer"):
        run("a")


def test_an_index_that_is_refused_itself_is_told(payer: Payer, run: Callable[[str], NetworkResult]) -> None:
    """Both reasons, without signatures."""
    payer.expire()
    payer.server.sign(_INDEX, _NEW)

    with pytest.raises(AccessRefused) as caught:
        run("a")

    listed = payer.server.url(_INDEX)
    assert f"and its index cannot be read again ({listed}: HTTP 403, access refused; " in str(caught.value)
    assert _OLD not in str(caught.value)


def test_an_index_that_failed_is_not_asked_by_everybody(payer: Payer, run: Callable[[str], NetworkResult]) -> None:
    """The second network has the reason from the first one's attempt."""
    payer.expire()
    payer.server.put(_INDEX, b"{}")
    for letter in "ab":
        with pytest.raises(AccessRefused, match="cannot be read again"):
            run(letter)

    assert 2 == payer.server.count(_INDEX)


def test_an_index_is_read_again_after_some_minutes(payer: Payer, plan: TaskStore) -> None:
    """Four are too few, six are enough."""
    (task,) = plan.load(key("a"))
    clock = iter([1_000.0, 1_240.0, 1_360.0, 1_360.0])  # read, looked at, looked at and read
    for _ in range(3):
        with pytest.raises(AccessRefused):
            renewed_task(task, _refusal(task), plan, open_url, limits=Limits(), now=lambda: next(clock))

    assert 3 == payer.server.count(_INDEX)


def test_an_index_that_was_read_in_the_future_is_read_again(payer: Payer, plan: TaskStore) -> None:
    """The clock was wrong then, or is now."""
    (task,) = plan.load(key("a"))
    clock = iter([1e9, 1_000.0, 1_000.0])  # read, looked at and read
    for _ in range(2):
        with pytest.raises(AccessRefused):
            renewed_task(task, _refusal(task), plan, open_url, limits=Limits(), now=lambda: next(clock))

    assert 3 == payer.server.count(_INDEX)


def test_a_file_of_no_index_is_refused_as_it_is(tmp_path: Path, payer: Payer) -> None:
    """Nothing knows a newer link."""
    payer.expire()
    task = FileTask(
        address=Address(payer.server.url(Payer.path("a"))),
        network_id="acme",
        identity=next(read_index(payer.publish_index(_OLD), open_url, SourceOptions())).identity,
    )

    with pytest.raises(AccessRefused, match="get a newer index"):
        ingest("acme", [task], Settings(output_dir=tmp_path))


def test_a_plan_that_was_saved_meanwhile_stays(payer: Payer, plan: TaskStore) -> None:
    """What was planned anew while the index was read again keeps its link."""
    (task,) = plan.load(key("a"))
    index = task.index_address
    assert index is not None
    fresh = replace(
        task,
        address=Address(f"{task.address.shown}?Signature=fr3sh"),
        index_address=Address("https://mrf.example/newer.json"),
    )
    payer.publish_index(_NEW)

    def entries() -> Iterator[FileTask]:
        yield from read_index(index, open_url)
        plan.save([replace(fresh, address=Address(f"{payer.server.url('/other.json')}?Signature=fr3sh"))])

    plan.renew(index, entries(), 1.0)

    assert ["/other.json"] == [each.address.shown.removeprefix(payer.server.base_url) for each in plan.load(key("a"))]
    assert _NEW in plan.load(key("b"))[0].address.real


def test_a_renewal_is_kept_until_the_index_is_planned_anew(payer: Payer, plan: TaskStore) -> None:
    """When it was, and which files the index named no longer; a new plan is newer than that."""
    index = plan.load(key("a"))[0].index_address
    assert index is not None
    plan.renew(index, [], 12.5)
    renewal = plan.renewal(index)
    plan.save(read_index(payer.publish_index(_OLD), open_url))

    missing = frozenset(plan.load(key(letter))[0].file_id for letter in "ab")
    assert Renewal(read_time=12.5, missing=missing) == renewal
    assert plan.renewal(index) is None
