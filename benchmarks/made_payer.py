"""A made-up payer of any size, as published tables: for benchmarks of what reads them.

Tables are written by our own `PartWriter`, so files, row groups and filters are those of an ingestion; reading the JSON
of 20 million prices is what `bench_extract` measures. Everything is drawn from a seed, a network at a time:
codes with very different numbers of prices, in random order with the prices of a code together; few distinct
multiples of a base price; sets of some eight groups, or as many as are asked for; practices that several networks have
under contract, a quarter of their NPIs with several TINs. The last network is the one before it under another name.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES, LAYOUT_VERSION, PLANS, PROVIDER_SETS, PROVIDERS, RATES, Table
from mrf_assets.settings import Settings

PERIOD = "2026-11"
COMMON_CODE = "99213"  # every network has it, with more prices than any other
PLAN_NAME = "Willow"
_LABEL = "00001-of-00001"
_CODES = (("CPT", 7_000), ("HCPCS", 2_500), ("MS-DRG", 760), ("RC", 250))
_SHARE_OF_CODES = 0.75  # that one network has
_RATES_PER_GROUP, _RATES_PER_SET, _NPIS_PER_GROUP = 20, 80, 10
_NPIS_PER_PLACE = 2.0  # at a practice: a quarter of those placed stand at several
_MULTIPLES = np.round(np.linspace(0.6, 3.0, 40), 2)  # of the base price
_SCALE = 10**8  # cents to the ten decimals of a rate
_KINDS = {  # class, negotiated types, places of service
    "CPT": ("professional", ("negotiated", "fee schedule", "derived"), (["11"], ["21", "22"], ["11", "22"])),
    "HCPCS": ("professional", ("negotiated", "fee schedule"), (["11"], ["CSTM-00"], ["12"])),
    "MS-DRG": ("institutional", ("negotiated", "per diem"), (None,)),
    "RC": ("institutional", ("percentage", "negotiated"), (None,)),
}  # fmt: skip
_MODIFIED_SHARE = 0.1
_EXPIRATIONS = [dt.date(9999, 12, 31), dt.date(2027, 6, 30), dt.date(2026, 12, 31), dt.date(2026, 3, 31)]
_MODIFIERS = [None, [], ["26"], ["TC"]]

Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Payer:
    """So many networks with so many prices together."""

    networks: int
    rates: int
    seed: int = 1
    sets_per_rate: int = 8  # rows of provider_sets behind a price, by their median; 30 is thick

    @property
    def name(self) -> str:
        """For folders."""
        return f"payer-{self.networks}-{self.rates}-{self.seed}-{self.sets_per_rate}"

    @property
    def keys(self) -> list[str]:
        """Of its networks."""
        return [f"made~n{number:03d}" for number in range(self.networks)]

    @cached_property
    def sizes(self) -> Integers:
        """Prices by network; the last two are equal."""
        spread = np.random.default_rng(self.seed).lognormal(sigma=0.5, size=self.networks)
        spread[-1] = spread[-2]
        sizes: Integers = np.maximum(1, (spread / spread.sum() * self.rates).astype(np.int64))
        sizes[0] += self.rates - sizes.sum()
        return sizes

    @cached_property
    def codes(self) -> pa.Table:
        """Every code: type, code, name, base price in cents, how common."""
        rng = np.random.default_rng(self.seed + 1)
        kinds = [kind for kind, count in _CODES for _ in range(count)]
        codes = [_code(kind, number) for kind, count in _CODES for number in range(count)]
        names = [
            f"{kind} service {code} of the usual length of a name" for kind, code in zip(kinds, codes, strict=True)
        ]
        weights = rng.lognormal(sigma=1.2, size=len(codes))
        weights[codes.index(COMMON_CODE)] = 2 * weights.max()
        return pa.table(
            {
                "type": kinds,
                "code": codes,
                "name": names,
                "cents": rng.lognormal(9.5, 1.2, len(codes)).astype(np.int64) + 100,
                "weight": weights,
            }
        )  # fmt: skip

    @cached_property
    def practices(self) -> tuple[Integers, Integers]:
        """All practices of the country: where the NPIs of each begin, and the NPIs."""
        rng = np.random.default_rng(self.seed + 2)
        count = 3 * int(self.sizes.max()) // _RATES_PER_GROUP + 10
        sizes = np.clip(rng.lognormal(np.log(_NPIS_PER_GROUP) - 0.5, 1.0, count), 1, 500).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        return offsets, 1_000_000_000 + rng.integers(0, int(_NPIS_PER_PLACE * offsets[-1]), offsets[-1])


@dataclass(frozen=True, kw_only=True)
class Month:
    """A month of the payer: set ids are its own, and so much is another than in the month of the seed."""

    period: str = PERIOD
    raised_share: float = 0.0  # of the sets, whose prices are 3 % higher
    left_share: float = 0.0  # of the groups of sets, that are gone


def make(payer: Payer, output_dir: Path, month: Month | None = None, networks: Sequence[int] | None = None) -> None:
    """Publish its networks, or some of them, but for those that are there."""
    store, month = Store(output_dir), month or Month()
    for number in range(payer.networks) if networks is None else networks:
        if month.period not in store.periods(payer.keys[number]):
            _publish(payer, number, store, month)


def _code(kind: str, number: int) -> str:
    prefix, digits, first = {"CPT": ("", 5, 93_000), "HCPCS": ("J", 4, 0), "MS-DRG": ("", 3, 1), "RC": ("", 4, 100)}[
        kind
    ]
    return f"{prefix}{first + number:0{digits}d}"


def _publish(payer: Payer, number: int, store: Store, month: Month) -> None:
    key = payer.keys[number]
    file_id = f"{number + 1:016x}"
    drawn = min(number, payer.networks - 2)  # the last one is a copy
    rng = np.random.default_rng([payer.seed, drawn])
    rates = int(payer.sizes[number])
    groups, sets = max(1, rates // _RATES_PER_GROUP), max(1, rates // _RATES_PER_SET)
    set_ids = rng.integers(1, 2**62, sets)
    raised = np.arange(sets) < month.raised_share * sets
    settings = Settings()
    tables = [
        (_providers(payer, rng, groups), settings.provider_batch_size),
        (_provider_sets(payer, rng, set_ids, groups, month.left_share), settings.provider_batch_size),
        (_rates(payer, rng, rates, set_ids, raised), settings.rate_batch_size),
        (_plans(number), settings.rate_batch_size),
        (_file(number, rates, f"{drawn:064x}"), settings.rate_batch_size),
    ]
    with store.stage(key) as stage:
        with stage.part(_LABEL) as writer:
            for (table, columns), rows in tables:
                for batch in _table(table, {"file_id": pa.scalar(file_id), **columns}).to_batches(rows):
                    writer.write(table.name, batch)
        stage.settle(_LABEL, month.period)
        stage.publish(month.period)


_Columns = tuple[Table, Mapping[str, Any]]


def _table(table: Table, columns: Mapping[str, Any]) -> pa.Table:
    """All columns of a table: one value for all rows, an array, or null where none is given."""
    rows = next(len(it) for it in columns.values() if not isinstance(it, pa.Scalar))
    arrays = [
        _column(columns.get(field.name, pa.scalar(None, field.type)), rows).cast(field.type) for field in table.arrow
    ]
    return pa.Table.from_arrays(arrays, schema=table.arrow)


def _column(values: Any, rows: int) -> pa.Array[Any]:  # noqa: ANN401 - whatever Arrow takes
    if isinstance(values, pa.Scalar):
        return pa.repeat(values, rows)  # type: ignore[call-overload,no-any-return]  # the stubs list kinds one by one
    given: pa.Array[Any] = pa.array(values)
    return given


def _providers(payer: Payer, rng: np.random.Generator, groups: int) -> _Columns:
    offsets, npis = payer.practices
    chosen = rng.choice(len(offsets) - 1, groups, replace=False)
    sizes = offsets[chosen + 1] - offsets[chosen]
    rows = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(offsets[chosen], sizes)
    practice = np.repeat(chosen, sizes)
    return PROVIDERS, {
        "provider_group_id": pa.array(np.repeat(np.arange(groups), sizes)).cast(pa.string()),
        "npi": npis[rows],
        "tin_type": pa.scalar("ein"),
        "tin_value": pa.array(100_000_000 + practice).cast(pa.string()),
        "business_name": _pick([f"Practice {it} of Medicine" for it in chosen], np.repeat(np.arange(groups), sizes)),
        "is_inline": pa.scalar(value=False),
    }


def _provider_sets(
    payer: Payer, rng: np.random.Generator, set_ids: Integers, groups: int, left_share: float
) -> _Columns:
    sizes = np.clip(rng.lognormal(np.log(payer.sets_per_rate) - 0.5, 1.0, len(set_ids)), 1, groups).astype(np.int64)
    firsts = np.repeat(rng.integers(0, groups, len(set_ids)), sizes)
    members = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    stays = (members == 0) | (np.arange(len(members)) % 1_000 >= 1_000 * left_share)
    return PROVIDER_SETS, {
        "provider_set_id": np.repeat(set_ids, sizes)[stays],
        "provider_group_id": pa.array(((firsts + members * 7) % groups)[stays]).cast(pa.string()),
    }


def _rates(
    payer: Payer, rng: np.random.Generator, rates: int, set_ids: Integers, raised: np.ndarray[Any, np.dtype[np.bool_]]
) -> _Columns:
    codes = payer.codes
    has = rng.random(len(codes)) < _SHARE_OF_CODES
    has[codes["code"].to_pylist().index(COMMON_CODE)] = True
    order = rng.permutation(np.flatnonzero(has))
    weights = codes["weight"].to_numpy()[order]
    code = np.repeat(order, rng.multinomial(rates, weights / weights.sum()))
    holder = rng.integers(0, len(set_ids), rates)
    multiple = _MULTIPLES[(holder * 2_654_435_761 >> 7) % len(_MULTIPLES)]
    cents = np.round(codes["cents"].to_numpy()[code] * multiple).astype(np.int64)
    cents = np.where(raised[holder], np.round(cents * 1.03).astype(np.int64), cents)
    kinds = [kind for kind, _ in _CODES]
    kind = np.searchsorted(np.cumsum([count for _, count in _CODES]), code, side="right")
    contract = holder % 12  # conditions belong to a contract, not to each price
    modifiers = np.where(rng.random(rates) < _MODIFIED_SHARE, contract % len(_MODIFIERS), 0)
    percent = np.isin(kind, [kinds.index("RC")]) & (contract % 2 == 0)
    cents = np.where(percent, cents % 9_000 + 500, cents)
    return RATES, {
        "provider_set_id": set_ids[holder],
        "negotiation_arrangement": _pick(["ffs", "bundle"], (code % 100 == 0).astype(np.int64)),
        "billing_code_type": _pick(codes["type"].to_pylist(), code),
        "billing_code_type_version": pa.scalar("2026"),
        "billing_code": _pick(codes["code"].to_pylist(), code),
        "name": _pick(codes["name"].to_pylist(), code),
        "description": _pick(codes["name"].to_pylist(), code),
        "negotiated_type": _by_kind([_KINDS[it][1] for it in kinds], kind, contract),
        "negotiated_rate": _decimals(cents),
        "expiration_date": _pick(_EXPIRATIONS, contract % len(_EXPIRATIONS)),
        "service_codes": _by_kind([_KINDS[it][2] for it in kinds], kind, contract),
        "billing_class": _pick([_KINDS[it][0] for it in kinds], kind),
        "billing_code_modifiers": _pick(_MODIFIERS, modifiers),
    }


def _pick(values: Sequence[Any], at: Integers) -> pa.Array[Any]:
    all_values: pa.Array[Any] = pa.array(values)
    return all_values.take(pa.array(at, pa.int64()))


def _by_kind(words: Sequence[Sequence[Any]], kind: Integers, contract: Integers) -> pa.Array[Any]:
    lengths = np.array([len(it) for it in words])
    firsts = np.cumsum(lengths) - lengths
    return _pick([word for it in words for word in it], firsts[kind] + contract % lengths[kind])


def _decimals(cents: Integers) -> pa.Array[Any]:
    """Cents as decimals of the schema's type, whose buffer holds 16 bytes a value, low half first."""
    halves = np.zeros((len(cents), 2), np.int64)
    halves[:, 0] = cents * _SCALE
    kind = RATES.arrow.field("negotiated_rate").type
    decimals: pa.Array[Any] = pa.Array.from_buffers(kind, len(cents), [None, pa.py_buffer(halves.tobytes())])
    return decimals


def _plans(number: int) -> _Columns:
    count = 20
    return PLANS, {
        "plan_name": [f"{PLAN_NAME} {(number * 7 + it) % 200}" for it in range(count)],
        "plan_id_type": pa.scalar("ein"),
        "plan_id": [f"{120_000_000 + (number * 7 + it) % 200}" for it in range(count)],
        "plan_market_type": pa.scalar("group"),
    }


def _file(number: int, rates: int, sha256: str) -> _Columns:
    return FILES, {
        "source_url": [f"https://payer.example/{PERIOD}-05_n{number:03d}_in-network-rates.json.gz"],
        "filename": [f"{PERIOD}-05_n{number:03d}_in-network-rates.json.gz"],
        "part": [1],
        "parts": [1],
        "sha256": [sha256],
        "reporting_entity_name": ["Made Payer"],
        "prices_read": [rates],
        "rate_rows": [rates],
        "layout_version": [LAYOUT_VERSION],
    }
