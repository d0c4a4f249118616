"""What the codes of each billing code type look like: data next to `schema`, which lists the types.

The types are those of the CMS schema, and `DRG`, which payers write outside of it (Evry). `CODE_SHAPES` are for codes
that people write, in whitelists. What payers publish has shapes of its own, which one rule of the catalog judges by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

ALL_CODES = "CSTM-00"  # in the place of a code: all codes of the type (CMS schema)
FAMILIES: Mapping[str, str] = MappingProxyType({"CPT": "HCPCS", "DRG": "MS-DRG"})  # type -> the type that has its codes
_CPT = "[0-9]{4}[0-9A-Z]"
_PRINTABLE = r"[^\s].*"  # control characters are refused before


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeShape:
    """The codes of one type, upper case."""

    pattern: re.Pattern[str]
    example: str
    width: int | None = None  # digits; codes that are shorter have lost the zeros in front of them
    number_width: int | None = None  # digits of a code that came as a JSON number, which holds no zeros in front
    is_free: bool = False  # any text: a code without a type cannot be taken for one of these

    def has(self, code: str) -> bool:
        """Whether a code may be one of this type."""
        return code == ALL_CODES or self.pattern.fullmatch(code) is not None

    def padded(self, code: str) -> str:
        """The code, with the zeros that it lost."""
        return code.rjust(self.width, "0") if self.width and _is_digits(code) else code

    def spellings(self, code: str) -> Sequence[str]:
        """The code with all of its zeros, and without them: 0039, 039, 39."""
        whole = self.padded(code)
        if len(whole) != self.width or not _is_digits(whole):
            return (whole,)
        return [whole[zeros:] for zeros in range(self.width - len(whole.lstrip("0") or "0") + 1)]


def _shape(pattern: str, example: str, width: int | None = None, *, number_width: int | None = None) -> CodeShape:
    return CodeShape(pattern=re.compile(pattern), example=example, width=width, number_width=number_width or width)


def _is_digits(code: str) -> bool:
    return code.isascii() and code.isdecimal()


_DRG = _shape("[0-9]{3}", "039", width=3)
ANY_TEXT = CodeShape(pattern=re.compile(_PRINTABLE), example="any text", is_free=True)

# Of the sets themselves: AMA (CPT), CMS (HCPCS, MS-DRG, APC, HIPPS, ICD-10), ADA (CDT), NUBC (RC), FDA (NDC),
# Solventum (APR-DRG with its severity of illness, EAPG).
CODE_SHAPES: Mapping[str, CodeShape] = MappingProxyType(
    {
        "CPT": _shape(_CPT, "99213", number_width=5),
        # CPT is level I of HCPCS, and payers list it so.
        "HCPCS": _shape(f"[A-Z][0-9]{{4}}|{_CPT}", "J1100", number_width=5),
        "CDT": _shape("D[0-9]{4}", "D0120"),
        "MS-DRG": _DRG,
        "R-DRG": _DRG,
        "S-DRG": _DRG,
        "APS-DRG": _DRG,
        "AP-DRG": _DRG,
        "APR-DRG": _shape("[0-9]{3,4}(?:-[1-4])?", "560-1"),
        "RC": _shape("[0-9]{4}", "0450", width=4),
        "APC": _shape("[0-9]{1,5}", "5012"),
        "EAPG": _shape("[0-9]{1,5}", "00471"),
        "HIPPS": _shape("[0-9A-Z]{5}", "1AA11"),
        # A dot follows the third character; of ICD-9, also the second (procedures) and the fourth (E850.0).
        "ICD": _shape(r"[0-9A-Z]{3,7}|(?:[0-9A-Z]{2,3}|E[0-9]{3})\.[0-9A-Z]{1,4}", "E11.9"),
        "NDC": _shape("[0-9]{10,11}|[0-9]{4,5}-[0-9]{3,4}-[0-9]{1,2}", "0002-1433-80"),
        "LOCAL": ANY_TEXT,
        "CSTM-ALL": ANY_TEXT,
        "DRG": CodeShape(pattern=re.compile(_PRINTABLE), example="039", width=3, number_width=3, is_free=True),
    }
)
NUMBER_WIDTHS: Mapping[str, int] = MappingProxyType(
    {kind: shape.number_width for kind, shape in CODE_SHAPES.items() if shape.number_width}
)
# Of what payers publish, by family; LOCAL and CSTM-ALL are the payer's own text.
PUBLISHED_SHAPES: Mapping[str, str] = MappingProxyType(
    {
        "HCPCS": "[A-Z][0-9]{4}|[0-9]{4}[0-9AFMTU]",
        "APC": "[0-9]{4}",
        "EAPG": "[0-9]{3,5}",
        "APR-DRG": "[0-9]{3}-?[1-4]?",
        **{
            kind: CODE_SHAPES[kind].pattern.pattern
            for kind in ("MS-DRG", "R-DRG", "S-DRG", "APS-DRG", "AP-DRG", "RC", "CDT", "NDC", "HIPPS", "ICD")
        },
    }
)


def shape_of(billing_code_type: str) -> CodeShape:
    """The shape of a type's codes, upper case; any text where the type is unknown."""
    return CODE_SHAPES.get(billing_code_type, ANY_TEXT)


def family_of(billing_code_type: str) -> str:
    """The type under which a type's codes are compared: payers file one code as CPT or as HCPCS."""
    return FAMILIES.get(billing_code_type, billing_code_type)


def padded_sql(billing_code_type: str, billing_code: str) -> str:
    """`CodeShape.padded` in DuckDB's SQL, of two expressions whose values are upper case."""
    cases = "".join(
        f" WHEN '{kind}' THEN lpad({billing_code}, greatest({shape.width}, length({billing_code}))::INTEGER, '0')"
        for kind, shape in CODE_SHAPES.items()
        if shape.width
    )
    digits = f"{billing_code} SIMILAR TO '[0-9]+'"
    return f"CASE WHEN {digits} THEN CASE {billing_code_type}{cases} ELSE {billing_code} END ELSE {billing_code} END"


def misshapen_sql(family: str, code: str) -> str:
    """Whether a code lacks the shape of its family, in DuckDB's SQL, given a family and a code."""
    misshapen = " OR ".join(
        f"({family} = '{kind}' AND NOT regexp_full_match({code}, '{shape}'))"
        for kind, shape in PUBLISHED_SHAPES.items()
    )
    return f"{code} <> '{ALL_CODES}' AND ({misshapen})"
