"""Hypothesis strategies for in-network files that are valid JSON and little else.

`documents` yields Python values with every deviation that payers ship (and some that they may ship
tomorrow); numbers are `factory.Number` where their spelling matters. `rendered` turns one into bytes.
A document is valid JSON by construction: `factory` has the damage.
"""

from __future__ import annotations

import codecs
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from mrf_assets_tests.factory import Again, Document, Number, json_bytes, make_npi, seeded

Values = st.SearchStrategy[Any]

# --- weights --------------------------------------------------------------------------------


def _mostly(usual: Values, odd: Values, *, usual_share: int = 8) -> Values:
    """Mostly the one, once in a while the other; shrinks to the usual."""
    return st.integers(0, usual_share).flatmap(lambda drawn: odd if drawn == usual_share else usual)


@st.composite
def _objects(
    draw: st.DrawFn, fields: Mapping[str, Values], *, core: Sequence[str] = (), extras: bool = True
) -> Document:
    """An object with these fields, some missing, some extra, in any order.

    Keys in `core` are missing seldom. Presence and order cost one draw each, so that documents stay
    within Hypothesis's budget and shrink to complete objects in the usual order.
    """
    absent = draw(_ABSENT)
    rng = seeded(absent)
    found = {
        key: draw(values)
        for key, values in fields.items()
        if not absent or rng.random() > (0.03 if key in core else 0.2)
    }
    if extras:
        found |= {key: value for key, value in draw(_EXTRAS).items() if key not in fields}
    return _ordered(found, draw(_ORDER))


def _ordered(found: Document, seed: int) -> Document:
    if not seed:
        return found
    return {key: found[key] for key in seeded(seed).sample(list(found), len(found))}


_ABSENT = _mostly(st.just(0), st.integers(1, 2**16), usual_share=3)
_ORDER = _mostly(st.just(0), st.integers(1, 2**16), usual_share=1)

# --- scalars --------------------------------------------------------------------------------

_NASTY = (
    '"', "\\", '\\"', "\\\\", "{", "}", "[", "]", '"}', '"}]', '"]}],"in_network":[', '},{"x":[', ",", ":", "/", "</",
    "\n", "\t", "\r\n", "\x00", "\x01", "\x1f", "\x7f", "\b\f", "\u2028", "\ufeff", "é", "µ", "中文", "😀", "👩‍⚕️",
    'negotiated_rates":[', '"billing_code":"99213"', "null", "NaN", " ", "  99213 ", "",
    "\ud83d", "\udc00", "\ud83d\ude00", "\\\ud800", "\udbff\ud83d",
)  # fmt: skip
_long_texts: Values = st.builds(
    lambda piece, times: piece * times, st.sampled_from(("x", "\\", '"', "é", "😀{")), st.sampled_from([70, 3000])
)
texts: Values = _mostly(
    st.one_of(
        st.sampled_from(["alpha", "beta gamma", "Visit 1", "No business name found"]),
        st.lists(st.sampled_from(_NASTY), max_size=4).map("".join),
        st.text(max_size=8),
    ),
    _long_texts,
    usual_share=40,
)
"""Strings with all that breaks scanners of bytes; a few are very long."""


def _spelled(whole: int, decimals: str, exponent: str) -> Number:
    return Number(f"{whole}{'.' if decimals else ''}{decimals}{exponent}")


numbers: Values = st.builds(
    _spelled,
    st.sampled_from([0, 1, 2, 12, 99, 100, 432, 1204, 100_000_000, 10**12]),
    st.sampled_from(["", "0", "5", "50", "340", "43999999999997", "0000000001", "123456789012345678901234567890"]),
    st.sampled_from(["", "", "", "", "e0", "e2", "E+2", "e-2"]),
)
"""Positive numbers and zero in all spellings: 1, 1.0, 12.340, 1e2, more digits than a float or decimal128 has."""

_odd_scalars: Values = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    texts,
    st.sampled_from([Number("-1"), Number("-0.0"), Number("1e400"), -7, 2**63, 2**64]),
)
_odd: Values = st.one_of(
    _odd_scalars,
    st.sampled_from(
        [
            [],
            {},
            [None],
            [[]],
            [{}],
            [""],
            {"billing_code": "99213"},
            {"negotiated_rates": [{"negotiated_prices": [1]}]},
        ]
    ),
)
# Keys that mean something elsewhere: a reader that looks for bytes, not for places, finds them here.
_EXTRA_KEYS = (
    "x", "comment", "network_name", "reporting_period", "setting", "billing_code",
    "billing_code_type", "negotiated_rates", "negotiated_rate", "negotiated_prices", "provider_references",
    "provider_group_id", "in_network",
    "npi", "tin", "Billing_Code", "billing_code ", "", '"', "}", "kéy", "\\", "😀",
)  # fmt: skip
_extra_values: Values = st.recursive(
    _odd_scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_EXTRA_KEYS), inner, max_size=3)
    ),
    max_leaves=5,
)
_EXTRAS = _mostly(st.just({}), st.dictionaries(st.sampled_from(_EXTRA_KEYS), _extra_values, max_size=2), usual_share=5)


