"""What a caller of `open_url` and `probe` may choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mrf_assets.fetch.rate import OPEN_GATE, Gate, host_gate
from mrf_assets.settings import Settings

Wait = Callable[[float], object]  # takes seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How patient, how careful and how polite a download is."""

    connect_seconds: float = 20.0
    read_seconds: float = 120.0  # between two pieces of the body
    total_seconds: float = 21_600.0  # for one file, waits between attempts and all
    max_retries: int = 3  # attempts after a failed one, since the last new byte
    connection_pooling: bool = True
    refuse_private_addresses: bool | None = None  # True: all; None: those that a stranger names; False: none
    is_from_stranger: bool = False  # the address was named neither by the user nor by a source of our own network
    object_stores: frozenset[str] = frozenset({"s3", "gs", "az"})
    object_store_endpoint: str | None = None
    object_store_account: str | None = None
    object_store_anonymous: bool = True
    min_free_bytes: int = 0  # of the disk of `spool_dir`
    spool_dir: Path | None = None  # download there before the first byte is handed out; None: do not
    gate: Gate = OPEN_GATE
    wait: Wait | None = None  # between attempts; None: sleep, until the file is closed

    @classmethod
    def of(cls, settings: Settings, *, gate: Gate | None = None) -> FetchOptions:
        """The options that the settings stand for; where a spool goes is the caller's to say.

        Without a `gate` of its own it is the one through which all of this process go.
        """
        return cls(
            connect_seconds=settings.connect_timeout_seconds,
            read_seconds=settings.read_timeout_seconds,
            total_seconds=settings.total_timeout_seconds,
            max_retries=settings.max_retries,
            connection_pooling=settings.connection_pooling,
            refuse_private_addresses=settings.refuse_private_addresses,
            object_stores=frozenset(settings.object_store_schemes),
            object_store_endpoint=settings.object_store_endpoint,
            object_store_account=settings.object_store_account,
            object_store_anonymous=settings.object_store_anonymous,
            min_free_bytes=settings.min_free_bytes,
            gate=host_gate(settings) if gate is None else gate,
        )

    def named_by(self, *, stranger: bool) -> FetchOptions:
        """The same, for an address that a stranger names, or that nobody but us does."""
        return replace(self, is_from_stranger=stranger)


DEFAULT_OPTIONS = FetchOptions()
