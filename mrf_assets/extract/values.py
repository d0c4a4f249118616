"""One JSON value as payers write it -> one clean value.

Every tolerance of the platform is decided here and counted in the `ReadCounts` under the name of
its repair; a value that cannot be kept becomes a reject. Readers share these functions, so
no reader can be more lenient than another. Deviations and payers: `docs/repairs.md`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple, TypeGuard

import orjson

from mrf_assets.extract.interface import ReadCounts
from mrf_assets.schema import PROVIDERS, RATE_TYPE
from mrf_assets.schema.code_types import NUMBER_WIDTHS

Json = object  # None, bool, int, Decimal, str, list, or an Obj

_EIN_DIGITS = 9
_SHORT_EIN = re.compile(r"\A[1-9]-?[0-9]{7}\Z")  # without the zero that it begins with
_DIGITS = re.compile(r"\A[0-9]+\Z")
_WHOLE_NUMBER = re.compile(r"\A-?[0-9]+\Z")
_EIN = re.compile(r"\A[0-9]{2}-[0-9]{7}\Z")
_MAX_ZEROS = 40  # 1E+999999 is written in full by no payer, and must not be by us
_MAX_PLAIN = 10**_MAX_ZEROS
_QUANTUM = Decimal(1).scaleb(-RATE_TYPE.scale)
_RATE_CONTEXT = decimal.Context(prec=RATE_TYPE.precision, rounding=decimal.ROUND_HALF_EVEN)
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_NUMBER = re.compile(r"\A[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\Z")
_MAX_DIGITS = 100
_INT64 = 2**63

_ISO = re.compile(r"\A([0-9]{4})-([0-9]{2})-([0-9]{2})\Z")
_WITH_TIME = re.compile(r"\A([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})[T ].*\Z", re.DOTALL)
_COMPACT = re.compile(r"\A([0-9]{4})([0-9]{2})([0-9]{2})\Z")
_LOOSE_YMD = re.compile(r"\A([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})\Z")
_MDY = re.compile(r"\A([0-9]{1,2})[-/]([0-9]{1,2})[-/]([0-9]{4})\Z")


_TIN_TYPES = PROVIDERS.words["tin_type"]
_ITEM_TEXTS = ("billing_code_type", "billing_code_type_version", "billing_code", "description")
# Where the schema demands a value; what is not there is found by the rules `<column>_present`.
_REQUIRED = frozenset(
    {
        "reporting_entity_name",
        "reporting_entity_type",
        "last_updated_on",
        "version",
        "in_network.negotiation_arrangement",
        "in_network.name",
        *(f"in_network.{name}" for name in _ITEM_TEXTS),
        *(f"{key}.{name}" for key in ("bundled_codes", "covered_services") for name in _ITEM_TEXTS),
        *(f"negotiated_prices.{name}" for name in ("negotiated_type", "expiration_date", "billing_class", "setting")),
        "provider_groups.tin.type",
        "provider_groups.tin.value",
    }
)


class Obj(dict[str, Json]):
    """A JSON object that knows the byte offset of its opening brace."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        super().__init__()
        self.offset = offset


class ListedCodeShape(NamedTuple):
    """How the codes of a list look."""

    pattern: re.Pattern[str]
    width: int  # that numbers are padded to, with zeros


