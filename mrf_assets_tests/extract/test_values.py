"""Every tolerance, its repair and its reject."""

from __future__ import annotations

import datetime as dt
import json
import random
import re
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from mrf_assets.extract.interface import ReadCounts
from mrf_assets.extract.values import Json, ListedCodeShape, Obj, Values, content_id, number_text, provider_set_id
from mrf_assets.schema import MODIFIER_SHAPE, PLACE_SHAPE, RATES

_PATH, _OFFSET = "a.path", 81
_TYPES = RATES.words["negotiated_type"]


def _obj(**members: Json) -> Obj:
    made = Obj(_OFFSET)
    made.update(members)
    return made


class _Converted:
    """What a conversion gave, and all that it counted."""

    def __init__(self, convert: Callable[[Values], object]) -> None:
        counts = ReadCounts()
        self.value = convert(Values(counts))
        self.repairs = dict(counts.repairs)
        self.rejects = counts.rejects
        self.reasons = [reject[3] for reject in counts.rejects]
        self.ignored_keys = dict(counts.ignored_keys)

    def __repr__(self) -> str:
        return f"{self.value!r} {self.repairs} {self.reasons} {self.ignored_keys}"


def _expect(value: object, noted: str | None, got: _Converted) -> None:
    """`noted` names repairs (`a+b`) or, after `!`, the reason of one reject; None for a clean value."""
    repairs = [] if noted is None or noted.startswith("!") else noted.split("+")
    reasons = [noted[1:]] if noted and noted.startswith("!") else []
    assert (value, dict.fromkeys(repairs, 1), reasons) == (got.value, got.repairs, got.reasons)
    assert type(value) is type(got.value)


# --- text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "noted", "value"),
    [
        ("abc", None, "abc"),
        (" abc ", None, " abc "),
        ("null", None, "null"),
        (None, None, None),
        (None, "empty_text", ""),
        ("470", "number_as_text", 470),
        ("0", "number_as_text", 0),
        ("470", "number_as_text", Decimal("470.0")),
        ("1.5", "number_as_text", Decimal("1.50")),
        (None, "!not_text", True),
        (None, "!not_text", []),
        (None, "!not_text", _obj(a=1)),
    ],
)
def test_text(text: str | None, noted: str | None, value: Json) -> None:
    """Text is as given; numbers become digits, empty text null, anything else a reject."""
    _expect(text, noted, _Converted(lambda values: values.text(value, _PATH, _OFFSET)))


@pytest.mark.parametrize(
    ("word", "noted", "value"),
    [
        ("fee schedule", None, "fee schedule"),
        ("negotiated", "word_case_or_space", "Negotiated"),
        ("negotiated", "word_case_or_space", " negotiated\n"),
        ("agreed", None, "agreed"),
        ("agreed", "unknown_word_folded", "Agreed "),
        (None, "empty_text", ""),
        (None, "empty_text", "  "),
        (None, None, None),
        ("2", "number_as_text", 2),
        (None, "!not_text", ["ffs"]),
    ],
)
def test_word(word: str | None, noted: str | None, value: Json) -> None:
    """Words of a fixed list lose case and outer spaces."""
    _expect(word, noted, _Converted(lambda values: values.word(value, _TYPES, _PATH, _OFFSET)))


@pytest.mark.parametrize(("noted", "value"), [(None, "MS-DRG"), ("word_case_or_space", "ms-drg ")])
def test_code_types_are_upper_case(noted: str | None, value: Json) -> None:
    """CMS writes them so."""
    _expect(
        "MS-DRG",
        noted,
        _Converted(lambda values: values.word(value, frozenset({"MS-DRG"}), _PATH, _OFFSET, upper=True)),
    )


@pytest.mark.parametrize(
    ("code", "noted", "value"),
    [
        ("99213", None, "99213"),
        ("j1100", None, "j1100"),
        ("0470", None, "0470"),
        ("99213", "code_trimmed", " 99213 "),
        ("99213", "number_as_text", 99213),
        ("99213", "number_as_text", Decimal("99213.0")),
        (None, "empty_text", ""),
        (None, "empty_text", " "),
        (None, None, None),
        (None, "!not_text", False),
    ],
)
def test_code(code: str | None, noted: str | None, value: Json) -> None:
    """Codes keep case and leading zeros, and lose outer spaces."""
    _expect(code, noted, _Converted(lambda values: values.code(value, None, _PATH, _OFFSET)))


