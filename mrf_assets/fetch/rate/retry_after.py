"""How long a host asks to be left alone: the one reader of Retry-After."""

from __future__ import annotations

import datetime as dt
import email.utils
import time

_MAX_SECONDS = 366 * 86_400.0  # what is longer is for ever, and what overflows is no reason to break


def retry_after_seconds(text: str | None, now: float | None = None) -> float | None:
    """Seconds out of a Retry-After header, a number or a date (RFC 9110, 10.2.3); None where it says nothing.

    From 0 to a year, whatever was sent. `now` is a Unix time. A date without a zone is in UTC.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), _MAX_SECONDS)
    try:
        date = email.utils.parsedate_to_datetime(text)
        date = date if date.tzinfo is not None else date.replace(tzinfo=dt.UTC)
        seconds = date.timestamp() - (time.time() if now is None else now)
    except (ValueError, OverflowError, LookupError, TypeError):  # all of them come out of email.utils
        return None
    return min(max(seconds, 0.0), _MAX_SECONDS)
