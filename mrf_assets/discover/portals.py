"""A list of portals -> addresses: one a line, or a CSV with the column `portal_url` and, if you like, `payer`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from mrf_assets.discover.families import is_template
from mrf_assets.discover.values import Portal
from mrf_assets.errors import Problem, SourceProblems
from mrf_assets.settings import Limits
from mrf_assets.sources.lines import Problems, numbered_lines
from mrf_assets.sources.locations import Unusable, shown, usable_location
from mrf_assets.stream.raw_file import Opener
from mrf_assets.urls.address import Address

_COLUMN, _PAYER = "portal_url", "payer"
_LONGEST_PAYER = 120  # characters
_LONGEST_LINE = 16_384  # longer than any address that is taken


def read_portals(addresses: Iterable[str], location: str | None, open_url: Opener) -> tuple[Portal, ...]:
    """The portals that were named, and those of a list; each once.

    Raises:
        SourceProblems: All that is wrong, with lines; or no portal at all.
        FetchError, StreamError: The list cannot be read.
    """
    list_address = None if location is None else Address(location)
    problems = Problems(list_address or "the command line")
    portals: dict[tuple[str, str], Portal] = {}

    def add(where: int | str, url: str, payer: str = "") -> None:
        try:
            portal = Portal(url=_checked(url), payer=" ".join(payer.split())[:_LONGEST_PAYER])
        except Unusable as reason:
            problems.add(where, str(reason))
        else:
            # HealthSparq's portals differ behind the #, which no server is told.
            portals.setdefault((portal.shown, urlsplit(portal.url).fragment), portal)

    for address in addresses:
        add("PORTAL", address.strip())
    if list_address is not None:
        for number, url, payer in _rows(numbered_lines(list_address, open_url, problems, Limits())):
            add(number, url, payer)
    problems.settle()
    if not portals:
        what = "names no portal; give addresses, a file with --input, or MRF_PORTALS"
        raise SourceProblems(list_address or "the command line", (
            Problem("portals", what),
        ))  # fmt: skip
    return tuple(portals.values())


def _checked(url: str) -> str:
    if not url.lower().startswith(("http://", "https://")):
        raise Unusable(f"{shown(url)} is no portal; an address with http:// or https:// is")
    plain = url.replace("{yyyy}", "2026").replace("{mm}", "01") if is_template(url) else url
    root = plain if plain.partition("://")[2].strip("/").count("/") or "?" in plain else plain.rstrip("/") + "/index"
    usable_location(root, root)  # which wants a file; a portal may be a host alone
    return url


def _rows(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str, str]]:
    """Line, address and payer."""
    columns: list[str] | None = None
    first = True
    for number, line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if len(text) > _LONGEST_LINE:  # csv has a limit of its own, and no line for it
            yield number, text, ""
            continue
        cells = [cell.strip() for cell in next(csv.reader([text]))]
        if first and _COLUMN in [cell.lower() for cell in cells]:
            columns = [cell.lower() for cell in cells]
        elif columns is None:
            yield number, text, ""
        else:
            row = dict(zip(columns, cells, strict=False))
            yield number, row.get(_COLUMN, ""), row.get(_PAYER, "")
        first = False
