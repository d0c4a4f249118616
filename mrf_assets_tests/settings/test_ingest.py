"""Settings of an ingest: which value wins, and what no bound can say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrf_assets.errors import SettingError
from mrf_assets.extract import READERS
from mrf_assets.settings import READER_NAMES, Limits, Settings

GIVEN = {"MRF_OUTPUT_DIR": "/data/out", "MRF_RATE_BATCH_SIZE": "12", "MRF_CPT_WHITELIST": "codes.csv"}


def test_an_override_wins_over_the_environment() -> None:
    """A flag is nearer to the person than a variable."""
    assert Path("here") == Settings.from_environment(GIVEN, output_dir=Path("here")).output_dir


def test_an_override_of_none_is_none_at_all() -> None:
    """A flag that was not given does not hide the variable."""
    assert 12 == Settings.from_environment(GIVEN, rate_batch_size=None).rate_batch_size


def test_an_empty_variable_is_none_at_all() -> None:
    """`MRF_CPT_WHITELIST=` switches the whitelist off, as the shell's way to unset for one command."""
    assert Settings.from_environment({"MRF_CPT_WHITELIST": ""}).cpt_whitelist is None


def test_the_readers_that_can_be_chosen_are_those_that_there_are() -> None:
    """Settings come before the readers, and may not ask them."""
    assert READER_NAMES == tuple(sorted(READERS))


def test_bounds_of_files_go_together() -> None:
    """What reads bytes takes them as one value, and they have one home."""
    assert Limits() == Settings().limits
    assert 7 == Settings(max_zip_members=7).limits.max_zip_members


def test_the_smallest_values_are_taken() -> None:
    """One row a batch, one period kept."""
    settings = Settings(provider_batch_size=1, rate_batch_size=1, keep_periods=1, max_parallel_steps=1)

    assert (1, 1, 1, 1) == (
        settings.provider_batch_size,
        settings.rate_batch_size,
        settings.keep_periods,
        settings.max_parallel_steps,
    )


def test_a_switch_is_true_or_false() -> None:
    """Anything else is refused, so that a slip does not mean the contrary."""
    assert Settings.from_environment({"MRF_READ_AHEAD": "Yes"}).read_ahead
    with pytest.raises(SettingError, match="neither true nor false"):
        Settings.from_environment({"MRF_READ_AHEAD": "maybe"})


def test_no_retry_at_all_can_be_asked_for() -> None:
    """0 is a number of retries, less is none."""
    assert 0 == Settings.from_environment({"MRF_MAX_RETRIES": "0"}).max_retries
    with pytest.raises(SettingError, match=r"^max_retries: is -1"):
        Settings(max_retries=-1)


def test_stores_are_a_list_of_known_ones() -> None:
    """Spaces and case do not matter, an unknown store is named, an empty list is none at all."""
    assert ("s3", "gs") == Settings(object_stores="s3, GS").object_store_schemes
    assert () == Settings(object_stores="").object_store_schemes
    with pytest.raises(SettingError, match="object_stores: names ftp; known are s3, gs, az"):
        Settings(object_stores="s3,ftp")


def test_an_endpoint_says_how_it_is_spoken_to() -> None:
    """`localhost:9000` alone would be taken for no endpoint, and the cloud be asked."""
    with pytest.raises(SettingError, match="object_store_endpoint: has no http"):
        Settings(object_store_endpoint="localhost:9000")


def test_a_daemon_is_careful_with_addresses_unless_told_otherwise() -> None:
    """Nobody watches its runs; on a command line a person does."""
    assert not Settings.from_environment({}).refuse_private_addresses
    assert Settings.for_daemon({}).refuse_private_addresses
    assert Settings.for_daemon({"MRF_REFUSE_PRIVATE_ADDRESSES": ""}).refuse_private_addresses
    assert not Settings.for_daemon({"MRF_REFUSE_PRIVATE_ADDRESSES": "false"}).refuse_private_addresses


def test_all_of_the_disk_may_be_used() -> None:
    """0 is a floor, a debt is none."""
    assert 0 == Settings.from_environment({"MRF_MIN_FREE_BYTES": "0"}).min_free_bytes
    with pytest.raises(SettingError, match=r"^MRF_MIN_FREE_BYTES: is -1; it must be 0 or more"):
        Settings.from_environment({"MRF_MIN_FREE_BYTES": "-1"})


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "40000000"])
def test_a_grace_time_is_from_nothing_to_a_year(seconds: str) -> None:
    """What stays for ever would fill the disk."""
    with pytest.raises(SettingError, match=r"^MRF_GRACE_SECONDS: is .+; it must be 0 to 31622400$"):
        Settings.from_environment({"MRF_GRACE_SECONDS": seconds})
    assert 0 == Settings.from_environment({"MRF_GRACE_SECONDS": "0"}).grace_seconds
