"""The bulk files: found on their page, downloaded, turned into parquet, joined with our NPIs."""

from __future__ import annotations

import datetime as dt
import fcntl
import io
import json
import logging
import os
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _pytest.mark import ParameterSet
from hypothesis import given, strategies as st

from mrf_assets.errors import (
    CorruptArchive,
    FetchError,
    NotFoundAtSource,
    StoreError,
    StreamError,
    UnsupportedContent,
)
from mrf_assets.fetch import open_url, probe
from mrf_assets.providers.nppes.answers import read_answer
from mrf_assets.providers.nppes.bulk import BulkRegistry, Written, write_parquet
from mrf_assets.providers.nppes.bulk_archive import columns_of, npi_lines
from mrf_assets.providers.nppes.bulk_listing import read_listing
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
from mrf_assets_tests.nppes_odd_zips import broken_zips, csv_of, damaged_zips, readable_zips, zip_of

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
        return self.registry.refresh(self.server.url(PAGE), open_url, probe)

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
    cms.publish(NPPES_Data_Dissemination_December_2026_V2=bulk_zip(map(bulk_row, NPIS[30:]), last="20261213"))

    cms.refresh()

    assert ["NPPES_Data_Dissemination_December_2026_V2.parquet"] == [path.name for path in cms.registry.paths]
    assert sorted(map(int, NPIS[30:])) == [row["npi"] for row in cms.rows(*NPIS)]


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


def cases(zips: Iterable[tuple[str, bytes]]) -> list[ParameterSet]:
    """A test for each, under its name."""
    return [pytest.param(archive, id=what) for what, archive in zips]


def write(tmp_path: Path, archive: bytes) -> tuple[Written, list[dict[str, Any]]]:
    """What comes of a zip, and its rows."""
    (tmp_path / "a.zip").write_bytes(archive)
    written = write_parquet(tmp_path / "a.zip", tmp_path / "a.parquet", "a.zip", NOW)
    return written, pq.read_table(tmp_path / "a.parquet").to_pylist()


@pytest.mark.parametrize("archive", cases(readable_zips(NPIS[:20])))
def test_an_odd_file_is_read_whole(tmp_path: Path, archive: bytes) -> None:
    """Each NPI of it, in order; what was repaired is counted."""
    written, rows = write(tmp_path, archive)

    assert [int(npi) for npi in NPIS[:20]] == [row["npi"] for row in rows]
    assert 20 == written.rows


@pytest.mark.parametrize("archive", cases(broken_zips(NPIS[:20])))
def test_a_broken_file_is_one_clear_error(tmp_path: Path, archive: bytes) -> None:
    """Of one line, with the file and what to do; whatever zipfile, Arrow and DuckDB make of it."""
    with pytest.raises(StreamError) as caught:
        write(tmp_path, archive)

    told = str(caught.value)
    assert told.startswith("a.zip: ")
    assert "\n" not in told
    assert any(advice in told for advice in ("download it again", "report it", "check MRF_NPI_FILES_URL", "tell CMS"))


@pytest.mark.parametrize("archive", cases(damaged_zips(NPIS[:20], 60)))
def test_a_damaged_file_is_rows_or_one_clear_error(tmp_path: Path, archive: bytes) -> None:
    """Bytes changed at random, in the archive or in its text."""
    try:
        written, rows = write(tmp_path, archive)
    except StreamError as error:
        assert str(error).startswith("a.zip: ")  # noqa: PT017 - an outcome among others
    else:
        assert written.rows == len(rows)
        assert 20 == written.rows + written.repairs["bulk_line_without_npi"]


def test_bytes_that_are_not_utf8_are_read_as_windows_1252(tmp_path: Path) -> None:
    """One of them must not cost ten million rows; counted by the byte."""
    sound = csv_of(NPIS[:2], **{"Provider First Name": "Ren@ \u00fc", "Provider Middle Name": "#"})

    written, (row, _) = write(tmp_path, zip_of(sound.replace(b"@", b"\xe9").replace(b"#", b"O\x92N")))

    assert ("Ren\u00e9 \u00fc", "O\u2019N") == (row["first_name"], row["middle_name"])
    assert {"bulk_byte_not_unicode": 2} == dict(written.repairs)


