"""Make in-network files and indexes out of a seed: for tests, the demo and the benchmarks.

`document` gives a small file as Python values, `write_large` streams one of any size to disk,
`index` gives a table of contents, and the rest damages or packs bytes. The same seed gives the
same bytes. Everything is made up: codes are bare numbers, no word comes from a licensed
descriptor, NPIs only pass the Luhn check, EINs only have the shape.
Keep anything that reads MRFs out of here: the tests compare our readers with what this wrote.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import itertools
import json
import random
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, Literal

Document = dict[str, Any]
Code = tuple[str, str]  # billing_code_type, billing_code
Schema = Literal["v1", "v2"]
KeyOrder = Literal["head", "shuffled", "tail"]  # where an item's code stands: before its rates, anywhere, after them
References = Literal["first", "last", "absent"]

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_ENCODE_KEY = functools.lru_cache(1024)(encode_basestring)
_FLUSH_BYTES = 1 << 20
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)

# --- values ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number with its exact spelling: 690.64470, 1.0 and 1e2 are lost in a float."""

    text: str


class Again(str):
    """A key that may stand in an object beside one of the same text."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other


_SURROGATE = re.compile(r"[\ud800-\udfff]")


def seeded(seed: int | str) -> random.Random:
    """A generator of its own for each purpose, so that one more draw here changes nothing there."""
    return random.Random(seed)  # noqa: S311 - made-up data, not secrets


def luhn_valid(npi: str) -> bool:
    """Whether the last digit of an NPI is its Luhn check digit, over 80840 and the NPI (CMS)."""
    return npi.isdecimal() and len(npi) == 10 and npi[-1] == _check_digit(npi[:9])


def _check_digit(nine: str) -> str:
    # 24 is what the constant prefix 80840 adds to the sum.
    doubled = sum(int(digit) * 2 // 10 + int(digit) * 2 % 10 for digit in nine[::2])
    return str(-(24 + doubled + sum(map(int, nine[1::2]))) % 10)


def make_npi(rng: random.Random) -> int:
    """A made-up NPI: ten digits, the first 1 or 2, with a valid check digit."""
    nine = str(rng.randint(100_000_000, 299_999_999))
    return int(nine + _check_digit(nine))


def make_ein(rng: random.Random, *, hyphen: bool = True) -> str:
    """A made-up employer identification number, with or without its hyphen."""
    prefix, rest = rng.choice(_EIN_PREFIXES), f"{rng.randrange(10_000_000):07d}"
    return f"{prefix}-{rest}" if hyphen else prefix + rest


_EIN_PREFIXES = ("12", "16", "23", "36", "41", "52", "58", "74", "84", "93")

# --- JSON text ------------------------------------------------------------------------------


def render(value: object, *, pretty: bool = False) -> bytes:
    """The value as JSON in UTF-8; `Number` keeps its spelling, `pretty` indents by two."""
    return json_bytes(_json_text(value, "\n" if pretty else ""))


def json_bytes(text: str) -> bytes:
    """The text of JSON in UTF-8; surrogates, which stand in strings alone, become escapes."""
    return _SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text).encode()


def _json_text(value: object, newline: str) -> str:
    """JSON of one value; `newline` is empty, or a line break with the indentation of this level."""
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        colon = ": " if newline else ":"
        inner = newline and newline + "  "
        return _bracketed(
            "{}", [_ENCODE_KEY(key) + colon + _json_text(each, inner) for key, each in value.items()], newline
        )
    if isinstance(value, list):
        if all(type(each) is int for each in value):  # lists of NPIs make up most of a references section
            return _bracketed("[]", list(map(str, value)), newline)
        inner = newline and newline + "  "
        return _bracketed("[]", [_json_text(each, inner) for each in value], newline)
    return value.text if isinstance(value, Number) else _ENCODE(value)


def _bracketed(brackets: str, parts: list[str], newline: str) -> str:
    if not parts or not newline:
        return f"{brackets[0]}{','.join(parts)}{brackets[1]}"
    inner = newline + "  "
    return f"{brackets[0]}{inner}{f',{inner}'.join(parts)}{newline}{brackets[1]}"


# --- made-up parts of a file ----------------------------------------------------------------

_PLAIN_TEXT = (
    "amber basin cedar delta ember fjord grove harbor island jasper kettle lantern meadow north orchard "
    "pebble quarry river summit timber upland valley willow yonder zephyr level unit session tier visit"
)
_PLAIN_WORDS = _PLAIN_TEXT.split()
_NASTY_WORDS = (
    '"quoted"',
    "{braces}",
    "[brackets]",
    "back\\slash",
    "tab\there",
    "café",
    "naïve",
    "µ",
    "😀",
    "a/b",
    "},{",
)
_PLACES = [f"{code:02d}" for code in (*range(1, 27), 31, 32, 33, 34, 41, 42, *range(49, 63), 65, 71, 72, 81, 99)]
_MODIFIERS = ("26", "TC", "50", "59", "GT", "95", "RR")
_DATES = ("9999-12-31", "2026-12-31", "2027-06-30", "2028-12-31")
_DOLLAR_TYPES = ("negotiated", "negotiated", "negotiated", "fee schedule", "fee schedule", "derived")

# What real payers do to a price (string and zero rates, date forms, scalars for lists).
_PRICE_DEVIATIONS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("negotiated_rate", str),
    ("negotiated_rate", lambda _: 0),
    ("negotiated_rate", lambda _: 163.43999999999997),
    ("expiration_date", lambda date: f"{date}T00:00:00"),
    ("expiration_date", lambda date: f"{date}T00:00:00-05:00"),
    ("expiration_date", lambda _: "2/4/2028"),
    ("service_code", lambda places: places[0] if places else []),
    ("service_code", lambda places: [int(place) for place in places or ()]),
    ("billing_code_modifier", lambda _: [""]),
    ("billing_code_modifier", lambda _: "26"),
    ("additional_information", lambda _: ""),
    ("comment", lambda _: {"billing_code": "not this one", "negotiated_rates": [1]}),
)
# And to a provider group: NPIs as strings, the NPI 0, an EIN without its hyphen.
_GROUP_DEVIATIONS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("npi", lambda npis: [str(npi) for npi in npis]),
    ("npi", lambda _: [0]),
    ("tin", lambda tin: tin | {"value": tin["value"].replace("-", "")}),
)


class Maker:
    """Parts of in-network files, drawn from one seeded generator."""

    def __init__(
        self,
        seed: int | str,
        *,
        schema: Schema = "v1",
        key_order: KeyOrder = "head",
        deviation_share: float = 0.0,
        rate_level: float = 1.0,
        decimal_ids: bool = False,
    ) -> None:
        self.rng = seeded(seed)
        self.schema, self.key_order = schema, key_order
        self.deviation_share, self.rate_level, self.decimal_ids = deviation_share, rate_level, decimal_ids
        self._npis: list[int] = []

    def ordered(self, item: Document) -> Document:
        """The same keys in the order asked for; `item` has its payload last."""
        if self.key_order == "head":
            return item
        keys = list(item)
        if self.key_order == "tail":
            keys.insert(0, keys.pop())
        else:
            self.rng.shuffle(keys)
        return {key: item[key] for key in keys}

    def text(self, words: int, *, nasty_share: float = 0.0) -> str:
        """Made-up words; some with the characters that break naive JSON scanners."""
        pool: Sequence[str] = _NASTY_WORDS if self.rng.random() < nasty_share else _PLAIN_WORDS
        return " ".join(self.rng.choices(pool, k=words))

    def group_id(self, number: int) -> int | Number:
        """A group's id: whole, or a decimal with a trailing zero as BCBSA shards have it (690.64470)."""
        return Number(f"690.{number:04d}0") if self.decimal_ids else number

    def npis(self, count: int) -> list[int]:
        """Distinct NPIs; different groups share some, as in life."""
        if len(self._npis) < 8 * count:
            known = dict.fromkeys(self._npis)
            while len(known) < max(50, 16 * count):
                known[make_npi(self.rng)] = None
            self._npis = list(known)
        start = self.rng.randrange(len(self._npis) - count + 1)
        return self._npis[start : start + count]

    def group(self, npi_count: int) -> Document:
        """One provider group: NPIs and a TIN."""
        tin = {"type": "ein", "value": make_ein(self.rng)}
        if self.rng.random() < 0.15:
            tin = {"type": "npi", "value": str(make_npi(self.rng))}
        elif self.schema == "v2":
            tin["business_name"] = self.text(3, nasty_share=0.05)
        return self._deviate({"npi": self.npis(npi_count), "tin": tin}, _GROUP_DEVIATIONS)

    def groups(self) -> list[Document]:
        """One to a few hundred provider groups, most of them small."""
        return [self.group(self._heavy_tail(0.9, 3000)) for _ in range(self._heavy_tail(1.1, 200))]

    def reference(self, number: int, groups: list[Document]) -> Document:
        """One entry of `provider_references`."""
        entry: Document = {"provider_group_id": self.group_id(number)}
        if self.schema == "v2":
            entry["network_name"] = self.rng.sample(["Aspen", "Birch", "Cedar Select"], self.rng.choice([1, 1, 2]))
        return self.ordered(entry | {"provider_groups": groups})

    def price(self, negotiated_type: str | None = None) -> Document:
        """One negotiated price."""
        rng = self.rng
        kind = negotiated_type or rng.choice(_DOLLAR_TYPES)
        professional = rng.random() < 0.7
        price: Document = {
            "negotiated_type": kind,
            "negotiated_rate": self.rate(kind),
            "expiration_date": rng.choice(_DATES),
            "billing_class": "professional" if professional else "institutional",
        }
        if professional:
            price["service_code"] = sorted(rng.sample(_PLACES, rng.choice([1, 1, 2, 3, 5, 8, 20, 45])))
        if self.schema == "v2":
            price["setting"] = rng.choice(["inpatient", "outpatient", "both"])
        if rng.random() < 0.3:
            price["billing_code_modifier"] = sorted(rng.sample(_MODIFIERS, rng.choice([1, 1, 2])))
        if rng.random() < 0.1:
            price["additional_information"] = self.text(3, nasty_share=0.1)
        price = self._deviate(price, _PRICE_DEVIATIONS)
        return price if self.key_order == "head" else self._shuffled(price)

    def rate(self, negotiated_type: str) -> float:
        """Dollars, or a whole-number percent for `percentage`."""
        if negotiated_type == "percentage":
            return self.rng.choice([24, 39, 40.5, 75, 100])
        if self.rng.random() < 0.1:
            return self.rng.randint(10, 900)
        return round(self.rng.lognormvariate(4.5, 0.9) * self.rate_level, 2)

    def head(self, code: Code, arrangement: str = "ffs") -> Document:
        """The keys of an item that stand beside its rates."""
        head: Document = {
            "negotiation_arrangement": arrangement,
            "name": self.text(4, nasty_share=0.05),
            "billing_code_type": code[0],
            "billing_code_type_version": self.rng.choice(["2026", "2025", "UB04", "10"]),
            "billing_code": code[1],
            "description": self.text(8, nasty_share=0.05),
        }
        if self.schema == "v2" and code[0].endswith("DRG"):
            head["severity_of_illness"] = self.rng.choice(["1", "2", "3", "4"])
        if arrangement == "bundle":
            head["bundled_codes"] = self._inner_codes()
        if arrangement == "capitation":
            head["covered_services"] = self._inner_codes()
        elif self.rng.random() < self.deviation_share:
            head["covered_services"] = None
        return head

    def _inner_codes(self) -> list[Document]:
        return [
            {
                "billing_code_type": "CPT",
                "billing_code_type_version": "2026",
                "billing_code": f"{self.rng.randint(10_000, 99_999)}",
                "description": self.text(3),
            }
            for _ in range(3)
        ]

    def _heavy_tail(self, alpha: float, most: int) -> int:
        return int(min(most, self.rng.paretovariate(alpha)))

    def _shuffled(self, item: Document) -> Document:
        return {key: item[key] for key in self.rng.sample(list(item), len(item))}

    def _deviate(self, item: Document, deviations: Sequence[tuple[str, Callable[[Any], Any]]]) -> Document:
        if self.rng.random() >= self.deviation_share:
            return item
        key, change = self.rng.choice(deviations)
        return item | {key: change(item.get(key))}