def _usually(*values: object) -> Values:
    """One of these, seldom a value of any other kind."""
    return _mostly(st.sampled_from(values), _odd, usual_share=12)


def _lists(items: Values, *, max_size: int, min_size: int = 0) -> Values:
    """A list, seldom with nulls or other kinds inside, a bare item, null, empty or something else."""
    usual = st.lists(items, min_size=min_size, max_size=max_size)
    mixed = st.lists(st.one_of(items, _odd), max_size=max_size)
    return _mostly(usual, st.one_of(mixed, items, st.none(), st.just([]), _odd))


# --- parts of a file ------------------------------------------------------------------------

_dates = _usually(
    "9999-12-31", "2026-12-31", "2022-12-31T00:00:00", "2024-06-03T00:00:00-05:00", "2024-06-03T23:30:00Z", "2022-08-5",
    "2/4/2026", "12/31/2026", "2026-2-4", "20261231", "2026-02-30", "0000-00-00", "N/A", "", " 2026-12-31 ", 20261231,
)  # fmt: skip
_code_types = _usually("CPT", "HCPCS", "MS-DRG", "RC", "CSTM-ALL", "cpt", "DRG", "drg", " CPT", "LOCAL", "")
_codes = _usually(
    "99213",
    "70450",
    "J1100",
    "470",
    "0470",
    470,
    99213,
    Number("99213.0"),
    "CSTM-00",
    "99213 ",
    "j1100",
    "0510",
    "",
    " ",
)
_versions = _usually("2026", "2020", "UB04", 2026, "")
_rates = _mostly(
    numbers,
    st.one_of(
        st.sampled_from(
            [
                "432.0",
                "0",
                "-5.10",
                "1,204.50",
                "$12.00",
                "",
                " 12.5 ",
                "1e2",
                "NaN",
                "abc",
                Number("-12.5"),
                Number("-0"),
                0,
            ]
        ),
        _odd,
    ),
    usual_share=4,
)
_place_texts = (
    "01", "11", "22", "CSTM-00", "1", 11, 5, Number("11.0"), "011", "", " ", "11,22", "5, 11,", " 11",
    "cstm-00", "Office",
)  # fmt: skip
_places = _lists(_usually(*_place_texts), max_size=3)
_modifiers = _lists(_usually("26", "TC", "", "50", 50, " 26", "tc", "26,tc", "5", "none"), max_size=2)

_NPIS = tuple(make_npi(seeded(number)) for number in range(3))
_npi_values = _mostly(
    st.sampled_from(_NPIS),
    st.one_of(
        st.sampled_from(
            [0, "0", str(_NPIS[0]), f" {_NPIS[1]}", Number(f"{_NPIS[0]}.0"), Number("1.234567893e9"), _NPIS[0] + 1]
        ),
        st.sampled_from([123, -1_234_567_893, 12_345_678_931, Number("1234567893.5"), "n/a", ""]),
        _odd,
    ),
)
_tin_values = _usually(
    "12-3456789",
    "123456789",
    "98-7654321",
    123456789,
    "1234567893",
    "12-345678",
    "012345678",
    "",
    "n/a",
    Number("123456789.0"),
    "12345678",
    "1-2345678",
    " 12345678",
    12345678,
    "0",
    "00-0000000",
    "0000000000",
    0,
    "-",
)
# The same TIN and NPI under several names.
_business_names = _mostly(st.sampled_from(["First", "Second"]), st.one_of(texts, st.none(), _odd), usual_share=4)
_tins = _mostly(
    _objects(
        {
            "type": _usually("ein", "npi", "EIN", "", "ssn", " Ssn"),
            "value": _tin_values,
            "business_name": _business_names,
        },
        core=("type", "value"),
    ),
    st.one_of(_tin_values, _odd),
)
_groups = _mostly(
    _objects({"npi": _lists(_npi_values, max_size=3), "tin": _tins}, core=("npi", "tin")), _odd, usual_share=14
)

