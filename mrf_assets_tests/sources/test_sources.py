"""Sources: indexes, CSVs, URL lists and single URLs become tasks, and nothing odd in them stops the rest."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any, TypeVar

import pytest
from hypothesis import given, strategies as st

from mrf_assets.errors import (
    EmptyFile,
    InputError,
    MalformedJson,
    MrfError,
    SettingError,
    SourceProblems,
    TruncatedFile,
)
from mrf_assets.fetch import open_url
from mrf_assets.settings import NETWORK_ARGUMENTS
from mrf_assets.sources import (
    SourceCounts,
    SourceFile,
    SourceOptions,
    read_csv,
    read_files,
    read_index,
    read_source,
    read_url,
    read_urls,
)
from mrf_assets.sources.locations import Unusable, usable_location
from mrf_assets.stream.raw_file import Opener, RawFile, TransferCounts
from mrf_assets.tasks import FileTask, Plan
from mrf_assets.urls.address import Address
from mrf_assets_tests.conftest import FakeFile, FakeOpener

INDEX = "https://h.example/toc/2026-08-01_acme_index.json"
FILES = "https://h.example/files"
Json = dict[str, Any]
E_ = TypeVar("E_", bound=MrfError)


def plan(number: int = 1, **changes: str | None) -> Json:
    """A reporting plan as an index gives it."""
    return {
        "plan_name": f"Plan {number}",
        "plan_id_type": "ein",
        "plan_id": f"{number:09}",
        "plan_market_type": "group",
        **changes,
    }


def file(name: str = "ppo", **changes: object) -> Json:
    """A file entry as an index gives it."""
    return {"description": f"the {name} network", "location": f"{FILES}/{name}.json.gz", **changes}


def structure(*files: object, plans: list[object] | None = None, **more: object) -> Json:
    """A reporting structure of files and plans."""
    return {"reporting_plans": [plan()] if plans is None else plans, "in_network_files": list(files), **more}


def toc(*structures: object, **more: object) -> bytes:
    """A table of contents."""
    header = {"reporting_entity_name": "Acme", "reporting_entity_type": "issuer", "version": "2.0.0"}
    return json.dumps({**header, "reporting_structure": list(structures), **more}).encode()


def read_toc(
    data: bytes, options: SourceOptions | None = None, location: str = INDEX
) -> tuple[list[FileTask], SourceCounts]:
    """The tasks and the counts of an index."""
    counts = SourceCounts()
    return list(read_index(location, FakeOpener({location: data}), options, counts)), counts


def read_list(data: bytes | str, options: SourceOptions | None = None) -> tuple[list[FileTask], SourceCounts]:
    """The tasks and the counts of a URL list."""
    counts, location = SourceCounts(), "https://h.example/list.txt"
    data = data.encode() if isinstance(data, str) else data
    return list(read_urls(location, FakeOpener({location: data}), options, counts)), counts


def read_rows(data: bytes | str, options: SourceOptions | None = None) -> tuple[list[FileTask], SourceCounts]:
    """The tasks and the counts of a CSV."""
    counts, location = SourceCounts(), "https://h.example/files.csv"
    data = data.encode() if isinstance(data, str) else data
    return list(read_csv(location, FakeOpener({location: data}), options, counts)), counts


def failure(kind: type[E_], action: Callable[[], object]) -> E_:
    """The error of that kind which the action raises."""
    with pytest.raises(kind) as caught:
        action()
    return caught.value


def names(tasks: list[FileTask]) -> list[str]:
    """File names of tasks."""
    return [task.filename for task in tasks]


def never_opened(address: Address) -> Any:  # noqa: ANN401 - it never returns
    """Open nothing."""
    raise AssertionError(address)


# --- index: structure -----------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1.3.3", "v1.6.2", "v2.2.0"])
def test_cms_example_gives_its_files(samples: Path, version: str) -> None:
    """The example index of every schema generation is read from disk, as published."""
    path = samples / f"cms-{version}" / "table-of-contents-sample.json"
    counts = SourceCounts()
    tasks = list(read_source("index", str(path), open_url, None, counts))

    expected = ["in-network-file-123456.json", "behavioral-health-0000.json", "chip-in-network-file.json"]
    assert expected == names(tasks)
    assert [2, 2, 1] == [len(task.plans) for task in tasks]
    assert (2, 3, 2, "medicare") == (
        counts.structures,
        counts.files,
        counts.allowed_amount_files,
        counts.reporting_entity_name,
    )


def test_v2_plan_keeps_issuer_and_sponsor() -> None:
    """The fields that schema v2 added are kept."""
    given_plan = plan(issuer_name="Acme Co", plan_sponsor_name="Zeta Inc")
    (task,), _ = read_toc(toc(structure(file(), plans=[given_plan])))

    assert (Plan(**given_plan),) == task.plans


def test_task_has_all_that_is_known() -> None:
    """One task carries address, key, position, prefix, description and the index's month."""
    (task,), _ = read_toc(toc(structure(file())), SourceOptions(prefix="acme"))

    assert (f"{FILES}/ppo.json.gz", "h.example~ppo", 1, "acme_h.example~ppo", "the ppo network", "2026-08") == (
        task.address.real,
        task.network_id,
        task.position,
        task.output_prefix,
        task.description,
        task.index_period,
    )


def test_output_prefix_without_a_prefix_is_the_network() -> None:
    """Nothing is put in front unless asked."""
    (task,), _ = read_toc(toc(structure(file())))

    assert task.network_id == task.output_prefix


def test_index_month_falls_back_to_last_updated_on() -> None:
    """An index without a date in its address tells its month inside."""
    (task,), counts = read_toc(
        toc(structure(file()), last_updated_on="2025-11-03"), location="https://h.example/toc.json"
    )

    assert ("2025-11", "2025-11-03") == (task.index_period, counts.last_updated_on)


def test_file_of_many_structures_is_one_task_with_all_plans() -> None:
    """Univera names 3,186 files 119,307 times; plans are merged, once each, in order of appearance."""
    shared = file("shared")
    tasks, counts = read_toc(
        toc(
            structure(shared, plans=[plan(2)]),
            structure(file("own"), shared, plans=[plan(1), plan(2)]),
            structure(shared, shared, plans=[plan(2)]),
        )
    )

    assert ["shared.json.gz", "own.json.gz"] == names(tasks)
    assert [["Plan 2", "Plan 1"], ["Plan 2", "Plan 1"]] == [[it.plan_name for it in task.plans] for task in tasks]
    assert (5, 2) == (counts.locations, counts.files)


def test_plans_of_another_file_stay_away() -> None:
    """A plan belongs to the files of its own structures only."""
    tasks, _ = read_toc(toc(structure(file("a"), plans=[plan(1)]), structure(file("b"), plans=[plan(2)])))

    assert [["Plan 1"], ["Plan 2"]] == [[it.plan_name for it in task.plans] for task in tasks]


def test_keys_may_come_in_any_order() -> None:
    """Files before their plans and headers after the payload are as good."""
    data = json.dumps(
        {
            "reporting_structure": [{"in_network_files": [file()], "reporting_plans": [plan()]}],
            "reporting_entity_name": "Acme",
        }
    )
    (task,), counts = read_toc(data.encode())

    assert (1, "Acme") == (len(task.plans), counts.reporting_entity_name)


