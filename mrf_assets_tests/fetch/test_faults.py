"""Payers' servers at their worst: what is survived, and what is told, of one network over real sockets.

Each case is a row of the README's table "What is survived". The waits between attempts are written
down in place of being waited for.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mrf_assets.errors import (
    AccessRefused,
    AddressRefused,
    ChecksumMismatch,
    ConnectionLostError,
    CorruptArchive,
    MrfError,
    NotFoundAtSource,
    ServerBusy,
    SourceChanged,
    TimeSpent,
    TruncatedFile,
    UnsupportedContent,
    UnsupportedUrl,
)
from mrf_assets.fetch import FetchOptions, probe
from mrf_assets.fetch.rate import OPEN_GATE
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.ingest.results import NetworkResult
from mrf_assets.lake.store import Store
from mrf_assets.schema import FILES
from mrf_assets.settings import Settings
from mrf_assets.stream.raw_file import TransferCounts
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address
from mrf_assets_tests.factory import document, gzipped, render
from mrf_assets_tests.mrf_server import HTML_PAGE, Answer, MrfServer

_PATH = "/a.json.gz"
_DATA = gzipped(render(document(codes=60, groups=20)))
_OTHER = gzipped(render(document(seed=2, codes=60, groups=20)))
_HALF = len(_DATA) // 2
_SECRET = "S3cr3tV4lue"
_README = (Path(__file__).parents[2] / "README.md").read_text()
_ALL_TIME = {"total_timeout_seconds": 1e-9}
Break = Callable[[MrfServer], object]


def _script(*answers: Answer) -> Break:
    return lambda server: server.script(_PATH, *answers)


def _always(answer: Answer, *, ranges: bool = True) -> Break:
    def prepare(server: MrfServer) -> None:
        server.always(_PATH, answer)
        server.ranges = ranges

    return prepare


def _without_ranges(*answers: Answer) -> Break:
    def prepare(server: MrfServer) -> None:
        server.script(_PATH, *answers)
        server.ranges = False

    return prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """A fault that leaves no trace in the tables."""

    name: str
    prepare: Break
    requests: int
    resumes: int = 0
    restarts: int = 0
    rate_limited: int = 0
    waits: list[float] | None = None  # None: any
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatal:
    """A fault after which nothing is published."""

    name: str
    prepare: Break
    error: type[MrfError]
    text: str
    requests: int = 1
    settings: dict[str, Any] = field(default_factory=dict)


def _headers(**named: str) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in named.items()}


_SURVIVED = [
    Survived(
        name="connection cut, again and again",
        prepare=_always(Answer(cut_after=len(_DATA) // 7)),
        requests=8,
        resumes=7,
    ),
    Survived(
        name="connection cut in the head of an answer",
        prepare=_script(Answer(cut_head_after=20), Answer(cut_head_after=60)),
        requests=3,
    ),
    Survived(
        name="connection cut before the first byte",
        prepare=_script(Answer(cut_after=0), Answer(cut_after=0)),
        requests=3,
    ),
    Survived(
        name="connection reset before the first byte",
        prepare=_script(Answer(cut_after=0, reset=True), Answer(cut_after=0, reset=True)),
        requests=3,
    ),
    Survived(
        name="connection cut, server without ranges",
        prepare=_without_ranges(Answer(cut_after=_HALF), Answer(cut_after=_HALF - 1), Answer(cut_after=_HALF + 1)),
        requests=4,
        restarts=3,
    ),
    Survived(
        name="connection cut, no ETag and no date",
        prepare=_script(Answer(body=_DATA, cut_after=_HALF)),
        requests=2,
        restarts=1,
    ),
    Survived(
        name="stall",
        prepare=lambda server: server.hold(_PATH, _HALF),
        requests=2,
        resumes=1,
        settings={"read_timeout_seconds": 0.2},
    ),
    Survived(
        name="slow drip",
        prepare=_script(Answer(drip_seconds=0.01)),
        requests=2,
        resumes=1,
        settings={"read_timeout_seconds": 0.2},
    ),
    Survived(
        name="429 with Retry-After",
        prepare=_script(
            Answer(status=429, headers=_headers(Retry_After="7")),
            Answer(status=429, headers=_headers(Retry_After=formatdate(0, usegmt=True))),
        ),
        requests=3,
        rate_limited=2,
        waits=[7.0, 0.0],
    ),
    Survived(
        name="429 without Retry-After",
        prepare=_script(Answer(status=429), Answer(status=429)),
        requests=3,
        rate_limited=2,
    ),
    Survived(
        name="burst of 5xx",
        prepare=_script(Answer(status=500), Answer(status=502), Answer(status=503)),
        requests=4,
    ),
    Survived(
        name="5xx in the middle",
        prepare=_script(Answer(cut_after=_HALF), Answer(status=503), Answer(status=408)),
        requests=4,
        resumes=1,
    ),
    Survived(
        name="wrong range answered",
        prepare=_script(
            Answer(cut_after=_HALF), Answer(headers=_headers(Content_Range=f"bytes 5-{len(_DATA) - 1}/{len(_DATA)}"))
        ),
        requests=3,
        restarts=1,
    ),
    Survived(
        name="range of another size answered",
        prepare=_script(
            Answer(cut_after=_HALF),
            Answer(headers=_headers(Content_Range=f"bytes {_HALF}-{len(_DATA)}/{len(_DATA) + 1}")),
        ),
        requests=3,
        restarts=1,
    ),
    Survived(
        name="416 in the middle",
        prepare=_script(Answer(cut_after=_HALF), Answer(status=416, body=b"")),
        requests=3,
        restarts=1,
    ),
    Survived(
        name="other ETag, same bytes",
        prepare=_script(Answer(cut_after=_HALF, headers=_headers(ETag='"replica-2"', Last_Modified="never"))),
        requests=2,
        restarts=1,
    ),
]

_FATAL = [
    Fatal(
        name="cut and cut without a new byte",
        prepare=_always(Answer(truncate_at=_HALF), ranges=False),
        error=ConnectionLostError,
        text=rf"broke at byte {_HALF} of {len(_DATA)}",
        requests=4,
    ),
    Fatal(
        name="slow drip for ever",
        prepare=_always(Answer(drip_seconds=0.01)),
        error=ConnectionLostError,
        text="bytes in .* s",
        requests=4,
        settings={"read_timeout_seconds": 0.2},
    ),
    Fatal(
        name="slow drip before the body",
        prepare=_always(Answer(drip_head_seconds=0.01)),
        error=ConnectionLostError,
        text="no answer .*Timeout",
        requests=4,
        settings={"read_timeout_seconds": 0.2},
    ),
    Fatal(
        name="slow drip before a chunk",
        prepare=_always(
            Answer(
                body=b"0" * 500 + b"%x\r\n%s\r\n0\r\n\r\n" % (len(_DATA), _DATA),
                send_length=False,
                headers=_headers(Transfer_Encoding="chunked"),
                drip_seconds=0.01,
            )
        ),
        error=ConnectionLostError,
        text="broke at byte 0 .*Timeout",
        requests=4,
        settings={"read_timeout_seconds": 0.2},
    ),
    Fatal(
        name="not within the total time",
        prepare=_always(Answer()),
        error=TimeSpent,
        text="raise total_timeout_seconds",
        settings=_ALL_TIME,
    ),
    Fatal(
        name="429 and 5xx to the last attempt",
        prepare=_always(Answer(status=503)),
        error=ServerBusy,
        text="HTTP 503; try again later",
        requests=4,
    ),
    Fatal(
        name="Retry-After of an hour",
        prepare=_always(Answer(status=429, headers=_headers(Retry_After="3600"))),
        error=ServerBusy,
        text="left alone for 3600 s",
    ),
    Fatal(
        name="longer than announced",
        prepare=_always(Answer(headers=_headers(Content_Length=str(_HALF)), cut_after=len(_DATA))),
        error=TruncatedFile,
        text=f"ended early: the gzip stream stops at byte {_HALF};",
    ),
    Fatal(
        name="shorter than announced",
        prepare=_always(
            Answer(headers=_headers(Content_Length=str(len(_DATA) + 9)), cut_after=len(_DATA)), ranges=False
        ),
        error=ConnectionLostError,
        text=f"broke at byte {len(_DATA)} of {len(_DATA) + 9}",
        requests=4,
    ),
    Fatal(
        name="another file in the middle",
        prepare=_script(Answer(body=_OTHER, cut_after=_HALF, headers=_headers(ETag='"other"'))),
        error=SourceChanged,
        text="another file lies there now",
        requests=2,
    ),
    Fatal(
        name="wrong Content-MD5",
        prepare=_always(Answer(headers=_headers(Content_MD5="AAAAAAAAAAAAAAAAAAAAAA=="))),
        error=ChecksumMismatch,
        text="Content-MD5",
    ),
    Fatal(name="HTML with status 200", prepare=_always(HTML_PAGE), error=UnsupportedContent, text="HTML"),
    Fatal(
        name="404, 410", prepare=_always(Answer(status=410, body=b"")), error=NotFoundAtSource, text="get a newer index"
    ),
    Fatal(
        name="expired signature: 401, 403, 409",
        prepare=_always(Answer(status=403, body=b"")),
        error=AccessRefused,
        text="a signed link expires",
    ),
    Fatal(
        name="signature that expires in the middle",
        prepare=_script(Answer(cut_after=_HALF), Answer(status=409, body=b"")),
        error=AccessRefused,
        text="HTTP 409",
        requests=2,
    ),
    Fatal(
        name="redirect to a file",
        prepare=_always(Answer(status=302, headers=_headers(Location=f"file:///etc/passwd?{_SECRET}"))),
        error=UnsupportedUrl,
        text="redirects out of http",
    ),
    Fatal(
        name="redirect without end",
        prepare=_always(Answer(status=307, headers=_headers(Location=f"?Signature={_SECRET}"))),
        error=UnsupportedUrl,
        text="more than 10 times",
        requests=11,
    ),
    Fatal(
        name="private address",
        prepare=_always(Answer()),
        error=AddressRefused,
        text="leads to a private address",
        requests=0,
        settings={"refuse_private_addresses": True},
    ),
    Fatal(
        name="gzip damaged",
        prepare=_always(Answer(body=_DATA[:-8] + bytes(8))),
        error=CorruptArchive,
        text="damaged",
    ),
    Fatal(
        name="gzip that ends early",
        prepare=_always(Answer(body=_DATA[:_HALF])),
        error=TruncatedFile,
        text=f"ended early: the gzip stream stops at byte {_HALF};",
    ),
]


@pytest.fixture
def server() -> Iterator[MrfServer]:
    """A server with one file."""
    with MrfServer({_PATH: _DATA}) as running:
        yield running


def _ingested(server: MrfServer, settings: Settings, waits: list[float]) -> NetworkResult:
    identity = NetworkIdentity(
        rule="explicit", rule_version=1, scope="Acme", raw_id="Acme 1", period="2026-11", part=1, parts=1
    )
    task = FileTask(
        address=Address(f"{server.url(_PATH)}?Expires=1&Signature={_SECRET}"), network_id="acme", identity=identity
    )
    options = FetchOptions.of(settings, gate=OPEN_GATE).changed(wait=waits.append)
    result = ingest("acme", [task], settings, fetch_options=options)
    result.require_published()
    return result


def _rows(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """What is published, by table; without the ETag, which tells the answers apart and not the file."""
    tables = Store(settings.output_dir).tables("acme", "2026-11")
    rows = {
        name: [each for path in paths for each in pq.read_table(path).to_pylist()] for name, paths in tables.items()
    }
    for row in rows[FILES.name]:
        del row["etag"], row["last_modified"]
    return rows


@pytest.mark.parametrize("spool", [False, True], ids=["streamed", "spooled"])
@pytest.mark.parametrize("fault", _SURVIVED, ids=lambda fault: fault.name)
def test_a_fault_that_is_survived_changes_no_row(
    server: MrfServer, tmp_path: Path, fault: Survived, spool: bool
) -> None:
    """The tables are those of the undisturbed run, and the transfer says what it took."""
    undisturbed = Settings(output_dir=tmp_path / "undisturbed")
    _ingested(server, undisturbed, [])
    server.requests.clear()
    fault.prepare(server)
    waits: list[float] = []
    disturbed = Settings(output_dir=tmp_path / "disturbed", spool_downloads=spool, **fault.settings)
    result = _ingested(server, disturbed, waits)

    assert _rows(undisturbed) == _rows(disturbed)
    assert result.files[0].transfer == TransferCounts(
        requests=fault.requests,
        retries=len(waits),
        resumes=fault.resumes,
        restarts=fault.restarts,
        rate_limited=fault.rate_limited,
    )
    assert fault.requests == len(waits) + 1 + (fault.restarts if fault.name in _ASKED_TWICE else 0)
    assert fault.requests == server.count(_PATH)
    if fault.waits is not None:
        assert fault.waits == waits


# Where the answer to a Range is of no use, the whole file is asked for without another wait.
_ASKED_TWICE = {"wrong range answered", "range of another size answered", "416 in the middle"}


@pytest.mark.parametrize("spool", [False, True], ids=["streamed", "spooled"])
@pytest.mark.parametrize("fault", _FATAL, ids=lambda fault: fault.name)
def test_a_fault_that_is_not_survived_publishes_nothing(
    server: MrfServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Fatal, spool: bool
) -> None:
    """The error says why, no secret is told, nothing stays behind."""
    caplog.set_level("DEBUG")
    fault.prepare(server)
    settings = Settings(output_dir=tmp_path / "out", spool_downloads=spool, **fault.settings)

    with pytest.raises(fault.error, match=fault.text) as error:
        _ingested(server, settings, [])
    assert fault.error is type(error.value)
    assert fault.requests == server.count(_PATH)
    assert _SECRET not in f"{error.value!r} {caplog.text}"
    assert [] == list(settings.output_dir.rglob("*.parquet"))
    assert [] == list((settings.output_dir / ".mrf" / "staging").glob("*"))


def test_each_case_is_in_the_readme() -> None:
    """The table of what is survived is this list."""
    documented = set(re.findall(r"^\| ([^|]+?) +\| (?:survived|fails):", _README, re.MULTILINE))

    assert {fault.name for fault in _SURVIVED} | {fault.name for fault in _FATAL} == documented


def test_a_rate_limit_is_told_in_one_line(server: MrfServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who, and how long; no signature."""
    server.script(_PATH, Answer(status=429, headers=_headers(Retry_After="3")))
    _ingested(server, Settings(output_dir=tmp_path / "out"), [])

    assert f"{server.url(_PATH)}: Rate limited, waiting 3s..." in caplog.messages


