"""What a stranger names is not asked for where it is in our own network: end to end, nothing of it is requested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from mrf_assets.cli.app import cli
from mrf_assets.discover import Portal, PortalResult, discover, write_found
from mrf_assets.errors import AddressRefused, RemoteReferencesFailed, UnsupportedContent
from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.ingest.plan import TaskStore
from mrf_assets.settings import DiscoverySettings, ReaderName, Settings
from mrf_assets.sources import read_source
from mrf_assets.stream.decompress import open_json
from mrf_assets.tasks import FileTask
from mrf_assets_tests.factory import document, render
from mrf_assets_tests.mrf_server import Answer, MrfServer
from mrf_assets_tests.portal_server import data, link_page

_PUBLIC = "http://mrf.example"
_NAME = "2026-11_302_42A0_in-network-rates.json"


@pytest.fixture
def inside() -> Iterator[MrfServer]:
    """A machine of our own network."""
    with MrfServer({f"/{_NAME}": render(document())}) as server:
        yield server


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[MrfServer]:
    """A machine of the Internet: it answers as the proxy that is asked for all hosts but 127.0.0.1."""
    with MrfServer() as server:
        monkeypatch.setenv("http_proxy", server.base_url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a person at a shell."""
    return Settings(output_dir=tmp_path / "lake", max_retries=0)


def _sources(url: str) -> dict[str, bytes]:
    plan = {"plan_name": "a", "plan_id_type": "hios", "plan_id": "1", "plan_market_type": "group"}
    files = [{"location": url, "description": "x"}]
    toc = {"reporting_structure": [{"reporting_plans": [plan], "in_network_files": files}]}
    return {
        "index": json.dumps(toc).encode(),
        "csv": f"file_url\n{url}\n".encode(),
        "urls": f"{url}\n".encode(),
    }


def _tasks(kind: str, location: str) -> list[FileTask]:
    return list(read_source(kind, location, partial(open_url, options=FetchOptions(max_retries=0))))


@pytest.mark.parametrize("kind", ["index", "csv", "urls"])
def test_a_source_over_the_web_names_no_private_address(
    inside: MrfServer, outside: MrfServer, settings: Settings, kind: str
) -> None:
    """Of whatever kind; also where the plan is loaded by another process."""
    outside.put("/source", _sources(inside.url(_NAME))[kind])
    (task,) = _tasks(kind, f"{_PUBLIC}/source")
    plan = TaskStore.under(settings.output_dir)
    plan.save([task])

    assert [task] == plan.load(task.network_id)
    with pytest.raises(AddressRefused, match="leads to a private address"):
        ingest(task.network_id, plan.load(task.network_id), settings)
    assert [] == inside.requests


@pytest.mark.parametrize("kind", ["index", "csv", "urls"])
@pytest.mark.parametrize("is_local", [True, False], ids=["a file", "a machine of our network"])
def test_a_source_of_our_own_names_private_addresses(
    inside: MrfServer, settings: Settings, tmp_path: Path, kind: str, is_local: bool
) -> None:
    """It is ours to say."""
    source = _sources(inside.url(_NAME))[kind]
    (tmp_path / "source").write_bytes(source)
    (task,) = _tasks(kind, str(tmp_path / "source") if is_local else inside.put("/source", source))

    ingest(task.network_id, [task], settings).require_published()


def test_what_is_allowed_is_asked_for(inside: MrfServer, outside: MrfServer, tmp_path: Path) -> None:
    """By the user, for all that a stranger names."""
    outside.put("/source", _sources(inside.url(_NAME))["urls"])
    (task,) = _tasks("urls", f"{_PUBLIC}/source")
    settings = Settings(output_dir=tmp_path / "lake", max_retries=0, refuse_private_addresses=False)

    ingest(task.network_id, [task], settings).require_published()


def test_the_sizes_of_a_plan_are_asked_for_as_the_files_are(
    inside: MrfServer, outside: MrfServer, tmp_path: Path
) -> None:
    """By no HEAD either."""
    outside.put("/source", _sources(inside.url(_NAME))["index"])
    result = CliRunner().invoke(
        cli, ["plan", "--source", "index", "--input", f"{_PUBLIC}/source", "--output-dir", str(tmp_path)]
    )

    assert "1 file(s) do not tell their size" in result.output
    assert [] == inside.requests


@pytest.mark.parametrize("reader", ["fast", "ijson"])
def test_a_file_over_the_web_names_no_private_address(
    inside: MrfServer, outside: MrfServer, tmp_path: Path, reader: ReaderName
) -> None:
    """Its remote references are its publisher's; one of our own network may lie in our own network."""
    inside.put("/group", b"secret of ours")
    references = [{"provider_group_id": 1, "location": inside.url("/group")}]
    made = document() | {"provider_references": references}
    outside.put(_NAME, render(made))
    settings = Settings(output_dir=tmp_path / "lake", max_retries=0, reader=reader)

    (task,) = _tasks("url", f"{_PUBLIC}/{_NAME}")
    with pytest.raises(RemoteReferencesFailed, match="leads to a private address"):
        ingest(task.network_id, [task], settings)
    assert [] == inside.requests

    (task,) = _tasks("url", inside.put(_NAME, render(made)))
    with pytest.raises(RemoteReferencesFailed, match="is not JSON; check the address"):
        ingest(task.network_id, [task], settings)


