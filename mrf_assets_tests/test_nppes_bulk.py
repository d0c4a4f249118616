"""The bulk files: found on their page, downloaded, turned into parquet, joined with our NPIs."""

from __future__ import annotations

import datetime as dt
import fcntl
import io
import json
import logging
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from mrf_assets.errors import CorruptArchive, FetchError, NotFoundAtSource, StoreError, UnsupportedContent
from mrf_assets.fetch import open_url
from mrf_assets.nppes.answers import read_answer
from mrf_assets.nppes.bulk import BulkRegistry, read_listing, write_parquet
from mrf_assets.schema import NPI_REGISTRY
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.nppes_factory import (
    BULK_COLUMNS,
    answer,
    bulk_row,
    bulk_zip,
    deactivated_bulk_row,
    listing,
    make_npis,
    provider,
)

NPIS = make_npis(60)
MONTH = "NPPES_Data_Dissemination_November_2026_V2.zip"
WEEK = "NPPES_Data_Dissemination_110926_111526_Weekly_V2.zip"
NEXT_WEEK = "NPPES_Data_Dissemination_111626_112226_Weekly_V2.zip"
PAGE = "/nppes/NPI_Files.html"
NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


@dataclass(slots=True)
class Publisher:
    """CMS, and a folder of ours."""

    server: MrfServer
    registry: BulkRegistry

    def publish(self, **files: bytes) -> None:
        """Put files up, and list them; names without `.zip`."""
        for name, content in files.items():
            self.server.put(f"/nppes/{name}.zip", content)
        self.server.put(PAGE, listing(*(f"{name}.zip" for name in files)))

    def refresh(self) -> list[str]:
        """What was downloaded."""
        return self.registry.refresh(self.server.url(PAGE), open_url)

    def rows(self, *npis: str) -> list[dict[str, Any]]:
        """The registry's rows of some NPIs, each batch checked against the schema."""
        found = []
        for batch in self.registry.rows(pa.table({"npi": pa.array(map(int, npis), pa.int64())})):
            batch.validate(full=True)
            assert NPI_REGISTRY.arrow == batch.schema
            found += batch.to_pylist()
        return found


@pytest.fixture
def cms(tmp_path: Path) -> Iterator[Publisher]:
    """A month and a week; in the week one NPI is withdrawn and a new one issued."""
    with MrfServer() as server:
        publisher = Publisher(server, BulkRegistry(tmp_path / "nppes"))
        publisher.publish(
            **{
                MONTH.removesuffix(".zip"): bulk_zip(map(bulk_row, NPIS[:40])),
                WEEK.removesuffix(".zip"): bulk_zip(
                    [deactivated_bulk_row(NPIS[0], "11/10/2026"), bulk_row(NPIS[41])], "20261109", "20261115"
                ),
            }
        )
        yield publisher


def names(*files: str) -> list[str]:
    """What a page with these links gives."""
    return [file.name for file in read_listing(listing(*files), "https://download.cms.gov/nppes/NPI_Files.html").files]


def test_the_newest_month_and_all_weeks_are_found() -> None:
    """Months by the calendar, not by the alphabet; weeks in order."""
    found = names(
        "NPPES_Data_Dissemination_September_2026_V2.zip",
        NEXT_WEEK,
        "NPPES_Data_Dissemination_October_2026_V2.zip",
        WEEK,
        "NPPES_Deactivated_NPI_Report_110926_V2.zip",
        "NPPES_Data_Dissemination_December_2025_V2.zip",
    )

    assert ["NPPES_Data_Dissemination_October_2026_V2.zip", WEEK, NEXT_WEEK] == found


def test_a_recut_of_a_file_wins() -> None:
    """`_V3` beside `_V2`, whatever stands first; V1 has no number."""
    assert ["NPPES_Data_Dissemination_June_2026_V3.zip"] == names(
        "NPPES_Data_Dissemination_June_2026.zip",
        "NPPES_Data_Dissemination_June_2026_V3.zip",
        "NPPES_Data_Dissemination_June_2026_V2.zip",
    )


def test_links_are_relative_to_the_page() -> None:
    """`./name.zip` and whole addresses alike; case does not matter."""
    page = b'<A HREF="./nppes_data_dissemination_may_2026_v2.ZIP">x</a><a href=>y</a><a>z</a>'

    (found,) = read_listing(page, "https://download.cms.gov/nppes/NPI_Files.html").files

    assert "https://download.cms.gov/nppes/nppes_data_dissemination_may_2026_v2.ZIP" == found.url


@pytest.mark.parametrize(
    "page", [b"", b"<html>moved</html>", listing(WEEK), listing("NPPES_Data_Dissemination_Foo_2026.zip")]
)
def test_a_page_without_a_month_is_told(page: bytes) -> None:
    """And what to look at."""
    with pytest.raises(NotFoundAtSource, match="MRF_NPI_FILES_URL"):
        read_listing(page, "https://download.cms.gov/nppes/NPI_Files.html")


