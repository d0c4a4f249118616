"""What the NPI Registry API (v2.1) answers, as rows of `schema.NPI_REGISTRY`.

Field names: npiregistry.cms.hhs.gov/help-api/json-conversion. Observed beside it: errors come with
status 200 as `{"Errors": [...]}`; 15 is a deactivated NPI, of which nothing is told; an NPI that was
never issued is `result_count` 0; numbers and epochs are numbers in old answers and strings in new
ones; `--` stands for an empty prefix or suffix; a list may be missing.
"""

from __future__ import annotations

import codecs
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mrf_assets.errors import LookUpFailed
from mrf_assets.providers.lookup import Row
from mrf_assets.providers.nppes.npi import npi_of, npi_problem
from mrf_assets.schema import NPI_REGISTRY

_DEACTIVATED = "15"
_DEACTIVATED_TEXT = "CMS deactivated NPI"
_EMPTY = re.compile(r"\A[-\s]*\Z")
_ENTITY_TYPES = {"NPI-1": "individual", "NPI-2": "organization", "1": "individual", "2": "organization"}
_US_DATE = re.compile(r"\A(\d{1,2})/(\d{1,2})/(\d{4})\Z")
_WHOLE_NUMBER = re.compile(r"\A[0-9]{1,18}\Z")  # Python refuses to read 5,000 digits
_MILLISECONDS_FROM = 10**11  # as seconds, this would be the year 5138
_ADDRESS_TEXTS = ("address_1", "address_2", "city", "state", "country_code")
_NO_PHONE, _NO_CODE = re.compile(r"[^0-9+]"), re.compile(r"[^0-9A-Za-z]")
_EXCERPT = 200  # characters
_YES = {"YES": True, "Y": True, "TRUE": True, "NO": False, "N": False, "FALSE": False}
_NULLS: dict[str, Any] = dict.fromkeys(NPI_REGISTRY.arrow.names)


def read_answer(npi: str, body: bytes, fetched_at: dt.datetime) -> Row:
    """The row of one NPI.

    Raises:
        LookUpFailed: Not JSON, not of the known shape, or the registry reports an error.
    """
    try:
        answer = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError:
        raise LookUpFailed("not_json", f"the answer is no JSON: {excerpt(body)}", size_bytes=len(body)) from None
    base = _NULLS | {"npi": int(npi), "source": "api", "fetched_at": fetched_at, "raw_json": body.decode()}
    if not isinstance(answer, dict):
        raise LookUpFailed("odd_answer", f"the answer is no object: {excerpt(body)}", size_bytes=len(body))
    if errors := answer.get("Errors") or answer.get("errors"):
        return base | _read_errors(errors, body)
    results = answer.get("results")
    if not isinstance(results, list):
        raise LookUpFailed("odd_answer", f"the answer has no results: {excerpt(body)}", size_bytes=len(body))
    if not results:
        return base | {"status": "not_found"}
    for result in results:
        if isinstance(result, dict) and str(result.get("number")) == npi:
            return base | read_result(result)
    raise LookUpFailed("odd_answer", f"the answer is about other NPIs: {excerpt(body)}", size_bytes=len(body))


def excerpt(body: bytes) -> str:
    """The beginning of an answer, for a person."""
    return body[:_EXCERPT].decode(errors="replace")


def _read_errors(errors: object, body: bytes) -> dict[str, Any]:
    entries = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    for error in entries:
        text = str(error.get("description", ""))
        if str(error.get("number")) == _DEACTIVATED or text.startswith(_DEACTIVATED_TEXT):
            return {"status": "deactivated"}
    message = "; ".join(str(error.get("description", "")) for error in entries) or excerpt(body)
    # The registry's own trouble comes in the same form as ours, so it is tried again.
    raise LookUpFailed("api_error", message[:_EXCERPT], size_bytes=len(body))