_namesakes = st.builds(
    lambda npi, tin, names: [
        {"npi": [npi], "tin": {"type": "ein", "value": tin, "business_name": name}} for name in names
    ],
    st.sampled_from(_NPIS),
    st.sampled_from(["12-3456789", "123456789"]),
    st.lists(_business_names, min_size=2, max_size=3),
)
_group_lists = _mostly(_lists(_groups, max_size=2), _namesakes, usual_share=6)

_GROUP_IDS = (
    1, 2, 0, Number("690.64470"), Number("690.6447"), Number("690.64471"), "1", "690.64470",
    Number("1.0"), Number("1e0"), "abc", 47_229_613_942, Number("0.0"), Number("-1"), -1, 10**25, "", " 2 ",
)  # fmt: skip
_group_ids = _mostly(st.sampled_from(_GROUP_IDS), _odd, usual_share=14)


def _reference_entries(locations: Sequence[str]) -> Values:
    fields = {
        "provider_group_id": _group_ids,
        "network_name": _lists(texts, max_size=2),
        "provider_groups": _group_lists,
    }
    core = ("provider_group_id", "provider_groups")
    entries = [_objects(fields, core=core)]
    if locations:
        entries.append(_objects({**fields, "provider_groups": st.none(), "location": _usually(*locations)}, core=core))
        entries.append(_objects({"provider_group_id": _group_ids, "location": _usually(*locations)}))
    return _mostly(st.one_of(entries), _odd, usual_share=14)


_prices = _mostly(
    _objects(
        {
            "negotiated_type": _usually(
                "negotiated", "fee schedule", "percentage", "per diem", "derived", "Negotiated", ""
            ),
            "negotiated_rate": _rates,
            "expiration_date": _dates,
            "service_code": _places,
            "billing_class": _usually("professional", "institutional", "both", "", "Profesional", " "),
            "setting": _usually("inpatient", "outpatient", "both"),
            "billing_code_modifier": _modifiers,
            "additional_information": st.one_of(st.just(""), st.none(), texts),
        },
        core=("negotiated_rate",),
    ),
    _odd,
    usual_share=14,
)


def _negotiated(providers: Mapping[str, Values]) -> Values:
    prices = {"negotiated_prices": _lists(_prices, max_size=2, min_size=1)}
    return _objects({**providers, **prices}, core=("negotiated_prices",))


_referring = {"provider_references": _lists(_group_ids, max_size=4)}
_inline = {"provider_groups": _group_lists}
_negotiated_rates = _mostly(
    st.one_of(
        _negotiated(_referring), _negotiated(_referring), _negotiated(_inline), _negotiated({**_referring, **_inline})
    ),
    _odd,
    usual_share=14,
)
_inner_codes = _lists(
    _objects(
        {
            "billing_code_type": _code_types,
            "billing_code_type_version": _versions,
            "billing_code": _codes,
            "description": texts,
        }
    ),
    max_size=2,
)
_items = _mostly(
    _objects(
        {
            "negotiation_arrangement": _usually("ffs", "bundle", "capitation", "FFS", ""),
            "name": texts,
            "billing_code_type": _code_types,
            "billing_code_type_version": _versions,
            "billing_code": _codes,
            "description": texts,
            "severity_of_illness": _mostly(st.none(), _usually("1", "4", 2), usual_share=2),
            "bundled_codes": _mostly(st.just([]), _inner_codes, usual_share=3),
            "covered_services": _mostly(st.none(), _inner_codes, usual_share=3),
            "negotiated_rates": _lists(_negotiated_rates, max_size=3, min_size=1),
        },
        core=("billing_code", "billing_code_type", "negotiated_rates"),
    ),
    _odd,
    usual_share=19,
)
_HEADER: dict[str, Values] = {
    "reporting_entity_name": texts,
    "reporting_entity_type": _usually("health insurance issuer", "group health plan"),
    "plan_name": texts,
    "plan_id_type": _usually("EIN", "ein", "hios"),
    "plan_id": _usually("12-3456789", "123456789", 123456789),
    "plan_market_type": _usually("group", "individual"),
    "issuer_name": _usually("Issuer Name"),
    "plan_sponsor_name": texts,
    "last_updated_on": _dates,
    "version": _usually("1.0.0", "2.0", "2.2.0", 2, Number("1.30")),
}


