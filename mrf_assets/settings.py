"""Everything a run may vary. The only reader of the environment.

Each field can be set as `MRF_<NAME>`, by a flag of the command line, and in the Dagster
launchpad; a flag wins over the environment.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any, Self, get_type_hints

from mrf_assets.errors import SettingError
from mrf_assets.limits import MIB, Limits

_PREFIX = "MRF_"
_DAY_SECONDS = 86_400
_YEAR_SECONDS = 366 * _DAY_SECONDS
_LONGEST_TICK_SECONDS = 50  # Dagster gives a sensor 60, and takes some for itself
_SCHEME = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]+):/")  # one slash: Path makes one of two
_STORES = ("s3", "gs", "az")
_LIMITS = Limits()
_MIN_ELEMENT_BYTES = 2 * MIB  # two blocks: what is longer is seen where blocks end
_NESTING_DEPTHS = range(8, 201)  # from what the schema needs to what Python can follow


_AT_LEAST_ONE = (
    "provider_batch_size",
    "rate_batch_size",
    "max_parallel_steps",
    "query_memory_mb",
    "host_concurrency",
    "max_inflation",
    "max_zip_members",
    "max_element_values",
    "max_remote_fetches",
    "max_remote_references",
    "max_remote_reference_bytes",
    "max_remote_total_bytes",
)
_NON_NEGATIVE = ("max_retries", "min_free_bytes")
READER_NAMES = ("fast", "ijson")  # those of `extract.READERS`
# What a file may bring along for its network, as `FileTask.extra_args` and as columns of a CSV.
NETWORK_ARGUMENTS = (
    "cpt_whitelist",
    "tin_whitelist",
    "referenced_groups_only",
    "provider_batch_size",
    "rate_batch_size",
    "reader",
)
NETWORK_PATHS = ("cpt_whitelist", "tin_whitelist")  # of them, files of this machine
MAX_WORKERS = 20  # look-ups at a time
DISCOVERY_MODES = ("intelligent", "parallel_all", "scraping_only")
MAX_WATCHED = 100  # found indexes of one portal, unless somebody says more: payers have one for each employer


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may vary between two runs over the same files."""

    output_dir: Path = Path("mrf_output")
    cpt_whitelist: Path | None = None  # billing codes to keep; None keeps all
    tin_whitelist: Path | None = None  # TINs to keep; None keeps all
    allow_empty: bool = False  # replace published prices by none where a whitelist keeps none; else it is refused
    referenced_groups_only: bool = False  # with a whitelist, leave out groups that no kept price names
    provider_batch_size: int = 20_000  # rows per row group of `providers`
    rate_batch_size: int = 50_000  # rows per row group of `rates`
    reader: str = "fast"  # or "ijson", the reference
    keep_periods: int | None = None  # published periods kept per network; None keeps all
    grace_seconds: float = 3_600.0  # how long replaced files stay readable for queries that began before
    connect_timeout_seconds: float = 20.0
    read_timeout_seconds: float = 120.0  # between two pieces of a download
    total_timeout_seconds: float = 21_600.0  # for the download of one file, waits between attempts and all
    max_retries: int = 3  # attempts after a failed one, since the last new byte of a file
    connection_pooling: bool = True  # keep connections for the next request
    spool_downloads: bool = False  # download to the staging folder first, then extract
    # Of our own network and machine. None: those that strangers name; True where Dagster's UI starts the runs.
    refuse_private_addresses: bool | None = None
    object_stores: str = "s3,gs,az"  # schemes that may be read
    object_store_endpoint: str | None = None  # a store of one's own; None: the cloud's
    object_store_account: str | None = None  # Azure's, for az://container/file
    object_store_anonymous: bool = True  # False: with the credentials that the machine has
    host_concurrency: int = 6  # answers of one host read at a time, by all processes of the machine
    host_start_rate_per_second: float | None = None  # requests to one host, at most; None: as many as it takes
    adaptive_rate_limiting: bool = True  # ask a host that answers 429 or 503 more slowly; False: the two limits alone
    host_state_dir: Path | None = None  # where processes share what hosts take; None: `default_host_state_dir`
    part_processes: int | None = None  # files of one network read at a time; None: the cores that `mrf run` leaves free
    read_ahead: bool = True  # fetch and decompress in a thread beside the extraction
    max_parallel_steps: int = 2  # step processes of one Dagster run
    query_memory_mb: int = 1_024  # that a query may take; the rest waits on disk
    taxonomy_codes: Path | None = None  # CSV of what each specialty does, for ghost rates; None judges none
    # How far a network may move since its period before; guesses, as no payer's habits are published.
    drift_rows_share: float = 0.25  # of its prices, more or fewer
    drift_codes_share: float = 0.1
    drift_groups_share: float = 0.25
    drift_median_share: float = 0.2  # of a code's median dollars
    # How far a file may go before it is refused; reasons stand beside the defaults, in `limits`.
    max_inflation: int = _LIMITS.max_inflation  # decompressed bytes for each compressed one
    max_json_bytes: int | None = _LIMITS.max_json_bytes  # of a decompressed file; None sets no bound
    max_zip_members: int = _LIMITS.max_zip_members
    max_nesting_depth: int = _LIMITS.max_nesting_depth
    max_element_bytes: int = _LIMITS.max_element_bytes  # of what is kept whole, such as one rate or text
    max_element_values: int = _LIMITS.max_element_values  # in one rate or provider reference
    max_remote_fetches: int = _LIMITS.max_remote_fetches  # at a time, for one file
    max_remote_references: int = _LIMITS.max_remote_references  # addresses in one file
    max_remote_reference_bytes: int = _LIMITS.max_remote_reference_bytes  # of one, decompressed
    max_remote_total_bytes: int = _LIMITS.max_remote_total_bytes  # of all of one file
    remote_reference_failure_share: float = _LIMITS.remote_reference_failure_share  # more than that fails the file
    skip_unchanged: bool | None = None  # leave alone what is published of the same files; None: `mrf run` does
    min_free_bytes: int = 1_000_000_000  # of the output folder's disk; a network that would take them fails

    def __post_init__(self) -> None:
        _check_paths(self)
        at_least = dict.fromkeys(_AT_LEAST_ONE, 1) | dict.fromkeys(_NON_NEGATIVE, 0)
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise SettingError(name, f"is {getattr(self, name)}; it must be {least} or more")
        if self.reader not in READER_NAMES:
            raise SettingError("reader", f"is {self.reader!r}; use one of: {', '.join(READER_NAMES)}")
        self._check_limits()
        for name, absent in (
            ("keep_periods", "keep all"),
            ("part_processes", "use the free cores"),
            ("max_json_bytes", "set no bound"),
        ):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SettingError(name, f"is {getattr(self, name)}; it must be 1 or more, or absent to {absent}")
        if unknown := set(self.object_store_schemes) - set(_STORES):
            raise SettingError("object_stores", f"names {', '.join(sorted(unknown))}; known are {', '.join(_STORES)}")
        if not (self.object_store_endpoint or "https://").lower().startswith(("http://", "https://")):
            raise SettingError("object_store_endpoint", "has no http:// or https:// before the host")
        for name in ("connect_timeout_seconds", "read_timeout_seconds", "total_timeout_seconds"):
            if not 0 < getattr(self, name) <= _DAY_SECONDS:  # sockets refuse infinity with a traceback
                raise SettingError(name, f"is {getattr(self, name)}; it must be more than 0 and at most {_DAY_SECONDS}")
        self._check_rate()

    def _check_rate(self) -> None:
        rate = self.host_start_rate_per_second
        if rate is not None and not 0 < rate < math.inf:
            raise SettingError(
                "host_start_rate_per_second", f"is {rate}; it must be more than 0, or absent for no limit"
            )

    @property
    def object_store_schemes(self) -> tuple[str, ...]:
        """The stores that may be read; none for an empty text."""
        return tuple(name.strip().lower() for name in self.object_stores.split(",") if name.strip())

    @classmethod
    def for_daemon(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Settings of runs that nobody watches: the same, and careful with addresses unless told otherwise."""
        given = {name: value for name, value in environ.items() if value != ""}
        return cls.from_environment({"MRF_REFUSE_PRIVATE_ADDRESSES": "true", **given})

    def _check_limits(self) -> None:
        if not 0 <= self.grace_seconds <= _YEAR_SECONDS:
            raise SettingError("grace_seconds", f"is {self.grace_seconds}; it must be from 0 to {_YEAR_SECONDS}")
        if self.max_element_bytes < _MIN_ELEMENT_BYTES:
            raise SettingError(
                "max_element_bytes", f"is {self.max_element_bytes}; it must be {_MIN_ELEMENT_BYTES} or more"
            )
        if self.max_nesting_depth not in _NESTING_DEPTHS:
            least, most = _NESTING_DEPTHS[0], _NESTING_DEPTHS[-1]
            raise SettingError("max_nesting_depth", f"is {self.max_nesting_depth}; it must be {least} to {most}")
        for name in ("drift_rows_share", "drift_codes_share", "drift_groups_share", "drift_median_share"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingError(name, f"is {getattr(self, name)}; it must be 0 or more")
        if not 0 <= self.remote_reference_failure_share <= 1:
            raise SettingError(
                "remote_reference_failure_share", f"is {self.remote_reference_failure_share}; it must be 0 to 1"
            )

    def with_arguments(self, arguments: Mapping[str, str]) -> Self:
        """The settings of one network, whose files bring `arguments` along: texts, by the names of the settings.

        Raises:
            SettingError: None of `NETWORK_ARGUMENTS`, or a value that cannot be used; named.
        """
        hints = _types_of_settings()
        for name in arguments.keys() - set(NETWORK_ARGUMENTS):
            known = ", ".join(NETWORK_ARGUMENTS)
            raise SettingError(f"extra_args.{name[:80]}", f"is not known; a file may have {known}")
        return replace(
            self, **{name: _parse(f"extra_args.{name}", text, hints[name]) for name, text in arguments.items()}
        )

    @property
    def limits(self) -> Limits:
        """How far a file may go."""
        return Limits(**{field.name: getattr(self, field.name) for field in fields(Limits)})

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Self:  # noqa: ANN401 - values of the fields
        """Settings from `MRF_*` variables; `overrides` that are not None win.

        Raises:
            SettingError: A value of the wrong kind, named.
        """
        settings = cls(**_values(cls, environ, overrides))
        _require_folder(settings.output_dir)
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """What whoever operates the platform may vary: nothing of it changes a row."""

    alert_urls: str | None = field(default=None, repr=False)  # secrets: who is told, see `alerts`; by white space
    price_per_gb: float = 0.0  # downloaded
    price_per_core_hour: float = 0.0
    budget_dollars: float | None = None  # of one batch; None is no limit
    fresh_days: int = 45  # after the first day of its newest period a network is late
    keep_runs_days: int = 180  # in Dagster's records; 0 keeps all

    def __post_init__(self) -> None:
        _refuse_below_zero(self, "price_per_gb", "price_per_core_hour", "budget_dollars")
        for name, least in (("fresh_days", 1), ("keep_runs_days", 0)):
            if getattr(self, name) < least:
                raise SettingError(name, f"is {getattr(self, name)}; it must be {least} or more")
        if self.budget_dollars is not None and not (self.price_per_gb or self.price_per_core_hour):
            raise SettingError(
                "budget_dollars", "needs a price to count with; set MRF_PRICE_PER_GB or MRF_PRICE_PER_CORE_HOUR"
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Operations:  # noqa: ANN401 - values of the fields
        """From `MRF_*` variables, as `Settings`."""
        return cls(**_values(cls, environ, overrides))


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWatching:
    """How indexes are watched: nothing of it changes a row."""

    index_registry: Path | None = None  # which indexes; None: `indexes.toml` in DAGSTER_HOME
    sensor_enabled: bool = True  # whether the sensor runs from the start
    sensor_interval_seconds: int = 60  # between two ticks
    sensor_tick_seconds: float = 20.0  # for one tick, of the 60 that Dagster allows
    sensor_max_runs: int = 100  # requested in a tick, those that wait in the queue counted
    sensor_max_probes: int = 500  # files asked about in a tick

    def __post_init__(self) -> None:
        _check_paths(self)
        for name in ("sensor_interval_seconds", "sensor_max_runs", "sensor_max_probes"):
            if getattr(self, name) < 1:
                raise SettingError(name, f"is {getattr(self, name)}; it must be 1 or more")
        if not 0 < self.sensor_tick_seconds <= _LONGEST_TICK_SECONDS:
            raise SettingError(
                "sensor_tick_seconds",
                f"is {self.sensor_tick_seconds}; it must be more than 0 and at most {_LONGEST_TICK_SECONDS}",
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> IndexWatching:  # noqa: ANN401 - values of the fields
        """From `MRF_*` variables, as `Settings`."""
        return cls(**_values(cls, environ, overrides))

    @property
    def registry(self) -> Path:
        """The registry's file. It belongs to an instance: daemon, webserver and shell share DAGSTER_HOME, no folder."""
        return (self.index_registry or dagster_home() / "indexes.toml").absolute()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """How payers' portals are looked at: nothing of it changes a row."""

    portals: Path | None = None  # a list of portals, for the asset and for `mrf discover` without any
    discovery_mode: str = DISCOVERY_MODES[0]
    chromium: Path | None = None  # program; None: the one on PATH, else Playwright's
    chromium_sandbox: bool | None = None  # None: unless we are root, under whom Chromium has none
    enable_parallel_scraping: bool = True  # False: one page at a time
    scraper_pool_size: int = 4  # pages at a time, and portals
    scraper_rate_per_second: float = 1.0  # pages and questions of one host, at most
    scraper_timeout_seconds: float = 30.0  # of one page or question
    scraper_pages_per_context: int = 25  # then a context is made anew

    def __post_init__(self) -> None:
        _check_paths(self)
        if self.discovery_mode not in DISCOVERY_MODES:
            known = ", ".join(DISCOVERY_MODES)
            raise SettingError("discovery_mode", f"is {self.discovery_mode!r}; it must be one of {known}")
        if not 1 <= self.scraper_pool_size <= MAX_WORKERS:
            raise SettingError("scraper_pool_size", f"is {self.scraper_pool_size}; it must be 1 to {MAX_WORKERS}")
        if self.scraper_pages_per_context < 1:
            raise SettingError(
                "scraper_pages_per_context", f"is {self.scraper_pages_per_context}; it must be 1 or more"
            )
        if not 0 < self.scraper_rate_per_second < math.inf:
            raise SettingError("scraper_rate_per_second", f"is {self.scraper_rate_per_second}; it must be more than 0")
        if not 0 < self.scraper_timeout_seconds <= _DAY_SECONDS:
            raise SettingError(
                "scraper_timeout_seconds",
                f"is {self.scraper_timeout_seconds}; it must be more than 0 and at most {_DAY_SECONDS}",
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> DiscoverySettings:  # noqa: ANN401 - values of the fields
        """From `MRF_*` variables, as `Settings`."""
        return cls(**_values(cls, environ, overrides))


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """One line for each `MRF_*` variable that is no setting: what it may have been meant to be."""
    kinds = (EnrichSettings, Operations, IndexWatching, DiscoverySettings)  # the first holds those of `Settings`
    known = {f"{_PREFIX}{each.name.upper()}" for kind in kinds for each in fields(kind)}
    return [
        f"{name} is no setting and is ignored{_meant(name, known)}"
        for name in sorted(environ)
        if name.upper().startswith(_PREFIX) and name not in known
    ]


def _meant(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.upper(), sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else "; the README lists the settings"


@cache
def _types_of_settings() -> Mapping[str, Any]:
    """The fields' types; to evaluate them takes 1 ms, and rows of a list ask for them."""
    return get_type_hints(Settings)


def _values(kind: type[Any], environ: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What is given for the fields of a class of settings."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for each in fields(kind):
        if (text := environ.get(f"MRF_{each.name.upper()}", "")) != "":
            values[each.name] = _parse(f"MRF_{each.name.upper()}", text, hints[each.name])
    return values | {name: value for name, value in overrides.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichSettings(Settings):
    """The same, and how providers are looked up in NPPES: politely, for its limits are not published."""

    npi_api_url: str = "https://npiregistry.cms.hhs.gov/api/"
    npi_files_url: str = "https://download.cms.gov/nppes/NPI_Files.html"  # the page that lists the bulk files
    batch_size: int = 10  # look-ups at a time, 1 to 20
    rate_limit_delay: float = 0.5  # seconds between two starts, at the beginning
    max_requests_per_minute: int | None = None  # None: what the service bears
    npi_timeout_seconds: float = 30.0  # of one request
    price_per_1000_requests: float = 0.0  # US dollars, for reports and --budget
    price_per_gb: float = 0.0
    price_per_hour: float = 0.0

    def __post_init__(self) -> None:
        Settings.__post_init__(self)  # super() does not know a class with slots
        if not 1 <= self.batch_size <= MAX_WORKERS:
            raise SettingError("batch_size", f"is {self.batch_size}; it must be 1 to {MAX_WORKERS}")
        if self.max_requests_per_minute is not None and self.max_requests_per_minute < 1:
            raise SettingError(
                "max_requests_per_minute", f"is {self.max_requests_per_minute}; it must be 1 or more, or absent"
            )
        _refuse_below_zero(self, "price_per_1000_requests", "price_per_gb", "price_per_hour")
        if not 0 <= self.rate_limit_delay <= _DAY_SECONDS:
            raise SettingError(
                "rate_limit_delay", f"is {self.rate_limit_delay}; it must be 0 or more, and at most {_DAY_SECONDS}"
            )
        if not 0 < self.npi_timeout_seconds <= _DAY_SECONDS:
            raise SettingError(
                "npi_timeout_seconds",
                f"is {self.npi_timeout_seconds}; it must be more than 0 and at most {_DAY_SECONDS}",
            )


def _refuse_below_zero(settings: object, *names: str) -> None:
    for name in names:
        if not 0 <= (getattr(settings, name) or 0) < math.inf:
            raise SettingError(name, f"is {getattr(settings, name)}; it must be 0 or more")


def machine_path(name: str, value: Path | str) -> Path:
    """A path of this machine; `name` is that of the setting or flag.

    Raises:
        SettingError: It is an address, or no UTF-8 (parquet, DuckDB and Dagster know no other names).
    """
    text = os.fspath(value)
    if found := _SCHEME.match(text):
        raise SettingError(name, f"begins with {found[1]}://, and only folders and files of this machine can be used")
    try:
        os.path.abspath(text).encode()  # noqa: PTH100 - no Path: the working folder counts, and `..` stays as it is
    except UnicodeEncodeError:
        raise SettingError(name, f"{text!a} is below a folder whose name is not UTF-8; rename it") from None
    return Path(value)


def _check_paths(settings: Any) -> None:  # noqa: ANN401 - of any class of settings
    for each in fields(settings):
        if isinstance(value := getattr(settings, each.name), Path):
            machine_path(each.name, value)


def _require_folder(folder: Path) -> None:
    """Refuse what is a file, or below one: nothing can be written there."""
    path = folder.absolute()
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    is_readable_with_duckdb = "\\" not in str(path) or not set("*?[") & set(str(path))
    if there.exists() and not there.is_dir():
        raise SettingError("output_dir", f"{folder} cannot be a folder, as {there} is a file; name another")
    if not is_readable_with_duckdb:
        raise SettingError("output_dir", f"{folder} has both a backslash and one of *, ? and [ in its path; rename it")


def _parse(name: str, text: str, hint: object) -> Any:  # noqa: ANN401 - the field's type
    kinds: dict[object, Callable[[str], Any]] = {
        Path: partial(machine_path, name),
        Path | None: partial(machine_path, name),
        int: int,
        int | None: int,
        float: float,
        float | None: float,
        str: str,
        str | None: str,
        bool: _yes_or_no,
        bool | None: _yes_or_no,
    }
    try:
        return kinds[hint](text)
    except ValueError:
        what = "neither true nor false" if hint in (bool, bool | None) else "no number"
        raise SettingError(name, f"is {text!r}, which is {what}") from None


def _yes_or_no(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


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
