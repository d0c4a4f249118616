"""Made-up providers in the shapes in which NPPES tells of them.

Everything follows from the NPI: the same one gives the same provider, in the API's answers and in
the bulk file. Names are put together from invented syllables.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import random
import zipfile
from collections.abc import Iterable
from typing import Any

from mrf_assets_tests.factory import make_npi

_SYLLABLES = ("ba", "lor", "min", "tep", "kav", "sul", "dor", "nel", "vis", "gan", "pol", "rem")
_CREDENTIALS = ("M.D.", "D.O.", "NP", "PA-C", "D.D.S.", None)
_TAXONOMIES = (
    ("207Q00000X", "Family Medicine"),
    ("207RC0000X", "Internal Medicine, Cardiovascular Disease"),
    ("261QM1300X", "Clinic/Center, Multi-Specialty"),
    ("282N00000X", "General Acute Care Hospital"),
    ("363L00000X", "Nurse Practitioner"),
)
_STATES = ("NY", "TX", "CA", "OH", "VT")
_DAY_SECONDS = 86_400
_FIRST_DAY = 1_116_806_400  # 2005-05-23, when NPPES began

# The columns of the published file that are read, and some that are not: it has 330.
BULK_COLUMNS = (
    "NPI",
    "Entity Type Code",
    "Replacement NPI",
    "Employer Identification Number (EIN)",
    "Provider Organization Name (Legal Business Name)",
    "Provider Last Name (Legal Name)",
    "Provider First Name",
    "Provider Middle Name",
    "Provider Name Prefix Text",
    "Provider Name Suffix Text",
    "Provider Credential Text",
    "Provider Other Organization Name",
    "Provider First Line Business Mailing Address",
    "Provider Second Line Business Mailing Address",
    "Provider Business Mailing Address City Name",
    "Provider Business Mailing Address State Name",
    "Provider Business Mailing Address Postal Code",
    "Provider Business Mailing Address Country Code (If outside U.S.)",
    "Provider Business Mailing Address Telephone Number",
    "Provider Business Mailing Address Fax Number",
    "Provider First Line Business Practice Location Address",
    "Provider Second Line Business Practice Location Address",
    "Provider Business Practice Location Address City Name",
    "Provider Business Practice Location Address State Name",
    "Provider Business Practice Location Address Postal Code",
    "Provider Business Practice Location Address Country Code (If outside U.S.)",
    "Provider Business Practice Location Address Telephone Number",
    "Provider Business Practice Location Address Fax Number",
    "Provider Enumeration Date",
    "Last Update Date",
    "NPI Deactivation Reason Code",
    "NPI Deactivation Date",
    "NPI Reactivation Date",
    "Provider Gender Code",
    *(
        f"{column}_{place}"
        for place in range(1, 16)
        for column in (
            "Healthcare Provider Taxonomy Code",
            "Provider License Number",
            "Provider License Number State Code",
            "Healthcare Provider Primary Taxonomy Switch",
        )
    ),
    "Is Sole Proprietor",
    "Is Organization Subpart",
    "Certification Date",
)


def make_npis(count: int, seed: int = 0) -> list[str]:
    """Distinct NPIs with a valid check digit."""
    rng = random.Random(seed)  # noqa: S311 - made-up data
    found: dict[str, None] = {}
    while len(found) < count:
        found[str(make_npi(rng))] = None
    return list(found)


def provider(npi: str) -> dict[str, Any]:
    """One provider as API v2.1 tells it today: numbers and epochs are texts, `--` is empty."""
    rng = random.Random(int(npi))  # noqa: S311 - made-up data
    is_person = rng.random() < 0.7
    created = _FIRST_DAY + rng.randrange(6_000) * _DAY_SECONDS
    updated = created + rng.randrange(900) * _DAY_SECONDS
    codes = rng.sample(_TAXONOMIES, rng.randint(1, 3))
    primary = rng.randrange(len(codes))
    return {
        "created_epoch": str(created * 1000),
        "enumeration_type": "NPI-1" if is_person else "NPI-2",
        "last_updated_epoch": str(updated * 1000),
        "number": npi,
        "addresses": [_address(rng, "MAILING"), _address(rng, "LOCATION")],
        "practiceLocations": [_address(rng, "LOCATION") for _ in range(rng.randrange(3))],
        "basic": (_person(rng) if is_person else _organization(rng))
        | {"enumeration_date": _day(created), "last_updated": _day(updated), "status": "A"},
        "taxonomies": [
            {
                "code": code,
                "taxonomy_group": "",
                "desc": text,
                "state": rng.choice((*_STATES, None)),
                "license": f"0{rng.randrange(10**5)}",
                "primary": place == primary,
            }
            for place, (code, text) in enumerate(codes)
        ],
        "identifiers": [],
        "endpoints": [],
        "other_names": []
        if rng.random() < 0.7
        else [
            {"type": "Other Name", "code": "5", "first_name": _word(rng), "last_name": _word(rng), "prefix": "--"}
            if is_person
            else {"type": "Doing Business As", "code": "3", "organization_name": f"{_word(rng)} CARE"}
        ],
    }


def old_provider(npi: str) -> dict[str, Any]:
    """The same as earlier versions of the API told it: numbers, epochs in seconds, `gender`, a derived name."""
    told = provider(npi)
    told["number"] = int(npi)
    for name in ("created_epoch", "last_updated_epoch"):
        told[name] = int(told[name]) // 1000
    basic = told["basic"]
    basic["name"] = f"{basic.get('last_name', '')} {basic.get('first_name', '')}".strip()
    if "sex" in basic:
        basic["gender"] = basic.pop("sex")
    return told


def answer(*providers: dict[str, Any]) -> dict[str, Any]:
    """The API's envelope; `result_count` is the size of the page."""
    return {"result_count": len(providers), "results": list(providers)}