def read_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that one provider of an answer fills."""
    basic = _mapping(result.get("basic"))
    addresses = _mappings(result.get("addresses"))
    taxonomies = _mappings(result.get("taxonomies"))
    primary = next((each for each in taxonomies if _flag(each.get("primary"))), taxonomies[0] if taxonomies else {})
    is_deactivated = _text(basic.get("status")) == "D" or _text(basic.get("deactivation_date")) is not None
    is_reactivated = _text(basic.get("reactivation_date")) is not None  # also where it is no date that can be read
    return {
        "status": "deactivated" if is_deactivated and not is_reactivated else "matched",
        "entity_type": _ENTITY_TYPES.get(str(result.get("enumeration_type"))),
        "organization_name": _text(basic.get("organization_name")),
        "last_name": _text(basic.get("last_name")),
        "first_name": _text(basic.get("first_name")),
        "middle_name": _text(basic.get("middle_name")),
        "name_prefix": _text(basic.get("name_prefix")),
        "name_suffix": _text(basic.get("name_suffix")),
        "credential": _text(basic.get("credential")),
        "other_names": _other_names(_mappings(result.get("other_names"))),
        "is_sole_proprietor": _flag(basic.get("sole_proprietor")),
        "is_subpart": _flag(basic.get("organizational_subpart")),
        **_address("practice", addresses, ("LOCATION", "PRACTICE")),
        **_address("mailing", addresses, ("MAILING",)),
        "practice_locations": len(_mappings(result.get("practiceLocations"))),
        "primary_taxonomy_code": _text(primary.get("code")),
        "primary_taxonomy": _text(primary.get("desc")),
        "taxonomy_codes": [code for each in taxonomies if (code := _text(each.get("code")))],
        "enumeration_date": _date(basic.get("enumeration_date")) or _epoch_date(result.get("created_epoch")),
        "last_updated": _date(basic.get("last_updated")) or _epoch_date(result.get("last_updated_epoch")),
        "certification_date": _date(basic.get("certification_date")),
        "deactivation_date": _date(basic.get("deactivation_date")),
        "reactivation_date": _date(basic.get("reactivation_date")),
        "replacement_npi": _npi(basic.get("replacement_npi")),
    }


def _address(purpose: str, addresses: Sequence[Mapping[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    entry = next((each for each in addresses if str(each.get("address_purpose")).upper() in names), {})
    cells = {f"{purpose}_{part}": _text(entry.get(part)) for part in _ADDRESS_TEXTS}
    # The API writes phone numbers with hyphens, the bulk file without.
    cells |= {f"{purpose}_{part}": _without(_NO_PHONE, entry.get(part)) for part in ("telephone_number", "fax_number")}
    return cells | {f"{purpose}_postal_code": _without(_NO_CODE, entry.get("postal_code"))}


def _without(pattern: re.Pattern[str], value: object) -> str | None:
    return pattern.sub("", _text(value) or "") or None


def _other_names(names: Sequence[Mapping[str, Any]]) -> list[str]:
    full_names = []
    for name in names:
        person = " ".join(filter(None, (_text(name.get(part)) for part in ("first_name", "middle_name", "last_name"))))
        full_names.append(_text(name.get("organization_name")) or person)
    return [name for name in dict.fromkeys(full_names) if name]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    if value is None or isinstance(value, list | dict | bool):
        return None
    text = str(value).strip()
    return None if _EMPTY.match(text) else text


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else _YES.get(str(value).upper())


def _number(value: object) -> int | None:
    text = _text(value) or ""
    return int(text) if _WHOLE_NUMBER.match(text) else None


def _npi(value: object) -> int | None:
    text = _text(value)
    return None if text is None or npi_problem(text) else int(npi_of(text))


def _date(value: object) -> dt.date | None:
    text = _text(value)
    if text is None:
        return None
    try:
        if match := _US_DATE.match(text):
            return dt.date(int(match[3]), int(match[1]), int(match[2]))
        return dt.date.fromisoformat(text[:10])
    except ValueError:
        return None


def _epoch_date(value: object) -> dt.date | None:
    number = _number(value)
    if number is None:
        return None
    try:
        return dt.datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS_FROM else number, tz=dt.UTC).date()
    except (OverflowError, ValueError, OSError):
        return None
