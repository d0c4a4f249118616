"""One network from its files to published tables, over real files and real sockets."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import logging
import threading
import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mrf_assets.errors import (
    AccessRefused,
    AuditFailed,
    ConnectionLostError,
    InputError,
    ListFileError,
    MrfError,
    NotFoundAtSource,
    SettingError,
    StoreError,
    TruncatedFile,
    WhitelistKeepsNothing,
)
from mrf_assets.extract import READERS
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.ingest.results import NetworkResult, Progress
from mrf_assets.lake.publish import row_counts
from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES, PLANS, PROVIDER_SETS, PROVIDERS, RATES, REJECTS, SET_TINS, STORED_TABLES, TABLES
from mrf_assets.settings import Settings
from mrf_assets.tasks import FileTask, NetworkIdentity, Plan
from mrf_assets.urls.address import Address
from mrf_assets.whitelist import read_code_whitelist
from mrf_assets_tests.factory import Document, document, gzipped, remote_document, render, zipped
from mrf_assets_tests.mrf_server import Answer, Gate, MrfServer
from mrf_assets_tests.table_rows import Row, plain_name

SECRET = "S3cr3tV4lue"
SIGNATURE = f"?Expires=1&Signature={SECRET}&Key-Pair-Id={SECRET}"


@pytest.fixture
def server() -> Iterator[MrfServer]:
    """A server that has nothing yet."""
    with MrfServer() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An output folder that is not there yet."""
    return Settings(output_dir=tmp_path / "out", connect_timeout_seconds=60, read_timeout_seconds=60, max_retries=0)


def _task(
    url: str | Path,
    *,
    part: int = 1,
    parts: int = 1,
    period: str | None = "2026-11",
    **changes: Any,  # noqa: ANN401 - fields of FileTask
) -> FileTask:
    identity = NetworkIdentity(
        rule="explicit", rule_version=1, scope="Acme", raw_id="Acme 1", period=period, part=part, parts=parts
    )
    return FileTask(address=Address(str(url)), network_id="acme", identity=identity, **changes)


def _local(folder: Path, made: Document, name: str = "a.json") -> Path:
    path = folder / name
    path.write_bytes(render(made))
    return path


def _rows(settings: Settings, period: str = "2026-11") -> dict[str, list[Row]]:
    """What is published, by table."""
    tables = Store(settings.output_dir).tables("acme", period)
    return {
        name: [each for path in paths for each in pq.read_table(path).to_pylist()] for name, paths in tables.items()
    }


def _bytes(folder: Path) -> dict[str, bytes]:
    """Every published file, byte for byte, whatever its generation."""
    paths = sorted(folder.glob("network_id=*/*/*"))
    return {f"{path.parent.relative_to(folder)}/{plain_name(path)}": path.read_bytes() for path in paths}


def _leftovers(settings: Settings) -> list[Path]:
    return list((settings.output_dir / ".mrf" / "staging").glob("*"))


def _rates(made: Document) -> list[Decimal]:
    return [
        Decimal(str(price["negotiated_rate"]))
        for item in made["in_network"]
        for rate in item["negotiated_rates"]
        for price in rate["negotiated_prices"]
    ]


def _without_any_number(made: Document) -> Document:
    """The same file with rates that are no numbers: every price is rejected, and the audit blocks."""
    for item in made["in_network"]:
        for rate in item["negotiated_rates"]:
            for price in rate["negotiated_prices"]:
                price["negotiated_rate"] = "see contract"
    return made


# --- what is published ----------------------------------------------------------------------


def test_a_local_file_becomes_tables(tmp_path: Path, settings: Settings) -> None:
    """Rates in their order, the groups and sets that they name."""
    made = document(codes=5, groups=3)
    ingest("acme", [_task(_local(tmp_path, made))], settings).require_published()
    tables = _rows(settings)

    assert _rates(made) == [each["negotiated_rate"] for each in tables[RATES.name]]
    assert {"1", "2", "3"} == {each["provider_group_id"] for each in tables[PROVIDERS.name]}
    assert {each["provider_set_id"] for each in tables[RATES.name]} == {
        each["provider_set_id"] for each in tables[PROVIDER_SETS.name]
    }


@pytest.mark.parametrize(
    ("name", "data", "container"),
    [
        ("a.json", render(document()), "plain"),
        ("a.json.gz", gzipped(render(document()), members=3), "gzip"),
        ("a.zip", zipped({"a.json": render(document())}), "zip"),
        ("b.json.gz", zlib.compress(render(document())), "zlib"),
    ],
)
def test_a_served_file_is_published_whatever_its_container(
    server: MrfServer, settings: Settings, name: str, data: bytes, container: str
) -> None:
    """The same rows out of each, and each says what it was."""
    ingest("acme", [_task(server.put(name, data))], settings).require_published()
    tables = _rows(settings)

    assert _rates(document()) == [each["negotiated_rate"] for each in tables[RATES.name]]
    assert [container] == [each["container"] for each in tables[FILES.name]]


def test_a_file_is_fetched_once(server: MrfServer, settings: Settings) -> None:
    """All tables come out of one pass."""
    ingest("acme", [_task(server.put("a.json", render(document())))], settings)

    assert 1 == server.count("/a.json")


def test_a_file_is_described_by_what_was_read(server: MrfServer, settings: Settings) -> None:
    """Sizes and digest are those of the bytes on the wire and of the JSON in them."""
    data = render(document())
    packed = gzipped(data)
    ingest("acme", [_task(server.put("a.json.gz", packed))], settings)
    (file,) = _rows(settings)[FILES.name]

    assert {
        "size_bytes": len(packed),
        "json_size_bytes": len(data),
        "sha256": hashlib.sha256(packed).hexdigest(),
        "etag": f'"{hashlib.sha256(packed).hexdigest()[:16]}"',
        "last_modified": server.last_modified,
    }.items() <= file.items()