@pytest.mark.parametrize(
    ("code", "kind", "value"),
    [
        ("00100", "CPT", 100),
        ("00100", "HCPCS", 100),
        ("0450", "RC", 450),
        *(("039", kind, 39) for kind in ("MS-DRG", "R-DRG", "S-DRG", "APS-DRG", "AP-DRG", "DRG")),
        ("560", "APR-DRG", 560),
        ("450", "LOCAL", 450),
        ("450", "RC", "450"),
    ],
)
def test_a_number_gets_back_the_leading_zeros_of_its_code_type(code: str, kind: str, value: Json) -> None:
    """JSON numbers cannot hold them; text is taken as it stands."""
    noted = None if isinstance(value, str) else "number_as_text"
    _expect(code, noted, _Converted(lambda values: values.code(value, kind, _PATH, _OFFSET)))


@pytest.mark.parametrize(
    ("texts", "noted", "value"),
    [
        (["11", "22"], None, ["11", "22"]),
        (["CSTM-00"], None, ["CSTM-00"]),
        ([], None, []),
        (None, None, None),
        (["11"], "scalar_for_list", "11"),
        (["5"], None, ["5"]),
        (["05"], "number_as_text", [5]),
        (["11"], "number_as_text", [11]),
        (["11"], "number_as_text", [Decimal("11.0")]),
        (["05"], "number_as_text+scalar_for_list", 5),
        ([], "empty_entry_in_list", [""]),
        ([], "empty_entry_in_list", [None]),
        ([], "empty_entry_in_list+scalar_for_list", ""),
        (["11"], "empty_entry_in_list", ["", "11"]),
        (["11", "11"], None, ["11", "11"]),
        (["11"], "!not_text", [True, "11"]),
        (["11"], "!not_text", [["22"], "11"]),
        ([], "!not_text", [_obj()]),
    ],
)
def test_texts(texts: list[str] | None, noted: str | None, value: Json) -> None:
    """Lists lose their empty entries, scalars are lists of one, places of service have two digits."""
    _expect(texts, noted, _Converted(lambda values: values.texts(value, _PATH, _OFFSET, number_width=2)))


_PLACE = ListedCodeShape(re.compile(rf"(?:{PLACE_SHAPE})\Z"), width=2)
_MODIFIER = ListedCodeShape(re.compile(rf"(?:{MODIFIER_SHAPE})\Z"), width=0)


@pytest.mark.parametrize(
    ("codes", "noted", "shape", "value"),
    [
        (["11", "22"], None, _PLACE, ["11", "22"]),
        (None, None, _PLACE, None),
        (["05"], "leading_zero_restored", _PLACE, ["5"]),
        (["05"], "number_as_text", _PLACE, [5]),
        (["11"], "code_trimmed", _PLACE, [" 11"]),
        (["CSTM-00"], "word_case_or_space", _PLACE, ["cstm-00"]),
        (["11", "22"], "joined_codes_split", _PLACE, ["11,22"]),
        (["11", "22"], "scalar_for_list+joined_codes_split", _PLACE, "11,22"),
        (["11", "02"], "joined_codes_split+code_trimmed+leading_zero_restored", _PLACE, ["11, 2"]),
        (["11"], "joined_codes_split+empty_entry_in_list", _PLACE, ["11,"]),
        ([], "empty_entry_in_list", _PLACE, [" "]),
        (["011", "Office"], None, _PLACE, ["011", "Office"]),
        (["26", "TC"], None, _MODIFIER, ["26", "TC"]),
        (["TC"], "word_case_or_space", _MODIFIER, ["tc"]),
        (["26", "TC"], "joined_codes_split", _MODIFIER, ["26,TC"]),
        (["26"], "code_trimmed", _MODIFIER, ["26 "]),
        (["5"], None, _MODIFIER, ["5"]),
        (["none"], None, _MODIFIER, ["none"]),
    ],
)
def test_listed_codes(codes: list[str] | None, noted: str | None, shape: ListedCodeShape, value: Json) -> None:
    """Places of service and modifiers get the schema's form; what cannot be one stays as it is."""
    _expect(codes, noted, _Converted(lambda values: values.listed_codes(value, shape, _PATH, _OFFSET)))