_HEADERS: dict[Schema, Document] = {
    "v1": {
        "reporting_entity_name": 'Cardinal "National" {Health}',
        "reporting_entity_type": "health insurance issuer",
        "last_updated_on": "2026-11-01",
        "version": "1.3.1",
    },
    "v2": {
        "reporting_entity_name": "Cardinal National Health",
        "reporting_entity_type": "health insurance issuer",
        "last_updated_on": "2026-11-01",
        "version": "2.2.0",
    },
}

_HCPCS_LETTERS = "ABCEGHJKLMPQRSTV"


def made_codes(count: int, first: Sequence[Code] = ()) -> list[Code]:
    """That many codes, beginning with those given; types in the usual mixture, CPT most of all.

    Codes repeat once a type has run out of numbers: payers repeat them too.
    """
    taken = set(first)
    fresh = (code for code in map(_made_code, itertools.count()) if code not in taken)
    return [*first[:count], *itertools.islice(fresh, max(0, count - len(first)))]


def _made_code(number: int) -> Code:
    tens, ones = divmod(number, 10)
    if ones < 7:
        return "CPT", f"{10_000 + (tens * 7 + ones) % 90_000:05d}"
    if ones < 9:
        nth = tens * 2 + ones - 7
        return "HCPCS", f"{_HCPCS_LETTERS[nth // 10_000 % len(_HCPCS_LETTERS)]}{nth % 10_000:04d}"
    return ("MS-DRG", f"{tens % 998 + 1:03d}") if tens % 3 else ("RC", f"{tens % 900 + 100:04d}")