@pytest.mark.parametrize(
    "location", ["http://%31%32%37.0.0.1/a", r"http://127.0.0.1\@mrf.example/a", "http://[::1%25lo]/a"]
)
def test_a_host_that_cannot_be_told_is_a_reject_behind_a_proxy_too(
    outside: MrfServer, tmp_path: Path, location: str
) -> None:
    """It costs its group, and not the network."""
    made = document() | {"provider_references": [{"provider_group_id": 1, "location": location}]}
    outside.put(_NAME, render(made))
    settings = Settings(output_dir=tmp_path / "lake", max_retries=0, remote_reference_failure_share=1.0)
    (task,) = _tasks("url", f"{_PUBLIC}/{_NAME}")

    result = ingest(task.network_id, [task], settings)
    result.require_published()
    assert 1 == result.repairs["remote_reference_failed"]
    assert [f"/{_NAME}"] == [request.path for request in outside.requests]


@pytest.mark.parametrize("content", [b"root:x:0:0", b"name,token,x,y\n"])
def test_an_error_quotes_nothing_that_a_machine_of_our_network_said(
    inside: MrfServer, tmp_path: Path, content: bytes
) -> None:
    """A file of ours is quoted, for its owner to know it by."""
    (tmp_path / "a").write_bytes(content)
    words = content.decode()[:4]
    for location, is_quoted in ((inside.put("/a", content), False), (str(tmp_path / "a"), True)):
        with pytest.raises(UnsupportedContent) as error, open_url(location) as raw:
            list(open_json(raw).blocks())
        assert is_quoted == (words in str(error.value))


def _looked(url: str, **given: bool) -> tuple[list[str], str, list[PortalResult]]:
    looking = DiscoverySettings(scraper_rate_per_second=1_000.0)
    found = discover([Portal(url=url)], Settings(max_retries=0, **given), looking, use_browser=False)  # type: ignore[arg-type]
    (result,) = found.results
    return [file.url for file in result.files], result.reason, list(found.results)


@pytest.mark.parametrize("path", ["latest.json", "latest_metadata.json"])
def test_a_portal_names_no_private_address(inside: MrfServer, outside: MrfServer, path: str) -> None:
    """Neither a list that is asked for at once, nor its robots.txt, nor a file for the next command."""
    data(inside, f"/{path}", {"files": [{"location": f"{_PUBLIC}/2026-11-01_acme_index.json"}]})
    link_page(outside, "/portal", [inside.url(path), inside.url(_NAME), f"http://2130706433/{_NAME}", "/b_index.json"])

    found, reason, _ = _looked(f"{_PUBLIC}/portal")

    assert [f"{_PUBLIC}/b_index.json"] == found
    assert "2 private address(es) are left out" in reason
    assert [] == inside.requests


def test_a_portal_of_our_own_network_names_private_addresses(inside: MrfServer) -> None:
    """Lists of other machines, too."""
    with MrfServer() as other:
        data(other, "/latest.json", {"files": [{"location": "/2026-11-01_acme_index.json"}]})
        link_page(inside, "/portal", [other.url("/latest.json"), inside.url(_NAME)])

        found, _, _ = _looked(inside.url("/portal"))

    assert {other.url("/2026-11-01_acme_index.json"), inside.url(_NAME)} == set(found)


def test_a_portal_that_leads_to_a_private_address_is_told(inside: MrfServer, outside: MrfServer) -> None:
    """The user named the portal, and its server the rest."""
    outside.always("/portal", Answer(status=302, headers={"Location": inside.url("/x")}))

    found, reason, _ = _looked(f"{_PUBLIC}/portal")

    assert [] == found
    assert "leads to a private address" in reason
    assert [] == inside.requests


def test_what_a_portal_named_stays_a_strangers_word(inside: MrfServer, outside: MrfServer, tmp_path: Path) -> None:
    """The CSV of `mrf discover` is a file of ours, and its addresses are the portal's: names are looked up later."""
    link_page(outside, "/portal", [_NAME])
    link_page(inside, "/portal", [_NAME])
    for portal, expected in ((f"{_PUBLIC}/portal", True), (inside.url("/portal"), False)):
        _, _, results = _looked(portal)
        write_found(results, tmp_path / "found.csv")

        assert [expected] == [task.is_from_stranger for task in _tasks("csv", str(tmp_path / "found.csv"))]