@st.composite
def documents(draw: st.DrawFn, *, locations: Sequence[str] = ()) -> Document:
    """An in-network file: a root object with every deviation that is known, at every level.

    Header keys come before, between and after the payload; references before or after the items, or
    not at all; `in_network` is seldom missing or no list. With `locations`, some references are remote:
    they point to one of these addresses, or seldom to nonsense.
    """
    sections: dict[str, Values] = {
        "provider_references": _lists(_reference_entries(locations), max_size=3),
        "in_network": _mostly(st.lists(_items, min_size=1, max_size=3), _lists(_items, max_size=2), usual_share=19),
    }
    few = draw(st.sampled_from([("reporting_entity_name", "last_updated_on", "version"), tuple(_HEADER)]))
    header = {key: _HEADER[key] for key in few}
    return draw(_objects({**header, **sections}, core=("in_network",)))


def with_repeated_keys(document: Document) -> st.SearchStrategy[Document]:
    """The document, in which some keys come twice in their object, most often at its root."""
    return _mostly(st.just(0), st.integers(1, 2**16), usual_share=2).map(
        lambda seed: _repeating(document, document, seeded(seed)) if seed else document
    )


def _repeating(document: Document, value: Any, rng: random.Random) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return [_repeating(document, each, rng) for each in value]
    if not isinstance(value, dict):
        return value
    members = [(key, _repeating(document, each, rng)) for key, each in value.items()]
    if members and rng.random() < (0.7 if value is document else 0.1):
        key, again = rng.choice(members)
        members.insert(rng.randrange(len(members) + 1), (Again(key), rng.choice([again, again, None, 7, "x", []])))
    return dict(members)


# --- bytes ----------------------------------------------------------------------------------


def rendered(document: Any, *, escaped_keys: bool = False) -> st.SearchStrategy[bytes]:  # noqa: ANN401 - any JSON value
    r"""The document as UTF-8: any white space, perhaps a BOM, characters raw or as \uXXXX.

    Every rendering means the same. With `escaped_keys`, keys may be spelled with escapes too:
    valid JSON that no payer has been seen to write.
    """
    return st.builds(
        lambda seed, space, escapes, bom: (
            bom + _Renderer(seed, space, escapes, escaped_keys=escaped_keys).document(document)
        ),
        seed=st.integers(0, 2**32 - 1),
        space=st.sampled_from([0.0, 0.1, 0.9]),
        escapes=st.sampled_from([0.0, 0.3, 1.0]),
        bom=_mostly(st.just(b""), st.just(codecs.BOM_UTF8)),
    )


def rendered_documents(*, escaped_keys: bool = False) -> st.SearchStrategy[bytes]:
    """`documents` as bytes."""
    return documents().flatmap(lambda document: rendered(document, escaped_keys=escaped_keys))


class _Renderer:
    """JSON with arbitrary spelling; one seed, so that a rendering costs Hypothesis one draw."""

    _SPACES = (" ", "\n", "\t", "\r\n", "  ", "\n" + " " * 70)
    _SHORT = (("/", "\\/"), ("a", "\\u0061"), ("_", "\\u005F"))

    def __init__(self, seed: int, space: float, escapes: float, *, escaped_keys: bool) -> None:
        self._rng: random.Random = seeded(seed)
        self._space, self._escapes = space, escapes
        self._key: Callable[[str], str] = self._text if escaped_keys else self._plain

    def document(self, value: object) -> bytes:
        return json_bytes(self._gap() + self._value(value) + self._gap())

    def _gap(self) -> str:
        return self._rng.choice(self._SPACES) if self._space and self._rng.random() < self._space else ""

    def _value(self, value: object) -> str:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Number):
            return value.text
        if isinstance(value, dict):
            return self._bracketed(
                "{}", [f"{self._key(key)}{self._gap()}:{self._gap()}{self._value(each)}" for key, each in value.items()]
            )
        if isinstance(value, list):
            return self._bracketed("[]", list(map(self._value, value)))
        return json.dumps(value)

    def _bracketed(self, brackets: str, parts: list[str]) -> str:
        separated = [f"{',' if number else ''}{self._gap()}{part}{self._gap()}" for number, part in enumerate(parts)]
        return f"{brackets[0]}{''.join(separated) or self._gap()}{brackets[1]}"

    def _text(self, text: str) -> str:
        if not self._escapes or self._rng.random() >= self._escapes:
            return self._plain(text)
        escaped = json.dumps(text)
        # An escape of a character that needs none; after a backslash it would be another one.
        if "\\" not in escaped:
            escaped = escaped.replace(*self._rng.choice(self._SHORT))
        return escaped

    @staticmethod
    def _plain(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)