def test_waits_are_drawn_from_a_span_that_doubles(server: MrfServer, tmp_path: Path) -> None:
    """Full jitter: from nothing to 1, 2, 4 seconds, up to a minute."""
    server.always(_PATH, Answer(status=503))
    waits: list[float] = []
    with pytest.raises(ServerBusy):
        _ingested(server, Settings(output_dir=tmp_path / "out", max_retries=12), waits)

    spans = [min(60.0, 2.0**number) for number in range(12)]
    assert 12 == len(waits)
    assert all(0 <= wait <= span for wait, span in zip(waits, spans, strict=True))
    assert len(set(waits)) == 12


def test_without_retries_the_first_failure_is_the_last(server: MrfServer, tmp_path: Path) -> None:
    """`max_retries` 0."""
    server.script(_PATH, Answer(status=503))
    waits: list[float] = []
    with pytest.raises(ServerBusy):
        _ingested(server, Settings(output_dir=tmp_path / "out", max_retries=0), waits)

    assert ([], 1) == (waits, server.count(_PATH))


def test_the_rest_is_asked_for_only_if_the_file_is_the_same(server: MrfServer, tmp_path: Path) -> None:
    """Range goes with If-Range, and the signature with both."""
    server.script(_PATH, Answer(cut_after=_HALF))
    _ingested(server, Settings(output_dir=tmp_path / "out"), [])

    first, second = server.requests_of(_PATH)
    assert f"Expires=1&Signature={_SECRET}" == first.query == second.query
    assert {"range", "if-range"} & first.headers.keys() == set()
    assert f"bytes={_HALF}-" == second.headers["range"]
    assert second.headers["if-range"].startswith('"')