def test_missing_version_is_no_problem() -> None:
    """CMS's own v1 example has none."""
    (_,), counts = read_toc(json.dumps({"reporting_structure": [structure(file())]}).encode())

    assert (None, 0) == (counts.version, counts.problem_count)


def test_signatures_do_not_make_two_files() -> None:
    """The same file under two signatures is one task; the first address is fetched."""
    signed = [file(location=f"{FILES}/ppo.json.gz?Expires=1&Signature={it}&Key-Pair-Id=K") for it in "ab"]
    (task,), _ = read_toc(toc(structure(*signed)))

    assert (signed[0]["location"], f"{FILES}/ppo.json.gz") == (task.address.real, task.address.shown)


def test_mirrors_are_recorded_and_bring_their_plans() -> None:
    """A BCBSA file on two licensees' hosts is read once, for the plans of both."""
    name = "2026-08_302_42A0_in-network-rates_1_of_2.json.gz"
    hosts = ["https://b.mrf.bcbs.com", "https://a.mrf.bcbs.com"]
    structures = [structure(file(location=f"{host}/{name}"), plans=[plan(i)]) for i, host in enumerate(hosts)]
    (task,), counts = read_toc(toc(*structures))

    assert (f"{hosts[1]}/{name}", (f"{hosts[0]}/{name}",)) == (task.address.real, task.mirror_urls)
    assert ["Plan 0", "Plan 1"] == [it.plan_name for it in task.plans]
    assert (2, 1, 1) == (counts.files, counts.mirrors, counts.tasks)


def test_colliding_names_are_two_networks() -> None:
    """Files of one name in two folders get keys of their own."""
    tasks, _ = read_toc(toc(structure(*(file(location=f"{FILES}/{it}/ppo.json") for it in "ab"))))

    assert 2 == len({task.network_id for task in tasks})


def test_naming_rules_are_counted() -> None:
    """How many files were named by a fallback can be told."""
    _, counts = read_toc(toc(structure(file(), file(location=f"{FILES}/2026-08_302_42A0_in-network-rates.json.gz"))))

    assert {"stem": 1, "bcbsa": 1} == dict(counts.rules)


# --- index: allowed amounts -----------------------------------------------------------------


@pytest.mark.parametrize(
    "given_data",
    [
        toc(structure(file(), allowed_amount_file=file("aa"))),
        toc(structure(file(), allowed_amount_file=[file("aa"), file("aa")])),
        toc(structure(file()), allowed_amount_files=file("aa")),
        toc(structure(file()), structure(allowed_amount_file=file("aa")), allowed_amount_files=[file("aa")]),
    ],
    ids=["object", "array of HCSC", "root of Anthem", "everywhere"],
)
def test_allowed_amounts_are_counted_and_not_ingested(given_data: bytes) -> None:
    """Allowed-amount files are known by their address, once each, and are no tasks."""
    tasks, counts = read_toc(given_data)

    assert ["ppo.json.gz"] == names(tasks)
    assert (1, (f"{FILES}/aa.json.gz",)) == (counts.allowed_amount_files, counts.allowed_amount_examples)


def test_index_of_allowed_amounts_alone_is_an_error() -> None:
    """There is nothing to ingest, and the error says what there is."""
    error = failure(SourceProblems, lambda: read_toc(toc(structure(allowed_amount_file=file("aa")))))

    assert "no usable in-network file (1 reporting structures, 1 allowed-amount files)" in str(error)


# --- index: repairs and problems ------------------------------------------------------------


def test_bytes_behind_a_packed_index_are_a_repair() -> None:
    """It is whole."""
    _, counts = read_toc(gzip.compress(toc(structure(file()))) + b"\r\n")

    assert {"trailing_bytes": 1} == counts.repairs


@pytest.mark.parametrize(
    ("odd", "repair"),
    [
        ({"reporting_plans": [plan()], "in_network_files": file()}, "in_network_files_not_a_list"),
        ({"reporting_plans": plan(), "in_network_files": [file()]}, "reporting_plans_not_a_list"),
        (structure(f"{FILES}/ppo.json.gz"), "file_entry_not_an_object"),
        (structure(file(location=f"  {FILES}/ppo.json.gz\n")), "location_trimmed"),
        (structure(file(), plans=[plan(plan_id_type="EIN")]), "plan_id_type_case"),
        (structure(file(), plans=[{**plan(), "plan_id": 1}]), "number_for_text"),
        (structure(file(description=["a"])), "value_dropped"),
    ],
)
def test_odd_shape_is_repaired_and_counted(odd: Json, repair: str) -> None:
    """What payers write otherwise than CMS wants is taken and counted by kind."""
    (task,), counts = read_toc(toc(odd))

    assert (f"{FILES}/ppo.json.gz", 1, {repair: 1}) == (task.address.real, len(task.plans), dict(counts.repairs))


def test_byte_order_mark_is_dropped_and_counted() -> None:
    """Windows tools put one in front of JSON."""
    (_,), counts = read_toc(b"\xef\xbb\xbf" + toc(structure(file())))

    assert 1 == counts.repairs["byte_order_mark"]


@pytest.mark.parametrize("half", [rb"\ud83d", rb"\udc00"])
def test_half_a_surrogate_pair_costs_no_index(half: bytes) -> None:
    """It becomes the replacement character, and is counted."""
    index = toc(structure(file()))
    assert b"ppo" in index
    (_,), counts = read_toc(index[:-1] + b',"issuer":"' + half + b'"}')

    assert 1 == counts.repairs["lone_surrogate"]


@pytest.mark.parametrize(
    ("location", "what"),
    [
        ("Missing file", "is no URL and no path"),
        ("N/A", "is no URL and no path"),
        ("", "has no location"),
        (None, "has no location"),
        ("ftp://h.example/x.json", "is of a kind that is not read"),
        ("javascript:alert(1).json", "is of a kind that is not read"),
        ("file:///etc/passwd.json", "is a file on the publisher's machine"),
        ("FILE:/etc/passwd.json", "is a file on the publisher's machine"),
        ("s3://bucket/x.json", "is in an object store, and its index is not"),
        ("abfss://box@acme.dfs.core.windows.net/x.json", "is in an object store, and its index is not"),
        ("https://h.example", "names a host and no file"),
        ("https:///x.json", "has no usable host"),
        ("https://[h/x.json", "is malformed"),
        ("//[/x.json", "is malformed"),
        ("https://h:99999/x.json", "is malformed"),
        ("https://h.example/a\nb.json", "line break or another control character"),
    ],
)
def test_unusable_location_is_reported_and_stops_nothing(location: str | None, what: str) -> None:
    """One bad file never stops the others, and the report says where it stands."""
    tasks, counts = read_toc(toc(structure(file(), plans=[]), structure(file("a"), file(location=location), file("b"))))

    assert ["ppo.json.gz", "a.json.gz", "b.json.gz"] == names(tasks)
    assert 1 == counts.problem_count
    assert "reporting_structure[1].in_network_files[1]" == counts.problems[0].where
    assert what in counts.problems[0].what


