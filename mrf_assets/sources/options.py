"""What a caller may say about a source besides where it is, and which kinds of source there are.

The readers take these values as they are; here alone it is checked what fits together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from mrf_assets.errors import SettingError
from mrf_assets.limits import Limits
from mrf_assets.tasks import Plan

SourceKind = Literal["csv", "index", "urls", "url"]

_SAYS_ITSELF = ("csv", "index")  # their rows or structures carry network ids or plans


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What a caller may say about a source besides where it is."""

    prefix: str = ""  # output_prefix is `<prefix>_<network_id>`, or the id alone
    network_id: str | None = None  # one network for all files: `urls` and `url`
    plans: tuple[Plan, ...] = ()  # plans of all files: `urls` and `url`
    structures: int | None = None  # read the first N reporting structures: `index`
    match: str | None = None  # only structures with a plan whose name, id, issuer or sponsor has this text: `index`
    max_files: int | None = None  # the first N files
    limits: Limits = field(default_factory=Limits)


def check_options(kind: str, options: SourceOptions) -> None:
    """Refuse an unknown kind, and options that a kind does not know.

    Raises:
        SettingError: With the name of the option.
    """
    if kind not in get_args(SourceKind):
        raise SettingError("source", f"{kind!r} is none of {', '.join(get_args(SourceKind))}")
    if kind != "index" and (options.structures is not None or options.match is not None):
        raise SettingError("structures, match", f"narrow an index; --source is {kind}")
    if kind in _SAYS_ITSELF and (options.network_id is not None or options.plans):
        raise SettingError("network_id, plans", f"are for --source url and urls; a source of kind {kind} names its own")
    for name in ("structures", "max_files"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise SettingError(name, f"is {value}; at least 1 was expected")
