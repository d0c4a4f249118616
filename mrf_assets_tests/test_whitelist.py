"""Which codes and TINs are wanted, out of files that people write."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrf_assets.errors import ListFileError
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
    "line", ["hcpcs,j1100", " HCPCS , J1100 ", '"HCPCS","J1100"', "Hcpcs,J1100 # a comment", "HCPCS,J1100\r"]
)
def test_case_spaces_quotes_and_comments_do_not_matter(written: Path, line: str) -> None:
    """A line means the same however it is written."""
    assert CodeWhitelist(frozenset(), frozenset({("HCPCS", "J1100")})) == _codes(written, f"{line}\n")


@pytest.mark.parametrize(("kind", "code"), [("hcpcs", "j1100"), (" HCPCS ", " J1100 ")])
def test_case_and_spaces_of_the_payer_do_not_matter(written: Path, kind: str, code: str) -> None:
    """The payer's spelling is as free as the list's."""
    assert _codes(written, "HCPCS,J1100").wants(kind, code)


def test_a_code_is_matched_literally(written: Path) -> None:
    """Neither leading zeros nor CSTM-00 are interpreted."""
    codes = _codes(written, "450\n")

    assert not codes.wants("RC", "0450")
    assert not codes.wants("RC", "CSTM-00")


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


@pytest.mark.parametrize("other", ["99214", "99213\n99214", "CPT,99213", "99213,CPT"])
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
