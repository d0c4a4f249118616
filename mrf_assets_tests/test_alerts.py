"""Alerts over real HTTP, to a webhook on loopback."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator

import pytest

from mrf_assets.alerts import Alert, check_alert_urls, send_alert
from mrf_assets.errors import SettingError
from mrf_assets_tests.mrf_server import Answer, MrfServer

SECRET = "S3cr3tT0ken"
ALERT = Alert(title="Batch b ended", lines=("20 of 22 networks are published", "2 failed"), severity="failure")


@pytest.fixture
def webhook() -> Iterator[MrfServer]:
    """A server that takes what is posted to it."""
    with MrfServer() as server:
        yield server


def _address(server: MrfServer, path: str = f"/hook/{SECRET}") -> str:
    return server.url(path).replace("http://", "json://")


def _told(server: MrfServer) -> list[dict[str, str]]:
    return [json.loads(request.body) for request in server.requests if request.method == "POST"]


def test_an_alert_arrives_with_title_lines_and_severity(webhook: MrfServer) -> None:
    """As JSON, at a webhook."""
    assert send_alert(ALERT, _address(webhook))

    (told,) = _told(webhook)
    assert ("Batch b ended", "20 of 22 networks are published\n2 failed", "failure") == (
        told["title"],
        told["message"],
        told["type"],
    )


def test_every_address_is_told(webhook: MrfServer) -> None:
    """They are separated by white space, on one line or several."""
    assert send_alert(ALERT, f" {_address(webhook, '/a')}\n{_address(webhook, '/b')} ")

    assert ["/a", "/b"] == sorted(request.path for request in webhook.requests)


def test_without_addresses_nothing_is_sent() -> None:
    """That is no failure."""
    assert send_alert(ALERT, None)
    assert send_alert(ALERT, "")


def test_an_alert_that_cannot_be_delivered_is_logged_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens: the run goes on, and the others are told."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"json://127.0.0.1:{probe.getsockname()[1]}/hook/{SECRET}"
    with MrfServer() as server, caplog.at_level(logging.DEBUG, "mrf_assets"):
        assert not send_alert(ALERT, f"{closed} {_address(server)}")

        assert 1 == len(_told(server))
    assert "'Batch b ended' could not be delivered to address 1. JSON" in caplog.text
    assert SECRET not in caplog.text


def test_a_refused_alert_is_logged(webhook: MrfServer, caplog: pytest.LogCaptureFixture) -> None:
    """The webhook answers, and not with success."""
    webhook.always("/hook", Answer(status=403))

    assert not send_alert(ALERT, _address(webhook, "/hook"))
    assert "could not be delivered" in caplog.text


@pytest.mark.parametrize(
    "bad", [f"https://strangers.example/{SECRET}", f"nonsense://{SECRET}", SECRET, f"discord://{SECRET}"]
)
def test_an_address_of_no_known_kind_is_told_by_its_place(
    bad: str, webhook: MrfServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The address itself is a secret: not in the error, the log or on the console."""
    with pytest.raises(SettingError, match=r"alert_urls: address 2 is of no known kind; .*json://host/path") as error:
        check_alert_urls(f"{_address(webhook)} {bad}")
    assert not send_alert(ALERT, bad)

    assert SECRET not in str(error.value) + caplog.text + "".join(capfd.readouterr())


def test_a_long_alert_is_cut_at_a_line(webhook: MrfServer) -> None:
    """Services refuse long messages; what is left out is counted."""
    lines = tuple(f"network-{number:04} failed" for number in range(1_000))
    send_alert(Alert(title="t", lines=lines), _address(webhook))

    (told,) = _told(webhook)
    *kept, last = told["message"].splitlines()
    assert list(lines[: len(kept)]) == kept
    assert f"... and {1_000 - len(kept)} more lines" == last
    assert len(told["message"]) < 2_000


def test_what_strangers_wrote_steers_nothing(webhook: MrfServer) -> None:
    """One line stays one line, and control characters go."""
    send_alert(Alert(title="a\nb", lines=("x\r\nForged: y\x1b[31m \u202eabc",)), _address(webhook))

    (told,) = _told(webhook)
    assert ("a b", "x Forged: y [31m abc") == (told["title"], told["message"])


@pytest.mark.parametrize(
    "call",
    ["@everyone", "@@everyone", "@@everyoneeveryone", "@here", "<!channel>", "<<!!here>", "<@U024BE7LH>", "<@&42>"],
)
def test_what_strangers_wrote_calls_nobody(webhook: MrfServer, call: str) -> None:
    """Neither a person nor a channel, in title and text; and it can still be read."""
    send_alert(Alert(title=call, lines=(call,)), _address(webhook))

    (told,) = _told(webhook)
    for text in (told["title"], told["message"]):
        assert call == text.replace("\u200b", "")
        assert not re.search(r"@[\w&]|<!\w", text)