@given(st.binary(max_size=300))
def test_any_page_is_survived(page: bytes) -> None:
    """It is a stranger's HTML."""
    assert "x.example" in read_listing(page + listing(MONTH), "https://x.example/").monthly.url


def test_what_is_listed_is_downloaded_once(cms: Publisher) -> None:
    """The second time nothing is asked for but the page."""
    assert [MONTH, WEEK] == cms.refresh()
    assert [] == cms.refresh()

    assert 1 == cms.server.count(f"/nppes/{MONTH}")
    assert 2 == cms.server.count(PAGE)
    assert {f"{Path(name).stem}.parquet" for name in (MONTH, WEEK)} == {p.name for p in cms.registry.folder.iterdir()}


def test_a_new_month_replaces_the_old_files(cms: Publisher) -> None:
    """What is not listed any more goes."""
    cms.refresh()
    cms.publish(NPPES_Data_Dissemination_December_2026_V2=bulk_zip([bulk_row(NPIS[50])], last="20261213"))

    cms.refresh()

    assert ["NPPES_Data_Dissemination_December_2026_V2.parquet"] == [path.name for path in cms.registry.paths]
    assert [int(NPIS[50])] == [row["npi"] for row in cms.rows(*NPIS)]


@pytest.mark.parametrize("npi", NPIS[1:40:3])
def test_the_bulk_file_says_what_the_api_says(cms: Publisher, npi: str) -> None:
    """The same provider, the same row, but for what the bulk file does not have."""
    cms.refresh()
    (from_bulk,) = cms.rows(npi)

    from_api = dict(read_answer(npi, json.dumps(answer(provider(npi))).encode(), NOW))

    only_api = ("other_names", "practice_locations", "primary_taxonomy", "raw_json", "name_prefix", "fetched_at")
    for name in (*only_api, "source", "source_file"):
        del from_api[name], from_bulk[name]
    assert from_api == from_bulk


def test_the_latest_word_counts(cms: Publisher) -> None:
    """Withdrawn in the week after the month; issued in it."""
    cms.refresh()

    withdrawn, new = sorted(cms.rows(NPIS[0], NPIS[41]), key=lambda row: row["npi"] == int(NPIS[41]))

    assert ("deactivated", dt.date(2026, 11, 10), None, WEEK) == (
        withdrawn["status"],
        withdrawn["deactivation_date"],
        withdrawn["last_name"],
        withdrawn["source_file"],
    )
    assert (int(NPIS[41]), "matched", "bulk") == (new["npi"], new["status"], new["source"])


def test_a_week_before_the_months_last_day_does_not_count(cms: Publisher) -> None:
    """The month's file names the day until which it knows: 20261122 here."""
    cms.publish(
        **{
            MONTH.removesuffix(".zip"): bulk_zip([bulk_row(NPIS[0])], last="20261122"),
            WEEK.removesuffix(".zip"): bulk_zip([deactivated_bulk_row(NPIS[0], "11/10/2026")], "20261109", "20261115"),
        }
    )
    cms.refresh()

    assert ["matched"] == [row["status"] for row in cms.rows(NPIS[0])]


def test_an_npi_given_back_is_in_service(cms: Publisher) -> None:
    """A reactivation date undoes the deactivation."""
    changes = {"NPI Deactivation Date": "01/02/2020", "NPI Reactivation Date": "03/04/2020"}
    cms.publish(**{MONTH.removesuffix(".zip"): bulk_zip([bulk_row(NPIS[0], **changes)])})
    cms.refresh()

    (row,) = cms.rows(NPIS[0])

    assert ("matched", dt.date(2020, 1, 2), dt.date(2020, 3, 4)) == (
        row["status"],
        row["deactivation_date"],
        row["reactivation_date"],
    )


def test_only_our_npis_come_out(cms: Publisher) -> None:
    """In order, each once, though it is asked for twice; unknown ones not at all."""
    cms.refresh()

    rows = cms.rows(NPIS[5], NPIS[3], NPIS[5], NPIS[59])

    assert sorted([int(NPIS[3]), int(NPIS[5])]) == [row["npi"] for row in rows]


def test_without_files_nothing_comes_out(tmp_path: Path) -> None:
    """Not an error: nothing was downloaded."""
    assert [] == list(BulkRegistry(tmp_path).rows(pa.table({"npi": [1]})))


def test_quotes_line_breaks_and_commas_in_a_name_are_kept(cms: Publisher) -> None:
    """CSV as CSV."""
    name = 'A "B", C\nD; DROP TABLE'
    row = bulk_row(NPIS[0], **{"Provider Organization Name (Legal Business Name)": name})
    cms.publish(**{MONTH.removesuffix(".zip"): bulk_zip([row])})
    cms.refresh()

    assert [name] == [found["organization_name"] for found in cms.rows(NPIS[0])]