def test_numbers_in_other_lists_are_not_padded() -> None:
    """A modifier 5 is not known to be 05."""
    _expect(["5"], "number_as_text", _Converted(lambda values: values.texts([5], _PATH, _OFFSET)))


@pytest.mark.parametrize(
    ("elements", "noted", "value"),
    [
        ([1, 2], None, [1, 2]),
        ([], None, []),
        ([], None, None),
        ([1], "scalar_for_list", 1),
        ([""], "scalar_for_list", ""),
        ([{"a": 1}], "scalar_for_list", _obj(a=1)),
    ],
)
def test_elements(elements: list[Json], noted: str | None, value: Json) -> None:
    """A single value is a list of one, null is no element."""
    _expect(elements, noted, _Converted(lambda values: values.elements(value)))


# --- dates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("date", "noted", "value"),
    [
        ("2026-12-31", None, "2026-12-31"),
        ("9999-12-31", None, "9999-12-31"),
        ("2024-02-29", None, "2024-02-29"),
        ("2022-12-31", "date_with_time", "2022-12-31T00:00:00"),
        ("2024-06-03", "date_with_time", "2024-06-03T00:00:00-05:00"),
        ("2024-06-03", "date_with_time", "2024-06-03T23:59:59.999Z"),
        ("2024-06-03", "date_with_time", "2024-06-03 00:00:00"),
        ("2024-06-03", "date_with_time", "2024-6-3T00:00:00"),
        ("2022-08-05", "date_form", "2022-08-5"),
        ("2022-08-05", "date_form", "2022-8-5"),
        ("2022-08-05", "date_form", "2022/08/05"),
        ("2026-02-04", "date_form", "2/4/2026"),
        ("2026-12-31", "date_form", "12/31/2026"),
        ("2026-12-31", "date_form", "12-31-2026"),
        ("2026-12-31", "date_form", "20261231"),
        ("2026-12-31", "date_form", 20261231),
        ("2026-12-31", "date_form", " 2026-12-31 "),
        (None, None, None),
        (None, "empty_text", ""),
        (None, "!date_unreadable", "2026-02-30"),
        (None, "!date_unreadable", "2023-02-29"),
        (None, "!date_unreadable", "0000-00-00"),
        (None, "!date_unreadable", "31/12/2026"),
        (None, "!date_unreadable", "2/4/26"),
        (None, "!date_unreadable", "N/A"),
        (None, "!date_unreadable", "2026"),
        (None, "!date_unreadable", "2026-12-31x"),
        (None, "!date_unreadable", " "),
        (None, "!date_unreadable", 20261331),
        (None, "!date_unreadable", Decimal("20261231.0")),
        (None, "!date_unreadable", True),
        (None, "!date_unreadable", ["2026-12-31"]),
    ],
)
def test_date(date: str | None, noted: str | None, value: Json) -> None:
    """Every form that payers were seen to write is read, and no impossible day."""
    expected = None if date is None else dt.date.fromisoformat(date)
    _expect(expected, noted, _Converted(lambda values: values.date(value, _PATH, _OFFSET)))


@given(st.dates())
def test_an_iso_date_is_itself(date: dt.date) -> None:
    """The form of the schema needs no repair, in any year."""
    _expect(date, None, _Converted(lambda values: values.date(date.isoformat(), _PATH, _OFFSET)))


@given(
    date=st.dates(min_value=dt.date(1000, 1, 1)),
    form=st.sampled_from(
        ["{0.year}/{0.month}/{0.day}", "{0.month}/{0.day}/{0.year}", "{0:%m-%d-%Y}", "{0:%Y%m%d}", " {0:%Y-%m-%d}"]
    ),
)
def test_every_form_of_a_date_is_the_same_date(date: dt.date, form: str) -> None:
    """Month and day are never confused, with and without leading zeros."""
    _expect(date, "date_form", _Converted(lambda values: values.date(form.format(date), _PATH, _OFFSET)))


@given(st.text())
def test_no_text_makes_a_date_fail(text: str) -> None:
    """What is no date is a reject, not a traceback."""
    got = _Converted(lambda values: values.date(text, _PATH, _OFFSET))

    assert (got.value is None) == (got.reasons == ["date_unreadable"] or not text)