@pytest.mark.parametrize("location", ["/etc/passwd.json", "../../../etc/passwd.json", "//etc/passwd.json"])
def test_a_path_in_an_index_of_the_web_is_none_of_our_disk(location: str) -> None:
    """It is taken from where the index lies."""
    (task,), _ = read_toc(toc(structure(file(location=location))))

    assert task.address.real.startswith("https://")


@pytest.mark.parametrize("base", ["s3://acme/2026/index.json", "/data/index.json"])
@pytest.mark.parametrize(
    ("location", "expected"),
    [("s3://other/x.json", "s3://other/x.json"), ("https://h.example/x.json", "https://h.example/x.json")],
)
def test_an_index_of_our_own_may_name_stores_and_the_web(base: str, location: str, expected: str) -> None:
    """Who can write into our bucket or disk may say what is read."""
    assert expected == usable_location(location, base)


def test_a_relative_location_of_an_index_in_a_store_is_in_that_store() -> None:
    """As beside an index of the web; our disk stays closed."""
    base = "s3://acme/2026/index.json"

    assert "s3://acme/2026/rates/x.json" == usable_location("rates/x.json", base)
    assert "s3://acme/x.json" == usable_location("/x.json", base)
    with pytest.raises(Unusable, match="on the publisher's machine"):
        usable_location("file:///x.json", base)


@pytest.mark.parametrize("odd", [structure(plans=["none"]), 7, ["x", {"y": [1]}], None])
def test_odd_structure_is_reported_and_stops_nothing(odd: object) -> None:
    """A structure or plan that is no object is passed over, whatever it is."""
    tasks, counts = read_toc(toc(odd, structure(file())))

    assert (["ppo.json.gz"], 1) == (names(tasks), counts.problem_count)
    assert counts.problems[0].where.startswith("reporting_structure[0]")


def test_unknown_keys_are_counted_and_passed_over() -> None:
    """Whatever they hold."""
    odd = structure(file(size=[1, {"a": {}}]), colour={"x": [[], {}]})
    (_,), counts = read_toc(toc(odd, comment=None))

    assert {"size": 1, "colour": 1, "comment": 1} == dict(counts.ignored_keys)


def test_tally_has_a_bound() -> None:
    """A million bad locations are counted, and a hundred kept."""
    _, counts = read_toc(toc(structure(file(), *({**file(location="none"), f"k{i}": 1} for i in range(300)))))

    assert (300, 100, 100) == (counts.problem_count, len(counts.problems), len(counts.ignored_keys))


def test_index_of_placeholders_alone_is_an_error() -> None:
    """With every placeholder in its place."""
    error = failure(SourceProblems, lambda: read_toc(toc(structure(file(location="Missing file")))))

    assert ["reporting_structure[0].in_network_files[0]", "reporting_structure"] == [it.where for it in error.problems]


def test_no_signature_is_shown() -> None:
    """Addresses in problems and errors have no query."""
    secret = "https://h:x/ppo.json?Signature=SECRET"
    error = failure(
        SourceProblems, lambda: read_toc(toc(structure(file(location=secret))), location=f"{INDEX}?sig=SECRET")
    )

    assert "SECRET" not in str(error)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"version": "1", "in_network": [', "is an in-network-rates file; use --source url"),
        (b'{"provider_references": [{"provider_group_id"', "is an in-network-rates file; use --source url"),
        (b'{"out_of_network": []}', "is an allowed-amounts file"),
        (b'{"provider_groups": []}', "is a provider-reference file"),
        (b'{"blobs": [{"name": "x"}]}', "its keys are blobs"),
        (b"{}", "its keys are nothing"),
        (b"[]", "a JSON object with reporting_structure was expected"),
    ],
)
def test_other_json_is_called_by_its_name(data: bytes, says: str) -> None:
    """A wrong --source is told as such, as soon as it can be seen."""
    error = failure(SourceProblems, lambda: read_toc(data))

    assert says in str(error)


# --- index: bytes ---------------------------------------------------------------------------


def test_malformed_index_names_the_byte() -> None:
    """The place is told to the byte where the quoted text is unique in the piece."""
    good = toc(structure(file()), structure(file("b")))
    at = good.index(b"b.json.gz") + len(b'b.json.gz"}')
    error = failure(MalformedJson, lambda: read_toc(good[:at] + b"}" + good[at:]))

    assert at <= error.byte_offset <= at + 2


def test_malformed_index_names_the_byte_in_a_later_block() -> None:
    """Pieces that were read before count."""
    good = toc(*(structure(file(f"f{i}")) for i in range(3000)))
    at = good.index(b'"f2500"' if b'"f2500"' in good else b"the f2500 network")
    error = failure(MalformedJson, lambda: read_toc(good[:at] + b'" what' + good[at:]))

    assert abs(error.byte_offset - at) <= 30


@pytest.mark.parametrize("bad", [b"\xff", b"NaN", b"nul", b"{]"])
def test_broken_json_is_malformed_and_not_truncated(bad: bytes) -> None:
    """Wrong bytes in the middle are not the download's fault."""
    data = toc(structure(file())).replace(b'"Acme"', bad)

    assert "not valid JSON at byte" in str(failure(MalformedJson, lambda: read_toc(data)))


def test_garbage_after_the_end_is_malformed() -> None:
    """Two indexes in one file are not half read."""
    assert failure(MalformedJson, lambda: read_toc(toc(structure(file())) * 2))


@given(st.integers(min_value=1))
def test_every_cut_is_truncation(cut: int) -> None:
    """Wherever an index ends early, that is what the error says, with its length."""
    whole = toc(structure(file(), allowed_amount_file=file("aa")), last_updated_on="2026-08-01")
    cut = 1 + cut % (len(whole) - 1)

    assert cut == failure(TruncatedFile, lambda: read_toc(whole[:cut])).byte_offset


def test_byte_order_mark_inside_a_text_stays() -> None:
    """Only the first three bytes can be a mark, even where a block holds those three bytes alone."""
    data = json.dumps(
        {"reporting_entity_name": "aa\ufeff", "reporting_structure": [structure(file())]}, ensure_ascii=False
    )
    counts = SourceCounts()
    padded = " " * (600 - data.index("\ufeff") % 3) + data  # beyond what is looked at first, at a block border

    @contextmanager
    def opener(address: Address) -> Iterator[RawFile]:
        yield FakeFile(padded.encode(), url=str(address), sizes=[3] * 400)

    list(read_index(INDEX, opener, None, counts))

    assert "aa\ufeff" == counts.reporting_entity_name


def test_index_of_a_byte_order_mark_is_malformed_or_truncated() -> None:
    """A mark and nothing behind it is no index."""
    failure(MrfError, lambda: read_toc(b"\xef\xbb\xbf"))


def test_empty_index_is_empty() -> None:
    """No byte is its own error."""
    failure(EmptyFile, lambda: read_toc(b""))


def test_compressed_index_is_read() -> None:
    """Anthem's index is gzip, whatever its name."""
    tasks, _ = read_toc(gzip.compress(toc(structure(file()))))

    assert ["ppo.json.gz"] == names(tasks)


@given(st.lists(st.integers(1, 40), max_size=80))
def test_block_borders_change_nothing(sizes: list[int]) -> None:
    """Reads as short as a byte give the same tasks."""
    data = b"\xef\xbb\xbf" + toc(structure(file("ä")), structure(file("b"), allowed_amount_file=file("aa")))

    @contextmanager
    def opener(address: Address) -> Iterator[RawFile]:
        yield FakeFile(data, url=str(address), sizes=sizes)

    assert read_toc(data)[0] == list(read_index(INDEX, opener))


