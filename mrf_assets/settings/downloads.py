"""How a file is fetched."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from mrf_assets.errors import SettingError
from mrf_assets.settings.model import DAY_SECONDS, SettingsModel, setting
from mrf_assets.settings.paths import MachinePath

_STORES = ("s3", "gs", "az")


def _schemes(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _known_stores(text: str) -> str:
    if unknown := set(_schemes(text)) - set(_STORES):
        raise SettingError("object_stores", f"names {', '.join(sorted(unknown))}; known are {', '.join(_STORES)}")
    return text


def _http(text: str | None) -> str | None:
    if not (text or "https://").lower().startswith(("http://", "https://")):
        raise SettingError("object_store_endpoint", "has no http:// or https:// before the host")
    return text


class DownloadSettings(SettingsModel):
    """Downloads."""

    # Sockets refuse infinity with a traceback.
    connect_timeout_seconds: float = setting(20.0, "How long a connection may take.", gt=0, le=DAY_SECONDS)
    read_timeout_seconds: float = setting(
        120.0, "How long a server may keep us waiting for the next piece of a download.", gt=0, le=DAY_SECONDS
    )
    total_timeout_seconds: float = setting(
        21_600.0,
        "How long the download of one file may take, with the waits between attempts. Time spent on extraction does "
        "not count.",
        gt=0,
        le=DAY_SECONDS,
    )
    max_retries: int = setting(3, "Attempts after a failed one, since the last new byte of a file.", ge=0)
    connection_pooling: bool = setting(True, "Keep connections for the next request.")
    refuse_private_addresses: bool | None = setting(
        None,
        "Addresses of our own machine, network and cloud: true refuses all, false none. In Dagster's UI it is true.",
        absent="those that strangers name",
    )
    object_stores: Annotated[str, AfterValidator(_known_stores)] = setting(
        ",".join(_STORES), "Object stores that may be read, by their schemes; empty for none."
    )
    object_store_endpoint: Annotated[str | None, AfterValidator(_http)] = setting(
        None, "Address of an object store of your own.", absent="the cloud's"
    )
    object_store_account: str | None = setting(
        None, "The Azure account of addresses such as az://container/file.", absent="the one that an address names"
    )
    object_store_anonymous: bool = setting(
        True, "Read object stores without credentials; false: with those that the machine has."
    )
    # What browsers open to one host, so what servers are built for.
    host_concurrency: int = setting(
        6, "Answers of one host that are read at a time, by all processes of the machine together.", ge=1
    )
    host_start_rate_per_second: float | None = setting(
        None, "Most requests to one host in a second.", absent="no limit", gt=0
    )
    adaptive_rate_limiting: bool = setting(
        True,
        "Ask a host that answers 429 or 503 more slowly, and find out when it takes more again; false: the two limits "
        "alone.",
    )
    host_state_dir: MachinePath | None = setting(
        None, "Folder in which processes share what each host takes.", absent="a folder in the temporary folder"
    )
    min_free_bytes: int = setting(
        1_000_000_000,
        "Bytes that stay free on the output folder's disk. A network that would take them fails.",
        ge=0,
    )

    @property
    def object_store_schemes(self) -> tuple[str, ...]:
        """The stores that may be read; none for an empty text."""
        return _schemes(self.object_stores)
