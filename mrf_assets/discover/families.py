"""A portal's address -> addresses that its family is known to answer: one small rule per family.

Pure functions of the address; `plain_http` asks, `answers` reads. What a family's answers look like is known by
shape, so that a page which merely refers to one of these lists is understood as well. Evidence: the resolvers of
public projects (DoltHub's, healthcare-mrf-api's and others'), as of 2026; a family that moves costs one question
without an answer, and the page itself is read all the same.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mrf_assets.discover.values import Portal
from mrf_assets.urls import host_of

_HEALTHSPARQ = "https://mrf.healthsparq.com"
_TENANTS = {"MERITAIN_I": "aetnacvs", "LIFEWISE_I": "premera"}  # whose files lie with another tenant's
_HCSC = re.compile(r"(?:\A|\.)bcbs(?:il|tx|ok|nm|mt)\.com\Z")
_S3 = re.compile(r"(?:\A|\.)s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com\Z")
_PLACEHOLDER = re.compile(r"\{(?:yyyy|mm)\}")
_MONTHS_BACK = 2  # this one and those before; payers are late


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address to read for a portal."""

    url: str
    way: str  # the profile's name
    enough: bool = False  # where it names something, the later questions of this way need no answer


def is_template(url: str) -> bool:
    """Whether the address has a month in it that is to be filled in."""
    return bool(_PLACEHOLDER.search(url))


def candidates(portal_url: str, today: dt.date) -> list[Candidate]:
    """What to read of known families for a portal, in order; nothing for a portal of no known family."""
    return [
        Candidate(url, way, enough=way == "monthly_template")
        for way, profile in _PROFILES
        for url in profile(portal_url, today)
    ]


def _templates(url: str, today: dt.date) -> Iterator[str]:
    """`https://host/{yyyy}-{mm}-01_payer_index.json`, as BCBSMN's, BCBSMA's, Anthem's and Kaiser's addresses go."""
    if not is_template(url):
        return
    month = today.year * 12 + today.month - 1
    for back in range(_MONTHS_BACK + 1):
        year, number = divmod(month - back, 12)
        yield url.replace("{yyyy}", f"{year:04d}").replace("{mm}", f"{number + 1:02d}")


def _healthsparq(url: str, today: dt.date) -> Iterator[str]:
    """Aetna, Meritain, Premera and others: the codes of insurer and brand stand in the portal's address.

    `.../app/public/#/one/insurerCode=MERITAIN_I&brandCode=MERITAINOVER/machine-readable-...`
    """
    del today
    codes = Portal(url=url).codes
    if insurer := codes.get("insurerCode"):
        tenant = _TENANTS.get(insurer, insurer.removesuffix("_I").lower())
        folder = f"{_HEALTHSPARQ}/{tenant}-egress.nophi.kyruushsq.com/prd/mrf/{insurer}"
        yield f"{folder}/{codes.get('brandCode', insurer.removesuffix('_I'))}/latest_metadata.json"


def _blobs(url: str, today: dt.date) -> Iterator[str]:
    """UnitedHealthcare and Optum: a list of all blobs."""
    del today
    parts = urlsplit(url)
    host = host_of(url)
    if host.startswith("transparency-in-coverage."):
        names = ("oh", "orx") if host.endswith(".optum.com") else ("uhc",)
        for name in names:
            yield urlunsplit((parts.scheme, parts.netloc, f"/api/v1/{name}/blobs/", "", ""))


def _cigna(url: str, today: dt.date) -> Iterator[str]:
    """The address of the signed table of contents, newly signed."""
    del today
    if _is_of(url, "cigna.com"):
        yield "https://www.cigna.com/static/mrf/latest.json"
        yield "https://www.cigna.com/static/mrf/co/latest.json"


def _hcsc(url: str, today: dt.date) -> Iterator[str]:
    """Blue Cross of Illinois, Texas, Oklahoma, New Mexico and Montana: one table of contents per employer."""
    del today
    if _HCSC.search(host_of(url)):
        yield f"https://{urlsplit(url).netloc}/content/dam/bcbs/mrf/si-filelist.json"


def _azure(url: str, today: dt.date) -> Iterator[str]:
    """The listing of a container, as BCBSRI and PacificSource have it open."""
    del today
    parts = urlsplit(url)
    container = parts.path.strip("/").partition("/")[0]
    if host_of(url).endswith(".blob.core.windows.net") and container and "comp=list" not in parts.query:
        query = dict(parse_qsl(parts.query)) | {"restype": "container", "comp": "list"}
        yield urlunsplit((parts.scheme, parts.netloc, f"/{container}", urlencode(query), ""))


def _s3(url: str, today: dt.date) -> Iterator[str]:
    """The listing of a bucket, as Oscar's is open; below the folder that the address names."""
    del today
    parts, host = urlsplit(url), host_of(url)
    if not _S3.search(host) or "list-type=" in parts.query:
        return
    folders = [folder for folder in parts.path.split("/")[:-1] if folder]
    bucket = f"/{folders.pop(0)}" if host.startswith(("s3.", "s3-")) and folders else "/"
    prefix = {"prefix": "/".join(folders) + "/"} if folders else {}
    yield urlunsplit((parts.scheme, parts.netloc, bucket, urlencode({"list-type": "2"} | prefix), ""))


def _is_of(url: str, domain: str) -> bool:
    host = host_of(url)
    return host == domain or host.endswith(f".{domain}")


_PROFILES: tuple[tuple[str, Callable[[str, dt.date], Iterator[str]]], ...] = (
    ("monthly_template", _templates),
    ("healthsparq", _healthsparq),
    ("uhc_blobs", _blobs),
    ("cigna", _cigna),
    ("hcsc", _hcsc),
    ("azure_container", _azure),
    ("s3_bucket", _s3),
)