# --- index: where it lies -------------------------------------------------------------------


def test_relative_location_is_taken_from_the_index_url() -> None:
    """As a browser would."""
    tasks, _ = read_toc(toc(structure(file(location="x/a.json.gz"), file(location="/b.json.gz?Signature=s"))))

    expected = ["https://h.example/toc/x/a.json.gz", "https://h.example/b.json.gz?Signature=s"]
    assert expected == [task.address.real for task in tasks]


@pytest.mark.parametrize("form", [str, Path.as_uri])
def test_relative_location_is_taken_from_the_index_folder(tmp_path: Path, form: Callable[[Path], str]) -> None:
    """A downloaded index finds the files beside it, by path or by file:// URL."""
    index = tmp_path / "toc.json"
    index.write_bytes(toc(structure(file(location="x/a.json.gz"), file(location=(tmp_path / "b.json").as_uri()))))
    tasks = list(read_index(form(index), open_url))

    assert [str(tmp_path / "x/a.json.gz"), str(tmp_path / "b.json")] == [task.address.real for task in tasks]


def test_index_may_be_given_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File ids do not depend on the folder one stands in."""
    (tmp_path / "toc.json").write_bytes(toc(structure(file(location="a.json"))))
    monkeypatch.chdir(tmp_path)
    (task,) = read_index("toc.json", open_url)

    assert str(tmp_path / "a.json") == task.address.real


# --- index: narrowing -----------------------------------------------------------------------


def test_structures_stops_reading() -> None:
    """The first N structures are read, and what comes after them is not even looked at."""
    data = toc(*(structure(file(it)) for it in "abc"))[:-20]
    tasks, counts = read_toc(data, SourceOptions(structures=2))

    assert (["a.json.gz", "b.json.gz"], 2) == (names(tasks), counts.structures)


def test_max_files_takes_the_first_with_all_their_plans() -> None:
    """Later structures still bring plans for the files that are taken."""
    data = toc(structure(file("a"), plans=[plan(1)]), structure(file("b"), file("a"), plans=[plan(2)]))
    tasks, counts = read_toc(data, SourceOptions(max_files=1))

    assert (["a.json.gz"], 2, 2, 1) == (names(tasks), len(tasks[0].plans), counts.files, counts.tasks)


@pytest.mark.parametrize("match", ["zeta", "ZETA inc", "12-3456789", "123456789", "3456"])
def test_match_selects_structures_by_their_plans(match: str) -> None:
    """By name, issuer, sponsor or EIN, with its hyphen or without."""
    wanted = plan(plan_sponsor_name="Zeta Inc", plan_id="123456789" if "-" in match else "12-3456789")
    data = toc(structure(file("a"), plans=[plan(1)]), structure(file("b"), plans=[plan(2), wanted]))
    tasks, counts = read_toc(data, SourceOptions(match=match))

    assert (["b.json.gz"], 2, 1) == (names(tasks), counts.structures, counts.structures_selected)


@pytest.mark.parametrize("match", ["nobody", "Plan 2"])
def test_match_without_a_file_is_an_error(match: str) -> None:
    """A typing mistake, or a plan without files, is not an empty run."""
    data = toc(structure(file()), structure(plans=[plan(2)]))
    error = failure(SourceProblems, lambda: read_toc(data, SourceOptions(match=match)))

    assert f"has a plan with '{match}' in it" in str(error)


def test_narrowing_changes_no_network_id() -> None:
    """A collision counts even if only one of its files is taken."""
    data = toc(
        structure(file(location=f"{FILES}/a/ppo.json"), plans=[plan(1)]),
        structure(file(location=f"{FILES}/b/ppo.json"), plans=[plan(2)]),
    )
    whole, _ = read_toc(data)
    first, _ = read_toc(data, SourceOptions(max_files=1))
    matched, _ = read_toc(data, SourceOptions(match="Plan 2"))

    assert [it.network_id for it in whole] == [it.network_id for it in first + matched]


def test_order_of_structures_changes_positions_alone() -> None:
    """Keys, plans and mirrors come from the set."""
    pool = [file(location=f"{FILES}/{it}/ppo.json") for it in "ab"]
    pool += [file(location=f"https://{it}.mrf.bcbs.com/2026-08_302_42A0_in-network-rates.json.gz") for it in "ab"]
    pool += [file(it) for it in "cde"]
    dice = random.Random(7)  # noqa: S311 - a test's dice
    structures = [structure(*dice.sample(pool, 3), plans=[plan(i)]) for i in range(12)]

    def known(data: bytes) -> dict[str, object]:
        return {it.address.real: (it.network_id, it.mirror_urls, frozenset(it.plans)) for it in read_toc(data)[0]}

    assert known(toc(*structures)) == known(toc(*dice.sample(structures, len(structures))))


# --- index: size ----------------------------------------------------------------------------


class _Generated:
    """An index that is made while it is read: `count` structures of 5 of 400 files and two plans of their own."""

    url, size_bytes, etag, last_modified, sha256 = INDEX, None, None, None, ""

    def __init__(self, count: int) -> None:
        self._pieces = self._make(count)
        self.content_encoding, self.is_private = None, False
        self.transfer = TransferCounts()

    def close(self) -> None:
        pass

    def read(self, _size: int, /) -> bytes:
        return next(self._pieces, b"")

    @staticmethod
    def _make(count: int) -> Iterator[bytes]:
        lists = [json.dumps([file(f"n{5 * i + j}-{'x' * 200}") for j in range(5)]) for i in range(80)]
        yield b'{"reporting_structure": ['
        for number in range(count):
            plans = json.dumps([plan(2 * number), plan(2 * number + 1)])
            comma = "," if number else ""
            yield f'{comma}{{"reporting_plans": {plans}, "in_network_files": {lists[number % 80]}}}'.encode()
        yield b"]}"


def _peak_bytes(count: int) -> int:
    @contextmanager
    def opener(_address: Address) -> Iterator[RawFile]:
        yield _Generated(count)

    tracemalloc.start()
    try:
        tasks = read_index(INDEX, opener)
        assert 400 == sum(1 for _ in tasks)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_flat_over_the_number_of_structures() -> None:
    """Four times the structures, plans and links need no more memory, but for the plans of one task.

    Those are 250 at 10,000 structures; 20,000 plans or 100,000 links in memory would be 10 MB and more.
    """
    small, large = _peak_bytes(2500), _peak_bytes(10_000)

    assert large - small < 2_000_000


# --- lists ----------------------------------------------------------------------------------


def test_list_is_read_line_by_line() -> None:
    """Comments, blank lines, Windows line ends and a byte order mark are no addresses."""
    tasks, counts = read_list(f"\ufeff# rates\r\n\r\n {FILES}/a.json \r\n{FILES}/b.json")

    assert (["a.json", "b.json"], [1, 2], 2) == (names(tasks), [it.position for it in tasks], counts.locations)


def test_repeated_line_is_one_task() -> None:
    """Two signatures of one address are one file; the counts tell how many lines there were."""
    tasks, counts = read_list(f"{FILES}/a.json?sig=1\n{FILES}/a.json?sig=2\n")

    assert (1, 2, 1) == (len(tasks), counts.locations, counts.files)


def test_problems_of_a_list_are_told_at_once() -> None:
    """With their line numbers, and without opening or yielding anything."""
    error = failure(SourceProblems, lambda: read_list(f"{FILES}/a.json\nftp://h/x\n\nhello\nhttp://\n"))

    assert ["line 2", "line 4", "line 5"] == [it.where for it in error.problems]
    assert isinstance(error, InputError)


def test_list_that_is_not_utf8_names_the_line() -> None:
    """The rest is still looked at."""
    error = failure(SourceProblems, lambda: read_list(b"https://h/\xff.json\nhello\n"))

    assert ["line 1", "line 2"] == [it.where for it in error.problems][:2]
    assert "not UTF-8 at its byte 11" in error.problems[0].what


def test_list_that_is_no_list_stops_soon() -> None:
    """A binary or prose file gives a thousand problems, not a million."""
    error = failure(SourceProblems, lambda: read_list("hello\n" * 5000))

    assert 1001 == len(error.problems)
    assert "and 981 more" in str(error)


def test_endless_line_is_refused() -> None:
    """A line is held in memory, so it has a bound."""
    assert "longer than 1 MiB" in str(failure(SourceProblems, lambda: read_list(b"x" * 5_000_000)))


def test_empty_list_is_an_error() -> None:
    """A list of comments names nothing."""
    assert "names no file" in str(failure(SourceProblems, lambda: read_list("# nothing\n")))


def test_local_list_names_local_files(tmp_path: Path) -> None:
    """Absolute paths, paths beside the list and file:// URLs are as good as URLs."""
    (tmp_path / "urls.txt").write_text(f"a.json.gz\n./odd name\n{tmp_path}/b.json\n{(tmp_path / 'b.json').as_uri()}\n")
    tasks = list(read_urls(str(tmp_path / "urls.txt"), open_url))

    assert [str(tmp_path / it) for it in ("a.json.gz", "odd name", "b.json")] == [it.address.real for it in tasks]


