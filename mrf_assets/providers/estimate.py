"""What one run of `mrf enrich` is to do, and an estimate of what that takes."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from mrf_assets.errors import Problem, SettingError
from mrf_assets.lake.reference_tables import Reference
from mrf_assets.providers.inputs import PUBLISHED, EnrichmentInput
from mrf_assets.providers.lookup import Fresh, Ledger, LookUpOptions, output_at
from mrf_assets.providers.npi_look_ups import KEY
from mrf_assets.providers.nppes.bulk import BulkRegistry
from mrf_assets.providers.run_files import RunFiles
from mrf_assets.schema import ENRICHED
from mrf_assets.settings import EnrichSettings, Prices, machine_path

STAGES = {
    "npi": "the registry's entry of each NPI",
    "org": "the payer's name compared with the registry's",
    "deep": "withdrawn and unknown NPIs completed from the bulk files",
}


_OLD_STAGES = {"poc": "npi", "fund": "org"}  # of the pipeline that this one replaces


_PROBLEMS_KEPT = 1_000


_ANSWER_SECONDS = 0.5  # of the registry, for an estimate before it was asked


_ANSWER_BYTES = 2_000  # the same


_BULK_BYTES = 1_100_000_000  # a month, zipped, in 2026


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichOptions:
    """What one run is to do."""

    location: str  # a CSV, a parquet file, or `asset:providers`
    output: Path  # a folder of parquet parts, or a CSV
    stages: tuple[str, ...] = ("npi", "org")
    stage_delay_seconds: float = 2.0  # between two stages that talk to a server
    checkpoint: Path = Path("enrichment_progress.json")
    resume: bool = False
    retry_failed: bool = False
    max_age: dt.timedelta | None = None  # rows of the output that are younger are not looked up again
    budget_dollars: float | None = None
    batch: LookUpOptions = field(default_factory=LookUpOptions)

    def __post_init__(self) -> None:
        paths: dict[str, Path | str] = {
            "--input": self.location,
            "--output": self.output,
            "--checkpoint": self.checkpoint,
        }
        for name, path in paths.items():
            machine_path(name, path)
        if unknown := sorted(set(self.stages) - STAGES.keys()):
            raise SettingError("--stages", f"{', '.join(unknown)}: {_stages_text(unknown)}")
        if "npi" not in self.stages:
            raise SettingError("--stages", "npi must be among them; the others build on it")
        ledger = RunFiles(self.checkpoint).ledger
        has_rows = self.output.is_file() or any(self.output.glob("part-*.parquet"))
        if not ledger.exists() and (self.retry_failed or (self.resume and not has_rows)):
            flag = "--retry-failed" if self.retry_failed else "--resume"
            raise SettingError(
                flag, f"{ledger.absolute()} is not there; give the --checkpoint of the batch, or start over without it"
            )

    @classmethod
    def of_lake(cls, lake: Path, batch: LookUpOptions, **others: Any) -> Self:  # noqa: ANN401 - fields of this class
        """Bring the registry of an output folder up to date with what is published there."""
        reference = Reference(lake)
        return cls(
            location=PUBLISHED,
            output=reference.registry,
            checkpoint=reference.ledger.with_suffix(".json"),
            resume=reference.ledger.exists(),
            batch=batch,
            **others,
        )

    def as_facts(self) -> dict[str, Any]:
        """For a report: JSON values, under the fields' names; durations in seconds."""
        facts = asdict(self)
        max_age = facts.pop("max_age")
        return facts | {
            "output": str(self.output),
            "checkpoint": str(self.checkpoint),
            "max_age_seconds": None if max_age is None else max_age.total_seconds(),
        }