# --- small documents ------------------------------------------------------------------------


def document(
    *,
    seed: int = 1,
    schema: Schema = "v1",
    codes: int | Sequence[Code] = 4,
    groups: int = 3,
    first_group_id: int = 1,
    decimal_ids: bool = False,
    remote_references: str | None = None,
    rates_per_item: int = 2,
    prices_per_rate: int = 2,
    references: References = "first",
    inline_share: float = 0.0,
    key_order: KeyOrder = "head",
    arrangements: Sequence[str] = ("ffs",),
    negotiated_types: Sequence[str] = ("negotiated",),
    deviation_share: float = 0.0,
) -> Document:
    """A small in-network file.

    Args:
        seed: Same arguments and same seed, same document.
        schema: v2 has network_name, setting, business_name and severity_of_illness.
        codes: How many items, or the codes of the items.
        groups: How many provider references.
        first_group_id: Ids count up from here; 0 is an id that payers really use.
        decimal_ids: Ids such as 690.00010, as `Number`.
        remote_references: Give each reference a `location` under this URL instead of groups;
            `remote_document` makes what is found there.
        rates_per_item: Entries of `negotiated_rates`.
        prices_per_rate: Entries of `negotiated_prices`.
        references: Where `provider_references` stands; absent makes all groups inline.
        inline_share: Share of rates with inline `provider_groups` (v1).
        key_order: Order of the keys of items, rates, references and the root.
        arrangements: Taken in turn by the items: ffs, bundle, capitation.
        negotiated_types: Taken in turn by the prices, such as percentage or per diem.
        deviation_share: Share of prices and groups with a deviation that real payers ship.
    """
    maker = Maker(seed, schema=schema, key_order=key_order, deviation_share=deviation_share, decimal_ids=decimal_ids)
    numbers = range(first_group_id, first_group_id + groups)
    inline_share = 1.0 if references == "absent" else inline_share
    kinds, ways = itertools.cycle(negotiated_types), itertools.cycle(arrangements)
    wanted = made_codes(codes) if isinstance(codes, int) else codes

    def rate() -> Document:
        prices = [maker.price(next(kinds)) for _ in range(prices_per_rate)]
        if maker.rng.random() < inline_share:
            return maker.ordered({"provider_groups": [maker.group(2)], "negotiated_prices": prices})
        few = maker.rng.sample(numbers, min(groups, maker.rng.randint(1, 3)))
        return maker.ordered({"provider_references": list(map(maker.group_id, few)), "negotiated_prices": prices})

    items = [
        maker.ordered(maker.head(code, next(ways)) | {"negotiated_rates": [rate() for _ in range(rates_per_item)]})
        for code in wanted
    ]
    if remote_references is None:
        entries = [maker.reference(number, [maker.group(maker.rng.randint(1, 4))]) for number in numbers]
    else:
        entries = [_remote_reference(maker, number, remote_references) for number in numbers]
    return _root(maker, entries, items, references)