def test_a_file_is_described_by_its_task(server: MrfServer, settings: Settings) -> None:
    """Address, place in the network and how the network was named."""
    task = _task(server.put("x/a.json", render(document())), mirror_urls=("https://other.example/a.json",))
    ingest("acme", [task], settings)
    (file,) = _rows(settings)[FILES.name]

    assert {
        "file_id": task.file_id,
        "source_url": server.url("x/a.json"),
        "mirror_urls": ["https://other.example/a.json"],
        "filename": "a.json",
        "part": 1,
        "parts": 1,
        "network_scope": "Acme",
        "raw_network_id": "Acme 1",
        "variant": None,
        "network_id_rule": "explicit",
        "network_id_rule_version": 1,
        "reader": settings.reader,
    }.items() <= file.items()


def test_a_file_is_described_by_its_header(tmp_path: Path, settings: Settings) -> None:
    """As the payer gives it, wherever it stands in the file."""
    made = document(schema="v2", key_order="tail")
    ingest("acme", [_task(_local(tmp_path, made))], settings)
    (file,) = _rows(settings)[FILES.name]

    assert {
        "reporting_entity_name": "Cardinal National Health",
        "reporting_entity_type": "health insurance issuer",
        "last_updated_on": dt.date(2026, 11, 1),
        "version": "2.2.0",
        "plan_name": None,
    }.items() <= file.items()


def test_a_file_is_described_by_its_counts(tmp_path: Path, settings: Settings) -> None:
    """Read, kept, rejected and repaired; they add up."""
    made = document(codes=2, groups=3, rates_per_item=2, prices_per_rate=2)
    prices = made["in_network"][0]["negotiated_rates"][0]["negotiated_prices"]
    prices[0]["negotiated_rate"] = "n/a"
    prices[1]["negotiated_rate"] = "432.0"
    ingest("acme", [_task(_local(tmp_path, made))], settings)
    (file,) = _rows(settings)[FILES.name]

    assert {
        "items_read": 2,
        "items_kept": 2,
        "prices_read": 8,
        "rate_rows": 7,
        "prices_rejected": 1,
        "prices_filtered": 0,
        "provider_groups_read": 3,
    }.items() <= file.items()
    assert 1 == sum(count for _, count in file["repairs"])


def test_what_could_not_be_kept_is_published_as_rejects(tmp_path: Path, settings: Settings) -> None:
    """With the place of the object in the file."""
    made = document(codes=1, rates_per_item=1, prices_per_rate=2)
    price = made["in_network"][0]["negotiated_rates"][0]["negotiated_prices"][1]
    price["negotiated_rate"] = "n/a"
    path = _local(tmp_path, made)
    result = ingest("acme", [_task(path)], settings)
    (reject,) = _rows(settings)[REJECTS.name]

    assert ("price", path.read_bytes().index(render(price))) == (reject["dropped"], reject["byte_offset"])
    assert [{reject["reason"]: 1}] == [file.rejects for file in result.files]


def test_plans_of_the_index_are_published(tmp_path: Path, settings: Settings) -> None:
    """With the file that they use."""
    plan = Plan(plan_name="Willow", plan_id_type="ein", plan_id="12-3456789", plan_market_type="group")
    task = _task(_local(tmp_path, document()), plans=(plan,))
    ingest("acme", [task], settings)

    assert [
        {
            "file_id": task.file_id,
            "plan_name": "Willow",
            "plan_id_type": "ein",
            "plan_id": "12-3456789",
            "plan_market_type": "group",
            "issuer_name": None,
            "plan_sponsor_name": None,
        }
    ] == _rows(settings)[PLANS.name]


def test_remote_references_are_fetched(server: MrfServer, settings: Settings) -> None:
    """Groups that stand under another address become providers."""
    for number in (1, 2, 3):
        server.put(f"refs/{number}.json", render(remote_document(server.url(f"refs/{number}.json"))))
    made = document(groups=3, remote_references=server.url("refs"))
    ingest("acme", [_task(server.put("a.json", render(made)))], settings).require_published()

    assert {"1", "2", "3"} == {each["provider_group_id"] for each in _rows(settings)[PROVIDERS.name]}


def test_wanted_codes_alone_are_kept(tmp_path: Path, settings: Settings) -> None:
    """And the list is recorded."""
    (tmp_path / "codes.csv").write_text("CPT,10001\n")
    made = document(codes=4)
    given = Settings(output_dir=settings.output_dir, cpt_whitelist=tmp_path / "codes.csv")
    ingest("acme", [_task(_local(tmp_path, made))], given).require_published()
    tables = _rows(settings)
    (file,) = tables[FILES.name]

    assert {("CPT", "10001")} == {(each["billing_code_type"], each["billing_code"]) for each in tables[RATES.name]}
    assert (4, 1, read_code_whitelist(tmp_path / "codes.csv").sha256) == (
        file["items_read"],
        file["items_kept"],
        file["code_whitelist_sha256"],
    )


_KEEPING_NOTHING = pytest.mark.parametrize(
    ("name", "text"), [("cpt_whitelist", "CPT,00000\n"), ("tin_whitelist", "00-0000000\n")]
)


def _whitelisted(settings: Settings, tmp_path: Path, name: str, text: str) -> Settings:
    path = tmp_path / f"{name}.csv"
    path.write_text(text)
    return settings.changed(**{name: path})


