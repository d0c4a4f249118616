"""What is known of the providers of a folder: out of `provider_directory`, and the ledger of their look-ups."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from mrf_assets.errors import StoreError
from mrf_assets.lake.duckdb_paths import pattern_of
from mrf_assets.lake.reference_tables import Reference
from mrf_assets.providers.directory_rules import audit_directory
from mrf_assets.providers.lookup.ledger import Ledger
from mrf_assets.quality.network_rules import CheckResult

_MAX_WITHDRAWN = 20
# What people look for; the directory has 46 columns, and most stand empty for one of the two types.
_FILL_COLUMNS = (
    *("provider_name", "entity_type", "credential", "primary_taxonomy_code", "practice_address_1", "practice_city"),
    *("practice_state", "practice_postal_code", "practice_telephone_number", "enumeration_date", "last_updated"),
    "name_confidence",
)
_WITHDRAWN_SQL = """SELECT npi, provider_name, rates, networks, deactivation_date
FROM provider_directory WHERE status = 'deactivated' AND rates > 0 ORDER BY rates DESC, npi LIMIT ?"""
_FETCHED_SQL = "SELECT quantile_disc(epoch(fetched_at), [0.0, 0.5, 1.0]) FROM provider_directory"  # seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A provider whose NPI was withdrawn, and who still has prices."""

    npi: int
    name: str | None
    rates: int
    networks: int
    deactivation_date: dt.date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """The figures of the directory."""

    npis: int
    statuses: Mapping[str, int]
    fill_rates: Mapping[str, float]  # of the NPIs in service, 0 to 1, the fullest first
    confidences: Mapping[str, int]  # tenth of `name_confidence` -> NPIs
    withdrawn_npis: Sequence[Withdrawn]  # those with the most prices
    fetch_times: Sequence[dt.datetime] | None  # the oldest row, the middle one, the newest
    failures: Mapping[str, int]  # reason -> look-ups given up, the most frequent first
    checks: Sequence[CheckResult]

    def days_old(self, now: dt.datetime) -> tuple[int, int, int] | None:
        """Of the oldest row, the middle one, the newest."""
        if self.fetch_times is None:
            return None
        oldest, middle, newest = ((now - time).days for time in self.fetch_times)
        return oldest, middle, newest

    @property
    def summary(self) -> str:
        """In one line."""
        counts = ", ".join(f"{count:,} {status}" for status, count in self.statuses.items())
        return f"{self.npis:,} NPIs: {counts or 'none'}"


def read_providers(root: Path) -> Providers | None:
    """The figures of a folder; None where it has no directory, or one that cannot be read, which is logged.

    No failures are told where the ledger cannot be read, which is logged too.
    """
    reference = Reference(root)
    if not reference.directory.exists():
        return None
    try:
        checks, figures = audit_directory(reference.directory)
        with duckdb.connect() as connection:
            connection.read_parquet(pattern_of(reference.directory)).create_view("provider_directory")
            withdrawn_npis = [
                Withdrawn(*row) for row in connection.execute(_WITHDRAWN_SQL, [_MAX_WITHDRAWN]).fetchall()
            ]
            ((timestamps,),) = connection.execute(_FETCHED_SQL).fetchall()
    except duckdb.Error as error:
        logger.warning(
            "%s cannot be read (%s) and is left out; materialize the asset provider_directory again",
            *(reference.directory, " ".join(str(error).split())),
        )
        return None
    fill_rates = {name: figures.fill_rates[name] for name in _FILL_COLUMNS}
    return Providers(
        npis=figures.rows,
        statuses=figures.statuses,
        fill_rates=dict(sorted(fill_rates.items(), key=lambda it: -it[1])),
        confidences=figures.confidences,
        withdrawn_npis=withdrawn_npis,
        fetch_times=None if timestamps is None else tuple(dt.datetime.fromtimestamp(it, dt.UTC) for it in timestamps),
        failures=_failures(reference.ledger),
        checks=checks,
    )


def _failures(ledger: Path) -> dict[str, int]:
    try:
        return dict(Ledger.peek_reasons(ledger).most_common())
    except StoreError as error:
        logger.warning("%s; the report is without the look-ups that failed", error)
        return {}