class Values:
    """The conversions, bound to the counts that they change."""

    def __init__(self, counts: ReadCounts) -> None:
        self.counts = counts

    def _repaired(self, kind: str) -> None:
        self.counts.repair(kind)

    def _empty(self, path: str) -> str | None:
        self._repaired("empty_required_text" if path in _REQUIRED else "empty_text")
        return None

    def text(self, value: Json, path: str, offset: int) -> str | None:
        """Text; a number becomes its digits, empty text becomes null."""
        if isinstance(value, str):
            return value or self._empty(path)
        if value is None:
            return None
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            self._repaired("number_as_text")
            return number_text(value)
        self.counts.reject(offset, "value", path, "not_text", value)
        return None

    def word(self, value: Json, words: frozenset[str], path: str, offset: int, *, upper: bool = False) -> str | None:
        """Text out of a fixed list of words: case and outer spaces do not count, and a word may be unknown."""
        text = self.text(value, path, offset)
        if text is None:
            return None
        clean = text.strip().upper() if upper else text.strip().lower()
        if not clean:
            return self._empty(path)
        if clean != text:
            self._repaired("word_case_or_space" if clean in words else "unknown_word_folded")
        return clean

    def code(self, value: Json, kind: str | None, path: str, offset: int) -> str | None:
        """A billing code of a type: as given, without outer spaces; a number gets back its leading zeros."""
        text = self.text(value, path, offset)
        if text is None:
            return None
        if not isinstance(value, str):
            return text.rjust(NUMBER_WIDTHS.get(kind or "", 0), "0")
        if not (clean := text.strip()):
            return self._empty(path)
        self.counts.repair("code_trimmed", clean != text)
        return clean

    def texts(self, value: Json, path: str, offset: int, *, number_width: int = 0) -> list[str] | None:
        """A list of text; a scalar is a list of one, empty entries are dropped.

        Numbers are padded with zeros to `number_width` (place of service 5 is "05").
        """
        if value is None:
            return None
        texts = []
        for entry in self.elements(value):
            if isinstance(entry, str) and entry:
                texts.append(entry)
            elif entry is None or entry == "":
                self._repaired("empty_entry_in_list")
            elif isinstance(entry, (int, Decimal)) and not isinstance(entry, bool):
                self._repaired("number_as_text")
                texts.append(number_text(entry).rjust(number_width, "0"))
            else:
                self.counts.reject(offset, "value", path, "not_text", entry)
        return texts

    def listed_codes(self, value: Json, shape: ListedCodeShape, path: str, offset: int) -> list[str] | None:
        """Places of service or modifiers: as `texts`, each in the schema's form where that is what was meant."""
        texts = self.texts(value, path, offset, number_width=shape.width)
        return None if texts is None else list(chain.from_iterable(self._split(text, shape) for text in texts))

    def _split(self, text: str, shape: ListedCodeShape) -> Iterator[str]:
        """The codes of one text, which may be joined by commas."""
        pieces = text.split(",")
        self.counts.repair("joined_codes_split", len(pieces) > 1)
        for piece in pieces:
            if not (code := piece.strip()):
                self._repaired("empty_entry_in_list")
                continue
            self.counts.repair("code_trimmed", code != piece)
            if _DIGITS.match(code) and len(code) < shape.width:
                self._repaired("leading_zero_restored")
                code = code.rjust(shape.width, "0")
            elif code != (upper := code.upper()) and code.isascii() and shape.pattern.match(upper):
                self._repaired("word_case_or_space")
                code = upper
            yield code

    def elements(self, value: Json) -> list[Json]:
        """The elements of a list; a single value is a list of one, null is none."""
        if isinstance(value, list):
            return value
        if value is None:
            return []
        self._repaired("scalar_for_list")
        return [value]

    def date(self, value: Json, path: str, offset: int) -> dt.date | None:
        """A date out of every form seen: ISO, with a time, without leading zeros, US month first, compact."""
        if value is None:
            return None
        if value == "":
            self._empty(path)
            return None
        text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
        date, repair = _parse_date(text)
        if date is None:
            self.counts.reject(offset, "value", path, "date_unreadable", value)
            return None
        if text != value and repair is None:
            repair = "date_form"
        if repair:
            self._repaired(repair)
        return date

    def rate(self, value: Json, offset: int) -> Decimal | None:
        """The negotiated rate, exact; None after a reject of the whole price."""
        path = "negotiated_prices.negotiated_rate"
        if value is None:
            self.counts.reject(offset, "price", path, "rate_missing", value)
            return None
        # The length first: the pattern takes its square, in a text of digits that is no number after all.
        if isinstance(value, str) and len(value) <= _MAX_DIGITS and _NUMBER.match(value.strip()):
            number = Decimal(value.strip())
            from_text = True
        elif isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            number, from_text = Decimal(value), False
        else:
            self.counts.reject(offset, "price", path, "rate_not_a_number", value)
            return None
        try:
            rate = number.quantize(_QUANTUM, context=_RATE_CONTEXT)
        except decimal.InvalidOperation:
            self.counts.reject(offset, "price", path, "rate_out_of_range", value)
            return None
        if from_text:
            self._repaired("rate_from_text")
        if rate != number:
            self._repaired("rate_rounded")
        return rate

    def npi(self, value: Json, path: str, offset: int) -> int | None:
        """An NPI; 0 is null (the payer contracts with the TIN as a whole)."""
        number: int | None = None
        repair: str | None = None
        if isinstance(value, bool) or value is None:
            pass
        elif isinstance(value, int):
            number = value
        elif isinstance(value, Decimal):
            if value == value.to_integral_value():
                number = int(value) if abs(value.adjusted()) < _MAX_ZEROS else _INT64
                repair = "npi_from_decimal"
        elif isinstance(value, str) and len(value) <= _MAX_DIGITS and _WHOLE_NUMBER.match(value.strip()):
            number, repair = int(value.strip()), "npi_from_text"
        if number is None or not 0 <= number < _INT64:
            reason = "npi_not_a_number" if number is None else "npi_out_of_range"
            self.counts.reject(offset, "value", path, reason, value)
            return None
        if repair:
            self._repaired(repair)
        if number == 0:
            self._repaired("npi_zero_as_null")
            return None
        return number

    def group_id(self, value: Json) -> str | None:
        """A provider group id as exact decimal text; None where there is none to refer by."""
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return number_text(value)
        if isinstance(value, str) and value.strip():
            self._repaired("group_id_from_text")
            text = value.strip()
            return number_text(Decimal(text)) if len(text) <= _MAX_DIGITS and _NUMBER.match(text) else text
        return None

    def tin(self, value: Json, offset: int) -> tuple[str | None, str | None, str | None]:
        """(type, value, business name); an EIN is nine digits without hyphen."""
        path = "provider_groups.tin"
        if value is None:
            self._repaired("tin_missing")
            return None, None, None
        if not isinstance(value, Obj):
            if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool):
                self._repaired("tin_without_type")
                return None, self._tin_value(value, None, path, offset), None
            self.counts.reject(offset, "value", path, "tin_not_an_object", value)
            return None, None, None
        self.unknown_keys(value, _TIN_KEYS, path)
        kind = self.word(value.get("type"), _TIN_TYPES, f"{path}.type", value.offset)
        return (
            kind,
            self._tin_value(value.get("value"), kind, f"{path}.value", value.offset),
            self.text(value.get("business_name"), f"{path}.business_name", value.offset),
        )

    def _tin_value(self, value: Json, kind: str | None, path: str, offset: int) -> str | None:
        is_number = isinstance(value, (int, Decimal))
        text = self.text(value, path, offset)
        if text is None:
            return None
        text = text.strip()
        if kind == "ein" or (kind is None and _EIN.match(text)):
            has_lost_zero = not is_number and _SHORT_EIN.match(text) is not None
            self.counts.repair("leading_zero_restored", has_lost_zero)
            text = text.replace("-", "")
            if text.strip("0") and (is_number or has_lost_zero):
                text = text.rjust(_EIN_DIGITS, "0")
        if text and not text.strip("0"):
            self._repaired("tin_zero_as_null")
            return None
        return text or self._empty(path)

    def unknown_keys(self, value: Obj, known_keys: frozenset[str], path: str) -> None:
        """Count the keys that no table has a place for."""
        if value.keys() <= known_keys:
            return
        for key in value.keys() - known_keys:
            self.counts.ignore(f"{path}.{key}"[:200])