def test_one_network_id_for_a_whole_list() -> None:
    """The user knows that these files are one network."""
    tasks, _ = read_list(f"{FILES}/a_1_of_2.json\n{FILES}/a_2_of_2.json\n", SourceOptions(network_id="Mine"))

    assert [("mine", 1), ("mine", 2)] == [(it.network_id, it.identity.part) for it in tasks]


# --- CSV ------------------------------------------------------------------------------------

CSV = (
    "file_url,plan_name,plan_id_type,plan_id,plan_market_type,network_id,description,period\n"
    f"{FILES}/a.json?sig=1,Gold,EIN,12-3456789,Group,,,\n"
    f"{FILES}/b.json,,,,,my-net,our words,2026-07-15\n"
    f"{FILES}/a.json?sig=2,Silver,hios,12345,individual,,,\n"
    f"{FILES}/a.json,Gold,ein,12-3456789,group,,,\n"
)


def test_rows_of_one_url_are_one_task_with_their_plans() -> None:
    """Plans are grouped by address, each once."""
    (task, _), counts = read_rows(CSV)

    assert [("Gold", "ein", "group"), ("Silver", "hios", "individual")] == [
        (it.plan_name, it.plan_id_type, it.plan_market_type) for it in task.plans
    ]
    assert (4, 2) == (counts.locations, counts.files)


def test_row_may_name_network_period_and_description() -> None:
    """What the row says wins over the name; a date is cut to its month."""
    (_, task), _ = read_rows(CSV)

    assert ("my-net", "explicit", "2026-07", "our words", ()) == (
        task.network_id,
        task.identity.rule,
        task.identity.period,
        task.description,
        task.plans,
    )


def test_later_row_may_add_the_network() -> None:
    """The first row of a file need not be the one with its network."""
    (task,), _ = read_rows(f"file_url,network_id\n{FILES}/a.json,\n{FILES}/a.json,net\n")

    assert "net" == task.network_id


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_spreadsheet_forms_are_read(delimiter: str, mark: str, line_end: str) -> None:
    """The four usual delimiters, all line ends, a byte order mark, and loose spelling of the header."""
    text = line_end.join([f"{mark}Plan Name|File-URL ", f'"a, ""b"" "|{FILES}/a.json', "", "|"])
    (task,), _ = read_rows(text.replace("|", delimiter) if delimiter != "," else text.replace("|", ","))

    assert ('a, "b"', f"{FILES}/a.json") == (task.plans[0].plan_name, task.address.real)


def test_quoted_field_may_span_lines() -> None:
    """Line numbers go on counting."""
    text = f'file_url,description\n{FILES}/a.json,"two\nlines"\nhello,\n'
    error = failure(SourceProblems, lambda: read_rows(text))

    assert ["line 4"] == [it.where for it in error.problems]


def test_csv_without_file_url_lists_its_columns() -> None:
    """So that a person sees what is there."""
    error = failure(SourceProblems, lambda: read_rows("url;name\nx;y\n"))

    assert "line 1: has no column file_url; the columns are: 'url', 'name'" in str(error)


def test_csv_with_a_column_twice_is_refused() -> None:
    """Which of the two is meant cannot be known."""
    assert "a column twice: file_url" in str(failure(SourceProblems, lambda: read_rows("file_url,file_url\n")))


def test_other_columns_are_counted_and_ignored() -> None:
    """A spreadsheet may hold more than we need."""
    _, counts = read_rows(f"file_url,colour\n{FILES}/a.json,red\n")

    assert {"colour": 1} == dict(counts.ignored_keys)


def test_problems_of_a_csv_are_told_at_once() -> None:
    """Every kind, with its line."""
    error = failure(
        SourceProblems,
        lambda: read_rows(
            "file_url,network_id,period\n"
            f"{FILES}/a.json,one,2026-07\n"
            f"{FILES}/a.json,two,\n"
            f"{FILES}/a.json,one,2026-08\n"
            ",x,\n"
            f"{FILES}/b.json,,July\n"
            f"{FILES}/c,d.json,,\n"
            f'"{FILES}/d.json"x,,\n'
            "hello,,\n"
            f'"{FILES}/never closed,,\n'
        ),
    )
    told = {it.where: it.what for it in error.problems}

    assert [f"line {it}" for it in (3, 4, 5, 6, 7, 8, 9, 10)] == list(told)
    assert "has the network_id 'two' here and 'one' above" in told["line 3"]
    assert "has the period '2026-08' here and '2026-07' above" in told["line 4"]
    assert "has no file_url" == told["line 5"]
    assert "has the period 'July'; YYYY-MM was expected" == told["line 6"]
    assert "has 4 fields where the header has 3; quote the field" == told["line 7"]
    assert "is no CSV row" in told["line 8"]
    assert "is no URL and no path" in told["line 9"]
    assert "look for a quote that is not closed" in told["line 10"]


def test_empty_csv_is_an_error() -> None:
    """A header without rows names nothing."""
    assert "names no file" in str(failure(SourceProblems, lambda: read_rows("file_url\n\n")))


# --- addresses with something before their scheme --------------------------------------------