@pytest.mark.parametrize("size_bytes", [1, 2, 3, 7, 1_000])
def test_pieces_of_any_size_give_the_same_text(tmp_path: Path, size_bytes: int) -> None:
    """A letter of several bytes may be cut between two reads; a read gives no more than was asked for."""
    text = "na\u00efve \U0001f60a\n".encode() * 50
    (tmp_path / "a.zip").write_bytes(zip_of(text + b"\xe9"))

    with npi_lines(tmp_path / "a.zip", "a.zip") as lines:
        pieces = list(iter(lambda: lines.read(size_bytes), b""))

    assert text + "\u00e9".encode() == b"".join(pieces)
    assert size_bytes >= max(map(len, pieces))


def test_a_header_of_a_gigabyte_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A megabyte of it is looked at."""
    (tmp_path / "a.zip").write_bytes(zip_of(b"a" * (64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedContent, match="longer than 1,048,576 bytes"):
            columns_of(tmp_path / "a.zip", "a.zip")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 8 << 20


@pytest.mark.parametrize(
    ("text", "date", "repairs"),
    [
        ("11/10/2026", dt.date(2026, 11, 10), {}),
        ("1/2/2026", dt.date(2026, 1, 2), {}),
        ("2026-11-10", dt.date(2026, 11, 10), {"bulk_date_form": 2}),
        ("11/31/2026", None, {"bulk_date_unreadable": 2}),
        ("yesterday", None, {"bulk_date_unreadable": 2}),
    ],
)
def test_dates_are_read_in_both_forms_and_counted(
    tmp_path: Path, text: str, date: dt.date | None, repairs: dict[str, int]
) -> None:
    """An NPI is withdrawn whether or not the day can be read."""
    written, (row, _) = write(
        tmp_path, zip_of(csv_of(NPIS[:2], **{"NPI Deactivation Date": text, "Last Update Date": text}))
    )

    assert (date, date, "deactivated") == (row["deactivation_date"], row["last_updated"], row["status"])
    assert repairs == dict(written.repairs)


@pytest.mark.parametrize("text", ["{}.5", "{}.0", "{}e0", "-{}", "1{}", "", "x"])
def test_what_is_no_npi_is_refused_and_counted(tmp_path: Path, text: str) -> None:
    """1234567893.5 would be rounded to another provider's NPI."""
    written, rows = write(tmp_path, zip_of(csv_of(NPIS[:3], NPI=text.format(NPIS[0]))))

    assert [int(npi) for npi in NPIS[1:3]] == [row["npi"] for row in rows]
    assert {"bulk_line_without_npi": 1} == dict(written.repairs)


def test_a_replacement_that_is_no_npi_is_null_and_counted(tmp_path: Path) -> None:
    """The line stays."""
    written, (row, _) = write(tmp_path, zip_of(csv_of(NPIS[:2], **{"Replacement NPI": "1234567893.5"})))

    assert (int(NPIS[0]), None) == (row["npi"], row["replacement_npi"])
    assert {"bulk_replacement_npi_unreadable": 1} == dict(written.repairs)