@_KEEPING_NOTHING
@pytest.mark.parametrize("period", ["2026-11", "2026-12"])
def test_a_whitelist_replaces_no_published_prices_by_nothing(
    tmp_path: Path, settings: Settings, *, name: str, text: str, period: str
) -> None:
    """Neither those of the month nor, for a new month, those of the one before."""
    path = _local(tmp_path, document(codes=4))
    ingest("acme", [_task(path)], settings).require_published()
    before, prices = _bytes(settings.output_dir), len(_rows(settings)[RATES.name])

    with pytest.raises(
        WhitelistKeepsNothing, match=rf"acme: .* 4 items read for {period}, and {prices} prices"
    ) as error:
        ingest("acme", [_task(path, period=period)], _whitelisted(settings, tmp_path, name, text))

    assert before == _bytes(settings.output_dir)
    assert path.stat().st_size == error.value.cost["source_size_bytes"]
    assert [] == _leftovers(settings)


@_KEEPING_NOTHING
def test_a_network_is_emptied_where_that_is_wanted(tmp_path: Path, settings: Settings, *, name: str, text: str) -> None:
    """Once; from then on there is nothing to lose."""
    tasks = [_task(_local(tmp_path, document(codes=4)))]
    ingest("acme", tasks, settings).require_published()
    given = _whitelisted(settings, tmp_path, name, text)

    for each in (given.changed(allow_empty=True), given):
        ingest("acme", tasks, each).require_published()
        assert [] == _rows(settings)[RATES.name]


def test_a_network_that_is_new_may_have_no_wanted_price(tmp_path: Path, settings: Settings) -> None:
    """Nothing is replaced."""
    given = _whitelisted(settings, tmp_path, "cpt_whitelist", "CPT,00000\n")
    ingest("acme", [_task(_local(tmp_path, document(codes=4)))], given).require_published()

    assert [] == _rows(settings)[RATES.name]


def test_a_part_may_have_no_wanted_price_where_others_have(tmp_path: Path, settings: Settings) -> None:
    """The network keeps prices, those of the part that is carried over."""
    for number in (1, 2):
        path = _local(tmp_path, document(codes=4), f"{number}.json")
        ingest("acme", [_task(path, part=number, parts=2)], settings).require_published()
    given = _whitelisted(settings, tmp_path, "cpt_whitelist", "CPT,00000\n")
    ingest("acme", [_task(tmp_path / "1.json", part=1, parts=2)], given).require_published()

    with pytest.raises(WhitelistKeepsNothing):
        ingest("acme", [_task(tmp_path / "2.json", part=2, parts=2)], given)


def test_row_groups_follow_the_batch_sizes(tmp_path: Path, settings: Settings) -> None:
    """Of rates and of providers."""
    made = document(codes=3, groups=1, rates_per_item=2, prices_per_rate=4)
    made["provider_references"][0]["provider_groups"] = [
        {"npi": [1234567893, 1245319599, 1003000126], "tin": {"type": "ein", "value": "123456789"}}
    ]
    given = Settings(output_dir=settings.output_dir, rate_batch_size=10, provider_batch_size=2)
    ingest("acme", [_task(_local(tmp_path, made))], given).require_published()
    tables = Store(settings.output_dir).tables("acme", "2026-11")

    assert {"rates": [10, 10, 4], "providers": [2, 1]} == {
        name: [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        for name in ("rates", "providers")
        for metadata in [pq.read_metadata(tables[name][0])]
    }


def test_the_result_names_what_is_published(tmp_path: Path, settings: Settings) -> None:
    """Files and rows of the six tables, as they lie on the disk; what is made of them stands beside."""
    result = ingest("acme", [_task(_local(tmp_path, document()))], settings)

    on_disk = set(settings.output_dir.glob("network_id=*/*/*"))
    assert {file.path for file in result.published} == {it for it in on_disk if not it.name.startswith(SET_TINS.name)}
    assert len(STORED_TABLES) == len(on_disk)
    assert {name: len(rows) for name, rows in _rows(settings).items()} == row_counts(result.published)
    assert result.seconds > 0


def test_the_result_counts_repairs_over_all_files(tmp_path: Path, settings: Settings) -> None:
    """As Dagster plots them."""
    made = document(codes=1, rates_per_item=1, prices_per_rate=1)
    made["in_network"][0]["negotiated_rates"][0]["negotiated_prices"][0]["negotiated_rate"] = "432.0"
    tasks = [_task(_local(tmp_path, made, f"{part}.json"), part=part, parts=2) for part in (1, 2)]
    result = ingest("acme", tasks, settings)

    assert [2] == list(result.repairs.values())


@pytest.mark.parametrize("reader", ["fast", "ijson"])
def test_bytes_behind_a_packed_file_are_a_repair(tmp_path: Path, settings: Settings, reader: str) -> None:
    """The file is whole, and its row says what was odd."""
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzipped(render(document())) + b"\r\n")
    ingest("acme", [_task(str(path))], settings.changed(reader=reader)).require_published()

    assert {"trailing_bytes": 1} == dict(_rows(settings)[FILES.name][0]["repairs"])


@pytest.mark.parametrize("encoding", ["deflate", "Deflate"])
def test_content_that_a_server_deflates_is_published(server: MrfServer, settings: Settings, encoding: str) -> None:
    """Without a header of zlib, too, as some do; nobody asked for it."""
    packer = zlib.compressobj(wbits=-15)
    data = packer.compress(render(document())) + packer.flush()
    server.put("/a.json", data)
    server.always("/a.json", Answer(headers={"Content-Encoding": encoding}))
    for spool in (False, True):
        ingest("acme", [_task(server.url("/a.json"))], settings.changed(spool_downloads=spool)).require_published()

    assert ["zlib"] == [each["container"] for each in _rows(settings)[FILES.name]]