def are_plain_npis(npis: list[Any]) -> TypeGuard[list[int]]:
    """Whether `Values.npi` would give each of these as it is, and all are different; nearly all lists are so."""
    return set(map(type, npis)) == {int} and min(npis) > 0 and max(npis) < _INT64 and len(set(npis)) == len(npis)


_TIN_KEYS = frozenset({"type", "value", "business_name"})


def number_text(value: int | Decimal) -> str:
    """A number as the shortest exact decimal text: 690.64470 is 690.6447, 18.0 is 18, -0 is 0."""
    if not value:
        return "0"
    if isinstance(value, int) and abs(value) < _MAX_PLAIN:
        return str(value)
    number = Decimal(value)
    if abs(number.adjusted()) > _MAX_ZEROS:
        return str(_EXACT.normalize(number))  # 10e49, 1E+50 and the integer are one number
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _parse_date(text: str) -> tuple[dt.date | None, str | None]:
    for pattern, order, repair in (
        (_ISO, (1, 2, 3), None),
        (_WITH_TIME, (1, 2, 3), "date_with_time"),
        (_LOOSE_YMD, (1, 2, 3), "date_form"),
        (_MDY, (3, 1, 2), "date_form"),
        (_COMPACT, (1, 2, 3), "date_form"),
    ):
        if match := pattern.match(text):
            year, month, day = (int(match[group]) for group in order)
            try:
                return dt.date(year, month, day), repair
            except ValueError:
                return None, None
    return None, None


def content_id(content: object) -> bytes:
    """Eight bytes that stand for JSON content; its whole numbers have at most 64 bits."""
    return blake2b(orjson.dumps(content), digest_size=8).digest()


def provider_set_id(group_ids: Iterable[str]) -> int:
    """The id of a set of groups: a function of its members alone.

    Sixty-four bits: among ten million sets of one file the chance of one collision is 3 in a million.
    """
    return id_of_sorted(tuple(sorted(group_ids)))


def id_of_sorted(group_ids: tuple[str, ...]) -> int:
    """As `provider_set_id`, of what is sorted already."""
    return int.from_bytes(content_id(group_ids), "big", signed=True)
