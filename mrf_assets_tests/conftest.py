"""What many tests share: reading a document into rows, and the published sample files."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

from mrf_assets.extract import ReadCounts, Reader, Request, read_reference
from mrf_assets.schema import TABLES
from mrf_assets.settings import Limits
from mrf_assets.stream.raw_file import RawFile, TransferCounts
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import Document, render
from mrf_assets_tests.progress import Progress

# A busy machine must not fail a test, nor luck: the same examples every time. `make fuzz` draws new ones in each round.
settings.register_profile("mrf_assets", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("fuzz", settings.get_profile("mrf_assets"), derandomize=False, database=None)
settings.load_profile("mrf_assets")

# The longest begin, so that at the end no worker sits beside one that has minutes of Dagster before it.
_FIRST = (
    "defs/test_ui.py",
    "submit/test_submit.py",
    "defs/test_recovery.py",
    "cli/test_batches.py",
    "test_hostile.py",
    "runner/test_batch.py",
    "defs/test_sensors_live.py",
    "defs/test_ui_enrichment.py",
    "discover/browser/test_private.py",
    "extract/fast/test_equals_oracle.py",
    "discover/browser/test_visit.py",
    "defs/test_enrichment.py",
    "test_files.py",
    "cli/test_app.py",
)

# Dagster writes each event of a run to SQLite with three or four waits for the disk: two thirds of a small run's time.
_MEMORY, _MEMORY_BYTES = Path("/dev/shm"), 4 << 30  # noqa: S108 - pytest makes a folder of its own there

Row = dict[str, Any]
_SAMPLES = Path(__file__).parents[2] / "shared" / "samples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reader made of one document; rows without `file_id`."""

    providers: list[Row]
    provider_sets: list[Row]
    rates: list[Row]
    rejects: list[Row]
    counts: ReadCounts
    batch_rows: list[tuple[str, int]]  # table and rows of each batch, in order

    @property
    def tables(self) -> dict[str, list[Row]]:
        """Rows by table."""
        return {
            "providers": self.providers,
            "provider_sets": self.provider_sets,
            "rates": self.rates,
            "rejects": self.rejects,
        }

    @property
    def repairs(self) -> dict[str, int]:
        """Repairs and how often each was made."""
        return dict(self.counts.repairs)

    @property
    def reject_reasons(self) -> list[str]:
        """The reasons of the rejects, in order."""
        return [reject["reason"] for reject in self.rejects]


class Read(Protocol):
    """Read a document, given as a value or as bytes; further arguments are those of `Request`."""

    def __call__(
        self,
        document: Document | bytes,
        *,
        reader: Reader = ...,
        block_bytes: int = ...,
        **request: Any,  # noqa: ANN401 - fields of Request
    ) -> Reading:
        """All rows of one document."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' folders in memory where it has room, let programs be interrupted, tell which modules ended."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script; programs would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules in the order of `_FIRST`, the rest as they were."""
    place = {Path(__file__).parent / path: number for number, path in enumerate(_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(_FIRST)))


@pytest.fixture(scope="session", autouse=True)
def _no_instance_of_another_test() -> Iterator[None]:
    """Dagster's instance for the state of definitions, which ours have none of, may be one that is gone.

    A context that nobody left, of a sensor for example, puts the one before it in its place when it is collected.
    """
    if "dagster" not in sys.modules:
        yield
        return
    from dagster._core.storage.defs_state.base import DefsStateStorage  # noqa: PLC0415 - only where it is there

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DefsStateStorage, "get", classmethod(lambda _cls: None))
        yield


@pytest.fixture(scope="module", autouse=True)
def _new_to_all_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the servers of other tests took is forgotten: their ports come again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRF_HOST_STATE_DIR", str(tmp_path_factory.mktemp("hosts")))
        yield


def closed_door(address: Address) -> AbstractContextManager[RawFile]:
    """Opener of tests that open nothing."""
    pytest.fail(f"opened {address}")


def blocks_of(data: bytes, block_bytes: int) -> Iterator[bytes]:
    """The data in blocks of that size."""
    return (data[start : start + block_bytes] for start in range(0, len(data), block_bytes))


def read_document(
    document: Document | bytes,
    *,
    reader: Reader = read_reference,
    block_bytes: int = 1 << 16,
    **request: Any,  # noqa: ANN401 - fields of Request
) -> Reading:
    """All rows of one document, each batch checked against its schema."""
    data = document if isinstance(document, bytes) else render(document)
    options: dict[str, Any] = {
        "url": "https://mrf.example/rates.json",
        "file_id": "f",
        "open_url": closed_door,
        "limits": Limits(remote_reference_failure_share=1.0),  # a single dead link must not fail a small document
    } | request
    counts = ReadCounts()
    rows: dict[str, list[Row]] = {"providers": [], "provider_sets": [], "rates": [], "rejects": []}
    batch_rows = []
    for table, batch in reader(blocks_of(data, block_bytes), Request(**options), counts):
        batch.validate(full=True)
        assert TABLES[table].arrow == batch.schema
        batch_rows.append((table, batch.num_rows))
        for row in batch.to_pylist():
            assert options["file_id"] == row.pop("file_id")
            rows[table].append(row)
    return Reading(**rows, counts=counts, batch_rows=batch_rows)


@pytest.fixture(scope="session")
def read() -> Read:
    """Read a document with the reference reader, or with another one."""
    return read_document


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of published files, which is no part of the project."""
    if not _SAMPLES.is_dir():
        pytest.skip(f"no published sample files at {_SAMPLES}")
    return _SAMPLES


class FakeFile:
    """A `RawFile` out of bytes, with reads as short as asked for."""

    def __init__(
        self,
        data: bytes,
        *,
        url: str = "https://mrf.example/file",
        sizes: list[int] | None = None,
        content_encoding: str | None = None,
    ) -> None:
        self.url, self.size_bytes = url, len(data)
        self.etag: str | None = None
        self.last_modified: str | None = None
        self.content_encoding, self.is_private = content_encoding, False
        self.transfer = TransferCounts()
        self._digest = hashlib.sha256()
        self._data, self._sizes = data, list(sizes or [])

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, fewer where a size is listed."""
        if self._sizes:
            size = max(1, min(size, self._sizes.pop(0)))
        data, self._data = self._data[:size], self._data[size:]
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        """Of what was read."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Nothing waits."""


class FakeOpener:
    """Opens what it was given, by address, in any thread, and keeps count; an error stands for a failure."""

    def __init__(self, files: Mapping[str, bytes | Exception]) -> None:
        self._files, self._counting = files, threading.Lock()
        self.opened: list[str] = []
        self.open_now = 0

    @contextmanager
    def __call__(self, address: Address) -> Iterator[RawFile]:
        """Open one address."""
        url = address.real
        self.opened.append(url)
        found = self._files[url]
        if isinstance(found, Exception):
            raise found
        with self._counting:
            self.open_now += 1
        yield FakeFile(found, url=url)
        with self._counting:
            self.open_now -= 1
