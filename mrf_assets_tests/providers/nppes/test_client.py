"""The NPI Registry: identifiers, answers with all their traps, and the client over real sockets."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from mrf_assets.errors import LookUpFailed, SettingError
from mrf_assets.providers.lookup import Answer, Item, Row
from mrf_assets.providers.names import best_match, name_confidence, registry_names
from mrf_assets.providers.nppes import npi_of, npi_problem
from mrf_assets.providers.nppes.answers import read_answer
from mrf_assets.providers.nppes.client import NppesClient, run_check
from mrf_assets.schema import NPI_REGISTRY
from mrf_assets_tests.factory import luhn_valid
from mrf_assets_tests.nppes_factory import answer, deactivated, errors, make_npis, old_provider, provider
from mrf_assets_tests.nppes_server import (
    BROKEN,
    HANG_UP,
    HTML,
    REFUSED,
    RESET,
    SILENT,
    TRUNCATED,
    NppesServer,
    Reply,
    refused,
)
from mrf_assets_tests.raw_server import write_certificate

NOW = dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC)
NPIS = make_npis(40)
PERSON = next(npi for npi in NPIS if provider(npi)["enumeration_type"] == "NPI-1")
ORGANIZATION = next(npi for npi in NPIS if provider(npi)["enumeration_type"] == "NPI-2")


def read(npi: str, told: object) -> Row:
    """The row of one answer."""
    return read_answer(npi, json.dumps(told).encode(), NOW)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no NPI"),
        ("  ", "no NPI"),
        ("123456789", "9 digits, not 10"),
        ("12345678901", "11 digits, not 10"),
        ("abcdefghij", "not a number"),
        ("-234567893", "not a number"),
        ("1234567890", "wrong check digit"),
        ("3234567893", "begins with neither 1 nor 2"),
        ("١٢٣٤٥٦٧٨٩٣", "not a number"),
        ("1234567893.5", "not a number"),
        ("1234567893", None),
        (" 1234567893 ", None),
        ("1234567893.0", None),
    ],
)
def test_what_is_no_npi_is_told(text: str, problem: str | None) -> None:
    """1234567893 is the example of the CMS documentation."""
    assert problem == npi_problem(text)
    if problem is None:
        assert "1234567893" == npi_of(text)


@given(st.integers(10**9, 3 * 10**9 - 1))
def test_the_check_digit_is_luhns(number: int) -> None:
    """Over 80840 and the NPI; the factory has its own."""
    assert luhn_valid(str(number)) == (npi_problem(str(number)) is None)


@pytest.mark.parametrize("npi", NPIS)
def test_every_provider_fits_the_schema(npi: str) -> None:
    """All columns, each of its type, in the answers of today and of earlier years alike."""
    rows = [read(npi, answer(provider(npi))), read(npi, answer(old_provider(npi)))]

    pa.Table.from_pylist([dict(row) for row in rows], schema=NPI_REGISTRY.arrow).validate(full=True)
    today, earlier = ({name: value for name, value in row.items() if name != "raw_json"} for row in rows)
    assert today == earlier


def test_a_person_is_read() -> None:
    """Names, practice address, primary taxonomy, dates."""
    told = provider(PERSON)
    basic, location = told["basic"], told["addresses"][1]
    primary = next(each for each in told["taxonomies"] if each["primary"])

    row = read(PERSON, answer(told))

    expected = {
        "npi": int(PERSON),
        "status": "matched",
        "entity_type": "individual",
        "last_name": basic["last_name"],
        "first_name": basic["first_name"],
        "name_suffix": None,
        "organization_name": None,
        "practice_city": location["city"],
        "practice_postal_code": location["postal_code"],
        "primary_taxonomy_code": primary["code"],
        "primary_taxonomy": primary["desc"],
        "taxonomy_codes": [each["code"] for each in told["taxonomies"]],
        "enumeration_date": dt.date.fromisoformat(basic["enumeration_date"]),
        "source": "api",
        "fetched_at": NOW,
    }
    assert expected == {name: row[name] for name in expected}
    assert told == json.loads(row["raw_json"])["results"][0]


def test_an_organization_is_read() -> None:
    """Its legal name, and whether it is part of another."""
    told = provider(ORGANIZATION)

    row = read(ORGANIZATION, answer(told))

    assert ("organization", told["basic"]["organization_name"], told["basic"]["organizational_subpart"] == "YES") == (
        row["entity_type"],
        row["organization_name"],
        row["is_subpart"],
    )


def test_a_withdrawn_npi_is_an_answer() -> None:
    """Error 15 with status 200: nothing is told but that."""
    row = read(PERSON, deactivated(PERSON))

    assert ("deactivated", None, None) == (row["status"], row["last_name"], row["deactivation_date"])


def test_a_withdrawn_npi_may_come_as_a_result() -> None:
    """With status D, or with a date and no later reactivation."""
    told = provider(PERSON)
    told["basic"] |= {"deactivation_date": "2020-03-04", "deactivation_reason_code": "DT"}
    row = read(PERSON, answer(told))
    assert ("deactivated", dt.date(2020, 3, 4)) == (row["status"], row["deactivation_date"])

    for date, expected in (("2021-03-04", dt.date(2021, 3, 4)), ("2021-02-30", None)):
        told["basic"] |= {"reactivation_date": date}
        row = read(PERSON, answer(told))
        assert ("matched", expected) == (row["status"], row["reactivation_date"])


def test_an_npi_that_was_never_issued_is_an_answer() -> None:
    """The registry does not check digits: it has no result."""
    assert "not_found" == read(PERSON, answer())["status"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (errors("17", "Unsupported Version", "version"), "api_error"),
        (errors("06", "NPI must be 10 digits"), "api_error"),
        ({"Errors": "busy"}, "api_error"),
        ({"result_count": 1}, "odd_answer"),
        ({"results": {}}, "odd_answer"),
        ([], "odd_answer"),
        (7, "odd_answer"),
        (answer(provider(ORGANIZATION)), "odd_answer"),
    ],
)
def test_an_answer_that_says_nothing_of_the_npi_is_a_failure(told: object, reason: str) -> None:
    """An error of the registry must not pass for an NPI that does not exist."""
    with pytest.raises(LookUpFailed) as caught:
        read(PERSON, told)

    assert (reason, True) == (caught.value.reason, caught.value.is_passing)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"results"', b"\xff\xfe", b'{"results": [NaN]}'])
def test_what_is_no_json_is_a_failure(body: bytes) -> None:
    """A maintenance page, half an answer."""
    with pytest.raises(LookUpFailed, match="no JSON"):
        read_answer(PERSON, body, NOW)


def test_a_replacement_that_is_no_npi_is_left_out() -> None:
    """A number of thirty digits fits no column."""
    told = provider(PERSON)
    for text, expected in (("9" * 30, None), (PERSON, int(PERSON)), (int(PERSON), int(PERSON))):
        told["basic"]["replacement_npi"] = text
        assert expected == read(PERSON, answer(told))["replacement_npi"]


@pytest.mark.parametrize("epoch", ["9" * 5_000, "9" * 30, 10**18, 1e300, "-1"])
def test_an_epoch_that_overflows_is_no_date(epoch: object) -> None:
    """And no reason to give the NPI up."""
    told = provider(PERSON)
    told["created_epoch"] = told["last_updated_epoch"] = epoch
    del told["basic"]["enumeration_date"], told["basic"]["last_updated"]

    row = read(PERSON, answer(told))

    assert ("matched", None) == (row["status"], row["enumeration_date"])


def test_two_dashes_are_nothing() -> None:
    """NPPES writes -- for an empty prefix or suffix."""
    told = provider(PERSON)
    told["basic"] |= {"name_prefix": "--", "name_suffix": "--", "credential": " -- "}

    row = read(PERSON, answer(told))

    assert (None, None, None) == (row["name_prefix"], row["name_suffix"], row["credential"])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_a_value_of_another_kind_never_breaks_a_row(data: st.DataObject) -> None:
    """Any field replaced by anything: a row of the schema, or a failure with a reason."""
    npi = data.draw(st.sampled_from([PERSON, ORGANIZATION]))
    told = copy.deepcopy(answer(provider(npi)))
    place: Any = told
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.integers(0, 3)):
            place = place[key]
        else:
            place[key] = data.draw(_JSON)
            break
    try:
        row = read(npi, told)
    except LookUpFailed:
        return
    pa.Table.from_pylist([dict(row)], schema=NPI_REGISTRY.arrow).validate(full=True)


@pytest.fixture
def server() -> Iterator[NppesServer]:
    """A registry."""
    with NppesServer() as server:
        yield server


def look_up(server: NppesServer, *npis: str, **options: Any) -> list[Answer]:  # noqa: ANN401 - of the client
    """One after the other over one client."""

    async def run() -> list[Answer]:
        async with NppesClient(server.url, **options) as client:
            return [await client.look_up(Item(key=npi)) for npi in npis]

    return asyncio.run(run())


def test_one_request_asks_for_one_npi(server: NppesServer) -> None:
    """Version 2.1, by number."""
    (found,) = look_up(server, PERSON)

    assert [{"version": "2.1", "number": PERSON}] == server.queries
    assert int(PERSON) == found.row["npi"]
    assert found.size_bytes > 500


def test_connections_are_kept(server: NppesServer) -> None:
    """Ten look-ups, one connection; ten with pooling switched off."""
    look_up(server, *NPIS[:10])
    assert 1 == server.connections

    look_up(server, *NPIS[:10], keep_alive=False)
    assert 11 == server.connections


def test_a_connection_that_was_closed_while_idle_is_opened_anew(server: NppesServer) -> None:
    """Twice inside one look-up; the engine's retries are not used up by it."""
    server.script(PERSON, HANG_UP, HANG_UP)

    (found,) = look_up(server, PERSON)

    assert "matched" == found.row["status"]
    assert 3 == server.requests[PERSON]


