"""Which billing codes and which TINs are wanted.

One entry a line; `#` begins a comment. Codes: `99213` (any type) or `CPT,99213`; case, quotes and spaces around
do not matter, and `;` and tab separate as a comma does. What cannot be a code of its type is refused (`code_types`):
a list that matches nothing would replace what is published by nothing. Types of one family match each other: CPT and
HCPCS, MS-DRG and DRG. A revenue code or DRG that has lost its first zeros is the code that it was; `ICD,250.0` is
taken in quotes alone, as a spreadsheet may have made it of 250.00. To keep rates that a payer sets for all codes of
a type, list `CSTM-00`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from mrf_assets.errors import ListFileError
from mrf_assets.schema.code_types import CODE_SHAPES, family_of, shape_of
from mrf_assets.settings import Settings

_TIN = re.compile(r"\A[0-9]{2}-?[0-9]{7}\Z|\A[0-9]{10}\Z")
_MAX_TOLD = 10
_MAX_BYTES = 64 << 20  # all of HCPCS, CPT and MS-DRG are less than 1 MB
_MATCHING_VERSION = "3"  # of `wants`; raise it where an unchanged list keeps other items than before
_SEPARATOR = re.compile(r"[,;\t]")
_LINE_END = re.compile(r"\r\n|\r|\n")  # `splitlines` takes some control characters for line ends, too
_QUOTES = ('"', "'")
_QUOTE_INSIDE = re.compile("[\"'\u2018\u2019\u201c\u201d]")
_AS_NUMBER = re.compile(r"[0-9]+\.0|[0-9]{4,}\.0+")  # 99213.0; but 250.00 is a code of ICD-9
_RANGE = re.compile(r"([0-9A-Z]+) ?[-\u2013\u2014] ?([0-9A-Z]+)")
_USUAL_TYPES = ("CPT", "HCPCS", "CDT", "MS-DRG", "RC")
_HEADERS = (["CODE"], ["BILLING_CODE"], ["TYPE", "CODE"], ["BILLING_CODE_TYPE", "BILLING_CODE"])
_ZIP_BEGINS = b"PK"  # as a workbook does


@dataclass(frozen=True, slots=True)
class CodeWhitelist:
    """Whitelists codes, upper case: of any type, and of one type, those with all of their zeros."""

    any_type: frozenset[str]
    one_type: frozenset[tuple[str, str]]
    warnings: tuple[str, ...] = field(default=(), compare=False)  # what was repaired, for a person
    _in_families: frozenset[tuple[str, str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        families = frozenset((family_of(kind), code) for kind, code in self.one_type)
        object.__setattr__(self, "_in_families", families)  # frozen

    def wants(self, billing_code_type: str | None, billing_code: str | None) -> bool:
        """True if an item with this head is to be kept."""
        kind, code = (billing_code_type or "").strip().upper(), (billing_code or "").strip().upper()
        shape = shape_of(kind)
        if shape.width is None:
            return code in self.any_type or (family_of(kind), code) in self._in_families
        return (family_of(kind), shape.padded(code)) in self._in_families or not self.any_type.isdisjoint(
            shape.spellings(code)
        )

    def spellings(self) -> list[tuple[str | None, str, str | None, str]]:
        """Sorted rows of an entry's type and code, and a type and code that it matches; no type matches any.

        Codes of a type with a fixed width are there with all of their zeros: `code_types.CodeShape.padded`.
        """
        widths = [(kind, shape) for kind, shape in CODE_SHAPES.items() if shape.width]
        rows: list[tuple[str | None, str, str | None, str]] = [
            (kind, code, other, code)
            for kind, code in self.one_type
            for other in {kind, *(it for it in CODE_SHAPES if family_of(it) == family_of(kind))}
        ]
        rows += [(None, code, None, code) for code in self.any_type]
        rows += [
            (None, code, kind, padded)
            for code in self.any_type
            for kind, shape in widths
            if (padded := shape.padded(code)) != code
        ]
        return sorted(rows, key=lambda row: (row[1], row[0] or "", row[2] or ""))

    @property
    def sha256(self) -> str:
        """Of the sorted entries, so that order and comments do not matter, and of how they are matched."""
        pairs = [",".join(pair) for pair in self.one_type]
        return _digest([_MATCHING_VERSION, *(f",{code}" for code in self.any_type), *pairs])

    def __len__(self) -> int:
        return len(self.any_type) + len(self.one_type)


@dataclass(frozen=True, slots=True)
class TinWhitelist:
    """Whitelists TINs, digits alone."""

    values: frozenset[str]

    @property
    def sha256(self) -> str:
        """Of the sorted entries."""
        return _digest(list(self.values))


def _digest(entries: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(entries)).encode()).hexdigest()


def _entries(path: Path) -> list[tuple[int, str]]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ListFileError(str(path), f"is larger than {_MAX_BYTES} bytes; is this a whitelist?")
        if content.startswith(_ZIP_BEGINS):
            raise ListFileError(str(path), "is a workbook or a zip file; save it as CSV (UTF-8)")
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ListFileError(str(path), "no such file; check the path") from None
    except OSError as error:
        raise ListFileError(str(path), f"cannot be read ({error.strerror}); check its permissions") from None
    except UnicodeDecodeError as error:
        raise ListFileError(str(path), f"is not UTF-8 text (byte {error.start}); save it as plain text") from None
    lines = (
        (number, line.partition("#")[0].lstrip(" ").rstrip(" \t"))
        for number, line in enumerate(_LINE_END.split(text), 1)
    )
    entries = [(number, line) for number, line in lines if line]
    if not entries:
        _refuse_empty(path)
    return entries


def _refuse(path: Path, wrong: list[str], form: str) -> None:
    if wrong:
        raise ListFileError(str(path), f"{_listed(wrong)}: {form}")


def _refuse_empty(path: Path) -> NoReturn:
    raise ListFileError(str(path), "holds no entry, so nothing would be kept; add one entry a line or drop the flag")


def _listed(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - _MAX_TOLD} more" if len(lines) > _MAX_TOLD else ""
    return f"{'; '.join(lines[:_MAX_TOLD])}{more}"


def read_code_whitelist(path: Path) -> CodeWhitelist:
    """Read a whitelist of billing codes.

    Raises:
        ListFileError: Unreadable, empty, or with lines that are no entry (all are told).
    """
    any_type, one_type = set[str](), set[tuple[str, str]]()
    wrong, repairs, unknown = list[str](), list[str](), list[str]()
    for number, line in _code_entries(path):
        try:
            kind, code, text = _code_entry(line)
        except ValueError as error:
            wrong.append(f"line {number} is {line[:40]!r}{f' ({error})' if str(error) else ''}")
            continue
        if kind:
            one_type.add((kind, code))
        else:
            any_type.add(code)
        if code != text:
            repairs.append(f"line {number}: {kind} {code} instead of {text}")
        if kind and kind not in CODE_SHAPES:
            unknown.append(f"line {number}: {kind}")
    _refuse(path, wrong, "expected `code` or `type,code`")
    if not any_type and not one_type:
        _refuse_empty(path)
    warnings = {"codes that lost their first zeros were padded": repairs, "types that the CMS schema lacks": unknown}
    messages = (f"{path}: {what}: {_listed(lines)}" for what, lines in warnings.items() if lines)
    return CodeWhitelist(frozenset(any_type), frozenset(one_type), tuple(messages))


def _code_entries(path: Path) -> Iterator[tuple[int, str]]:
    """The lines, without one that names the columns."""
    entries = _entries(path)
    is_header = [_unquoted(cell) for cell in _SEPARATOR.split(entries[0][1])] in _HEADERS
    yield from entries[1:] if is_header else entries


def _code_entry(line: str) -> tuple[str, str, str]:
    """The type, empty for any; the code with all of its zeros; and the code as given.

    Raises:
        ValueError: It is no entry, and why.
    """
    if any(unicodedata.category(character).startswith("C") for character in line.replace("\t", "")):
        raise ValueError("a control character")
    cells = [_unquoted(cell) for cell in _SEPARATOR.split(line)]
    match cells:
        case [text] if text:
            kind = ""
        case [kind, text] if kind and text:
            pass
        case _:
            raise ValueError
    if "=" in line:
        raise ValueError("a formula; list the code that it gives")
    if any(_QUOTE_INSIDE.search(cell) for cell in cells):
        raise ValueError("a quote inside")
    code = shape_of(kind).padded(text)
    is_quoted = line.rstrip().endswith(_QUOTES)
    if reason := _why_no_code(kind, code, is_quoted=is_quoted):
        raise ValueError(reason)
    return kind, code, text


def _unquoted(cell: str) -> str:
    cell = cell.strip()
    for quote in _QUOTES:
        if len(cell) > 1 and cell.startswith(quote) and cell.endswith(quote):
            cell = cell[1:-1].strip()
    return cell.upper()


def _why_no_code(kind: str, code: str, *, is_quoted: bool) -> str | None:
    """Why a code cannot be one of its type, of any for the empty text; None where it can."""
    if _AS_NUMBER.fullmatch(code) and not (is_quoted and _may_be(kind, code)):
        return _number_advice(kind, code)
    if (ends := _RANGE.fullmatch(code)) and all(_is_usual(end) for end in ends.groups()):
        return "a range; list each code"
    if code in CODE_SHAPES:
        return "a type in the place of the code"
    if kind not in CODE_SHAPES and (_is_usual(kind) or kind.isdecimal()):
        return "a code in the place of the type"
    if _may_be(kind, code):
        return None
    other = "any type; write LOCAL,code for one of the payer's own"
    return f"no code of {f'{kind}, such as {shape_of(kind).example}' if kind else other}"


def _number_advice(kind: str, code: str) -> str:
    whole = code.partition(".")[0]
    if not _may_be(kind, code):
        return f"a number; list {whole}"
    # 250, 250.0 and 250.00 are three codes of ICD-9, and one number.
    return f'a number, maybe with zeros lost or added; list {whole} or {code}0, or quote the code: "{code}"'


def _may_be(kind: str, code: str) -> bool:
    """Whether a code has the shape of its type, of any for the empty text; any text has that of a payer's own."""
    if kind:
        return shape_of(kind).has(code)
    return any(not shape.is_free and shape.has(code) for shape in CODE_SHAPES.values())


