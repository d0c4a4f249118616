"""Which codes and TINs are wanted, out of files that people write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mrf_assets.errors import ListFileError
from mrf_assets.schema import RATES
from mrf_assets.schema.code_types import CODE_SHAPES
from mrf_assets.whitelist import CodeWhitelist, read_code_whitelist, read_tin_whitelist


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Where a test writes its list."""
    return tmp_path / "list.txt"


def _codes(path: Path, text: str) -> CodeWhitelist:
    path.write_text(text, encoding="utf-8")
    return read_code_whitelist(path)


def test_a_bare_code_is_wanted_with_any_type(written: Path) -> None:
    """`99213` is wanted as CPT, as LOCAL and without a type."""
    codes = _codes(written, "99213\n")

    assert codes.wants("CPT", "99213")
    assert codes.wants("LOCAL", "99213")
    assert codes.wants(None, "99213")


def test_a_typed_code_is_wanted_with_its_type_alone(written: Path) -> None:
    """`RC,0450` keeps revenue code 0450, not the MS-DRG of that number."""
    codes = _codes(written, "RC,0450\n")

    assert codes.wants("RC", "0450")
    assert not codes.wants("MS-DRG", "0450")
    assert not codes.wants(None, "0450")


@pytest.mark.parametrize(
    "line",
    [
        "hcpcs,j1100",
        "HCPCS;J1100",
        "HCPCS\tJ1100",
        "'HCPCS','J1100'",
        " HCPCS , J1100 ",
        "HCPCS,J1100\t",
        "HCPCS,J1100\t# a comment",
        '"HCPCS","J1100"',
        "Hcpcs,J1100 # a comment",
        "HCPCS,J1100\r",
    ],
)
def test_case_spaces_quotes_and_comments_do_not_matter(written: Path, line: str) -> None:
    """A line means the same however it is written."""
    assert CodeWhitelist(frozenset(), frozenset({("HCPCS", "J1100")})) == _codes(written, f"{line}\n")


@pytest.mark.parametrize(("kind", "code"), [("hcpcs", "j1100"), (" HCPCS ", " J1100 ")])
def test_case_and_spaces_of_the_payer_do_not_matter(written: Path, kind: str, code: str) -> None:
    """The payer's spelling is as free as the list's."""
    assert _codes(written, "HCPCS,J1100").wants(kind, code)


def test_a_code_is_matched_literally(written: Path) -> None:
    """Neither the zeros of types without a fixed width nor CSTM-00 are interpreted."""
    codes = _codes(written, "450\n")

    assert not codes.wants("APC", "00450")
    assert not codes.wants("LOCAL", "0450")
    assert not codes.wants("RC", "CSTM-00")


@pytest.mark.parametrize("line", ["450", "0450", "RC,450", "RC,0450", "rc;450", "RC\t0450"])
@pytest.mark.parametrize("published", ["450", "0450"])
def test_a_revenue_code_is_wanted_with_and_without_its_first_zero(written: Path, line: str, published: str) -> None:
    """Spreadsheets take the zero away from the list, and payers from the file."""
    assert _codes(written, line).wants("RC", published)


@pytest.mark.parametrize("kind", ["MS-DRG", "R-DRG", "S-DRG", "APS-DRG", "AP-DRG", "DRG"])
@pytest.mark.parametrize("line", ["3", "03", "003", "{kind},3", "{kind},003"])
@pytest.mark.parametrize("published", ["3", "03", "003"])
def test_a_drg_is_wanted_with_and_without_its_first_zeros(written: Path, kind: str, line: str, published: str) -> None:
    """DRGs have three digits."""
    assert _codes(written, line.format(kind=kind)).wants(kind, published)


@pytest.mark.parametrize(("kind", "code"), [("RC", "00450"), ("RC", "4500"), ("RC", "045"), ("MS-DRG", "0450")])
def test_a_code_is_no_other_code_for_its_zeros(written: Path, kind: str, code: str) -> None:
    """0450 and 450 are one revenue code; 045 is another one."""
    assert not _codes(written, "450").wants(kind, code)


def test_nothing_is_wanted_without_a_code(written: Path) -> None:
    """An item that has no code is never asked for."""
    codes = _codes(written, "99213\nCPT,99214\n")

    assert not codes.wants("CPT", None)
    assert not codes.wants("CPT", "")


def test_length_counts_distinct_entries(written: Path) -> None:
    """The same line twice is one entry."""
    assert len(_codes(written, "99213\nCPT,99213\n99213\n\n# 1\n")) == 2


def test_a_byte_order_mark_is_no_part_of_the_first_code(written: Path) -> None:
    """Spreadsheets put one there."""
    written.write_bytes(b"\xef\xbb\xbf99213\r\n99214\r\n")

    assert frozenset({"99213", "99214"}) == read_code_whitelist(written).any_type


