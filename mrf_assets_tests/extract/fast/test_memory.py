"""The fast reader's memory is flat, whatever the number and the size of items."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import pyarrow as pa
import pytest

from mrf_assets.extract import ReadCounts, Request, read_fast
from mrf_assets_tests.conftest import closed_door

_PRICE = {"negotiated_type": "negotiated", "negotiated_rate": 1, "billing_class": "institutional"}
_RATES: dict[str, object] = {
    "no rates": [],
    "null": None,
    "a rate without prices": [{"provider_references": [1], "negotiated_prices": []}],
    "a price that is rejected": [
        {"provider_references": [1], "negotiated_prices": [_PRICE | {"negotiated_rate": "?"}]}
    ],
    "one price": [{"provider_references": [1], "negotiated_prices": [_PRICE]}],
}


def _blocks(items: int, rates: object, name_bytes: int) -> Iterator[bytes]:
    yield b'{"in_network":['
    for number in range(items):
        name = f"{number}".rjust(name_bytes, "x")
        item = {"name": name, "billing_code_type": "CPT", "billing_code": f"{number:05}", "negotiated_rates": rates}
        yield (", " if number else "").encode() + json.dumps(item).encode()
    yield b"]}"


def _peak_bytes(items: int, rates: object, name_bytes: int, rate_batch_rows: int = 500) -> int:
    """Of Python's and Arrow's memory together, about."""
    request = Request(url="u", file_id="f", open_url=closed_door, rate_batch_rows=rate_batch_rows)
    counts, arrow_bytes = ReadCounts(), 0
    tracemalloc.start()
    for _ in read_fast(
        _blocks(items, rates, name_bytes), request, counts, batch_bytes=50_000, least_block_bytes=10_000
    ):
        arrow_bytes = max(arrow_bytes, pa.total_allocated_bytes())
    peak = tracemalloc.get_traced_memory()[1] + arrow_bytes
    tracemalloc.stop()
    assert items == counts.items_kept
    return peak


@pytest.mark.parametrize("rates", _RATES.values(), ids=_RATES)
def test_memory_does_not_grow_with_the_number_of_items(rates: object) -> None:
    """Each with a name of its own, with prices and without."""
    few, many = (_peak_bytes(items, rates, 40) for items in (1_500, 4_500))

    assert many < 1.5 * few  # it was twice as much, and more


def test_memory_does_not_grow_with_the_text_of_items() -> None:
    """A name of 200 kB is in each row of its item, and in memory for few of them at a time."""
    assert _peak_bytes(4, [{"negotiated_prices": [_PRICE] * 600}], 200_000, rate_batch_rows=50_000) < 300 << 20