def test_a_weak_etag_gives_way_to_the_date(server: MrfServer, tmp_path: Path) -> None:
    """If-Range takes no weak ETag (RFC 9110, 13.1.5)."""
    server.script(_PATH, Answer(cut_after=_HALF, headers=_headers(ETag='W/"1"')))
    result = _ingested(server, Settings(output_dir=tmp_path / "out"), [])

    assert server.last_modified == server.requests_of(_PATH)[1].headers["if-range"]
    # The other answer has the strong ETag, so it is not trusted to be the rest of the same file.
    assert (0, 1) == (result.files[0].transfer.resumes, result.files[0].transfer.restarts)


def test_a_server_that_gives_a_file_in_portions_is_asked_for_each(server: MrfServer, tmp_path: Path) -> None:
    """A range may be answered by less than was asked for."""
    third = len(_DATA) // 3
    end = _HALF + third
    server.script(
        _PATH,
        Answer(cut_after=_HALF),
        Answer(
            headers=_headers(Content_Range=f"bytes {_HALF}-{end - 1}/{len(_DATA)}", Content_Length=str(third)),
            cut_after=third,
        ),
    )
    result = _ingested(server, Settings(output_dir=tmp_path / "out"), [])

    assert [f"bytes={_HALF}-", f"bytes={end}-"] == [each.headers["range"] for each in server.requests_of(_PATH)[1:]]
    assert 2 == result.files[0].transfer.resumes


