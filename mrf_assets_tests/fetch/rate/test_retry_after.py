"""How long a host asks to be left alone, however it puts it: no header breaks who reads it."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, strategies as st

from mrf_assets.errors import ServerBusy
from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.fetch.rate import retry_after_seconds
from mrf_assets_tests.mrf_server import Answer, MrfServer

NOW = dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC).timestamp()
YEAR_SECONDS = 366 * 86_400.0
OVERFLOWING = ("Sun, 22 Nov 99999999999999999999 08:00:30 GMT", "Sun, 22 Nov 2026 08:00:30 +" + "9" * 30)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("999999", 999_999.0),
        ("9" * 400, YEAR_SECONDS),
        ("9" * 5_000, YEAR_SECONDS),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),
        ("Sun, 22 Nov 2026 08:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 07:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 08:00:30", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", YEAR_SECONDS),
        ("Sat, 30 Feb 2026 08:00:30 GMT", None),
        ("tomorrow", None),
        *((text, None) for text in OVERFLOWING),
    ],
)
def test_retry_after_is_seconds_or_a_date(
    monkeypatch: pytest.MonkeyPatch, text: str | None, seconds: float | None
) -> None:
    """RFC 9110, 10.2.3; whatever the zone of the machine, from 0 to a year."""
    monkeypatch.setenv("TZ", "America/New_York")
    assert seconds == retry_after_seconds(text, NOW)


@given(
    st.text()
    | st.from_regex(
        r"\A(Sun, )?[0-9]{0,30},? ?(Nov)?,? ?[0-9,:]{0,30} [0-9:]{0,20} ?[A-Z+\-0-9,]{0,20}\Z", fullmatch=True
    )
)
def test_any_header_is_read_or_says_nothing(text: str) -> None:
    """Seconds that can be waited, or None."""
    seconds = retry_after_seconds(text, NOW)

    assert seconds is None or 0 <= seconds <= YEAR_SECONDS


@pytest.mark.parametrize("text", OVERFLOWING)
def test_a_download_survives_a_header_that_overflows(text: str) -> None:
    """As one without the header."""
    with MrfServer({"/a.json": b"{}"}) as server:
        server.script("/a.json", Answer(status=429, headers={"Retry-After": text}))
        with open_url(server.url("/a.json"), FetchOptions(wait=lambda _: None)) as raw:
            assert b"{}" == raw.read(10)


def test_a_download_that_is_to_wait_for_ever_is_for_a_later_run() -> None:
    """And the number can be read."""
    with MrfServer({"/a.json": b"{}"}) as server:
        server.script("/a.json", Answer(status=429, headers={"Retry-After": "9" * 400}))
        with pytest.raises(ServerBusy, match="left alone for 31622400 s"), open_url(server.url("/a.json")):
            pass