# --- periods --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "index", "updated", "expected"),
    [
        ("2026-09", "2026-10", "2020-08-27", ("2026-09", "name")),
        (None, "2026-10", "2020-08-27", ("2026-10", "index")),
        (None, None, "2020-08-27", ("2020-08", "last_updated_on")),
        (None, None, "0202-01-01", ("0202-01", "last_updated_on")),  # a slip of the pen is a folder, not a traceback
    ],
)
def test_the_period_is_taken_from_the_best_source(
    tmp_path: Path, name: str | None, index: str | None, updated: str, expected: tuple[str, str]
) -> None:
    """Name, index, header; which one is recorded. A file of September 2022 was dated 2020-08-27."""
    settings = Settings(output_dir=tmp_path / "out")
    path = _local(tmp_path, document() | {"last_updated_on": updated})
    result = ingest("acme", [_task(path, period=name, index_period=index)], settings)

    assert [expected[0]] == [file.period for file in result.files] == Store(settings.output_dir).periods("acme")
    assert [expected[1]] == [file["period_source"] for file in _rows(settings, expected[0])[FILES.name]]


@pytest.mark.parametrize("updated", [None, "soon"])
def test_without_any_date_the_month_of_the_download_is_the_period(
    tmp_path: Path, settings: Settings, updated: str | None
) -> None:
    """Month of the run, in UTC."""
    path = _local(tmp_path, document() | {"last_updated_on": updated})
    before = dt.datetime.now(tz=dt.UTC)
    (file,) = ingest("acme", [_task(path, period=None)], settings).files
    after = dt.datetime.now(tz=dt.UTC)

    assert file.period in (f"{before:%Y-%m}", f"{after:%Y-%m}")
    assert "download" == file.row["period_source"]


def test_files_of_several_periods_are_published_apart(tmp_path: Path, settings: Settings) -> None:
    """Each period with its own files and its own audit."""
    tasks = [
        _task(_local(tmp_path, document(seed=number), f"{period}.json"), period=period)
        for number, period in enumerate(["2026-10", "2026-11"])
    ]
    result = ingest("acme", tasks, settings)

    assert ["2026-10", "2026-11"] == Store(settings.output_dir).periods("acme") == sorted(result.checks)
    for task, period in zip(tasks, ["2026-10", "2026-11"], strict=True):
        assert {task.file_id} == {each["file_id"] for each in _rows(settings, period)[RATES.name]}


def test_earlier_periods_stay(tmp_path: Path, settings: Settings) -> None:
    """Month-over-month changes are a query."""
    path = _local(tmp_path, document())
    ingest("acme", [_task(path, period="2026-10")], settings)
    before = _bytes(settings.output_dir)

    ingest("acme", [_task(path, period="2026-11")], settings)

    assert before.items() <= _bytes(settings.output_dir).items()


def test_periods_beyond_the_number_to_keep_are_removed(tmp_path: Path, settings: Settings) -> None:
    """The oldest go, and the result tells which."""
    path = _local(tmp_path, document())
    given = Settings(output_dir=settings.output_dir, keep_periods=2)
    removed = [
        ingest("acme", [_task(path, period=period)], given).pruned_periods
        for period in ("2026-08", "2026-09", "2026-10", "2026-11")
    ]

    assert [[], [], ["2026-08"], ["2026-09"]] == removed
    assert ["2026-10", "2026-11"] == Store(settings.output_dir).periods("acme")


# --- parts ----------------------------------------------------------------------------------