# --- rates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "noted", "value"),
    [
        ("123.45", None, Decimal("123.45")),
        ("40.5", None, Decimal("40.5")),
        ("100", None, 100),
        ("0", None, 0),
        ("0", None, Decimal("0.00")),
        ("0", None, Decimal("-0.0")),
        ("-12.5", None, Decimal("-12.5")),
        ("100", None, Decimal("1E+2")),
        ("163.4399999999", "rate_rounded", Decimal("163.43999999994")),
        ("163.44", "rate_rounded", Decimal("163.43999999999997")),
        ("0.0000000002", "rate_rounded", Decimal("0.00000000025")),
        ("0.0000000004", "rate_rounded", Decimal("0.00000000035")),
        ("0", "rate_rounded", Decimal("1E-400")),
        ("0.1234567891", None, Decimal("0.1234567891")),
        ("9999999999999999999999999999", None, 10**28 - 1),
        ("432.0", "rate_from_text", "432.0"),
        ("12.5", "rate_from_text", " 12.5 "),
        ("0", "rate_from_text", "0"),
        ("-5.10", "rate_from_text", "-5.10"),
        ("100", "rate_from_text", "1e2"),
        ("0.5", "rate_from_text", ".5"),
        ("5", "rate_from_text", "+5."),
        ("163.44", "rate_from_text+rate_rounded", "163.43999999999997"),
        (None, "!rate_missing", None),
        (None, "!rate_not_a_number", ""),
        (None, "!rate_not_a_number", "$12.00"),
        (None, "!rate_not_a_number", "1,204.50"),
        (None, "!rate_not_a_number", "NaN"),
        (None, "!rate_not_a_number", "Infinity"),
        (None, "!rate_not_a_number", "1_000"),
        (None, "!rate_not_a_number", "1e99999"),
        (None, "!rate_not_a_number", "\u0661\u0662"),
        (None, "!rate_not_a_number", "1" * 101),
        (None, "!rate_not_a_number", True),
        (None, "!rate_not_a_number", [12]),
        (None, "!rate_not_a_number", _obj(rate=12)),
        (None, "!rate_out_of_range", 10**28),
        (None, "!rate_out_of_range", Decimal("1E+400")),
        (None, "!rate_out_of_range", "1e9999"),
    ],
)
def test_rate(rate: str | None, noted: str | None, value: Json) -> None:
    """Rates are exact; text is read, noise beyond ten decimals is rounded half-even, and both are counted."""
    expected = None if rate is None else Decimal(rate)

    _expect(expected, noted, _Converted(lambda values: values.rate(value, _OFFSET)))


@pytest.mark.parametrize("value", ["abc", None, 10**28])
def test_a_reject_of_a_rate_drops_the_price(value: Json) -> None:
    """The reject says what is missing, where, and shows the value."""
    got = _Converted(lambda values: values.rate(value, _OFFSET))

    assert [(_OFFSET, "price", "negotiated_prices.negotiated_rate")] == [reject[:3] for reject in got.rejects]


@given(st.decimals(min_value=-(10**27), max_value=10**27, places=10))
def test_a_rate_within_the_type_is_exact(rate: Decimal) -> None:
    """Ten decimals and 28 digits before them come out as they went in, as number and as text."""
    _expect(rate, None, _Converted(lambda values: values.rate(rate, _OFFSET)))
    _expect(rate, "rate_from_text", _Converted(lambda values: values.rate(str(rate), _OFFSET)))


_digits = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent, Context(prec=200)),
    st.integers(-(10**40), 10**40),
    st.integers(-45, 5),
)


@given(_digits)
def test_a_rate_beyond_the_type_is_rounded_half_even_and_counted(number: Decimal) -> None:
    """The nearest number of ten decimals, ties to even, or a reject where the digits do not fit."""
    got = _Converted(lambda values: values.rate(number, _OFFSET))
    nearest = round(Fraction(number) * 10**10)

    if abs(nearest) >= 10**38:
        assert ["rate_out_of_range"] == got.reasons
    else:
        assert isinstance(got.value, Decimal)
        assert nearest == Fraction(got.value) * 10**10
        assert ({} if nearest == Fraction(number) * 10**10 else {"rate_rounded": 1}) == got.repairs