_SECRET = "S3cr3tV4lue"
_STRAY = {
    "\ufeff": "U+FEFF", "\u200b": "U+200B", '"': "'\"'", "<": "'<'", "(": "'('", "- ": "'-'",
    "\u201c": "begins with", "x=": "something stands before",
}  # fmt: skip
_TAILS = ["://", ":/", ":\\\\"]


def _spoiled(stray: str, slashes: str = "://") -> str:
    return f"{stray}https{slashes}user:{_SECRET}@h.example/files/a.json.gz?x={_SECRET}&sig={_SECRET}"


def _on_disk(folder: Path, kind: str, location: str) -> Path:
    """A source of that kind that names a usable file and that location."""
    good = f"{FILES}/good.json.gz"
    if kind == "csv":
        rows = io.StringIO(newline="")
        csv.writer(rows).writerows([["file_url", "plan_name"], [good, "P"], [location, "P"]])
        text = rows.getvalue()
    elif kind == "urls":
        text = f"{good}\n{location}\n"
    else:
        text = toc(structure({"location": good}, {"location": location})).decode()
    path = folder / f"source.{kind}"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("slashes", _TAILS)
@pytest.mark.parametrize("stray", _STRAY)
@pytest.mark.parametrize("kind", ["csv", "urls", "index"])
def test_an_address_with_something_before_its_scheme_is_a_problem(
    tmp_path: Path, kind: str, stray: str, slashes: str
) -> None:
    """With its place, what is odd about it, and neither login nor query; it is never taken for a path."""
    path, counts = _on_disk(tmp_path, kind, _spoiled(stray, slashes)), SourceCounts()
    if kind == "index":
        tasks = list(read_source(kind, str(path), open_url, None, counts))
        assert ["good.json.gz"] == names(tasks)
        (problem,) = counts.problems
        assert "reporting_structure[0].in_network_files[1]" == problem.where
    else:
        (problem,) = failure(SourceProblems, lambda: list(read_source(kind, str(path), open_url))).problems
        assert f"line {3 if kind == 'csv' else 2}" == problem.where
    assert _STRAY[stray] in problem.what
    assert _SECRET not in problem.what


@pytest.mark.parametrize("kind", ["csv", "index", "urls", "url"])
@pytest.mark.parametrize("stray", _STRAY)
def test_a_source_s_own_address_is_checked_as_well(kind: str, stray: str) -> None:
    """Before anything is opened."""
    error = failure(InputError, lambda: list(read_source(kind, _spoiled(stray), never_opened)))

    assert "--input" in str(error)
    assert _SECRET not in str(error)


@pytest.mark.parametrize(
    "location",
    [
        f"//user:{_SECRET}@h.example/a.json.gz",
        f"user:{_SECRET}@h.example/a.json.gz",
        f"h.example/a.json.gz?sig={_SECRET}",
        f"h.example/a.json.gz%3Fsig%3D{_SECRET}",
        f"https%3A%2F%2Fh.example%2Fa.json.gz%3Fsig%3D{_SECRET}",
        f"https://user:{_SECRET}?{_SECRET}@h.example/a.json.gz",
        f"https://h.example/b.json.gz,https://user:{_SECRET}@h.example/a.json.gz?sig={_SECRET}",
        f"https://h.example\\{_SECRET}@h2.example/a.json.gz",
    ],
)
@pytest.mark.parametrize("kind", ["csv", "urls"])
def test_an_address_in_doubt_gets_no_key(tmp_path: Path, kind: str, location: str) -> None:
    """One that lost its scheme, and one that can be read in two ways."""
    path = _on_disk(tmp_path, kind, location)
    (problem,) = failure(SourceProblems, lambda: list(read_source(kind, str(path), open_url))).problems

    assert problem.where.startswith("line ")
    assert _SECRET not in problem.what


def _wide(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


# What an address is made of, as somebody spoilt it, with its secrets where such addresses have them.
_PIECES = (
    [
        *"\ufeff\u200b\u2060\xad\xa0\u3000\"'<([{-*=,;|#@\t\x01\u202e\\/%a",
        "",
        "",
        "",
        "URL: ",
        "&lt;",
        "%EF%BB%BF",
        "- ",
    ],
    ["https", "HTTP", _wide("https"), "hxxps", "ftp", "s3", "https:https"],
    ["://", ":/", ":///", ":\\\\", "%3A%2F%2F", _wide("://"), "&#58;//", ": //"],
    [
        "",
        f"{_SECRET}@",
        f"u:{_SECRET}@",
        f"u:{_SECRET}/{_SECRET}@",
        f"u:{_SECRET}?@",
        f"u:{_SECRET}\\@",
        f"u:{_SECRET}@@",
    ],
    ["h.example", "127.0.0.1:8000", "localhost", "[::1]", "h", "h.example:x", _wide("h.example")],
    ["/a.json", "/x/2026-10_302_42A0_in-network-rates.json.gz", "/get", "", "/a b", "/a;p=1", "/a@b"],
    ["?", "%3F", "%253F", "&quest;", ";", "?x=1&", "?x=1&amp;", "?file=a.json&amp;amp;", "?a@b&"],
    ["sig", "Signature", "api-key", "__token__", "s%69g", _wide("sig"), "si\u200bg", "amp;sig"],
    ["=", "%3D", "&#61;", "%253D"],
    [_SECRET],
    [*"\"'>)]},;| \u200b", "", "", "&x=1", ",https://h.example/b.json"],
)


def _all_that_is_told(kind: str, path: Path) -> str:
    """What leaves the readers, but for the address that is fetched."""
    counts = SourceCounts()
    try:
        tasks = list(read_source(kind, str(path), open_url, None, counts))
    except MrfError as error:
        return f"{error} {error!r}"
    told = [(replace(it, address=Address("")), it.address.shown, it.filename, it.file_id) for it in tasks]
    return f"{told} {counts}"


@given(st.tuples(*map(st.sampled_from, _PIECES)).map("".join))
def test_no_spoilt_address_tells_its_secrets(tmp_path_factory: pytest.TempPathFactory, location: str) -> None:
    """Through every kind of source that lies on a disk."""
    folder = tmp_path_factory.mktemp("spoilt")
    for kind in ("csv", "urls", "index"):
        assert _SECRET not in _all_that_is_told(kind, _on_disk(folder, kind, location))


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_a_csv_without_a_header_does_not_show_its_first_address(delimiter: str) -> None:
    """Split at its own delimiters, an address looks like columns."""
    line = f"https://h.example/a.json?sv=1{delimiter}sig={_SECRET}{delimiter}{_SECRET}\n"
    error = failure(SourceProblems, lambda: read_rows(line))

    assert "has no column file_url; it holds an address" in str(error)
    assert _SECRET.lower() not in str(error).lower()


@pytest.mark.parametrize("column", ["network_id", "period", "reader", "rate_batch_size", "cpt_whitelist"])
def test_an_address_in_another_column_is_a_problem_without_its_secrets(tmp_path: Path, column: str) -> None:
    """A column that slipped."""
    path = tmp_path / "files.csv"
    path.write_text(f"file_url,{column}\n{FILES}/a.json,{_spoiled('')}\n")
    error = failure(SourceProblems, lambda: list(read_csv(str(path), open_url)))

    assert ["line 2"] == [it.where for it in error.problems]
    assert _SECRET not in str(error)


def test_an_address_in_a_description_loses_its_secrets() -> None:
    """The description is published."""
    (task,), _ = read_rows(f"file_url,description\n{FILES}/a.json,see {_spoiled('')} there\n")

    assert "see https://h.example/files/a.json.gz?x" in (task.description or "")
    assert _SECRET not in (task.description or "")


@pytest.mark.parametrize("kind", ["urls", "csv", "index"])
@pytest.mark.parametrize("name", ["sid", "fileToken", "session", "download_ticket"])
def test_addresses_that_differ_in_a_secret_alone_are_one_file_and_told(kind: str, name: str) -> None:
    """They may be files of their own; the parameter is named, and no value."""
    urls = [f"https://h.example/download?{name}={_SECRET}{number}" for number in (1, 2, 2, 3)]
    data = {
        "urls": "\n".join(urls),
        "csv": "\n".join(["file_url", *urls]),
        "index": json.dumps({"reporting_structure": [{
            "reporting_plans": [plan()], "in_network_files": [{"location": url, "description": "x"} for url in urls],
        }]}),
    }[kind]  # fmt: skip
    counts = SourceCounts()
    tasks = list(
        read_source(
            kind, "https://h.example/source", FakeOpener({"https://h.example/source": data.encode()}), None, counts
        )
    )

    assert 1 == len(tasks)
    (problem,) = counts.problems
    assert f"2 differ from others in {name} alone" in problem.what
    assert _SECRET not in str(problem)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("download?id=1&Signature=a&Expires=1", "download?id=1&Signature=b&Expires=2"),
        ("2026-11_rates.json.gz?token=a", "2026-11_rates.json.gz?token=b"),
        ("download?fileName=x.json&sid=1", "download?fileName=x.json&sid=2"),
        ("download?sid=1", "download?sid=1#part"),
        ("download?sid=1", "download?id=2&sid=2"),
    ],
)
def test_other_links_to_one_file_are_not_told(first: str, second: str) -> None:
    """Signatures change with every link, and a file that has a name is known by it."""
    base, counts = "https://h.example/", SourceCounts()
    opener = FakeOpener({f"{base}list": f"{base}{first}\n{base}{second}\n".encode()})
    list(read_source("urls", f"{base}list", opener, None, counts))

    assert [] == counts.problems