def _three_parts(server: MrfServer, *, broken: int | None = None) -> list[FileTask]:
    tasks = []
    for part in (1, 2, 3):
        data = gzipped(render(document(seed=part)))
        url = server.put(f"{part}.json.gz", data[: len(data) // 2] if part == broken else data)
        tasks.append(_task(url, part=part, parts=3))
    return tasks


def test_parts_of_a_network_are_published_together(server: MrfServer, settings: Settings) -> None:
    """Each part in its own files, all in one directory, and no part is missed."""
    tasks = _three_parts(server)
    result = ingest("acme", tasks, settings)
    tables = Store(settings.output_dir).tables("acme", "2026-11")

    assert {name: [f"{name}-{part:05d}-of-00003.parquet" for part in (1, 2, 3)] for name in TABLES} == {
        name: [plain_name(path) for path in paths] for name, paths in tables.items()
    }
    assert sorted(task.file_id for task in tasks) == sorted({each["file_id"] for each in _rows(settings)[RATES.name]})
    assert ["all_parts"] == [
        found.check.name for found in result.checks["2026-11"] if found.check.name == "all_parts" and found.passed
    ]


def test_a_failure_in_one_part_publishes_none(server: MrfServer, settings: Settings) -> None:
    """The second of three is cut off; the first was read already."""
    with pytest.raises(TruncatedFile, match=r"2\.json\.gz"):
        ingest("acme", _three_parts(server, broken=2), settings)

    assert ({}, []) == (_bytes(settings.output_dir), _leftovers(settings))
    assert 0 == server.count("/3.json.gz")


def test_a_failure_in_one_part_keeps_the_old_set(server: MrfServer, settings: Settings) -> None:
    """Byte for byte."""
    ingest("acme", _three_parts(server), settings)
    before = _bytes(settings.output_dir)

    with pytest.raises(TruncatedFile):
        ingest("acme", _three_parts(server, broken=2), settings)

    assert before == _bytes(settings.output_dir)


# --- the audit ------------------------------------------------------------------------------


def test_a_failed_blocking_check_publishes_nothing(tmp_path: Path, settings: Settings) -> None:
    """The result tells which; asking for the publication raises."""
    result = ingest("acme", [_task(_local(tmp_path, _without_any_number(document())))], settings)

    assert (("rates.not_empty",), [], {}) == (result.failed_checks, result.published, _bytes(settings.output_dir))
    with pytest.raises(AuditFailed, match=r"acme: not published, blocking checks failed: rates\.not_empty"):
        result.require_published()
    assert [] == _leftovers(settings)


@pytest.mark.parametrize(
    ("rejects", "rates"),
    [
        (
            (("rate_not_a_number", 3), ("rate_missing", 1)),
            [{"negotiated_prices": [{"negotiated_rate": "$1,234.50"}] * 3 + [{}]}],
        ),
        ((("not_an_object", 2),), [5, 6]),
    ],
    ids=["prices", "rates"],
)
def test_where_every_price_is_rejected_the_error_names_the_reasons(
    rejects: tuple[tuple[str, int], ...], rates: list[object], tmp_path: Path, settings: Settings
) -> None:
    """With counts, the most frequent first; other rejects do not matter there."""
    made = document(codes=1) | {"last_updated_on": "never"}
    made["in_network"][0]["negotiated_rates"] = rates
    result = ingest("acme", [_task(_local(tmp_path, made))], settings)

    with pytest.raises(AuditFailed) as caught:
        result.require_published()
    assert rejects == caught.value.price_rejects


def test_a_failed_blocking_check_keeps_the_old_set(tmp_path: Path, settings: Settings) -> None:
    """Byte for byte, and no period is pruned."""
    given = Settings(output_dir=settings.output_dir, keep_periods=1)
    ingest("acme", [_task(_local(tmp_path, document()), period="2026-10")], given)
    before = _bytes(settings.output_dir)

    bad = _local(tmp_path, _without_any_number(document()))
    result = ingest("acme", [_task(bad, period="2026-10"), _task(bad, period="2026-11")], given)

    assert [] == result.pruned_periods
    assert before == _bytes(settings.output_dir)


def test_one_bad_period_holds_back_the_others(tmp_path: Path, settings: Settings) -> None:
    """A network is published as a whole."""
    tasks = [
        _task(_local(tmp_path, document(), "good.json"), period="2026-10"),
        _task(_local(tmp_path, _without_any_number(document()), "bad.json"), period="2026-11"),
    ]
    ingest("acme", tasks, settings)

    assert {} == _bytes(settings.output_dir)


def test_a_failed_warning_does_not_hold_back(tmp_path: Path, settings: Settings) -> None:
    """Zero dollars are the payer's, and are told."""
    made = document()
    made["in_network"][0]["negotiated_rates"][0]["negotiated_prices"][0]["negotiated_rate"] = 0
    result = ingest("acme", [_task(_local(tmp_path, made))], settings)

    result.require_published()
    assert {"dollars_are_positive": 1} == {
        found.check.name: found.offending_rows for found in result.checks["2026-11"] if not found.passed
    }


def test_a_clean_file_passes_every_check(tmp_path: Path, settings: Settings) -> None:
    """Neither error nor warning."""
    result = ingest("acme", [_task(_local(tmp_path, document(schema="v2")))], settings)

    assert [] == [found.check.name for found in result.checks["2026-11"] if not found.passed]


# --- again ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tins", ["", "all"])
def test_the_same_input_gives_the_same_bytes(server: MrfServer, settings: Settings, tins: str) -> None:
    """With and without a filter: no time, no order of threads gets into the files."""
    tasks = _three_parts(server)
    given = settings
    if tins:
        path = settings.output_dir.with_name("tins.csv")
        ingest("acme", tasks, settings)
        eins = {each["tin_value"] for each in _rows(settings)[PROVIDERS.name]}
        path.write_text("\n".join(sorted(eins)))
        given = Settings(output_dir=settings.output_dir, tin_whitelist=path)
    ingest("acme", tasks, given)
    before = _bytes(settings.output_dir)

    ingest("acme", tasks, given)

    assert len(STORED_TABLES) * 3 == len(before)
    assert before == _bytes(settings.output_dir)


def test_a_new_version_replaces_the_period(server: MrfServer, settings: Settings) -> None:
    """Nothing of the old rows stays."""
    task = _task(server.put("a.json", render(document(codes=5))))
    ingest("acme", [task], settings)
    server.put("a.json", render(document(seed=2, codes=2)))

    ingest("acme", [task], settings)

    assert _rates(document(seed=2, codes=2)) == [each["negotiated_rate"] for each in _rows(settings)[RATES.name]]


# --- progress -------------------------------------------------------------------------------


def test_progress_is_told_while_a_file_is_read(server: MrfServer, settings: Settings) -> None:
    """Block by block where asked so; bytes only grow."""
    data = render(document(codes=1_000))
    packed = gzip.compress(data, mtime=0)
    told: list[Progress] = []
    ingest("acme", [_task(server.put("a.json.gz", packed))], settings, told.append, progress_every_seconds=0)

    assert len(told) > 1
    assert {("acme", "a.json.gz", len(packed))} == {(each.network_id, each.filename, each.size_bytes) for each in told}
    assert sorted(each.json_bytes for each in told) == [each.json_bytes for each in told]
    assert (len(packed), len(data)) == (told[-1].read_bytes, told[-1].json_bytes)
    assert sorted(each.rate_rows for each in told) == [each.rate_rows for each in told]


def test_a_file_that_is_read_at_once_tells_no_progress(tmp_path: Path, settings: Settings) -> None:
    """It is done before anybody could look."""
    told: list[Progress] = []
    ingest("acme", [_task(_local(tmp_path, document()))], settings, told.append)

    assert [] == told


# --- settings that files bring along -------------------------------------------------------------


def test_what_a_file_brings_along_wins_over_the_settings(tmp_path: Path, settings: Settings) -> None:
    """Whitelists, the reader and sizes, as texts by the names of the settings."""
    made = document(codes=3)
    (tmp_path / "codes.csv").write_text("CPT,10000\n")
    arguments = {"cpt_whitelist": str(tmp_path / "codes.csv"), "reader": "ijson", "rate_batch_size": "1"}
    task = _task(_local(tmp_path, made), extra_args=arguments)
    ingest("acme", [task], settings).require_published()

    (row,) = _rows(settings)[FILES.name]
    assert ("ijson", True) == (row["reader"], row["code_whitelist_sha256"] is not None)
    assert {"10000"} == {each["billing_code"] for each in _rows(settings)[RATES.name]}
    (rates,) = Store(settings.output_dir).tables("acme", "2026-11")[RATES.name]
    assert pq.ParquetFile(rates).metadata.num_row_groups == pq.ParquetFile(rates).metadata.num_rows


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (
            [{"cpt_whitlist": "x"}],
            "extra_args.cpt_whitlist: is not known; a file may have cpt_whitelist, tin_whitelist",
        ),
        ([{"reader": "foo"}], "extra_args.reader: is 'foo'"),
        ([{"reader": "fast"}, {"reader": "ijson"}], "extra_args.reader: is 'fast' and 'ijson' in files of acme"),
    ],
)
def test_what_a_file_may_not_bring_along_is_told_before_anything_is_fetched(
    server: MrfServer, settings: Settings, arguments: list[dict[str, str]], what: str
) -> None:
    """It is not silently ignored."""
    tasks = [
        _task(server.url(f"{part}.json"), part=part, parts=len(arguments), extra_args=given)
        for part, given in enumerate(arguments, start=1)
    ]
    with pytest.raises(SettingError) as caught:
        ingest("acme", tasks, settings)

    assert str(caught.value).startswith(what)
    assert [] == server.requests