def test_repairs_are_counted_over_all_files(cms: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """Of what this refresh downloaded, and in the log, by file."""
    odd = {"Last Update Date": "2026-11-10"}
    cms.publish(
        **{
            Path(MONTH).stem: bulk_zip([bulk_row(NPIS[0], **odd), bulk_row(NPIS[1], **odd)]),
            Path(WEEK).stem: bulk_zip([bulk_row(NPIS[2], **odd)]),
        }
    )
    cms.refresh()

    assert {"bulk_date_form": 3} == dict(cms.registry.repairs)
    assert f"{MONTH}: bulk_date_form: 2" in caplog.text
    cms.refresh()
    assert {"bulk_date_form": 3} == dict(cms.registry.repairs)


@pytest.mark.parametrize(
    "link",
    [
        *("file:///etc/{}", "s3://bucket/{}", "ftp://host/{}", "data:,{}", "http://[::1/{}"),
        *("http://127.0.0.1/{}", "http://2130706433/{}", "https://metadata.google.internal/{}"),
    ],
)
def test_a_page_of_the_web_names_http_alone(link: str) -> None:
    """Our disk, our buckets and our network are not for it to choose; what is no address costs the others nothing."""
    page = f"<a href='{link.format(MONTH)}'>x</a>".encode()

    with pytest.raises(NotFoundAtSource, match=r"over http\(s\)"):
        read_listing(page, "https://x.example/")
    older = "NPPES_Data_Dissemination_May_2026_V2.zip"
    assert older == read_listing(page + listing(older), "https://x.example/").monthly.name


def test_a_page_of_our_own_disk_may_name_its_neighbours(tmp_path: Path) -> None:
    """A mirror that somebody brought home."""
    (tmp_path / MONTH).write_bytes(bulk_zip([bulk_row(NPIS[0])]))
    (tmp_path / "page.html").write_bytes(listing(MONTH))

    assert [MONTH] == BulkRegistry(tmp_path / "nppes").refresh((tmp_path / "page.html").as_uri(), open_url)


@pytest.mark.parametrize(
    "odd",
    [
        b"<a href='NPPES_Data_Dissemination_May_0000.zip'>x</a>",
        b"<a href='NPPES_Data_Dissemination_May_2027_V" + b"9" * 5_000 + b".zip'>x</a>",
        b"<a href='NPPES_Data_Dissemination_131326_993326_Weekly.zip'>x</a>",
        "<a href='NPPES_Data_Dissemination_May_\u0662\u0660\u0662\u0667.zip'>x</a>".encode(),
        b"<!DOCTYPE html [<!ELEMENT br EMPTY>]>",
    ],
)
def test_an_odd_entry_of_the_page_is_passed_by(odd: bytes) -> None:
    """The sound one counts, whichever stands first."""
    assert MONTH == read_listing(odd + listing(MONTH), "https://x.example/").monthly.name


def test_an_odd_declaration_ends_the_page(cms: Publisher) -> None:
    """Python's parser asserts; what it had read by then counts."""
    assert MONTH == read_listing(listing(MONTH) + b"<![x y]>", "https://x.example/").monthly.name
    assert MONTH in cms.refresh()


@pytest.mark.parametrize("name", [MONTH.lower(), MONTH.upper()])
def test_a_file_is_found_again_whatever_the_case_of_its_name(cms: Publisher, name: str) -> None:
    """What was downloaded is what is read."""
    cms.server.put(f"/nppes/{name}", bulk_zip([bulk_row(NPIS[0])]))
    cms.server.put(PAGE, listing(name))
    cms.refresh()

    assert [int(NPIS[0])] == [row["npi"] for row in cms.rows(NPIS[0])]


def test_a_month_without_npis_is_not_kept(cms: Publisher) -> None:
    """And the mended one is downloaded, though it has the same name."""
    cms.publish(**{Path(MONTH).stem: bulk_zip([])})
    with pytest.raises(CorruptArchive, match="has 0 NPIs"):
        cms.refresh()
    assert [] == list(cms.registry.folder.iterdir())

    cms.publish(**{Path(MONTH).stem: bulk_zip([bulk_row(NPIS[0])])})
    assert [MONTH] == cms.refresh()


def test_a_week_without_changes_is_kept(cms: Publisher) -> None:
    """Nothing was cut short."""
    cms.publish(
        **{
            Path(MONTH).stem: bulk_zip([bulk_row(NPIS[0])]),
            Path(WEEK).stem: bulk_zip([], "20261109", "20261115"),
        }
    )

    assert [MONTH, WEEK] == cms.refresh()
    assert [] == cms.refresh()


def test_half_a_month_is_not_kept(cms: Publisher) -> None:
    """What is here stays until CMS has mended the file."""
    cms.refresh()
    december = "NPPES_Data_Dissemination_December_2026_V2"
    cms.publish(**{december: bulk_zip(map(bulk_row, NPIS[:19]), last="20261213")})

    with pytest.raises(CorruptArchive, match=r"has 19 NPIs, and the month before 40; it was cut short"):
        cms.refresh()
    assert 3 == len(cms.rows(*NPIS[:3]))

    cms.publish(**{december: bulk_zip(map(bulk_row, NPIS[:41]), last="20261213")})
    assert [f"{december}.zip"] == cms.refresh()


def test_a_file_that_cms_mended_under_its_name_is_downloaded_again(cms: Publisher) -> None:
    """A HEAD tells; where nothing has changed, or the server is down, what is here counts."""
    cms.refresh()
    cms.server.put(f"/nppes/{MONTH}", bulk_zip(map(bulk_row, NPIS[:45])))

    assert [MONTH] == cms.refresh()
    assert [] == cms.refresh()
    assert 1 == len(cms.rows(NPIS[44]))
    cms.server.remove(f"/nppes/{WEEK}")
    assert [] == cms.refresh()


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

    assert 1 == len(cms.refresh())
    assert 1 == len(cms.rows(NPIS[0]))


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
    cms.publish(NPPES_Data_Dissemination_December_2026_V2=bulk_zip(map(bulk_row, NPIS[30:]), last="20261213"))
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