# --- group ids ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("0", Decimal("0.0")),
        ("0", Decimal("-0")),
        ("0", Decimal("0E+90")),
        ("47229613942", 47229613942),
        ("690.6447", Decimal("690.64470")),
        ("18", Decimal("18.0")),
        ("100", Decimal("1E+2")),
        ("-1", -1),
        ("0.000001", Decimal("1E-6")),
        ("1E+50", Decimal("1E+50")),
        ("1E+50", Decimal("10E+49")),
        ("1E+50", Decimal("1.000E+50")),
        ("1E+50", 10**50),
        ("1E-50", Decimal("10E-51")),
        ("1.5E+999999", Decimal("1.50E+999999")),
    ],
)
def test_number_text(text: str, number: int | Decimal) -> None:
    """A number's text is exact and short, whatever its spelling and size."""
    assert text == number_text(number)


_numbers = st.one_of(
    st.integers(),
    st.integers(-(10**60), 10**60),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.builds(lambda number, power: Decimal(number).scaleb(power), st.integers(-999, 999), st.integers(-90, 90)),
)


@given(_numbers)
def test_the_text_of_a_number_is_exact(number: int | Decimal) -> None:
    """Nothing goes through a float: the text reads as the number."""
    assert Fraction(number) == Fraction(Decimal(number_text(number)))


@given(_numbers, st.integers(0, 30))
def test_equal_numbers_have_equal_text(number: int | Decimal, zeros: int) -> None:
    """690.6447 and 690.64470 are one JSON number, so one id; integers and exponents no less."""
    digits = Decimal(number).as_tuple()
    assert isinstance(digits.exponent, int)
    spelled = Decimal((digits.sign, digits.digits + (0,) * zeros, digits.exponent - zeros))

    assert number_text(number) == number_text(spelled)
    if spelled == spelled.to_integral_value() and abs(spelled.adjusted()) < 200:
        assert number_text(number) == number_text(int(spelled))


@given(_numbers, _numbers)
def test_different_numbers_have_different_text(one: int | Decimal, other: int | Decimal) -> None:
    """No two ids fall together."""
    assert (one == other) == (number_text(one) == number_text(other))


@pytest.mark.parametrize(
    ("text", "noted", "value"),
    [
        ("0", None, 0),
        ("690.6447", None, Decimal("690.64470")),
        ("1", "group_id_from_text", "1"),
        ("690.6447", "group_id_from_text", "690.64470"),
        ("2", "group_id_from_text", " 2 "),
        ("100", "group_id_from_text", "1e2"),
        ("1", "group_id_from_text", "01"),
        ("abc", "group_id_from_text", "abc"),
        ("1" * 101, "group_id_from_text", "1" * 101),
        (None, None, None),
        (None, None, ""),
        (None, None, " "),
        (None, None, True),
        (None, None, [1]),
    ],
)
def test_group_id(text: str | None, noted: str | None, value: Json) -> None:
    """An id is a number's exact text; 0 is an id; what is none is told by None, and rejected by the caller."""
    _expect(text, noted, _Converted(lambda values: values.group_id(value)))


# --- NPIs and TINs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("npi", "noted", "value"),
    [
        (1234567893, None, 1234567893),
        (1234567893, "npi_from_text", "1234567893"),
        (1234567893, "npi_from_text", " 1234567893 "),
        (1234567893, "npi_from_decimal", Decimal("1234567893.0")),
        (1234567893, "npi_from_decimal", Decimal("1.234567893E+9")),
        (123, None, 123),
        (2**63 - 1, None, 2**63 - 1),
        (None, "npi_zero_as_null", 0),
        (None, "npi_from_text+npi_zero_as_null", "0"),
        (None, "npi_from_decimal+npi_zero_as_null", Decimal("0.0")),
        (None, "!npi_not_a_number", None),
        (None, "!npi_not_a_number", ""),
        (None, "!npi_not_a_number", "n/a"),
        (None, "!npi_not_a_number", "12345678.5"),
        (None, "!npi_not_a_number", Decimal("1234567893.5")),
        (None, "!npi_not_a_number", "--1"),
        (None, "!npi_out_of_range", -1234567893),
        (None, "!npi_out_of_range", "-1234567893"),
        (None, "!npi_out_of_range", Decimal("-1.0")),
        (None, "!npi_out_of_range", 2**63),
        (None, "!npi_out_of_range", str(2**63)),
        (None, "!npi_out_of_range", Decimal("1E+30")),
        (None, "!npi_out_of_range", Decimal("1E+999999")),
        (None, "!npi_not_a_number", "1" * 101),
        (None, "!npi_not_a_number", "\u0661"),
        (None, "!npi_not_a_number", True),
        (None, "!npi_not_a_number", [1234567893]),
    ],
)
def test_npi(npi: int | None, noted: str | None, value: Json) -> None:
    """NPIs come as numbers and text; 0 is null; a reject counts no repair."""
    _expect(npi, noted, _Converted(lambda values: values.npi(value, _PATH, _OFFSET)))