def test_the_members_of_a_file_do_not_matter_to_a_seam(server: MrfServer, tmp_path: Path) -> None:
    """UHC: several gzip members in one file; cuts fall where they fall."""
    text = render(document(codes=60, groups=20))
    members = b"".join(gzip.compress(text[start : start + 5_000], mtime=0) for start in range(0, len(text), 5_000))
    server.put(_PATH, members)
    whole = Settings(output_dir=tmp_path / "whole")
    _ingested(server, whole, [])
    server.always(_PATH, Answer(cut_after=997))
    cut = Settings(output_dir=tmp_path / "cut")
    _ingested(server, cut, [])

    assert _rows(whole) == _rows(cut)


def test_retries_of_one_file_have_an_end_though_each_makes_progress(server: MrfServer, tmp_path: Path) -> None:
    """A server that cuts every few bytes would keep us for ever."""
    server.always(_PATH, Answer(cut_after=10))
    waits: list[float] = []
    with pytest.raises(ConnectionLostError, match=rf"broke at byte 5010 of {len(_DATA)}"):
        _ingested(server, Settings(output_dir=tmp_path / "out"), waits)

    assert 500 == len(waits)


def test_no_wait_is_longer_than_the_time_that_is_left(server: MrfServer, tmp_path: Path) -> None:
    """The failure is told at once."""
    server.script(_PATH, Answer(status=429, headers=_headers(Retry_After="7")))
    waits: list[float] = []
    with pytest.raises(ServerBusy, match="HTTP 429"):
        _ingested(server, Settings(output_dir=tmp_path / "out", total_timeout_seconds=6), waits)

    assert [] == waits