def test_a_parameter_whose_name_may_be_a_secret_is_not_shown() -> None:
    """`?token-of-...=` is one."""
    base, counts = "https://h.example/", SourceCounts()
    lines = [f"{base}download?{_SECRET}9x8Y7z6Wtoken={number}\n" for number in (1, 2)]
    list(read_source("urls", f"{base}list", FakeOpener({f"{base}list": "".join(lines).encode()}), None, counts))

    assert "in sha256-" in counts.problems[0].what
    assert _SECRET not in str(counts.problems)


@pytest.mark.parametrize("key", ["fileName", "file", "name"])
def test_a_key_takes_the_name_of_the_file_alone_from_a_query(key: str) -> None:
    """Other parameters are no part of it, whatever they say."""
    (task,), _ = read_list(
        f"https://h.example/get?plan=gold&{key}=2026-10-01_acme_ppo_in-network-rates.json&x={_SECRET}"
    )

    assert "acme~ppo" == task.network_id


def test_the_same_address_with_and_without_escapes_is_one_file() -> None:
    """RFC 3986, 6.2.2: escapes of letters, case of escapes, dots, and what has to be escaped."""
    base = "https://h.example/mrf"
    tasks, counts = read_list(
        f"{base}/2026-10-01_Blue Net ñ_in-network-rates.json.gz\n"
        f"{base}/2026-10-01_Blue%20Net%20%C3%B1_in-network-rates.json.gz\n"
        f"{base}/x/../2026-10-01_Blue%20Net%20%c3%b1_in%2Dnetwork%2Drates.json.gz\n"
    )
    alone, _ = read_list(f"{base}/2026-10-01_Blue%20Net%20%C3%B1_in-network-rates.json.gz\n")

    assert (1, 3) == (len(tasks), counts.locations)
    assert [it.network_id for it in alone] == [it.network_id for it in tasks]


@pytest.mark.parametrize(
    "spelling", ["&amp;", "&amp;amp;", "&#38;", "&#x26;"], ids=["entity", "twice", "numeric", "hexadecimal"]
)
def test_an_address_is_one_file_however_its_separators_are_escaped(spelling: str) -> None:
    """And its secrets stay secret."""
    url = f"{FILES}/a.json?plan=5&x={_SECRET}&sig={_SECRET}"
    (task,), _ = read_list(f"{url}\n{url.replace('&', spelling)}\n")

    assert _SECRET not in task.address.shown


# --- single URL -----------------------------------------------------------------------------


def test_single_url_is_one_task_with_network_and_plans() -> None:
    """Nothing is opened to make it."""
    options = SourceOptions(network_id="Mine", plans=(Plan(**plan()),), prefix="acme")
    (task,) = read_source("url", f" {FILES}/a.json?sig=s ", never_opened, options)

    assert (f"{FILES}/a.json?sig=s", "mine", "acme_mine", options.plans, 1) == (
        task.address.real,
        task.network_id,
        task.output_prefix,
        task.plans,
        task.position,
    )


def test_single_path_is_taken_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And made absolute, without following links: the link's name is the file's."""
    (tmp_path / "blob17").touch()
    (tmp_path / "ppo.json").symlink_to("blob17")
    monkeypatch.chdir(tmp_path)
    (task,) = read_url("ppo.json")

    assert (str(tmp_path / "ppo.json"), "local~ppo") == (task.address.real, task.network_id)


@pytest.mark.parametrize("name", ["2026-10-01_acme.7z", "rates", "what?x=1", "100%3F.dat", "a@b.txt", "x:y"])
@pytest.mark.parametrize("kind", ["url", "urls", "csv"])
def test_what_exists_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    """Whatever it is called; as an address of the web it would have a scheme."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / name).touch()
    monkeypatch.chdir(tmp_path)
    location = f"dir/{name}" if kind == "url" else str(_list_of(tmp_path, kind, f"dir/{name}"))
    (task,) = read_source(kind, location, open_url)

    assert str(tmp_path / "dir" / name) == task.address.real


def _list_of(folder: Path, kind: str, location: str) -> Path:
    path = folder / f"source.{kind}"
    path.write_text(f"{location}\n" if kind == "urls" else f"file_url\n{location}\n")
    return path


def test_a_download_that_is_named_by_its_signed_address_shows_no_secret(tmp_path: Path) -> None:
    """As wget names it."""
    path = tmp_path / f"ppo.json.gz?sv=1&sig={_SECRET}"
    path.touch()
    (task,) = read_url(str(path))

    assert (str(path), str(tmp_path / "ppo.json.gz"), "local~ppo") == (
        task.address.real,
        task.address.shown,
        task.network_id,
    )


@pytest.mark.parametrize("odd", ["", "ppo", "ftp://host/x.json?sig=SECRET", "https://a\x00b/c.json", "\udcff.json"])
def test_single_address_that_is_none_is_refused(odd: str) -> None:
    """In one line, without its secrets."""
    error = failure(SourceProblems, lambda: list(read_url(odd)))

    assert "--input" == error.problems[0].where
    assert "SECRET" not in str(error)
    assert str(error).isprintable()