def errors(number: str, description: str, field: str = "number") -> dict[str, Any]:
    """How the API reports an error, with status 200."""
    return {"Errors": [{"description": description, "field": field, "number": number}]}


def deactivated(npi: str) -> dict[str, Any]:
    """What the API says of an NPI that was withdrawn."""
    return errors(
        "15",
        f"CMS deactivated NPI {npi}. The provider can no longer use this NPI. Our public registry does not display "
        "provider information about NPIs that are not in service.",
    )


def bulk_row(npi: str, **changes: str) -> dict[str, str]:
    """The provider as a line of the bulk file."""
    told = provider(npi)
    basic, addresses = told["basic"], {each["address_purpose"]: each for each in told["addresses"]}
    row = dict.fromkeys(BULK_COLUMNS, "")
    row |= {
        "NPI": npi,
        "Entity Type Code": told["enumeration_type"][-1],
        "Employer Identification Number (EIN)": "" if told["enumeration_type"] == "NPI-1" else "<UNAVAIL>",
        "Provider Organization Name (Legal Business Name)": basic.get("organization_name", ""),
        "Provider Last Name (Legal Name)": basic.get("last_name", ""),
        "Provider First Name": basic.get("first_name", ""),
        "Provider Middle Name": basic.get("middle_name", ""),
        "Provider Credential Text": basic.get("credential", ""),
        "Provider Enumeration Date": _us_day(basic["enumeration_date"]),
        "Last Update Date": _us_day(basic["last_updated"]),
        "Is Sole Proprietor": {"YES": "Y", "NO": "N"}.get(basic.get("sole_proprietor", ""), ""),
        "Is Organization Subpart": {"YES": "Y", "NO": "N"}.get(basic.get("organizational_subpart", ""), ""),
    }
    for purpose, label in (("MAILING", "Mailing"), ("LOCATION", "Practice Location")):
        address = addresses[purpose]
        row |= {
            f"Provider First Line Business {label} Address": address["address_1"],
            f"Provider Business {label} Address City Name": address["city"],
            f"Provider Business {label} Address State Name": address["state"],
            f"Provider Business {label} Address Postal Code": address["postal_code"],
            f"Provider Business {label} Address Country Code (If outside U.S.)": address["country_code"],
            f"Provider Business {label} Address Telephone Number": address["telephone_number"].replace("-", ""),
        }
    for place, taxonomy in enumerate(told["taxonomies"], 1):
        row[f"Healthcare Provider Taxonomy Code_{place}"] = taxonomy["code"]
        row[f"Healthcare Provider Primary Taxonomy Switch_{place}"] = "Y" if taxonomy["primary"] else "N"
    return row | changes


