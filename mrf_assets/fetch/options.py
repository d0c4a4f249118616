"""What a caller of `open_url` and `probe` may choose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ConfigDict, SkipValidation

from mrf_assets.fetch.rate import OPEN_GATE, Gate, host_gate
from mrf_assets.settings import DownloadSettings, Settings

Wait = Callable[[float], object]  # takes seconds


class FetchOptions(DownloadSettings):
    """How patient, how careful and how polite a download is: the settings, and what one caller alone decides."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    is_from_stranger: bool = False  # the address was named neither by the user nor by a source of our own network
    spool_dir: Path | None = None  # download there before the first byte is handed out; None: do not
    gate: SkipValidation[Gate] = OPEN_GATE
    wait: Wait | None = None  # between attempts; None: sleep, until the file is closed

    @classmethod
    def of(cls, settings: Settings, *, gate: Gate | None = None) -> FetchOptions:
        """The options that the settings stand for; where a spool goes is the caller's to say.

        Without a `gate` of its own it is the one through which all of this process go.
        """
        return cls(**dict(settings.part(DownloadSettings)), gate=host_gate(settings) if gate is None else gate)

    def named_by(self, *, stranger: bool) -> FetchOptions:
        """The same, for an address that a stranger names, or that nobody but us does."""
        return self.changed(is_from_stranger=stranger)


DEFAULT_OPTIONS = FetchOptions()
