"""Which servers are trusted over TLS, for clients other than requests: by the same variables."""

from __future__ import annotations

import ssl
from typing import Literal

from mrf_assets.errors import SettingError
from mrf_assets.settings import certificates


def trusted_tls() -> ssl.SSLContext | Literal[True]:
    """What asyncio and aiohttp take as `ssl`: the certificates of `settings.certificates`, else the system's.

    Raises:
        SettingError: They are not there, or are none.
    """
    given = certificates()
    if given is None:
        return True
    file, folder = (None, str(given)) if given.is_dir() else (str(given), None)
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except OSError as error:  # `ssl.SSLError` is one
        raise SettingError(
            "REQUESTS_CA_BUNDLE", f"{given} holds no certificates ({type(error).__name__}); name a file of them (PEM)"
        ) from None