def test_digest_does_not_depend_on_order_and_comments(written: Path) -> None:
    """Two lists that keep the same have one digest."""
    assert _codes(written, "99213\nCPT,99214\n").sha256 == _codes(written, "# ours\ncpt,99214\n\n99213 # one\n").sha256


@pytest.mark.parametrize("other", ["99214", "99213\n99214", "CPT,99213", "LOCAL,99213"])
def test_digest_differs_where_the_entries_differ(written: Path, other: str) -> None:
    """A changed list is seen, and a typed code is another entry than a bare one."""
    assert _codes(written, "99213").sha256 != _codes(written, other).sha256


@pytest.mark.parametrize("line", ["CPT,", ",99213", "CPT,99213,x", ","])
def test_a_line_that_is_no_entry_is_told_with_its_number(written: Path, line: str) -> None:
    """The person finds the line."""
    with pytest.raises(ListFileError, match="line 2 is") as error:
        _codes(written, f"99213\n{line}\n")

    assert str(written) == error.value.path


def test_all_wrong_lines_are_told_up_to_ten(written: Path) -> None:
    """One run is enough to mend a file, and a wrong file does not flood the screen."""
    with pytest.raises(ListFileError, match=r"line 1 is .*line 10 is 'a,b,c' and 2 more: expected `code`"):
        _codes(written, "a,b,c\n" * 12)


@pytest.mark.parametrize("line", [
    "CPT,99213", "CPT,0001U", "CPT,0042T", "HCPCS,J1100", "HCPCS,99213", "CDT,D0120", "MS-DRG,039", "R-DRG,001",
    "S-DRG,001", "APS-DRG,001", "AP-DRG,001", "APR-DRG,470", "APR-DRG,4701", "APR-DRG,470-1", "RC,0450", "APC,5012",
    "EAPG,00471", "EAPG,471", "HIPPS,1AA11", "ICD,E11.9", "ICD,E119", "ICD,0016070", "ICD,250.00", "NDC,0002143380",
    "NDC,00021433801", "NDC,0002-1433-80", "LOCAL,our own #", "CSTM-ALL,OBS", "CPT,CSTM-00", "DRG,470-1", "CSTM-00",
    "NEW-SET,a b", "J1100", "470-1", "E11.9", "0002-1433-80", "ICD,E850.0", "ICD,36.01", "ICD,S72.001A",
    'ICD,"250.0"', '"ICD","E850.0"', "'250.0'", 'LOCAL,"250.0"',
])  # fmt: skip
def test_what_may_be_a_code_of_its_type_is_taken(written: Path, line: str) -> None:
    """Every type of the CMS schema, and what payers write beside it."""
    assert len(_codes(written, line)) == 1


@pytest.mark.parametrize("line", [
    "99213-99215", "J1100 - J1105", "RC,0450-0459", "MS-DRG,470-471", "LOCAL,99213\u201399215",  # ranges
    '="99214"', "=99214", "CPT,=A1", '"CPT,99213"', 'LOCAL,1"', "CPT,99213'", "99213.0", "ICD,99213.0", "99213.00",
    "9.92E+04", "CPT,99213\x00", "99213\u200b", "LOCAL,a\x07b", "LOCAL,a\u202eb",
    "CPT,9921", "CPT,992133", "CPT,J1100", "HCPCS,1100", "CDT,0120", "MS-DRG,4700", "MS-DRG,D01", "APR-DRG,470-5",
    "APR-DRG,47", "RC,04500", "RC,045X", "APC,501200", "EAPG,A1", "HIPPS,1AA1", "ICD,E1", "ICD,E11.9.1", "ICD,ABCDEFGH",
    "ICD,9921.3", "ICD,250.0", '99213.0"', 'CPT,"99213.0"', 'ICD,"99213.0"',
    "NDC,123456789", "NDC,0002-1433", "our own code", "OFFICE VISIT", "CPT", "CPT\t", "99213,CPT", "99213,99214",
    "\u0669\u0669\u0662\u0661\u0663",
])  # fmt: skip
def test_what_cannot_be_a_code_is_refused(written: Path, line: str) -> None:
    """A list that a spreadsheet touched would match nothing, and replace what is published by nothing."""
    with pytest.raises(ListFileError, match=r"line 2 is .*: expected `code` or `type,code`"):
        _codes(written, f"CPT,99213\n{line}\n")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ICD,250.0", 'list 250 or 250.00, or quote the code: "250.0"'),
        ("250.0", 'list 250 or 250.00, or quote the code: "250.0"'),
        ("LOCAL,1.0", 'list 1 or 1.00, or quote the code: "1.0"'),
        ("99213.0", "list 99213"),
        ("CPT,99213.00", "list 99213"),
        ("RC,450.0", "list 450"),
    ],
)
def test_a_number_is_no_advice_to_list_another_code(written: Path, line: str, told: str) -> None:
    """Where the type has codes with a dot, nobody knows which one a spreadsheet made the number of."""
    with pytest.raises(ListFileError) as error:
        _codes(written, line)

    assert f"{told})" in str(error.value)