# --- addresses that were escaped on their way into an index -----------------------------------

_ESCAPED = pytest.mark.parametrize("ampersand", ["&amp;", "&amp;amp;", "&#38;", "&#x26;"])


@_ESCAPED
def test_an_address_that_is_refused_as_written_is_used_without_its_escapes(
    server: MrfServer, settings: Settings, ampersand: str
) -> None:
    """A server knows no parameter `amp;sig`, and the payer is not to blame; the repair is counted."""
    url = server.put("a.json", render(document()))
    server.sign("/a.json", f"&sig={SECRET}")
    task = _task(f"{url}?sv=1{ampersand}se=2{ampersand}sig={SECRET}")
    ingest("acme", [task], settings).require_published()

    (row,) = _rows(settings)[FILES.name]
    assert [("address_unescaped", 1)] == [it for it in row["repairs"] if it[0] == "address_unescaped"]
    assert url == row["source_url"]
    assert ingest("acme", [task], settings.changed(skip_unchanged=True)).unchanged_since
    assert SECRET not in _published_text(settings.output_dir)


def test_an_address_with_escapes_that_is_taken_as_written_is_no_repair(server: MrfServer, settings: Settings) -> None:
    """Some servers do know such a name."""
    url = server.put("a.json", render(document()))
    ingest("acme", [_task(f"{url}?a=1&amp;b=2")], settings).require_published()

    (row,) = _rows(settings)[FILES.name]
    assert "address_unescaped" not in dict(row["repairs"])
    assert ["a=1&amp;b=2"] == [it.query for it in server.requests_of("/a.json")]


def test_an_address_that_is_refused_without_its_escapes_too_is_refused(server: MrfServer, settings: Settings) -> None:
    """As any other is, without its secrets."""
    url = server.put("a.json", render(document()))
    server.sign("/a.json", "sig=new")
    with pytest.raises(AccessRefused) as caught:
        ingest("acme", [_task(f"{url}?sv=1&amp;sig={SECRET}")], settings)

    assert SECRET not in f"{caught.value!r}"


@_ESCAPED
@pytest.mark.parametrize("reader", sorted(READERS))
def test_the_address_of_a_remote_reference_is_used_without_its_escapes_too(
    server: MrfServer, settings: Settings, reader: str, ampersand: str
) -> None:
    """And counted where it comes first."""
    made = document(groups=3, remote_references=server.url("refs"))
    for reference in made["provider_references"]:
        path = f"/refs/{reference['provider_group_id']}.json"
        server.put(path, render(remote_document(path)))
        server.sign(path, "&sig=x")
        reference["location"] += f"?sv=1{ampersand}sig=x"
    task = _task(server.put("a.json", render(made)))
    ingest("acme", [task], settings.changed(reader=reader)).require_published()

    (row,) = _rows(settings)[FILES.name]
    assert 3 == dict(row["repairs"])["address_unescaped"]


# --- secrets --------------------------------------------------------------------------------


def _published_text(folder: Path) -> str:
    """Every value of every published table, and the bytes of the files."""
    values = [f"{each}" for path in sorted(folder.glob("network_id=*/*/*")) for each in pq.read_table(path).to_pylist()]
    return "\n".join([*values, *(data.decode("latin-1") for data in _bytes(folder).values())])


def test_the_signature_of_a_file_is_not_published(server: MrfServer, settings: Settings) -> None:
    """The file is fetched with it and told without it."""
    server.put("a.json", render(document()))
    ingest("acme", [_task(server.url("a.json") + SIGNATURE)], settings).require_published()

    (request,) = server.requests_of("/a.json")
    assert SECRET in request.query
    assert SECRET not in _published_text(settings.output_dir)


@pytest.mark.parametrize("found", [True, False])
def test_the_signature_of_a_remote_reference_is_not_published(
    server: MrfServer, settings: Settings, found: bool
) -> None:
    """Neither where it is fetched nor where that fails and the address becomes a reject."""
    made = document(groups=3, remote_references=server.url("refs"))
    for nth, reference in enumerate(made["provider_references"]):
        reference["location"] += SIGNATURE
        if found or nth:
            server.put(f"refs/{reference['provider_group_id']}.json", render(remote_document("x")))
    ingest("acme", [_task(server.put("a.json", render(made)))], settings).require_published()

    assert found != bool(_rows(settings)[REJECTS.name])
    assert SECRET not in _published_text(settings.output_dir)


