"""Environment variables that are not settings of ours: DAGSTER_HOME, certificates, and those that libraries read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from mrf_assets.errors import SettingError
from mrf_assets.settings.paths import machine_path


def spare_blas_threads(environ: MutableMapping[str, str] = os.environ) -> None:
    """Ask numpy's BLAS for one thread, here and in child processes, unless somebody has said how many."""
    environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def ignore_netrc(environ: MutableMapping[str, str] = os.environ) -> None:
    """Keep the user's logins at home: requests, and with it apprise, send those of .netrc to any host that is asked."""
    environ["NETRC"] = os.devnull


def certificates(environ: Mapping[str, str] = os.environ) -> Path | None:
    """A file or folder of the certificates that downloads trust; None: those that come with certifi.

    Raises:
        SettingError: It is not there.
    """
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        if given := environ.get(name, ""):
            if not Path(given).exists():
                raise SettingError(name, f"{given} does not exist; name a file of certificates (PEM), or unset it")
            return Path(given)
    return None


def dagster_home(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of Dagster's storage: DAGSTER_HOME, else `.dagster_home` here."""
    home = machine_path("DAGSTER_HOME", environ.get("DAGSTER_HOME") or ".dagster_home").absolute()
    if found := next((char for char in "?%" if char in str(home)), None):  # it writes them into URLs as they are
        raise SettingError("DAGSTER_HOME", f"{home} holds a {found}, which Dagster cannot take; name another folder")
    return home


def default_host_state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where processes share what hosts take, if nothing else is set: one folder for each user of the machine."""
    given = environ.get("MRF_HOST_STATE_DIR", "")
    if given:
        return machine_path("MRF_HOST_STATE_DIR", given)
    return Path(tempfile.gettempdir()) / f"mrf_assets-hosts-{os.geteuid()}"
