"""Settings of the search on portals."""

from __future__ import annotations

from mrf_assets.settings import DiscoverySettings


def test_the_defaults_of_the_discovery_are_those_asked_for() -> None:
    """Four pages at a time, one a second of each host, thirty seconds for each."""
    looking = DiscoverySettings()

    assert (4, 1.0, 30.0, True, "intelligent") == (
        looking.scraper_pool_size, looking.scraper_rate_per_second, looking.scraper_timeout_seconds,
        looking.enable_parallel_scraping, looking.discovery_mode,
    )  # fmt: skip
