"""`Address`: where a file lies, as a value that shows itself without its secrets.

Made once where a URL enters: in a source, a redirect, a plan, a registry. What stands in a log, an error, metadata or
a table is its text; the URL as it was given is `real`, for whoever sends the request or keeps the plan.
"""

from __future__ import annotations

from typing import NoReturn, Self

from mrf_assets.urls import canonical_url, host_of, is_remote, server_of, store_kind


class Address:
    """A URL or a local path.

    Two addresses are equal where their `real` texts are: another signature is another address. Whether both name
    one file, `shown` says.

    Neither a `str`, which would be written as it is, nor a dataclass, whose fields `asdict` would take out.
    """

    __slots__ = ("real",)

    real: str  # may be signed: a secret

    def __init__(self, real: str) -> None:
        object.__setattr__(self, "real", real)

    @classmethod
    def of(cls, address: Self | str) -> Self:
        """What callers give as a text or as an address, as an address."""
        return cls(address) if isinstance(address, str) else address

    @property
    def shown(self) -> str:
        """The canonical form, without login and signature: the file's identity."""
        return canonical_url(self.real)

    @property
    def is_remote(self) -> bool:
        """Whether it has a scheme other than file; everything else is a local path."""
        return is_remote(self.real)

    @property
    def host(self) -> str:
        """Lower-case host name; empty for local files."""
        return host_of(self.real)

    @property
    def server(self) -> str:
        """Host, and port where it is not the scheme's own."""
        return server_of(self.real)

    @property
    def store_kind(self) -> str | None:
        """The object store that it lies in: s3, gs or az; None for anything else."""
        return store_kind(self.real)

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    def __format__(self, spec: str) -> str:
        return format(self.shown, spec)

    def __eq__(self, other: object) -> bool:
        return self.real == other.real if isinstance(other, Address) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.real)

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.real,)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(name)

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(name)