def _stages_text(unknown: Iterable[str]) -> str:
    replacements = [f"{_OLD_STAGES[name]} replaces {name}" for name in unknown if name in _OLD_STAGES]
    descriptions = [f"{name} ({what})" for name, what in STAGES.items()]
    return "; ".join([*replacements, f"choose among {', '.join(descriptions)}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run would do."""

    rows: int
    problems: tuple[Problem, ...]  # the first of them
    invalid: int
    duplicates: int
    known_npis: int  # done already, where the run resumes, or young enough
    new: int
    requests: int
    seconds: float  # at the first rate; the registry may bear a higher one
    dollars: float


def look_up_options(settings: EnrichSettings, **overrides: Any) -> LookUpOptions:  # noqa: ANN401 - fields of LookUpOptions
    """The engine's options out of settings; overrides that are not None win."""
    values: dict[str, Any] = {
        "max_workers": settings.batch_size,
        "max_retries": settings.max_retries,
        "rate_limit_delay_seconds": settings.rate_limit_delay,
        "adaptive": settings.adaptive_rate_limiting,
        "max_requests_per_minute": settings.max_requests_per_minute,
    }
    return LookUpOptions(**values | {name: value for name, value in overrides.items() if value is not None})


def require_prices(options: EnrichOptions, settings: EnrichSettings) -> None:
    """Refuse a budget that nothing can use up.

    Raises:
        SettingError: All prices are 0.
    """
    if options.budget_dollars is not None and not settings.has_prices:
        names = "MRF_PRICE_PER_1000_REQUESTS, MRF_PRICE_PER_GB or MRF_PRICE_PER_HOUR"
        raise SettingError("--budget", f"needs a price to count with; set {names}")


def estimate(options: EnrichOptions, settings: EnrichSettings) -> Estimate:
    """Read the input through, and tell what a run would do; writes nothing.

    Raises:
        SettingError: The input cannot be read, or there is a budget without a price.
        SourceProblems: It has no column of NPIs.
    """
    require_prices(options, settings)
    source = EnrichmentInput(options.location, settings.output_dir)
    problems: list[Problem] = []
    with closing(sqlite3.connect("")) as distinct:  # on disk if it must be
        distinct.execute("CREATE TABLE keys (key TEXT PRIMARY KEY)")
        valid = 0
        for row in source.rows():
            if row.problem is None:
                valid += 1
                distinct.execute("INSERT OR IGNORE INTO keys VALUES (?)", [row.item.key])
            elif len(problems) < _PROBLEMS_KEPT:
                problems.append(row.problem)
        (unique,) = distinct.execute("SELECT count(*) FROM keys").fetchone()
        known_npis = _count_known(options, distinct)
    new = unique - known_npis if options.batch.limit is None else min(unique - known_npis, options.batch.limit)
    rate = 1 / options.batch.rate_limit_delay_seconds if options.batch.rate_limit_delay_seconds else float("inf")
    if options.batch.max_requests_per_minute is not None:
        rate = min(rate, options.batch.max_requests_per_minute / 60)
    is_missing = "deep" in options.stages and not BulkRegistry(Reference(settings.output_dir).bulk).paths
    bulk_bytes = _BULK_BYTES if is_missing else 0
    seconds = new / min(rate, options.batch.max_workers / _ANSWER_SECONDS)
    return Estimate(
        rows=source.counts.rows,
        problems=tuple(problems),
        invalid=source.counts.invalid,
        duplicates=valid - unique,
        known_npis=known_npis,
        new=new,
        requests=new,
        seconds=seconds,
        dollars=settings.part(Prices).dollars(
            requests=new, gb=(new * _ANSWER_BYTES + bulk_bytes) / 1e9, hours=seconds / 3_600
        ),
    )


def _count_known(options: EnrichOptions, distinct: sqlite3.Connection) -> int:
    """How many of the keys need no look-up: by the ledger, or by the rows that there are."""
    ledger = RunFiles(options.checkpoint).ledger
    if (options.resume or options.retry_failed) and ledger.exists():
        return Ledger.peek(ledger, (key for (key,) in distinct.execute("SELECT key FROM keys")))
    if options.resume:
        fresh = Fresh(key=KEY, at="fetched_at", since=dt.datetime.min.replace(tzinfo=dt.UTC))
    elif options.max_age is not None:
        fresh = Fresh.younger_than(options.max_age, key=KEY, at="fetched_at")
    else:
        return 0
    distinct.execute("CREATE TABLE fresh (key TEXT PRIMARY KEY)")
    for rows in output_at(options.output, ENRICHED.arrow).read([fresh.key, fresh.at]):
        distinct.executemany("INSERT OR IGNORE INTO fresh VALUES (?)", ([key] for key in fresh.keys(rows)))
    (count,) = distinct.execute("SELECT count(*) FROM keys JOIN fresh USING (key)").fetchone()
    return int(count)