def test_a_number_in_quotes_is_the_code_as_it_stands(written: Path) -> None:
    """The person means it."""
    codes = _codes(written, 'ICD,"250.0"\n')

    assert codes.wants("ICD", "250.0")
    assert not codes.wants("ICD", "250")
    assert not codes.wants("ICD", "250.00")


def test_lost_zeros_are_told_all_at_once(written: Path) -> None:
    """They are repaired, and the person hears of it."""
    codes = _codes(written, "MS-DRG,39\nCPT,99213\nRC,450\n")

    assert frozenset({("MS-DRG", "039"), ("CPT", "99213"), ("RC", "0450")}) == codes.one_type
    (warning,) = codes.warnings
    assert warning.startswith(f"{written}: codes that lost their first zeros were padded: ")
    assert warning.endswith(": line 1: MS-DRG 039 instead of 39; line 3: RC 0450 instead of 450")


def test_a_type_that_the_schema_lacks_is_told(written: Path) -> None:
    """It may be a payer's own, or a slip."""
    assert (f"{written}: types that the CMS schema lacks: line 1: MSDRG",) == _codes(written, "MSDRG,039\n").warnings


@pytest.mark.parametrize("header", ["code", "billing_code", "Type,Code", '"billing_code_type";"billing_code"'])
def test_a_line_that_names_the_columns_is_no_entry(written: Path, header: str) -> None:
    """Spreadsheets and databases write one."""
    assert len(_codes(written, f"{header}\n99213\n")) == 1


@pytest.mark.parametrize("read", [read_code_whitelist, read_tin_whitelist])
def test_a_workbook_is_no_list(written: Path, read: Callable[[Path], object]) -> None:
    """It is a zip file; part of it may look like text."""
    written.write_bytes(b"PK\x03\x04 99213")

    with pytest.raises(ListFileError, match="save it as CSV"):
        read(written)


def test_every_type_of_the_schema_has_a_shape() -> None:
    """A type that is new in the schema needs one."""
    (words,) = (column.words for column in RATES.columns if column.name == "billing_code_type")

    assert set(words) | {"DRG"} == set(CODE_SHAPES)
    assert all(shape.has(shape.example) for shape in CODE_SHAPES.values())


@pytest.mark.parametrize("text", ["", "\n\n", "# 99213\n", "   "])
def test_a_list_without_entries_is_refused(written: Path, text: str) -> None:
    """It would keep nothing, which nobody wants."""
    with pytest.raises(ListFileError, match="holds no entry"):
        _codes(written, text)


def test_a_missing_list_is_told(written: Path) -> None:
    """A wrong path is the user's, not a traceback."""
    with pytest.raises(ListFileError, match="no such file"):
        read_code_whitelist(written)


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    """The reason is the operating system's."""
    with pytest.raises(ListFileError, match="cannot be read"):
        read_code_whitelist(tmp_path)


def test_a_list_that_is_no_text_is_told(written: Path) -> None:
    """A spreadsheet saved as Excel or UTF-16 is no list."""
    written.write_bytes("99213".encode("utf-16"))

    with pytest.raises(ListFileError, match="not UTF-8"):
        read_code_whitelist(written)


def test_tins_lose_their_hyphen(written: Path) -> None:
    """EINs with and without hyphen are one, NPIs stand beside them."""
    written.write_text("12-3456789\n123456789 # the same\n1234567893\n")

    assert frozenset({"123456789", "1234567893"}) == read_tin_whitelist(written).values


@pytest.mark.parametrize("line", ["12345678", "1-23456789", "12345678901", "ein,123456789", "12-345678a", "1234567-89"])
def test_a_line_that_is_no_tin_is_told(written: Path, line: str) -> None:
    """A mistyped TIN would silently keep nothing."""
    written.write_text(f"{line}\n")

    with pytest.raises(ListFileError, match=r"line 1 is .* expected an EIN"):
        read_tin_whitelist(written)


def test_digest_of_tins_does_not_depend_on_order_and_hyphens(written: Path) -> None:
    """Two lists that keep the same have one digest."""
    written.write_text("12-3456789\n98-7654321\n")
    one = read_tin_whitelist(written).sha256
    written.write_text("987654321\n123456789\n")

    assert one == read_tin_whitelist(written).sha256