@given(st.integers(1, 2**63 - 1), st.sampled_from([int, str, Decimal, "{}.0".format, " {}".format]))
def test_an_npi_is_the_same_in_every_form(npi: int, form: Callable[[int], Json]) -> None:
    """No digit is lost, whether number, text or decimal."""
    spelled = form(npi)
    value: Json = Decimal(spelled) if isinstance(spelled, str) and "." in spelled else spelled

    assert npi == _Converted(lambda values: values.npi(value, _PATH, _OFFSET)).value


@pytest.mark.parametrize(
    ("tin", "noted", "value"),
    [
        (("ein", "123456789", None), None, _obj(type="ein", value="12-3456789")),
        (("ein", "123456789", None), None, _obj(type="ein", value="123456789")),
        (("ein", "123456789", "Made Up LLC"), None, _obj(type="ein", value="123456789", business_name="Made Up LLC")),
        (("npi", "1234567893", None), None, _obj(type="npi", value="1234567893")),
        (("npi", "12-34", None), None, _obj(type="npi", value="12-34")),
        (("ein", "012345678", None), "number_as_text", _obj(type="ein", value=12345678)),
        (("npi", "1234567893", None), "number_as_text", _obj(type="npi", value=1234567893)),
        (("ein", "123456789", None), "number_as_text", _obj(type="ein", value=Decimal("123456789.0"))),
        (("ein", "12345678", None), None, _obj(type="ein", value="12-345678")),
        (("ein", "123456789", None), None, _obj(type="ein", value=" 12-3456789 ")),
        (("ein", "123456789", None), "word_case_or_space", _obj(type="EIN", value="12-3456789")),
        ((None, "123456789", None), None, _obj(value="12-3456789")),
        (("ein", None, None), None, _obj(type="ein")),
        (("ein", None, None), "empty_required_text", _obj(type="ein", value="")),
        (("ein", None, None), "empty_required_text", _obj(type="ein", value="-")),
        (("ein", "012345678", None), "leading_zero_restored", _obj(type="ein", value="12345678")),
        (("ein", "012345678", None), "leading_zero_restored", _obj(type="ein", value="1-2345678")),
        (("ein", "1234567", None), None, _obj(type="ein", value="1234567")),
        (("npi", "12345678", None), None, _obj(type="npi", value="12345678")),
        (("ein", None, None), "tin_zero_as_null", _obj(type="ein", value="0")),
        (("ein", None, None), "tin_zero_as_null", _obj(type="ein", value="00-0000000")),
        (("ein", None, None), "number_as_text+tin_zero_as_null", _obj(type="ein", value=0)),
        (("npi", None, None), "tin_zero_as_null", _obj(type="npi", value="0000000000")),
        ((None, None, None), "tin_without_type+tin_zero_as_null", "0"),
        ((None, None, None), None, _obj()),
        ((None, None, None), "tin_missing", None),
        ((None, "123456789", None), "tin_without_type", "123456789"),
        ((None, "123456789", None), "tin_without_type", "12-3456789"),
        ((None, "123456789", None), "tin_without_type+number_as_text", 123456789),
        ((None, None, None), "!tin_not_an_object", True),
        ((None, None, None), "!tin_not_an_object", ["123456789"]),
        (("ein", None, None), "!not_text", _obj(type="ein", value=True)),
    ],
)
def test_tin(tin: tuple[str | None, str | None, str | None], noted: str | None, value: Json) -> None:
    """An EIN loses its hyphen and, if it came as a number, gets its leading zero back."""
    _expect(tin, noted, _Converted(lambda values: values.tin(value, _OFFSET)))


