"""A month of operation in small: `dagster dev` with its daemon watches an index of networks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.watch.memory import IndexStore
from mrf_assets_tests.dagster_fixtures import SECRET, Payer, Place, dagster_dev, key, partitions_of, wait_for
from mrf_assets_tests.factory import document, gzipped, index, plans, render
from mrf_assets_tests.mrf_server import Answer, MrfServer

pytestmark = pytest.mark.timeout(1200)

_LETTERS, _MORE_LETTERS = "abcdef", "abcdefghijkl"
INDEX = "/2026-11-05_index.json"
_PUBLISHED_SECONDS = 500.0  # for up to twelve runs, two at a time, on a busy machine


@pytest.fixture
def payer() -> Iterator[Payer]:
    """Of no network yet."""
    with MrfServer() as server:
        yield Payer(server)


def _ended(place: Place) -> list[dg.DagsterRun]:
    """All runs of networks, once none is under way; those of the catalog follow them."""
    with place.instance() as instance:
        found = [run for run in instance.get_runs() if "dagster/partition" in run.tags]
    return found if all(run.is_finished for run in found) else []


def _partitions(runs: list[dg.DagsterRun]) -> Counter[str]:
    return Counter(run.tags["dagster/partition"] for run in runs)


def _wait_for_polls(payer: Payer, count: int) -> None:
    """Until the index was asked for so many more times."""
    before = payer.server.count(INDEX)
    wait_for("the index to be asked for", lambda: payer.server.count(INDEX) >= before + count or None)


def _alerts_of_indexes(payer: Payer) -> list[str]:
    """Titles of what the webhook was told; batches that end are told too."""
    posts = [request for request in payer.server.requests_of("/alerts") if request.method == "POST"]
    titles = [str(json.loads(request.body)["title"]) for request in posts]
    return [title for title in titles if title.startswith("Index ")]


@pytest.mark.parametrize("letters", [_LETTERS, pytest.param(_MORE_LETTERS, marks=pytest.mark.slow)], ids=len)
def test_an_index_is_published_followed_and_believed_only_when_whole(
    tmp_path: Path, payer: Payer, letters: str
) -> None:
    """A run for each; then two changed, one new and one gone are three runs; then a broken index is one alert."""
    for letter in letters:
        payer.publish(letter, document(seed=ord(letter), codes=2))
    payer.publish_index(letters)
    place = Place(tmp_path)
    with place.instance():
        pass
    added = place.mrf("index", "add", "acme", payer.server.url(INDEX), "--payer", "Acme", "--poll-minutes", "0.05")
    assert 0 == added.returncode, added.stderr
    alerts = f"json://127.0.0.1:{payer.server.port}/alerts"
    with dagster_dev(place, MRF_SENSOR_INTERVAL_SECONDS="1", MRF_ALERT_URLS=alerts):
        first = wait_for(
            "the first runs to end",
            lambda: found if len(found := _ended(place)) >= len(letters) else None,
            _PUBLISHED_SECONDS,
            every_seconds=1.0,
        )
        assert Counter(map(key, letters)) == _partitions(first)
        assert {dg.DagsterRunStatus.SUCCESS} == {run.status for run in first}
        assert sorted(map(key, letters)) == place.networks()
        _wait_for_polls(payer, 2)
        assert len(letters) == len(_ended(place))
        retired = (place.output / f"network_id={key('c')}").stat()

        payer.publish("b", document(seed=1, codes=3))  # in its old place
        december = payer.path("d").replace("2026-11-05", "2026-12-05")
        payer.server.put(december, gzipped(render(document(seed=2, codes=3))))
        payer.publish("m", document(seed=3, codes=2))
        listed = [(payer.url(letter), plans(2, seed=ord(letter))) for letter in letters + "m" if letter not in "cd"]
        moved = payer.url("d").replace("2026-11-05", "2026-12-05")
        payer.server.put(INDEX, render(index([*listed, (moved, plans(2, seed=ord("d")))])))
        second = wait_for(
            "three runs more to end",
            lambda: found if len(found := _ended(place)) >= len(letters) + 3 else None,
            _PUBLISHED_SECONDS,
            every_seconds=1.0,
        )
        _wait_for_polls(payer, 2)
        assert Counter(map(key, "bdm")) == _partitions(second) - _partitions(first)
        assert len(second) == len(_ended(place))
        assert [key("c")] == [network_id for network_id, _ in IndexStore.under(place.output).retired("acme")]

        payer.server.always(INDEX, Answer(body=b'{"reporting_structure": [{"in_network_files": [{"loca'))
        wait_for("an alert", lambda: _alerts_of_indexes(payer) or None)
        _wait_for_polls(payer, 2)
        assert 1 == len(_alerts_of_indexes(payer))
        assert len(second) == len(_ended(place))

    assert {f"network_id={key(letter)}" for letter in letters + "m"} == {Path(it).parts[0] for it in place.published()}
    assert retired == (place.output / f"network_id={key('c')}").stat()
    with place.instance() as instance:
        assert set(map(key, letters + "m")) == set(instance.get_dynamic_partitions(NETWORK_PARTITIONS.name or ""))
        assert set(map(key, letters + "m")) == partitions_of(instance, "rates")
    assert SECRET not in (place.root / "dagster.log").read_text()