# --- files that Python code names, and what a file brings along ----------------------------------


def test_a_task_is_made_of_an_address_alone() -> None:
    """Nothing has to be known of how networks are told apart."""
    (task,) = read_files([SourceFile(url=f"{FILES}/2026-10-01_acme_ppo_in-network-rates.json.gz?sig=x")])

    assert ("acme~ppo", "2026-10", "acme~ppo", {}) == (
        task.network_id,
        task.period,
        task.output_prefix,
        task.extra_args,
    )


def test_a_task_has_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All five fields of a task, and paths from the working folder."""
    (tmp_path / "odd.name").touch()
    monkeypatch.chdir(tmp_path)
    given_plan = Plan(**plan())
    (task,) = read_files(
        [
            SourceFile(
                url="odd.name",
                network_id="mine",
                output_prefix="aetna",
                plans=(given_plan,),
                period="2026-10-05",
                description="our words",
                extra_args={"cpt_whitelist": "codes.csv"},
            )
        ]
    )

    assert (str(tmp_path / "odd.name"), "mine", "aetna_mine", (given_plan,), "2026-10", "our words") == (
        task.address.real,
        task.network_id,
        task.output_prefix,
        task.plans,
        task.period,
        task.description,
    )
    assert {"cpt_whitelist": "codes.csv"} == task.extra_args


def test_files_of_one_call_are_told_apart() -> None:
    """Equal names in two folders are two networks."""
    tasks = list(read_files([SourceFile(url=f"https://h.example/{folder}/ppo.json") for folder in "ab"]))

    assert 2 == len({task.network_id for task in tasks})


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (SourceFile(url="N/A"), "is no URL and no path"),
        (SourceFile(url=f"{FILES}/a.json", period="July"), "has the period 'July'; YYYY-MM was expected"),
        (SourceFile(url=f"{FILES}/a.json", extra_args={"cpt_whitlist": "x"}), "extra_args.cpt_whitlist: is not known"),
        (SourceFile(url=f"{FILES}/a.json", extra_args={"rate_batch_size": "many"}), "rate_batch_size"),
        (SourceFile(url=f"{FILES}/a.json", extra_args={"rate_batch_size": "0"}), "it must be 1 or more"),
    ],
)
def test_problems_of_files_are_told_with_their_number(file: SourceFile, what: str) -> None:
    """As those of a list."""
    error = failure(SourceProblems, lambda: list(read_files([SourceFile(url=f"{FILES}/good.json"), file])))

    assert ["file 2"] == [it.where for it in error.problems]
    assert what in error.problems[0].what


def test_a_row_may_bring_settings_of_its_network(tmp_path: Path) -> None:
    """Paths are taken from the CSV's folder."""
    path = tmp_path / "files.csv"
    path.write_text(
        "file_url,cpt_whitelist,referenced_groups_only,Rate-Batch-Size\n"
        f"{FILES}/a.json,codes.csv,true,7\n{FILES}/b.json,,,\n{FILES}/a.json,codes.csv,true,7\n"
    )
    first, second = read_csv(str(path), open_url)

    assert {
        "cpt_whitelist": str(tmp_path / "codes.csv"),
        "referenced_groups_only": "true",
        "rate_batch_size": "7",
    } == first.extra_args
    assert {} == second.extra_args


def test_rows_that_do_not_agree_on_their_settings_are_a_problem(tmp_path: Path) -> None:
    """As for network_id; and what cannot be used, with its line."""
    path = tmp_path / "files.csv"
    path.write_text(
        f"file_url,reader,rate_batch_size\n{FILES}/a.json,fast,\n{FILES}/a.json,ijson,\n{FILES}/b.json,,x\n"
    )
    error = failure(SourceProblems, lambda: list(read_csv(str(path), open_url)))

    assert ["line 3", "line 4"] == [it.where for it in error.problems]
    assert "has the extra_args" in error.problems[0].what
    assert "rate_batch_size" in error.problems[1].what


def test_settings_of_rows_cost_little(tmp_path: Path) -> None:
    """Lists of 100,000 rows have them in each; to check them took seven times as long as all else of a row."""
    path = tmp_path / "files.csv"

    def seconds(settings: str) -> float:
        rows = (f"{FILES}/{number}_in-network-rates.json,{settings}\n" for number in range(500))
        path.write_text("file_url,reader,rate_batch_size\n" + "".join(rows))
        begin = process_time()
        assert 500 == sum(1 for _ in read_csv(str(path), open_url))
        return process_time() - begin

    seconds(",")  # what is loaded once
    assert seconds("fast,7") < 3 * seconds(",")


@pytest.mark.parametrize("column", NETWORK_ARGUMENTS)
def test_a_csv_of_the_web_chooses_no_settings(column: str) -> None:
    """Neither which files of this machine are read, nor how the machine works, nor what is left out."""
    error = failure(SourceProblems, lambda: read_rows(f"file_url,{column}\n{FILES}/a.json,\n{FILES}/b.json,1\n"))

    assert ["line 3"] == [it.where for it in error.problems]
    assert f"has a {column}; a CSV that came over the web may choose no settings; download" in error.problems[0].what


# --- dispatch -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        ("portal", SourceOptions(), "source"),
        ("urls", SourceOptions(structures=1), "structures, match"),
        ("url", SourceOptions(match="x"), "structures, match"),
        ("index", SourceOptions(network_id="x"), "network_id, plans"),
        ("csv", SourceOptions(plans=(Plan(**plan()),)), "network_id, plans"),
        ("index", SourceOptions(structures=0), "structures"),
        ("urls", SourceOptions(max_files=0), "max_files"),
    ],
)
def test_option_that_does_not_fit_is_refused_at_once(kind: str, options: SourceOptions, name: str) -> None:
    """Before anything is opened, and not silently ignored."""
    assert name == failure(SettingError, lambda: read_source(kind, "x", never_opened, options)).name


@pytest.mark.parametrize("kind", ["csv", "index", "urls"])
def test_nothing_is_opened_before_the_first_task(kind: str) -> None:
    """Readers are lazy."""
    read_source(kind, INDEX, never_opened)


@pytest.mark.parametrize("kind", ["csv", "index", "urls"])
def test_opener_s_error_passes_through(kind: str) -> None:
    """A source that cannot be had says so in the opener's words."""
    opener: Opener = FakeOpener({INDEX: EmptyFile(INDEX, "gone")})

    assert "gone" in str(failure(EmptyFile, lambda: list(read_source(kind, INDEX, opener))))


def test_source_is_closed_before_the_first_task() -> None:
    """No connection stays open while files are worked off."""
    opener = FakeOpener({INDEX: toc(structure(file("a"), file("b")))})
    tasks = read_index(INDEX, opener)
    next(tasks)

    assert 0 == opener.open_now


def test_an_index_given_as_a_list_of_urls_is_refused(tmp_path: Path) -> None:
    """It says what to do, and shows none of the signed addresses in it."""
    path = tmp_path / "urls.txt"
    path.write_text('{"reporting_structure":[{"location":"https://h.example/a.json.gz?Signature=S3cr3t"}]}')

    with pytest.raises(SourceProblems, match="--source index") as error:
        list(read_source("urls", str(path), open_url))
    assert "S3cr3t" not in str(error.value)
