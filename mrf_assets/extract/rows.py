"""JSON objects of an in-network file -> rows, and rows -> record batches.

What a value means is decided in `values`; which objects there are, by the readers.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa

from mrf_assets.extract.interface import TableBatch
from mrf_assets.extract.values import Json, ListedCodeShape, Obj, Values, are_plain_npis, content_id, id_of_sorted
from mrf_assets.schema import MODIFIER_SHAPE, PLACE_SHAPE, RATES, Table

# provider_group_id, npi, tin_type, tin_value, business_name, network_names, is_inline
ProviderRow = tuple[str, int | None, str | None, str | None, str | None, list[str] | None, bool]
# negotiated_type, negotiated_rate, expiration_date, service_codes, billing_class, setting,
# billing_code_modifiers, additional_information
PriceRow = tuple[
    str | None, Decimal, date | None, list[str] | None, str | None, str | None, list[str] | None, str | None
]
# tin_type, tin_value, business_name, NPIs without doubles
GroupEntry = tuple[str | None, str | None, str | None, int]  # tin_type, tin_value, business_name, how many NPIs
_Group = tuple[str | None, str | None, str | None, list[int | None]]

_NAME = 4  # in a ProviderRow
MAX_BATCH_BYTES = 64 << 20  # of a record batch; one of usual rows has some 15 MB
REFERENCE_KEYS = frozenset({"provider_group_id", "network_name", "provider_groups", "location"})
GROUP_KEYS = frozenset({"npi", "tin"})
_RATE_KEYS = frozenset({"provider_references", "provider_groups", "negotiated_prices"})
PRICE_NAMES = (  # in the order of a PriceRow, the rate left out
    "negotiated_type",
    "expiration_date",
    "service_code",
    "billing_class",
    "setting",
    "billing_code_modifier",
    "additional_information",
)
PRICE_KEYS = frozenset({"negotiated_rate", *PRICE_NAMES})
_PRICES = "negotiated_prices"
_WORDS = RATES.words
_PLACE = ListedCodeShape(re.compile(rf"\A(?:{PLACE_SHAPE})\Z"), width=2)
_MODIFIER = ListedCodeShape(re.compile(rf"\A(?:{MODIFIER_SHAPE})\Z"), width=0)
CODE_KEYS = frozenset({"billing_code_type", "billing_code_type_version", "billing_code", "description"})
HEAD_KEYS = frozenset(
    {
        "negotiation_arrangement",
        "name",
        "billing_code_type",
        "billing_code_type_version",
        "billing_code",
        "description",
        "severity_of_illness",
        "bundled_codes",
        "covered_services",
    }
)


class RateElement(NamedTuple):
    """One element of `negotiated_rates`, ready to be written."""

    group_ids: tuple[str, ...]  # distinct, sorted
    set_id: int | None  # None where no provider is named
    inline: list[ProviderRow]
    prices: list[PriceRow]


def reference_rows(
    reference: Obj, values: Values, fetch_groups: Callable[[str, int], list[Json] | None]
) -> tuple[str, list[ProviderRow]] | None:
    """(group id, rows) of one `provider_references` element; None after a reject."""
    group_id = values.group_id(reference.get("provider_group_id"))
    if group_id is None:
        # Not the whole reference: its `location` may be signed.
        values.counts.reject(
            reference.offset,
            "provider_group",
            "provider_references.provider_group_id",
            "group_id_missing",
            reference.get("provider_group_id"),
        )
        return None
    values.unknown_keys(reference, REFERENCE_KEYS, "provider_references")
    names = values.texts(reference.get("network_name"), "provider_references.network_name", reference.offset)
    entries = values.elements(reference.get("provider_groups"))
    location = values.text(reference.get("location"), "provider_references.location", reference.offset)
    if location is not None:
        groups = fetch_groups(location, reference.offset)
        if groups is None:
            values.counts.repair("remote_reference_failed")
            values.counts.reject(
                reference.offset,
                "value",
                "provider_references.location",
                "remote_reference_failed",
                location,
            )
        entries = [*entries, *(groups or [])]
    rows = dict[tuple[str | None, str | None, int | None], ProviderRow]()
    for entry in entries:
        group = _group(entry, values, reference.offset)
        if group is None:
            continue
        kind, tin, name, npis = group
        for npi in npis:
            row = (group_id, npi, kind, tin, name, names, False)
            first_row = rows.setdefault((kind, tin, npi), row)
            if first_row is not row:
                values.counts.repair(_of_double(first_row, name, "duplicate_npi"))
    if not rows:
        values.counts.repair("group_without_providers")
        return group_id, [(group_id, None, None, None, None, names, False)]
    return group_id, list(rows.values())


def rate_element(rate: Obj, values: Values) -> RateElement:
    """Set, inline groups and prices of one `negotiated_rates` element; counts its prices."""
    providers = rate_providers(rate, values)
    return providers._replace(prices=list(_prices(rate, values)))


def rate_providers(rate: Obj, values: Values) -> RateElement:
    """One `negotiated_rates` element without its prices: everything that stands beside them."""
    values.unknown_keys(rate, _RATE_KEYS, "negotiated_rates")
    group_ids = _referenced(rate, values)
    inline = dict[str, list[ProviderRow]]()
    for entry in values.elements(rate.get("provider_groups")):
        values.counts.provider_groups_read += 1
        group = _group(entry, values, rate.offset)
        if group is None:
            continue
        kind, tin, name, npis = group
        inline_id = "inline-" + content_id([sorted(npi or 0 for npi in npis), kind, tin]).hex()
        if inline_id in inline:
            values.counts.repair(_of_double(inline[inline_id][0], name, "duplicate_provider_group"))
        else:
            inline[inline_id] = [(inline_id, npi, kind, tin, name, None, True) for npi in npis]
    members = tuple(sorted(group_ids.union(inline)))
    if not members:
        values.counts.repair("rate_without_providers")
    return RateElement(
        members,
        id_of_sorted(members) if members else None,
        [row for rows in inline.values() for row in rows],
        [],
    )


def _referenced(rate: Obj, values: Values) -> set[str]:
    """The groups that a rate refers to by their ids."""
    references = values.elements(rate.get("provider_references"))
    group_ids = list[str]()
    if all(type(reference) is int for reference in references):  # nearly all of them, and hundreds in one rate
        group_ids.extend(map(str, references))
    else:
        for reference in references:
            group_id = values.group_id(reference)
            if group_id is None:
                values.counts.reject(
                    rate.offset, "value", "negotiated_rates.provider_references", "group_id_missing", reference
                )
            else:
                group_ids.append(group_id)
    distinct = set(group_ids)
    values.counts.repair("duplicate_provider_reference", len(group_ids) - len(distinct))
    return distinct


def _of_double(first_row: ProviderRow, name: str | None, usual: str) -> str:
    """The repair that leaves a double out: it may have a business name that the row kept does not have."""
    return usual if name in (None, first_row[_NAME]) else "second_business_name"


def _group(entry: Json, values: Values, offset: int) -> _Group | None:
    """One `provider_groups` entry, in a reference or inline."""
    path = "provider_groups"
    if not isinstance(entry, Obj):
        values.counts.reject(offset, "provider_group", path, "not_an_object", entry)
        return None
    values.unknown_keys(entry, GROUP_KEYS, path)
    kind, tin, name = values.tin(entry.get("tin"), entry.offset)
    npi_values = values.elements(entry.get("npi"))
    npis = dict[int | None, None]()
    if are_plain_npis(npi_values):
        npis.update(dict.fromkeys(npi_values))
    for value in () if npis else npi_values:
        rejects_before = len(values.counts.rejects)
        npi = values.npi(value, f"{path}.npi", entry.offset)
        if len(values.counts.rejects) > rejects_before:
            continue
        if npi in npis:
            values.counts.repair("duplicate_npi")
        npis[npi] = None
    if not npis:
        values.counts.repair("group_without_npi")
        npis[None] = None
    return kind, tin, name, list(npis)


def _prices(rate: Obj, values: Values) -> Iterator[PriceRow]:
    prices = values.elements(rate.get("negotiated_prices"))
    if not prices:
        values.counts.repair("rate_without_prices")
    for price in prices:
        values.counts.prices_read += 1
        row = price_row(price, values, rate.offset)
        if row is None:
            values.counts.prices_rejected += 1
        else:
            values.counts.rate_rows += 1
            yield row


def price_row(price: Json, values: Values, offset: int) -> PriceRow | None:
    """One negotiated price; None after a reject. `offset` is of the element that holds it."""
    if not isinstance(price, Obj):
        values.counts.reject(offset, "price", _PRICES, "not_an_object", price)
        return None
    rate = values.rate(price.get("negotiated_rate"), price.offset)
    if rate is None:
        return None
    values.unknown_keys(price, PRICE_KEYS, _PRICES)
    kind, *rest = (price_value(name, price.get(name), values, price.offset) for name in PRICE_NAMES)
    return (kind, rate, *rest)


def price_value(name: str, value: Json, values: Values, offset: int) -> Any:  # noqa: ANN401 - text, date or texts
    """The value of one key of a price, the rate aside."""
    path = f"{_PRICES}.{name}"
    if name == "service_code":
        return values.listed_codes(value, _PLACE, path, offset)
    if name == "billing_code_modifier":
        return values.listed_codes(value, _MODIFIER, path, offset)
    if name == "expiration_date":
        return values.date(value, path, offset)
    if name == "additional_information":
        return values.text(value, path, offset)
    return values.word(value, _WORDS[name], path, offset)


def item_head(head: Obj, values: Values) -> tuple[Any, ...]:
    """The columns of `rates` from negotiation_arrangement to covered_services, in that order."""
    path, offset = "in_network", head.offset
    kind = code_type(head, path, values)
    return (
        values.word(
            head.get("negotiation_arrangement"),
            _WORDS["negotiation_arrangement"],
            f"{path}.negotiation_arrangement",
            offset,
        ),
        kind,
        values.text(head.get("billing_code_type_version"), f"{path}.billing_code_type_version", offset),
        values.code(head.get("billing_code"), kind, f"{path}.billing_code", offset),
        values.text(head.get("name"), f"{path}.name", offset),
        values.text(head.get("description"), f"{path}.description", offset),
        values.text(head.get("severity_of_illness"), f"{path}.severity_of_illness", offset),
        _codes(head, "bundled_codes", values),
        _codes(head, "covered_services", values),
    )


def code_type(holder: Obj, path: str, values: Values) -> str | None:
    """The type of the billing code of an item, or of one of its parts."""
    value = holder.get("billing_code_type")
    return values.word(value, _WORDS["billing_code_type"], f"{path}.billing_code_type", holder.offset, upper=True)


def _codes(head: Obj, key: str, values: Values) -> list[dict[str, str | None]] | None:
    if head.get(key) is None:
        return None
    codes = []
    for entry in values.elements(head[key]):
        if not isinstance(entry, Obj):
            values.counts.reject(head.offset, "value", key, "not_an_object", entry)
            continue
        values.unknown_keys(entry, CODE_KEYS, key)
        offset = entry.offset
        kind = code_type(entry, key, values)
        codes.append(
            {
                "billing_code_type": kind,
                "billing_code_type_version": values.text(
                    entry.get("billing_code_type_version"), f"{key}.billing_code_type_version", offset
                ),
                "billing_code": values.code(entry.get("billing_code"), kind, f"{key}.billing_code", offset),
                "description": values.text(entry.get("description"), f"{key}.description", offset),
            }
        )
    return codes


def group_content(rows: Iterable[ProviderRow]) -> int:
    """What stands for the rows of one provider group, to find groups that are defined twice."""
    entries = list[list[Any]]()
    networks: Sequence[str] | None = None
    npis = array("q")
    for _, npi, *entry, of_group, _ in rows:
        networks = of_group
        npis.append(npi or 0)
        if not entries or entries[-1][:-1] != entry:
            entries.append([*entry, 0])
        entries[-1][-1] += 1
    return content_of_entries(map(tuple, entries), networks, npis.tobytes())


def content_of_entries(entries: Iterable[GroupEntry], networks: Sequence[str] | None, npis: bytes) -> int:
    """The same, of a group's entries; NPIs in eight bytes each, 0 for null. Holds in this process alone."""
    return hash((tuple(entries), None if networks is None else tuple(networks), npis))


class RowBuffer:
    """Rows of one table, handed out as record batches of at most `batch_rows`, fewer where their texts are long."""

    def __init__(self, table: Table, file_id: str, batch_rows: int) -> None:
        self._table, self._schema = table, table.arrow
        self._file_id, self._batch_rows = file_id, batch_rows
        self._rows: list[tuple[Any, ...]] = []
        self._text_bytes = 0

    def add(self, row: tuple[Any, ...]) -> Iterator[TableBatch]:
        """Take one row (without its file_id); yield a batch when one is full."""
        self._rows.append(row)
        self._text_bytes += sum(len(value) for value in row if type(value) is str)
        if len(self._rows) >= self._batch_rows or self._text_bytes >= MAX_BATCH_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[TableBatch]:
        """Yield what is held, if anything."""
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        fields = iter(self._schema)
        file_ids = pa.array([self._file_id] * len(self._rows), next(fields).type)
        arrays = [file_ids, *(pa.array(column, field.type) for column, field in zip(columns, fields, strict=True))]
        self._rows, self._text_bytes = [], 0
        yield self._table.name, pa.RecordBatch.from_arrays(arrays, schema=self._schema)