def deactivated_bulk_row(npi: str, day: str) -> dict[str, str]:
    """A withdrawn NPI as a line of the bulk file: nothing but the number and the date (MM/DD/YYYY)."""
    return dict.fromkeys(BULK_COLUMNS, "") | {"NPI": npi, "NPI Deactivation Date": day}


def bulk_zip(rows: Iterable[dict[str, str]], first: str = "20050523", last: str = "20261108") -> bytes:
    """A dissemination file: the members of the real one, all columns quoted."""
    main = io.StringIO()
    writer = csv.DictWriter(main, BULK_COLUMNS, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("NPPES_Data_Dissemination_Readme.pdf", b"%PDF-1.4 made up")
        archive.writestr(f"npidata_pfile_{first}-{last}_fileheader.csv", ",".join(f'"{c}"' for c in BULK_COLUMNS))
        archive.writestr(f"npidata_pfile_{first}-{last}.csv", main.getvalue())
        archive.writestr(f"othername_pfile_{first}-{last}.csv", '"NPI","Provider Other Organization Name"\n')
        archive.writestr(f"pl_pfile_{first}-{last}.csv", '"NPI"\n')
        archive.writestr(f"endpoint_pfile_{first}-{last}.csv", '"NPI"\n')
    return stored.getvalue()


def listing(*names: str) -> bytes:
    """The page that lists the files, with the links of other things."""
    links = "\n".join(f'<li><a href="./{name}">{name} [ZIP, 1 GB]</a></li>' for name in names)
    return (
        "<!DOCTYPE html><html><body><a href='NPPES_Data_Dissemination_Readme.pdf'>read me</a>"
        f"<ul>{links}</ul><a href='https://www.cms.gov/'>CMS</a></body></html>"
    ).encode()


def _person(rng: random.Random) -> dict[str, Any]:
    basic = {
        "first_name": _word(rng),
        "last_name": _word(rng),
        "name_prefix": rng.choice(("--", "Dr.")),
        "name_suffix": "--",
        "sex": rng.choice("FM"),
        "sole_proprietor": rng.choice(("YES", "NO", "X")),
    }
    if rng.random() < 0.5:
        basic["middle_name"] = rng.choice("ABC")
    if credential := rng.choice(_CREDENTIALS):
        basic["credential"] = credential
    return basic


def _organization(rng: random.Random) -> dict[str, Any]:
    return {
        "organization_name": f"{_word(rng)} {rng.choice(('CLINIC', 'HOSPITAL', 'MEDICAL GROUP'))}, LLC",
        "organizational_subpart": rng.choice(("YES", "NO")),
        "authorized_official_first_name": _word(rng),
        "authorized_official_last_name": _word(rng),
    }


def _address(rng: random.Random, purpose: str) -> dict[str, str]:
    return {
        "country_code": "US",
        "country_name": "United States",
        "address_purpose": purpose,
        "address_type": "DOM",
        "address_1": f"{rng.randrange(1, 999)} {_word(rng)} ST",
        "city": _word(rng),
        "state": rng.choice(_STATES),
        "postal_code": f"{rng.randrange(10**4, 10**5)}{rng.choice(('', '1234'))}",
        "telephone_number": f"555-01{rng.randrange(10)}-{rng.randrange(1000, 9999)}",
    }


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))).upper()


def _day(epoch_seconds: int) -> str:
    return dt.datetime.fromtimestamp(epoch_seconds, tz=dt.UTC).date().isoformat()


def _us_day(day: str) -> str:
    year, month, date = day.split("-")
    return f"{month}/{date}/{year}"