@pytest.mark.parametrize(
    "reference",
    [
        {"provider_group_id": 4, "location": [f"https://mrf.example/1.json{SIGNATURE}"]},
        {"provider_group_id": 4, "location": {"url": f"https://mrf.example/1.json{SIGNATURE}"}},
        f"https://mrf.example/1.json{SIGNATURE}",
    ],
    ids=["list", "object", "no object"],
)
def test_the_signature_of_a_reference_of_an_odd_kind_is_not_published(
    server: MrfServer, settings: Settings, reference: object
) -> None:
    """What is no address as the schema knows it becomes a reject, with an excerpt."""
    made = document(groups=3)
    made["provider_references"].append(reference)
    ingest("acme", [_task(server.put("a.json", render(made)))], settings).require_published()

    assert SECRET not in _published_text(settings.output_dir)


@pytest.mark.parametrize("answer", [Answer(status=404), Answer(status=403), Answer(truncate_at=100)])
def test_the_signature_is_not_in_an_error(server: MrfServer, settings: Settings, answer: Answer) -> None:
    """Errors are logged, stored and shown."""
    server.put("a.json", render(document()))
    server.always("a.json", answer)
    with pytest.raises(MrfError) as caught:
        ingest("acme", [_task(server.url("a.json") + SIGNATURE)], settings)

    assert SECRET not in f"{caught.value} {caught.value!r}"


def test_a_failure_tells_what_was_fetched_in_vain(server: MrfServer, settings: Settings) -> None:
    """A download that fails costs what it cost, and so do the parts before it."""
    whole = gzipped(render(document(seed=1, codes=40)))
    server.put("a.json.gz", whole)
    server.put("b.json.gz", whole[:-100])
    server.script("b.json.gz", Answer(status=429, headers={"Retry-After": "0"}))
    parts = [_task(server.url(name), part=part, parts=2) for part, name in ((1, "a.json.gz"), (2, "b.json.gz"))]

    with pytest.raises(TruncatedFile) as told:
        ingest("acme", parts, settings.changed(max_retries=2))

    assert told.value.cost == {
        "source_size_bytes": 2 * len(whole) - 100, "requests": 3, "retries": 1, "rate_limited": 1
    }  # fmt: skip


# --- what cannot be done --------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["fast", "ijson"])
@pytest.mark.parametrize("left", [0.01, 0.5, 0.99])
def test_an_archive_that_ends_early_is_told_as_one(
    tmp_path: Path, settings: Settings, reader: str, left: float
) -> None:
    """However little of it arrived: the JSON in it is not what stops."""
    whole = gzipped(render(document(seed=1, codes=40)))
    path = tmp_path / "a.json.gz"
    path.write_bytes(whole[: int(len(whole) * left)])

    with pytest.raises(TruncatedFile, match=f"the gzip stream stops at byte {path.stat().st_size};"):
        ingest("acme", [_task(path)], settings.changed(reader=reader))


def test_a_whitelist_that_is_missing_is_told_before_anything_is_fetched(server: MrfServer, settings: Settings) -> None:
    """The user's input is wrong, not the payer's."""
    given = Settings(output_dir=settings.output_dir, cpt_whitelist=Path("none.csv"))
    with pytest.raises(ListFileError, match=r"none\.csv"):
        ingest("acme", [_task(server.url("a.json"))], given)

    assert issubclass(ListFileError, InputError)
    assert not server.requests


def test_an_output_folder_that_cannot_be_written_is_told(server: MrfServer, tmp_path: Path) -> None:
    """Before anything is fetched."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        ingest("acme", [_task(server.url("a.json"))], Settings(output_dir=tmp_path / "file"))

    assert not server.requests


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Answer(status=404), NotFoundAtSource), (Answer(truncate_at=500), ConnectionLostError)],
)
def test_a_failed_download_publishes_nothing(
    server: MrfServer, settings: Settings, answer: Answer, error: type[MrfError]
) -> None:
    """The error of the download comes through as it is; no stage stays."""
    server.put("a.json", render(document()))
    server.always("a.json", answer)
    with pytest.raises(error):
        ingest("acme", [_task(server.url("a.json"))], settings)

    assert ({}, []) == (_bytes(settings.output_dir), _leftovers(settings))


def test_a_callback_that_fails_is_a_bug_and_stays_one(server: MrfServer, settings: Settings) -> None:
    """Its traceback is kept, and no stage stays."""

    def broken(_progress: Progress) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        ingest("acme", [_task(server.put("a.json", render(document())))], settings, broken, progress_every_seconds=0)

    assert ({}, []) == (_bytes(settings.output_dir), _leftovers(settings))


def test_paths_of_published_files_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative output folder is that of the start, wherever the process goes later."""
    monkeypatch.chdir(tmp_path)
    result: NetworkResult = ingest("acme", [_task(_local(tmp_path, document()))], Settings(output_dir=Path("out")))

    assert {tmp_path / "out" / "network_id=acme" / "period=2026-11"} == {file.path.parent for file in result.published}