def redirect(location: str) -> Reply:
    """A 302 to there."""
    return Reply(status=302, headers={"Location": location})


@pytest.mark.parametrize("entry", ["machine 127.0.0.1", "default"])
def test_no_login_of_netrc_is_sent(
    server: NppesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    """Neither to the registry, nor to where it redirects, nor to a proxy."""
    (tmp_path / ".netrc").write_text(f"{entry} login user password S3cr3t\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    with NppesServer() as other:
        server.script(PERSON, redirect(f"{other.url}?version=2.1&number={PERSON}"))
        look_up(server, PERSON)
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "")
        look_up(other, ORGANIZATION)

        assert 2 == len(server.headers)
        assert 1 == len(other.headers)
        for headers in server.headers + other.headers:
            assert not {"authorization", "proxy-authorization"} & headers.keys()


@pytest.mark.parametrize(("login", "sent"), [("", None), ("user:pw@", "Basic dXNlcjpwdw==")])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_of_the_environment_is_used_with_the_login_of_its_address(
    server: NppesServer, monkeypatch: pytest.MonkeyPatch, scheme: str, login: str, sent: str | None
) -> None:
    """As for downloads, with a scheme or without; the registry's host is resolved by the proxy."""
    monkeypatch.setenv("http_proxy", f"{scheme}{login}127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")

    async def run() -> Answer:
        async with NppesClient("http://registry.example/api/") as client:
            return await client.look_up(Item(key=PERSON))

    assert "matched" == asyncio.run(run()).row["status"]
    (headers,) = server.headers
    assert ("registry.example", sent) == (headers["host"], headers.get("proxy-authorization"))


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_of_ones_own_network_are_trusted_by_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """By the same variables as for downloads; without one the error says what to do."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    pem = str(write_certificate(tmp_path / "server.pem"))
    with NppesServer(certificate=(pem, pem)) as server:
        with pytest.raises(LookUpFailed, match=r"self.signed.*REQUESTS_CA_BUNDLE or SSL_CERT_FILE"):
            look_up(server, PERSON)

        monkeypatch.setenv(variable, pem)
        (found,) = look_up(server, PERSON)

    assert "matched" == found.row["status"]


@pytest.mark.parametrize(("content", "told"), [(None, "does not exist"), ("no PEM", "holds no certificates")])
def test_certificates_that_cannot_be_used_are_told_before_the_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, told: str
) -> None:
    """They are the user's to mend."""
    path = tmp_path / "trusted.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))

    with pytest.raises(SettingError, match=f"REQUESTS_CA_BUNDLE: .*trusted.pem {told}"):
        NppesClient("https://registry.example/api/")


def test_a_host_of_no_proxy_is_asked_directly(server: NppesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is a port at which nobody listens."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.0/8")

    assert 1 == len(look_up(server, PERSON))


def test_a_proxy_of_another_kind_is_refused_without_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first request."""
    monkeypatch.setenv("all_proxy", "socks5://user:S3cr3t@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(SettingError, match="names a proxy of socks5") as caught:
        NppesClient("http://registry.example/api/")
    assert "S3cr3t" not in str(caught.value)


def test_redirects_are_followed_one_host_after_the_other(server: NppesServer) -> None:
    """Relative ones, too; the answer is that of the last."""
    server.script(PERSON, redirect(f"/there?version=2.1&number={PERSON}"))

    (found,) = look_up(server, PERSON)

    assert ("matched", 2) == (found.row["status"], server.requests[PERSON])


@pytest.mark.parametrize(
    ("location", "told", "requests"),
    [
        ("?number=1", "more than 10 redirects", 11),
        ("file:///etc/passwd", "leads to no http", 1),
        ("http://[::1", "leads to no http", 1),
        ("http://127.0.0.1:99999/", "leads to no http", 1),
    ],
)
def test_a_redirect_that_leads_nowhere_is_a_failure(
    server: NppesServer, location: str, told: str, requests: int
) -> None:
    """At once: another try would end in the same place."""
    server.always(redirect(location))

    with pytest.raises(LookUpFailed, match=told) as caught:
        look_up(server, PERSON)
    assert (False, requests) == (caught.value.is_passing, server.total())


@pytest.mark.parametrize(
    ("reply", "reason", "is_passing"),
    [
        (BROKEN, "http_500", True),
        (Reply(status=404), "http_404", False),
        (Reply(status=403, body=b"<html>Access denied</html>"), "http_403", False),
        (HTML, "not_json", True),
        (RESET, "connection_lost", True),
        (TRUNCATED, "connection_lost", True),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_fault_is_a_failure_with_its_reason(
    server: NppesServer, reply: Reply, reason: str, is_passing: bool
) -> None:
    """And says whether to try again."""
    server.always(reply)

    with pytest.raises(LookUpFailed) as caught:
        look_up(server, PERSON)

    assert (reason, is_passing, False) == (caught.value.reason, caught.value.is_passing, caught.value.is_refusal)


def test_a_silent_server_is_given_up(server: NppesServer) -> None:
    """After the time that is set."""
    server.script(PERSON, SILENT)

    with pytest.raises(LookUpFailed, match=r"no answer within 0.2 s"):
        look_up(server, PERSON, timeout_seconds=0.2)


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (REFUSED, None),
        (refused("7"), 7.0),
        (refused("soon"), None),
        (refused("9" * 400), 3_600.0),
        (refused("Sun, 22 Nov 99999999999999999999 08:00:30 GMT"), None),
        (refused("Sun, 22 Nov 2026 08:00:30 +" + "9" * 30), None),
        (Reply(status=503), None),
    ],
)
def test_a_refusal_is_told_from_a_failure(server: NppesServer, reply: Reply, seconds: float | None) -> None:
    """429 and 503, with the wait that the server asks for, at most an hour; what overflows says nothing."""
    server.script(PERSON, reply)

    with pytest.raises(LookUpFailed) as caught:
        look_up(server, PERSON)

    assert ("rate_limited", True, seconds) == (
        caught.value.reason,
        caught.value.is_refusal,
        caught.value.retry_after_seconds,
    )


@pytest.mark.parametrize("url", ["ftp://host/api", "/tmp/api", "npiregistry.cms.hhs.gov/api", "http://host:99999/"])  # noqa: S108 - no file
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Before the first request."""
    with pytest.raises(SettingError, match="npi_api_url"):
        NppesClient(url)


def test_the_check_is_one_request(server: NppesServer) -> None:
    """Of the NPI that CMS has as its example."""
    assert f"{server.url} answers (1234567893: matched)" == run_check(server.url, 5.0)
    assert 1 == server.total()


_MATCHES: list[tuple[str | None, str | None, Callable[[float], bool]]] = [
    ("BALOR CLINIC, LLC", "Balor Clinic", lambda score: score == 1),
    ("Müller & Söhne P.L.L.C.", "MULLER SOHNE", lambda score: score == 1),
    ("Smith, John M.D.", "JOHN SMITH", lambda score: score == 1),
    ("St. Mary's Hospital", "ST MARYS HOSPITAL", lambda score: score == 1),
    ("North Valley Medical Group", "NORTH VALLEY MEDICAL GRP", lambda score: 0.9 < score < 1),
    ("North Valley Medical Group", "Acme Dental", lambda score: score < 0.5),
    ("The Company LLC", "Company Inc", lambda score: score > 0.6),
]


@pytest.mark.parametrize(("one", "other", "is_right"), _MATCHES)
def test_names_are_compared_without_case_order_and_legal_form(
    one: str, other: str, is_right: Callable[[float], bool]
) -> None:
    """From 0 to 1, the same both ways."""
    score = name_confidence(one, other)

    assert score is not None
    assert is_right(score)
    assert score == name_confidence(other, one)


def test_without_a_name_there_is_no_confidence() -> None:
    """None is not 0: nothing was compared."""
    assert name_confidence(None, "x") is name_confidence("x", " ") is name_confidence("", None) is None
    assert (None, None) == best_match(None, ["x"])


def test_the_best_of_the_registrys_names_counts() -> None:
    """A trade name matches where the legal one does not."""
    row = {"organization_name": "HOLDING 17 LLC", "other_names": ["Balor Clinic"]} | dict.fromkeys(
        ("first_name", "middle_name", "last_name")
    )

    assert ("Balor Clinic", 1.0) == best_match("BALOR CLINIC INC", registry_names(row))


@given(st.text(), st.text())
def test_a_confidence_is_between_0_and_1(one: str, other: str) -> None:
    """Whatever strangers call themselves."""
    score = name_confidence(one, other)
    assert score is None or 0 <= score <= 1
