"""Which billing codes and which TINs are wanted.

One entry a line; `#` begins a comment. Codes: `99213` (any type) or `CPT,99213`; case and
spaces around do not matter. TINs: digits, with or without the EIN's hyphen. A code is
matched literally: to keep rates that a payer sets for all codes of a type, list `CSTM-00`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from mrf_assets.errors import ListFileError

_TIN = re.compile(r"\A[0-9]{2}-?[0-9]{7}\Z|\A[0-9]{10}\Z")
_MOST_TOLD = 10
_MOST_BYTES = 64 << 20  # all of HCPCS, CPT and MS-DRG are less than 1 MB


@dataclass(frozen=True, slots=True)
class CodeWhitelist:
    """Wanted codes, upper case: of any type, and of one type."""

    any_type: frozenset[str]
    typed: frozenset[tuple[str, str]]

    def wants(self, billing_code_type: str | None, billing_code: str | None) -> bool:
        """True if an item with this head is to be kept."""
        kind, code = (billing_code_type or "").strip().upper(), _code(billing_code_type, billing_code)
        return code in self.any_type or (kind, code) in self.typed

    @property
    def sha256(self) -> str:
        """Of the sorted entries, so that order and comments do not matter."""
        return _digest([f",{code}" for code in self.any_type] + [",".join(pair) for pair in self.typed])

    def __len__(self) -> int:
        return len(self.any_type) + len(self.typed)


def _code(kind: str | None, code: str | None) -> str:
    """Upper case; a revenue code has four digits, of which payers leave out the first zero."""
    clean = (code or "").strip().upper()
    return clean.rjust(4, "0") if (kind or "").strip().upper() == "RC" and clean.isdecimal() else clean


@dataclass(frozen=True, slots=True)
class TinWhitelist:
    """Wanted TINs, digits alone."""

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
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ListFileError(str(path), f"is larger than {_MOST_BYTES} bytes; is this a whitelist?")
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ListFileError(str(path), "no such file; check the path") from None
    except OSError as error:
        raise ListFileError(str(path), f"cannot be read ({error.strerror}); check its permissions") from None
    except UnicodeDecodeError as error:
        raise ListFileError(str(path), f"is not UTF-8 text (byte {error.start}); save it as plain text") from None
    lines = ((number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1))
    found = [(number, line) for number, line in lines if line]
    if not found:
        raise ListFileError(
            str(path), "holds no entry, so nothing would be kept; add one entry a line or drop the flag"
        )
    return found


def _refuse(path: Path, wrong: list[str], expected: str) -> None:
    if wrong:
        more = f" and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise ListFileError(str(path), f"{'; '.join(wrong[:_MOST_TOLD])}{more}: {expected}")


def read_code_whitelist(path: Path) -> CodeWhitelist:
    """Read a whitelist of billing codes.

    Raises:
        ListFileError: Unreadable, empty, or with lines that are no entry (all are told).
    """
    any_type, typed, wrong = set[str](), set[tuple[str, str]](), list[str]()
    for number, line in _entries(path):
        match [cell.strip().strip('"').upper() for cell in line.split(",")]:
            case [code] if code:
                any_type.add(code)
            case [kind, code] if kind and code:
                typed.add((kind, _code(kind, code)))
            case _:
                wrong.append(f"line {number} is {line[:40]!r}")
    _refuse(path, wrong, "expected `code` or `type,code`")
    return CodeWhitelist(frozenset(any_type), frozenset(typed))


def read_tin_whitelist(path: Path) -> TinWhitelist:
    """Read a whitelist of TINs (EINs of nine digits, or NPIs of ten).

    Raises:
        ListFileError: Unreadable, empty, or with lines that are no TIN (all are told).
    """
    entries = _entries(path)
    _refuse(
        path,
        [f"line {number} is {line[:40]!r}" for number, line in entries if not _TIN.match(line)],
        "expected an EIN (12-3456789 or 123456789) or an NPI (ten digits)",
    )
    return TinWhitelist(frozenset(line.replace("-", "") for _, line in entries))