class _Running(logging.Handler):
    """An ingest in a thread of its own, and whether it waits for another one."""

    def __init__(self, settings: Settings, *tasks: FileTask) -> None:
        super().__init__()
        self.waits_or_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(settings, tasks))
        self._thread.start()

    def _run(self, settings: Settings, tasks: Sequence[FileTask]) -> None:
        logging.getLogger("mrf_assets").addHandler(self)
        try:
            ingest("acme", tasks, settings).require_published()
        finally:
            logging.getLogger("mrf_assets").removeHandler(self)
            self.waits_or_ended.set()

    def emit(self, record: logging.LogRecord) -> None:
        """Hear that this thread waits."""
        if record.thread == self._thread.ident and "waiting for" in record.getMessage():
            self.waits_or_ended.set()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_parts_that_are_ingested_at_the_same_time_are_all_published(
    server: MrfServer, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """They are read side by side; who comes second takes in what the first has published meanwhile."""
    caplog.set_level(logging.INFO, "mrf_assets")
    tasks = [_task(server.put(f"{part}.json", render(document(seed=part))), part=part, parts=2) for part in (1, 2)]
    gates = [server.hold(f"/{part}.json", 100) for part in (1, 2)]
    runs = [_Running(settings, task) for task in tasks]
    assert all(gate.reached.wait(60) for gate in gates)
    store = Store(settings.output_dir)
    with store.publication("acme"):
        for gate, run in zip(gates, runs, strict=True):
            gate.release()
            assert run.waits_or_ended.wait(60)
        assert {} == _bytes(settings.output_dir)
    for run in runs:
        run.join()

    assert {task.file_id for task in tasks} == {each["file_id"] for each in _rows(settings)[FILES.name]}


@pytest.mark.parametrize("parts", [1, 2])
def test_a_slow_run_does_not_publish_over_one_that_began_later(
    server: MrfServer, settings: Settings, caplog: pytest.LogCaptureFixture, parts: int
) -> None:
    """The later one waits for it and reads what the payer has then; also where the slow one reads a part alone."""
    caplog.set_level(logging.INFO, "mrf_assets")
    tasks = [
        _task(server.put(f"{part}.json", render(document(seed=part))), part=part, parts=parts)
        for part in range(1, parts + 1)
    ]
    gate = Gate()
    server.script("/1.json", Answer(body=render(document(seed=9)), gate=gate, hold_at=100))
    slow = _Running(settings, tasks[0])
    assert gate.reached.wait(60)
    later = _Running(settings, *tasks)
    assert later.waits_or_ended.wait(60)
    gate.release()
    slow.join()
    later.join()

    expected = [rate for part in range(1, parts + 1) for rate in _rates(document(seed=part))]
    assert expected == [each["negotiated_rate"] for each in _rows(settings)[RATES.name]]
    assert any(record.getMessage().startswith("waiting for another ingest of acme") for record in caplog.records)


def test_a_part_that_is_ingested_alone_leaves_the_others_published(server: MrfServer, settings: Settings) -> None:
    """Part 2 of 2, ingested after part 1, stands beside it; part 1 again replaces itself alone."""
    urls = [
        server.put(f"2026-11_302_42A0_in-network-rates_{part}_of_2.json", render(document(seed=part)))
        for part in (1, 2)
    ]
    tasks = [_task(url, part=part, parts=2) for part, url in enumerate(urls, 1)]

    for task in (*tasks, tasks[0]):
        ingest("acme", [task], settings).require_published()

    assert [tasks[0].file_id, tasks[1].file_id] == [row["file_id"] for row in _rows(settings)[FILES.name]]


def test_parts_of_another_count_are_replaced(server: MrfServer, settings: Settings) -> None:
    """A network cut into two parts replaces the same network in one."""
    whole = _task(server.put("whole.json", render(document(seed=1))))
    ingest("acme", [whole], settings).require_published()
    halves = [_task(server.put(f"{n}.json", render(document(seed=n))), part=n, parts=2) for n in (1, 2)]

    ingest("acme", halves, settings).require_published()

    assert {half.file_id for half in halves} == {row["file_id"] for row in _rows(settings)[FILES.name]}


def test_what_was_just_published_is_not_pruned(server: MrfServer, settings: Settings) -> None:
    """An old month that is ingested late stays, whatever the number of periods kept."""
    keeping = settings.changed(keep_periods=1)
    url = server.put("a.json", render(document(seed=1)))
    for period in ("2026-11", "2026-10"):
        ingest("acme", [_task(url, period=period)], keeping).require_published()

    assert ["2026-10", "2026-11"] == Store(settings.output_dir).periods("acme")


def test_parts_side_by_side_give_the_same_files(server: MrfServer, settings: Settings, tmp_path: Path) -> None:
    """Byte for byte, and each part's progress and lines are told here."""
    parts = [
        _task(server.put(f"{n}_of_3.json", render(document(seed=n))), part=n, parts=3, position=n) for n in (1, 2, 3)
    ]
    published = []
    for processes in (1, 3):
        one = settings.changed(output_dir=tmp_path / str(processes), part_processes=processes)
        result = ingest("acme", parts, one)
        assert [1, 2, 3] == [file.task.identity.part for file in result.files]
        published.append({plain_name(file.path): file.path.read_bytes() for file in result.published})

    assert published[0] == published[1]


def test_a_part_that_fails_beside_others_publishes_nothing(server: MrfServer, settings: Settings) -> None:
    """Whichever of them ends first."""
    sound = _task(server.put("1.json", render(document(seed=1))), part=1, parts=2)
    missing = _task(server.url("2.json"), part=2, parts=2)

    with pytest.raises(NotFoundAtSource):
        ingest("acme", [sound, missing], settings.changed(part_processes=2))
    assert [] == Store(settings.output_dir).networks()


@pytest.mark.parametrize("read_ahead", [True, False])
def test_reading_ahead_changes_nothing(server: MrfServer, settings: Settings, *, read_ahead: bool) -> None:
    """Neither rows nor sizes nor digests."""
    url = server.put("a.json.gz", gzipped(render(document(seed=1)), members=3))
    result = ingest("acme", [_task(url)], settings.changed(read_ahead=read_ahead))

    row = result.files[0].row
    assert hashlib.sha256(gzipped(render(document(seed=1)), members=3)).hexdigest() == row["sha256"]
    assert len(render(document(seed=1))) == row["json_size_bytes"]