def _remote_reference(maker: Maker, number: int, base_url: str) -> Document:
    return maker.ordered({"provider_group_id": maker.group_id(number), "location": f"{base_url}/{number}.json"})


def _root(maker: Maker, entries: list[Document], items: list[Document], references: References) -> Document:
    header = list(_HEADERS[maker.schema].items())
    payload: list[tuple[str, Any]] = [("in_network", items)]
    if references != "absent":
        payload.insert(0 if references == "first" else 1, ("provider_references", entries))
    if maker.key_order == "head":
        return dict(header + payload)
    if maker.key_order == "tail":
        return dict(payload + header)
    for pair in payload:
        # Anywhere among the header keys; references keep their side of the items.
        before = header.index(payload[0]) + 1 if payload[0] in header else 0
        header.insert(maker.rng.randint(before, len(header)), pair)
    return dict(header)


def remote_document(url: str, *, groups: int = 1) -> Document:
    """What is found at a reference's `location`: groups without an id (CMS schema 1.x), made from the URL."""
    maker = Maker(url)
    return {"version": "1.3.1", "provider_groups": [maker.group(maker.rng.randint(1, 4)) for _ in range(groups)]}


# --- large files ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeSpec:
    """What a large file looks like; `SHAPES` has the usual ones."""

    size_bytes: int  # of JSON, about; wins over `codes`, and over `groups` where references come last
    seed: int = 1
    schema: Schema = "v1"
    codes: int = 0  # items; 0: as many as suit the size
    groups: int = 0  # provider references; 0: as many as suit the size
    named_codes: tuple[Code, ...] = ()  # codes that the file must have
    skew: float = 0.9  # Zipf exponent of the bytes per item; 0 makes all items equal
    top_share: float = 0.12  # share of bytes of the largest item
    references: References = "first"
    key_order: KeyOrder = "head"
    inline_share: float = 0.0  # share of rates with inline groups
    decimal_ids: bool = False
    pretty: bool = False
    giant_bytes: int = 0  # one more item of this size in the middle, its code after its rates
    giant_wanted: bool = False  # puts the giant on the whitelist
    keep_share: float = 0.02  # of all bytes, that the whitelist should keep
    deviation_share: float = 0.0  # of prices and groups
    rate_level: float = 1.0  # multiplies the dollars
    compress_level: int = 6


GIANT_CODE: Code = ("LOCAL", "GIANT")


def skewed(size_bytes: int, **changes: Any) -> LargeSpec:  # noqa: ANN401 - fields of LargeSpec
    """Compact, references first, a few items hold most bytes: what most payers publish."""
    return replace(LargeSpec(size_bytes=size_bytes), **changes)


def shuffled_keys(size_bytes: int, **changes: Any) -> LargeSpec:  # noqa: ANN401 - fields of LargeSpec
    """Pretty-printed, keys in any order, references last, a few inline groups."""
    shape = LargeSpec(size_bytes=size_bytes, pretty=True, key_order="shuffled", references="last", inline_share=0.02)
    return replace(shape, **changes)


