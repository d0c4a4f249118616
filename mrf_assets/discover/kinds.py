"""An address -> what kind of file it is the address of. Nothing is opened: names are all there is to go by.

The words are those of CMS's file naming convention and of payers' folders (HealthSparq's `inNetworkRates`,
Sapphire's `tocs`, Aetna's and BCBSA's names, which `network_id` knows).
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from mrf_assets.discover.values import Kind
from mrf_assets.network_id import ALLOWED_AMOUNTS, IN_NETWORK, identify
from mrf_assets.urls import file_name

_DATA = re.compile(r"\.(?:json|gz|zip|7z)\Z")
_DOCUMENT = re.compile(r"\.(?:pdf|docx?|xlsx?)\Z")
_WORDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (  # the first that fits: an in-network file may be part of an index
    ("in_network", IN_NETWORK),
    ("allowed_amounts", ALLOWED_AMOUNTS),
    ("reference", re.compile(r"provider[-_ ]?(?:references?|groups?)")),
    ("table_of_contents", re.compile(r"(?<![a-z])(?:index|tocs?|table[-_ ]?of[-_ ]?contents)(?![a-z])")),
)
_ABOUT_PRICES = re.compile(r"mrf|machine[-_]readable|transparency|tocs?\b|rates")
_OF_WEBSITES = re.compile(  # whole words: a "composite_index" is a payer's
    r"(?<![a-z])(?:search|(?:web)?site|lunr|(?:fav)?icon|(?:web)?font|(?:web|home)?page|sitemap)[-_.]?index"
    r"|(?<![a-z])index[-_.](?:search|pages?)"
)
_NO_SUFFIX = re.compile(r"/tocs?/(?!\Z)|/(?:table-of-contents|toc)-?(?:json)?\Z")  # Sapphire, BCBSVT
_KNOWN_NAMES = frozenset({"bcbsa", "healthsparq_pl", "anthem_s3"})  # rules that nothing but rates has the names of
_LONGEST = 8_192


def kind_of(url: str) -> Kind | None:
    """The kind of file at an address; None where it is no such file."""
    if len(url) > _LONGEST:
        return None
    try:
        path = unquote(urlsplit(url).path).lower()
    except ValueError:
        return None
    name = file_name(url).lower()
    if _DATA.search(name):
        return _kind_of_data(url, path, name)
    if _DOCUMENT.search(name) and _ABOUT_PRICES.search(path):
        return "document"
    # Folders first: the pattern need not look for what comes behind `/toc/toc/toc/...`, which takes the square of that.
    return "table_of_contents" if not path.endswith("/") and _NO_SUFFIX.search(path) else None


def _kind_of_data(url: str, path: str, name: str) -> Kind | None:
    if _OF_WEBSITES.search(name) or (name == "index.json" and not _ABOUT_PRICES.search(path)):
        return None
    for text in (name, path.removesuffix(name)):  # what a file is called says more than its folder
        if data_kind := next((kind for kind, words in _WORDS if words.search(_spaced(text))), None):
            return data_kind
    return "in_network" if identify(url).rule in _KNOWN_NAMES else None


def _spaced(text: str) -> str:
    """`tableofcontents` and `innetworkrates`, which folders are called, with their words apart."""
    return text.replace("tableofcontents", "table_of_contents").replace("innetwork", "in_network")