def test_a_column_that_is_gone_is_told(tmp_path: Path) -> None:
    """CMS changes the file every few years; a silent null would look like an answer."""
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("npidata_pfile_20050523-20261108.csv", ",".join(f'"{c}"' for c in BULK_COLUMNS[1:]) + "\n")
    (tmp_path / "a.zip").write_bytes(stored.getvalue())

    with pytest.raises(UnsupportedContent, match="no column 'NPI'"):
        write_parquet(tmp_path / "a.zip", tmp_path / "a.parquet", "a.zip", NOW)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"<html>Access denied</html>", CorruptArchive),
        (b"", CorruptArchive),
        (bulk_zip([bulk_row(NPIS[0])])[:-200], CorruptArchive),
    ],
)
def test_what_is_no_zip_is_told_and_leaves_no_parquet(cms: Publisher, content: bytes, error: type[Exception]) -> None:
    """The next run downloads it again."""
    cms.publish(**{MONTH.removesuffix(".zip"): content})

    with pytest.raises(error, match="download it again"):
        cms.refresh()

    assert [] == cms.registry.paths
    cms.publish(**{MONTH.removesuffix(".zip"): bulk_zip([bulk_row(NPIS[0])])})
    assert [MONTH] == cms.refresh()


@pytest.mark.parametrize("size_bytes", [6 << 20, 40 << 20])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_far_behind_the_beginning_is_told(cms: Publisher, method: int, size_bytes: int) -> None:
    """Behind the first blocks, where DuckDB reads already: a wrong checksum, or what cannot be inflated."""
    name = "npidata_pfile_20050523-20261108.csv"
    with zipfile.ZipFile(io.BytesIO(bulk_zip(map(bulk_row, NPIS)))) as whole:
        header, _, rows = whole.read(name).partition(b"\n")
    data = header + b"\n" + rows * (size_bytes // len(rows))
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", method) as archive:
        archive.writestr(name, data)
    damaged = bytearray(stored.getvalue())
    damaged[int(len(damaged) * 0.9)] ^= 0x55
    cms.publish(**{MONTH.removesuffix(".zip"): bytes(damaged)})

    with pytest.raises(CorruptArchive, match="download it again"):
        cms.refresh()

    assert [] == cms.registry.paths


def test_a_disk_without_room_is_told(cms: Publisher) -> None:
    """While DuckDB writes; the kernel's full device stands for the disk."""
    cms.registry.folder.mkdir()
    (cms.registry.folder / f"{Path(MONTH).stem}.parquet.new").symlink_to("/dev/full")

    with pytest.raises(StoreError, match="the bulk file needs some 3 GB of room"):
        cms.refresh()

    assert [] == cms.registry.paths


def test_a_damaged_parquet_is_told(cms: Publisher) -> None:
    """With what to do next."""
    cms.refresh()
    cms.registry.paths[0].write_bytes(b"PAR1 not really PAR1")

    with pytest.raises(StoreError, match="delete it, and the files are downloaded again"):
        cms.rows(NPIS[0])


def _setting(event: threading.Event, text: str) -> Callable[[logging.LogRecord], bool]:
    """A filter that lets pass all, and tells when a line comes by."""

    def look(record: logging.LogRecord) -> bool:
        if text in record.getMessage():
            event.set()
        return True

    return look


@pytest.mark.parametrize("how", ["refresh", "rows"])
def test_two_processes_take_turns(cms: Publisher, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """`mrf enrich --stages deep` and the asset share the folder: neither removes what the other reads or writes."""
    cms.refresh()
    cms.publish(NPPES_Data_Dissemination_December_2026_V2=bulk_zip([bulk_row(NPIS[50])], last="20261213"))
    waits, done = threading.Event(), list[Any]()
    caplog.set_level("INFO", "mrf_assets")
    caplog.handler.addFilter(_setting(waits, "this one waits"))
    work = threading.Thread(target=lambda: done.append(cms.refresh() if how == "refresh" else cms.rows(NPIS[1])))
    other = os.open(cms.registry.folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)

    work.start()
    assert waits.wait(60)
    before = (len(cms.registry.paths), [*done])
    os.close(other)
    work.join(60)

    assert (2, []) == before
    assert 1 == len(done[0])


def test_a_zip_without_the_data_is_told(tmp_path: Path) -> None:
    """Only headers and a readme."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("npidata_pfile_20050523-20261108_fileheader.csv", "x")

    with pytest.raises(UnsupportedContent, match="npidata_pfile"):
        write_parquet(tmp_path / "a.zip", tmp_path / "a.parquet", "a.zip", NOW)


def test_a_download_that_fails_leaves_the_old_files(cms: Publisher) -> None:
    """Readers keep what they have."""
    cms.refresh()
    cms.publish(NPPES_Data_Dissemination_December_2026_V2=b"")
    cms.server.always("/nppes/NPPES_Data_Dissemination_December_2026_V2.zip", Answer(status=404))

    with pytest.raises(FetchError):
        cms.refresh()

    assert 2 == len(cms.registry.paths)
    assert 3 == len(cms.rows(*NPIS[:3]))
