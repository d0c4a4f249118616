"""Settings of look-ups of NPIs."""

from __future__ import annotations

from mrf_assets.settings import EnrichSettings


def test_the_defaults_of_the_enrichment_are_those_asked_for() -> None:
    """S2.35: 10, 0.5 and 3."""
    settings = EnrichSettings.from_environment({})

    assert (10, 0.5, 3) == (settings.batch_size, settings.rate_limit_delay, settings.max_retries)


def test_only_prices_of_look_ups_make_them_cost() -> None:
    """Hours of cores are counted for batches of networks."""
    assert not EnrichSettings(price_per_core_hour=1.0).has_prices
    assert EnrichSettings(price_per_1000_requests=0.1).has_prices