def _is_usual(code: str) -> bool:
    return any(CODE_SHAPES[kind].has(code) for kind in _USUAL_TYPES)


def read_tin_whitelist(path: Path) -> TinWhitelist:
    """Read a whitelist of TINs (EINs of nine digits, or NPIs of ten).

    Raises:
        ListFileError: Unreadable, empty, or with lines that are no TIN (all are told).
    """
    entries = [(number, line.strip()) for number, line in _entries(path)]
    _refuse(
        path,
        [f"line {number} is {line[:40]!r}" for number, line in entries if not _TIN.match(line)],
        "expected an EIN (12-3456789 or 123456789) or an NPI (ten digits)",
    )
    return TinWhitelist(frozenset(line.replace("-", "") for _, line in entries))


@dataclass(frozen=True, slots=True, kw_only=True)
class Whitelists:
    """The whitelists, read."""

    codes: CodeWhitelist | None
    tins: TinWhitelist | None

    @classmethod
    def of(cls, settings: Settings) -> Whitelists:
        """Read the files that the settings name; ListFileError where that fails."""
        return cls(
            codes=None if settings.cpt_whitelist is None else read_code_whitelist(settings.cpt_whitelist),
            tins=None if settings.tin_whitelist is None else read_tin_whitelist(settings.tin_whitelist),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the lists, for a person."""
        return () if self.codes is None else self.codes.warnings

    def leaves_groups_out(self, settings: Settings) -> bool:
        """Whether groups that no kept price names go; without a whitelist every group is wanted."""
        return settings.referenced_groups_only and (self.codes is not None or self.tins is not None)
