"""How NPIs are looked up in NPPES: politely, for its limits are not published."""

from __future__ import annotations

from mrf_assets.settings.ingest import Settings
from mrf_assets.settings.model import DAY_SECONDS, MAX_WORKERS, setting
from mrf_assets.settings.prices import Prices


class EnrichSettings(Prices, Settings):
    """Look-ups of NPIs."""

    npi_api_url: str = setting(
        "https://npiregistry.cms.hhs.gov/api/", "Where NPIs are looked up: the NPI Registry, version 2.1."
    )
    npi_files_url: str = setting(
        "https://download.cms.gov/nppes/NPI_Files.html", "The page that lists the bulk files of NPPES."
    )
    batch_size: int = setting(10, "Look-ups at a time.", flag="--max-workers", ge=1, le=MAX_WORKERS)
    rate_limit_delay: float = setting(0.5, "Seconds between two starts, at the beginning.", ge=0, le=DAY_SECONDS)
    max_requests_per_minute: int | None = setting(
        None, "Most requests in a minute.", flag="--max-rpm", absent="what the service takes", ge=1
    )
    npi_timeout_seconds: float = setting(30.0, "Seconds for one request.", gt=0, le=DAY_SECONDS)

    @property
    def has_prices(self) -> bool:
        """Whether look-ups cost anything that a budget can count."""
        return bool(self.price_per_gb or self.price_per_hour or self.price_per_1000_requests)


# The settings of look-ups in the launchpad. The price of a core hour is left out: only batches of networks use it.
LOOK_UP_SETTINGS = tuple(
    name for name in EnrichSettings.model_fields if name not in {*Settings.model_fields, "price_per_core_hour"}
)