@given(st.integers(1, 10**9 - 1))
def test_an_ein_is_nine_digits_in_every_form(number: int) -> None:
    """With hyphen, without, and as a number that lost its zeros."""
    digits = f"{number:09}"

    for form in (digits, f"{digits[:2]}-{digits[2:]}", number):
        assert ("ein", digits, None) == Values(ReadCounts()).tin(_obj(type="ein", value=form), _OFFSET)


# --- keys, ids, excerpts --------------------------------------------------------------------


def test_unknown_keys_are_counted_with_their_path() -> None:
    """What no table has a place for is not lost without a word."""
    known = frozenset({"npi", "tin"})

    got = _Converted(lambda values: values.unknown_keys(_obj(npi=1, name=2, x=3), known, "provider_groups"))

    assert {"provider_groups.name": 1, "provider_groups.x": 1} == got.ignored_keys


def test_distinct_unknown_keys_are_counted_by_name_up_to_a_limit() -> None:
    """A hostile file with a million keys does not fill the memory."""
    counts = ReadCounts()
    for number in range(600):
        counts.ignore(f"k{number}")
    counts.ignore("k0")

    assert 501 == len(counts.ignored_keys)
    assert 100 == counts.ignored_keys["(others)"]
    assert 2 == counts.ignored_keys["k0"]


def test_a_part_is_absorbed_without_loss() -> None:
    """Counts, repairs, ignored keys and rejects of an item are added to those of the file."""
    whole, part = ReadCounts(), ReadCounts()
    for number in range(600):
        part.ignore(f"k{number}")
    part.ignore("k0")
    part.repairs["a"] = 2
    part.prices_read, part.rate_rows, part.prices_rejected, part.provider_groups_read = 5, 3, 2, 1
    part.reject(1, "value", "p", "r", "x")
    whole.ignore("other")
    whole.repairs["a"] = 1

    whole.absorb(part)

    assert 602 == whole.ignored_keys.total()
    assert 2 == whole.ignored_keys["k0"]
    assert {"a": 3} == dict(whole.repairs)
    assert (5, 3, 2, 1) == (whole.prices_read, whole.rate_rows, whole.prices_rejected, whole.provider_groups_read)
    assert [(1, "value", "p", "r", "x")] == whole.rejects


@pytest.mark.parametrize(
    ("excerpt", "value"),
    [
        ("abc", "abc"),
        ("null", None),
        ("true", True),
        ("[1,2]", [1, 2]),
        ('{"a":{"b":1}}', _obj(a=_obj(b=1))),
        ('["é"]', ["é"]),
        ("1234567893", Decimal("1234567893.0")),
        ("x" * 200, "x" * 300),
        ("?", "\ud800"),
    ],
)
def test_excerpt(excerpt: str, value: Json) -> None:
    """A reject shows its value as compact JSON of at most 200 characters."""
    assert [excerpt] == [
        reject[4] for reject in _Converted(lambda values: values.counts.reject(0, "value", "p", "r", value)).rejects
    ]


@given(st.lists(st.text(), unique=True), st.randoms())
def test_a_provider_set_is_its_members(members: list[str], order: random.Random) -> None:
    """Order does not make another set."""
    shuffled = order.sample(members, len(members))

    assert provider_set_id(members) == provider_set_id(shuffled)
    assert -(2**63) <= provider_set_id(members) < 2**63


@given(st.lists(st.lists(st.text(max_size=3), max_size=3, unique=True).map(sorted), unique_by=tuple, max_size=8))
def test_different_provider_sets_have_different_ids(sets: list[list[str]]) -> None:
    """Also where the members' letters are the same, as in {1, 23} and {12, 3}."""
    assert len(sets) == len({provider_set_id(members) for members in sets})


_INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.recursive(st.none() | _INT64 | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_equal_content_has_one_id(content: object) -> None:
    """The id depends on the content alone, and has eight bytes."""
    assert content_id(content) == content_id(json.loads(json.dumps(content)))
    assert 8 == len(content_id(content))
