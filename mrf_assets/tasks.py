"""What is to be ingested, as values: the file, its place in a network, the plans that use it.

`sources` makes them (`read_files` out of addresses alone), `network_id` names them, `ingest` works them off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mrf_assets.urls import file_name
from mrf_assets.urls.address import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One `reporting_plans` entry of an index (CMS table of contents), as the payer gives it."""

    plan_name: str | None
    plan_id_type: str | None  # "ein" | "hios", lower case
    plan_id: str | None
    plan_market_type: str | None  # "group" | "individual"
    issuer_name: str | None = None  # schema v2
    plan_sponsor_name: str | None = None  # schema v2, EIN plans


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkIdentity:
    """What a URL says about the network, the period and the part; see `network_id`."""

    rule: str  # the family that matched, such as "bcbsa", or "explicit"
    rule_version: int
    scope: str  # payer, entity or host within which `raw_id` is unique; as published
    raw_id: str  # as published, before it was made safe
    variant: str | None = None  # a content hash that some payers add to the name
    period: str | None = None  # YYYY-MM, from the name or a date folder
    part: int = 1  # counted from 1
    parts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTask:
    """One machine-readable file to ingest."""

    address: Address  # its `real` is stored in the task store alone
    network_id: str  # the partition key
    identity: NetworkIdentity
    position: int = 1  # counted from 1, in the order of the source
    output_prefix: str = ""  # a label for manifest and log names
    description: str | None = None  # the index's words for the file
    index_address: Address | None = None  # of the index that names the file, where one does
    index_period: str | None = None  # YYYY-MM of the index, for files whose own address tells no period
    index_whitelist: str | None = None  # path of the billing codes to keep of the index, where it has a list of its own
    plans: tuple[Plan, ...] = ()
    mirror_urls: tuple[str, ...] = ()  # canonical; the same file under other addresses
    extra_args: Mapping[str, str] = field(default_factory=dict)  # of its network, see `settings.NETWORK_ARGUMENTS`
    is_from_stranger: bool = False  # named by a source that is neither a file of ours nor in our own network

    @property
    def file_id(self) -> str:
        """16 hex digits that name this file in every table; the same for every signature of its address."""
        return file_id_of(self.address.shown)

    @property
    def period(self) -> str | None:
        """YYYY-MM, where name or index tell it."""
        return self.identity.period or self.index_period

    @property
    def arguments(self) -> Mapping[str, str]:
        """What the file brings along for its network, by names of settings: of its source, and over it of its row."""
        of_index = {} if self.index_whitelist is None else {"cpt_whitelist": self.index_whitelist}
        return {**of_index, **self.extra_args}

    @property
    def place(self) -> tuple[object, ...]:
        """What the file is to its network: two files of one place are two states of one file."""
        return self.network_id, self.period, self.identity.part, self.identity.parts

    @property
    def filename(self) -> str:
        """The published name; for display only."""
        return file_name(self.address.shown)


def file_id_of(address: str) -> str:
    """The id of the file at a canonical URL."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]