def references_last(size_bytes: int, **changes: Any) -> LargeSpec:  # noqa: ANN401 - fields of LargeSpec
    """References after the items, as the Optum and Oscar generators do."""
    return replace(LargeSpec(size_bytes=size_bytes, references="last"), **changes)


def giant_tail(size_bytes: int, **changes: Any) -> LargeSpec:  # noqa: ANN401 - fields of LargeSpec
    """One item has 60 % of the bytes, and its code comes after them."""
    shape = LargeSpec(size_bytes=size_bytes, giant_bytes=int(size_bytes * 0.6), giant_wanted=True)
    return replace(shape, **changes)


def many_small(size_bytes: int, **changes: Any) -> LargeSpec:  # noqa: ANN401 - fields of LargeSpec
    """Tens of thousands of items with one or two rates, and many groups."""
    codes, groups = max(10, size_bytes // 2_000), max(5, size_bytes // 8_000)
    shape = LargeSpec(size_bytes=size_bytes, codes=codes, groups=groups, skew=0.0, top_share=0.0)
    return replace(shape, **changes)


def all_inline(size_bytes: int, **changes: Any) -> LargeSpec:  # noqa: ANN401 - fields of LargeSpec
    """No references at all: every rate carries its groups."""
    return replace(LargeSpec(size_bytes=size_bytes, references="absent"), **changes)


SHAPES: dict[str, Callable[..., LargeSpec]] = {
    "skewed": skewed,
    "shuffled-keys": shuffled_keys,
    "references-last": references_last,
    "tail": giant_tail,
    "tiny": many_small,
    "inline": all_inline,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeFile:
    """What was written."""

    path: Path
    whitelist: Path  # lines of `type,code`
    json_bytes: int
    file_bytes: int
    items: int
    prices: int
    groups: int
    largest_item_bytes: int
    wanted_codes: int
    wanted_bytes: int  # of the items on the whitelist


def write_large(path: Path, spec: LargeSpec) -> LargeFile:
    """Write the file and, beside it, `<name>.whitelist.csv`; memory stays flat whatever the size.

    The suffix says the container: .json, .gz or .zip.
    """
    large = LargeDocument(spec)
    with _opened(path, spec.compress_level) as write:
        for block in _blocks(large.chunks()):
            write(block)
    wanted = large.whitelist()
    whitelist = path.with_name(f"{path.name}.whitelist.csv")
    whitelist.write_text("".join(f"{kind},{code}\n" for kind, code in wanted), encoding="utf-8")
    return LargeFile(
        path=path,
        whitelist=whitelist,
        json_bytes=large.written,
        file_bytes=path.stat().st_size,
        items=large.items,
        prices=large.prices,
        groups=large.groups,
        largest_item_bytes=large.largest_item_bytes,
        wanted_codes=len(wanted),
        wanted_bytes=sum(large.bytes_of[code] for code in wanted),
    )


class LargeDocument:
    """One large document as a stream of bytes; the counts are final once `chunks` has ended."""

    def __init__(self, spec: LargeSpec) -> None:
        self.spec = spec
        self.groups = 0 if spec.references == "absent" else spec.groups or max(4, spec.size_bytes // 25_000)
        self.written = self.items = self.prices = self.largest_item_bytes = 0
        self.bytes_of: dict[Code, int] = {}  # of items, by code
        self._rng = seeded(f"{spec.seed}/items")
        self._maker = self._new_maker("heads")
        self._pieces = _Pieces(self._new_maker("pieces"), spec, self.groups)

    def chunks(self) -> Iterator[bytes]:
        """The document from its first byte to its last."""
        first, last = _header_halves(self.spec)
        sections = [self._item_chunks()]
        if self.spec.references != "absent":
            sections.insert(0 if self.spec.references == "first" else 1, self._reference_chunks())
        yield self._count(first)
        for section in sections:
            yield from map(self._count, section)
            yield self._count(b"," + self._pieces.line(1))
        yield self._count(last)

    def whitelist(self) -> list[Code]:
        """Codes that keep about `keep_share` of the bytes; never the three largest, so that none decides alone."""
        goal = self.spec.keep_share * self.written
        wanted = [GIANT_CODE] if self.spec.giant_wanted and self.spec.giant_bytes else []
        if self.spec.keep_share >= 1:
            return list(self.bytes_of)
        by_size = sorted(self.bytes_of, key=self.bytes_of.__getitem__)[:-3]
        kept = 0
        for code in seeded(f"{self.spec.seed}/whitelist").sample(by_size, len(by_size)):
            if kept >= goal:
                break
            if code != GIANT_CODE and kept + self.bytes_of[code] <= goal * 1.15:
                kept += self.bytes_of[code]
                wanted.append(code)
        return wanted

    def _new_maker(self, purpose: str) -> Maker:
        spec = self.spec
        return Maker(
            f"{spec.seed}/{purpose}",
            schema=spec.schema,
            key_order=spec.key_order,
            deviation_share=spec.deviation_share,
            rate_level=spec.rate_level,
            decimal_ids=spec.decimal_ids,
        )

    def _count(self, chunk: bytes) -> bytes:
        self.written += len(chunk)
        return chunk

    def _reference_chunks(self) -> Iterator[bytes]:
        """The section `provider_references`, one chunk for each group; the same bytes every time."""
        maker, line = self._new_maker("references"), self._pieces.line(2)
        yield b'"provider_references":['
        for number in range(1, self.groups + 1):
            entry = maker.reference(number, maker.groups())
            yield (b"," if number > 1 else b"") + line + self._pieces.render(entry, 2)
        yield self._pieces.line(1) + b"]"

    def _item_chunks(self) -> Iterator[bytes]:
        """The section `in_network`; each item grows until the bytes planned up to its end are written."""
        start, end = self.written, self.spec.size_bytes
        if self.spec.references == "last":
            end -= sum(map(len, self._reference_chunks()))
        budget = max(0, end - start - self.spec.giant_bytes)
        codes = self._shuffled_codes(budget)
        yield b'"in_network":['
        goal = float(start)
        for number, (code, share) in enumerate(zip(codes, self._shares(len(codes)), strict=True)):
            if number == len(codes) // 2 and self.spec.giant_bytes:
                goal += self.spec.giant_bytes
                yield from self._item(GIANT_CODE, self.written + self.spec.giant_bytes, "tail")
            goal += budget * share
            if number and self.written >= end:
                break
            yield from self._item(code, goal, self.spec.key_order)
        yield self._pieces.line(1) + b"]"

    def _shuffled_codes(self, budget: int) -> list[Code]:
        count = max(self.spec.codes or min(20_000, budget // 10_000), len(self.spec.named_codes), 1)
        codes = made_codes(count, self.spec.named_codes)
        self._rng.shuffle(codes)
        return codes

    def _shares(self, count: int) -> list[float]:
        """What part of the bytes each item gets, in the order of the items."""
        weights = [(rank + 1) ** -self.spec.skew for rank in range(count)]
        rest = sum(weights[1:]) or 1.0
        top = self.spec.top_share if count > 1 else 1.0
        if top:
            weights = [top, *(weight / rest * (1 - top) for weight in weights[1:])]
        total = sum(weights)
        self._rng.shuffle(weights)
        return [weight / total for weight in weights]

    def _item(self, code: Code, goal: float, key_order: KeyOrder) -> Iterator[bytes]:
        """One element of `in_network` that ends soon after byte `goal` of the file."""
        began = self.written
        before, after = self._item_edges(code, key_order)
        yield (b"," if self.items else b"") + before
        separator = b""
        while not separator or self.written + len(after) < goal:
            batch = self._pieces.rates(self._rng, goal - self.written - len(after))
            self.prices += batch.count(b'"negotiated_rate":')
            yield separator + batch
            separator = b","
        yield after
        self.items += 1
        size = self.written - began
        self.bytes_of[code] = self.bytes_of.get(code, 0) + size
        self.largest_item_bytes = max(self.largest_item_bytes, size)

    def _item_edges(self, code: Code, key_order: KeyOrder) -> tuple[bytes, bytes]:
        """What stands before and after the entries of an item's `negotiated_rates`."""
        arrangement = self._rng.choices(("ffs", "bundle", "capitation"), (18, 1, 1))[0]
        pairs = list(self._maker.head(code, arrangement).items())
        if key_order == "shuffled":
            self._rng.shuffle(pairs)
        split = {"head": len(pairs), "tail": 0, "shuffled": self._rng.randint(0, len(pairs))}[key_order]
        line = self._pieces.line(3)
        rendered = [line + self._pieces.render(key, 3) + b":" + self._pieces.render(value, 3) for key, value in pairs]
        before = b"".join(pair + b"," for pair in rendered[:split])
        after = b"".join(b"," + pair for pair in rendered[split:])
        opening = self._pieces.line(2) + b"{" + before + line + b'"negotiated_rates":['
        return opening, line + b"]" + after + self._pieces.line(2) + b"}"


def _header_halves(spec: LargeSpec) -> tuple[bytes, bytes]:
    """Most header keys come first and `version` last, so that no reader may stop early."""
    header = dict(_HEADERS[spec.schema])
    last = {"version": header.pop("version")}
    if spec.key_order != "head":
        last, header = header | last, {}
    opening, closing = render(header, pretty=spec.pretty), render(last, pretty=spec.pretty)
    line = b"\n  " if spec.pretty else b""
    return opening.rstrip(b"\n}") + (b"," if header else b"") + line, closing.lstrip(b"{\n ")


@dataclass(slots=True)
class _RatePool:
    """Entries of `negotiated_rates`, cut in two: any opening fits any ending of the same pool."""

    weight: float
    openings: list[bytes] = field(default_factory=list)
    endings: list[bytes] = field(default_factory=list)


class _Pieces:
    """Rendered pieces that a large file is put together from: real files repeat themselves as well."""

    _SKELETONS = 400

    def __init__(self, maker: Maker, spec: LargeSpec, groups: int) -> None:
        self._maker, self._groups = maker, groups
        self._pretty = spec.pretty
        count = max(50, min(8_000, spec.size_bytes // 4_000))
        self._skeletons = [self._maker.price(self._kind()) for _ in range(min(count, self._SKELETONS))]
        inline_share = 1.0 if spec.references == "absent" else spec.inline_share
        prices = [self.render(self._prices(), 5) for _ in range(count)]
        self._pools: list[_RatePool] = []
        if inline_share < 1:
            references = [self.render(self._references(), 5) for _ in range(count)]
            self._add_pools(b'"provider_references":', references, prices, 1 - inline_share)
        if inline_share > 0:
            inline = [self.render(maker.groups()[:5], 5) for _ in range(min(count, 500))]
            self._add_pools(b'"provider_groups":', inline, prices, inline_share)
        self._weights = [pool.weight for pool in self._pools]
        self._mean_bytes = sum(pool.weight * _mean_length(pool) for pool in self._pools) / sum(self._weights)

    def line(self, level: int) -> bytes:
        """A line break and the indentation of that level, or nothing in a compact file."""
        return b"\n" + b"  " * level if self._pretty else b""

    def render(self, value: object, level: int) -> bytes:
        """The value as JSON that begins at that level."""
        return json_bytes(_json_text(value, "\n" + "  " * level if self._pretty else ""))

    def rates(self, rng: random.Random, size_bytes: float) -> bytes:
        """Entries of `negotiated_rates` with commas between: one at least, 512 at most."""
        count = max(1, min(512, int(size_bytes / self._mean_bytes)))
        if len(self._pools) == 1:
            return b",".join(self._entries(rng, self._pools[0], count))
        entries: list[bytes] = []
        for pool in rng.choices(self._pools, self._weights, k=count):
            entries += self._entries(rng, pool, 1)
        return b",".join(entries)

    @staticmethod
    def _entries(rng: random.Random, pool: _RatePool, count: int) -> list[bytes]:
        pairs = zip(rng.choices(pool.openings, k=count), rng.choices(pool.endings, k=count), strict=True)
        return [opening + ending for opening, ending in pairs]

    def _add_pools(self, key: bytes, providers: list[bytes], prices: list[bytes], weight: float) -> None:
        left = [key + piece for piece in providers]
        right = [b'"negotiated_prices":' + piece for piece in prices]
        orders = [(left, right)] if self._maker.key_order == "head" else [(left, right), (right, left)]
        for first, second in orders:
            pool = _RatePool(weight / len(orders))
            pool.openings = [self.line(4) + b"{" + self.line(5) + piece for piece in first]
            pool.endings = [b"," + self.line(5) + piece + self.line(4) + b"}" for piece in second]
            self._pools.append(pool)

    def _kind(self) -> str | None:
        return self._maker.rng.choices((None, "percentage", "per diem"), (94, 4, 2))[0]

    def _prices(self) -> list[Document]:
        """One to four prices; most differ from others in their rate alone."""
        return [self._price(skeleton) for skeleton in self._maker.rng.choices(self._skeletons, k=self._price_count())]

    def _price_count(self) -> int:
        return self._maker.rng.choice((1, 1, 1, 2, 2, 3, 4))

    def _price(self, skeleton: Document) -> Document:
        if isinstance(skeleton["negotiated_rate"], str) or not skeleton["negotiated_rate"]:
            return skeleton
        return skeleton | {"negotiated_rate": self._maker.rate(skeleton["negotiated_type"])}

    def _references(self) -> list[int | Number]:
        """Distinct group ids, the low ones far more often."""
        rng = self._maker.rng
        count = int(min(400, rng.paretovariate(0.8)))
        numbers = {int(rng.random() ** 2 * self._groups) + 1 for _ in range(count)}
        return [self._maker.group_id(number) for number in rng.sample(sorted(numbers), len(numbers))]


def _mean_length(pool: _RatePool) -> float:
    return sum(map(len, pool.openings)) / len(pool.openings) + sum(map(len, pool.endings)) / len(pool.endings) + 1


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of about a megabyte."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= _FLUSH_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


@contextlib.contextmanager
def _opened(path: Path, level: int) -> Iterator[Callable[[bytes], object]]:
    """The container that the suffix asks for, without the time of day, so that equal seeds give equal files."""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("wb"))
        if path.suffix == ".gz":
            yield stack.enter_context(gzip.GzipFile("", "wb", level, raw, mtime=0)).write
        elif path.suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=level))
            member = _zip_info(path.name.removesuffix(".zip").removesuffix(".json") + ".json")
            yield stack.enter_context(archive.open(member, "w", force_zip64=True)).write
        else:
            yield raw.write


# --- containers and damage ------------------------------------------------------------------


def _zip_info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _ZIP_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def gzipped(data: bytes, *, members: int = 1) -> bytes:
    """Gzip; several members as UHC ships them (a single zlib object silently stops after the first)."""
    step = max(1, -(-len(data) // members))
    cuts = [data[start : start + step] for start in range(0, max(1, len(data)), step)]
    return b"".join(gzip.compress(cut, mtime=0) for cut in cuts)


def gzipped_with_bad_crc(data: bytes) -> bytes:
    """Gzip whose checksum does not match; the deflate stream itself is sound."""
    packed = bytearray(gzip.compress(data, mtime=0))
    packed[-8] ^= 0xFF
    return bytes(packed)


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip archive of these files, in this order."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(_zip_info(name), data)
    return packed.getvalue()


def with_byte(data: bytes, offset: int, byte: int) -> bytes:
    """The same bytes but for one."""
    return data[:offset] + bytes([byte]) + data[offset + 1 :]


def corruptions(data: bytes, *, count: int, seed: int = 1) -> Iterator[tuple[int, bytes]]:
    """Offset and copy with one byte replaced, by those that matter to JSON; some copies may still be valid."""
    rng = seeded(f"{seed}/corruptions")
    for _ in range(count):
        offset = rng.randrange(len(data))
        choices = [byte for byte in b'{}[]",:\\x0 -\x00\xff' if byte != data[offset]]
        yield offset, with_byte(data, offset, rng.choice(choices))


def truncations(data: bytes, *, count: int, seed: int = 1) -> Iterator[bytes]:
    """Beginnings of the data, each shorter than its last byte that is not white space."""
    rng = seeded(f"{seed}/truncations")
    end = len(data.rstrip())
    for _ in range(count):
        yield data[: rng.randrange(end)]


# --- indexes --------------------------------------------------------------------------------


def plans(count: int, *, seed: int = 1, schema: Schema = "v1", hyphenated_ein: bool = True) -> list[Document]:
    """Entries for `reporting_plans`: employers by EIN, every third a plan by HIOS id."""
    rng = seeded(f"{seed}/plans")
    return [_plan(rng, number, schema, hyphenated_ein=hyphenated_ein) for number in range(count)]


def _plan(rng: random.Random, number: int, schema: Schema, *, hyphenated_ein: bool) -> Document:
    word, hios = rng.choice(_PLAIN_WORDS).title(), number % 3 == 2
    kind, market = ("HIOS", "individual") if hios else ("EIN", "group")
    plan = {
        "plan_name": f"{word} {rng.choice(['Choice', 'Select', 'Saver'])} {number + 1}",
        "plan_id_type": kind.lower() if schema == "v2" else kind,
        "plan_id": f"{rng.randint(10_000, 99_999)}XX{rng.randrange(10**7):07d}"
        if hios
        else make_ein(rng, hyphen=hyphenated_ein),
        "plan_market_type": market,
    }
    if schema == "v2":
        plan["issuer_name"] = "Cardinal National Health"
        if not hios:
            plan["plan_sponsor_name"] = f"{word} Works"
    return plan


def index(
    files: Sequence[tuple[str, Sequence[Document]]],
    *,
    schema: Schema = "v1",
    by: Literal["file", "plan"] = "file",
    allowed_amounts: Literal["absent", "object", "array"] = "absent",
    descriptions: Mapping[str, str] | None = None,
) -> Document:
    """A table of contents over (URL, its plans).

    Args:
        files: The in-network files and the plans that use each.
        schema: v2 has `last_updated_on`.
        by: One reporting structure for each file, or one for each plan: then a file that several
            plans use stands in several structures.
        allowed_amounts: `allowed_amount_file` as CMS has it, or as an array (HCSC).
        descriptions: Of files, by URL; else the file's name.
    """
    structures: list[tuple[list[Document], list[str]]] = (
        [(list(used_by), [url]) for url, used_by in files] if by == "file" else _structures_by_plan(files)
    )
    named = descriptions or {}
    root: Document = {
        "reporting_entity_name": "Cardinal National Health",
        "reporting_entity_type": "health insurance issuer",
    }
    if schema == "v2":
        root["last_updated_on"] = "2026-11-05"
    root["version"] = "2.2.0" if schema == "v2" else "1.3.1"
    root["reporting_structure"] = [
        {"reporting_plans": used_by, "in_network_files": [_file_entry(url, named) for url in urls]}
        | _allowed_amounts(allowed_amounts)
        for used_by, urls in structures
    ]
    return root


def _structures_by_plan(files: Sequence[tuple[str, Sequence[Document]]]) -> list[tuple[list[Document], list[str]]]:
    urls_of: dict[str, tuple[list[Document], list[str]]] = {}
    for url, used_by in files:
        for plan in used_by:
            urls_of.setdefault(json.dumps(plan, sort_keys=True), ([plan], []))[1].append(url)
    return list(urls_of.values())


def _file_entry(url: str, descriptions: Mapping[str, str]) -> Document:
    return {"description": descriptions.get(url, url.rsplit("/", 1)[-1]), "location": url}


def _allowed_amounts(form: Literal["absent", "object", "array"]) -> Document:
    entry = {"description": "allowed amounts", "location": "https://mrf.example/allowed-amounts.json.gz"}
    if form == "absent":
        return {}
    return {"allowed_amount_file": entry if form == "object" else [entry]}