def test_a_date_that_differs_is_not_the_same_file(server: MrfServer, tmp_path: Path) -> None:
    """A server that ignores If-Range: without an ETag the date decides whether its range is trusted."""
    server.script(
        _PATH,
        Answer(body=_DATA, cut_after=_HALF, headers=_headers(Last_Modified=server.last_modified)),
        Answer(headers=_headers(Last_Modified="Fri, 06 Nov 2026 06:00:00 GMT")),
    )
    result = _ingested(server, Settings(output_dir=tmp_path / "out"), [])

    assert (0, 1, 3) == (
        result.files[0].transfer.resumes,
        result.files[0].transfer.restarts,
        result.files[0].transfer.requests,
    )


@pytest.mark.parametrize("portion", [len(_DATA), 1_000], ids=["rest at once", "portions"])
def test_a_body_in_chunks_goes_on_where_it_broke(server: MrfServer, tmp_path: Path, portion: int) -> None:
    """No length is announced; the first range tells the size, and a portion is not taken for the rest."""
    known = probe(server.url(_PATH))
    assert known is not None
    headers = _headers(ETag=known.etag or "", Transfer_Encoding="chunked")
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_DATA), _DATA)
    end = min(_HALF + portion, len(_DATA))
    part = _headers(Content_Range=f"bytes {_HALF}-{end - 1}/{len(_DATA)}", Content_Length=str(end - _HALF))
    server.script(
        _PATH,
        Answer(body=framed, send_length=False, headers=headers, cut_after=framed.index(b"\n") + 1 + _HALF),
        Answer(headers=part, cut_after=end - _HALF),
    )
    result = _ingested(server, Settings(output_dir=tmp_path / "out"), [])

    assert hashlib.sha256(_DATA).hexdigest() == result.files[0].row["sha256"]
    assert (1 if portion == len(_DATA) else 2, 0) == (
        result.files[0].transfer.resumes,
        result.files[0].transfer.restarts,
    )
