"""Tell people: Slack, Discord, e-mail or a webhook, whatever `alert_urls` names.

Apprise knows the services. Their addresses are secrets: none is logged, shown or raised here.
What is worth an alert is decided by callers.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mrf_assets.errors import InputError, MissingExtra, SettingError

if TYPE_CHECKING:
    from apprise import NotifyBase

logger = logging.getLogger(__name__)

# Apprise warns with the address in its text ("An invalid Discord Webhook Token (...)"). A filter, as Dagster's
# `dictConfig` enables every logger that was disabled.
logging.getLogger("apprise").addFilter(lambda _record: False)

_MAX_CHARACTERS = 1_800  # Discord refuses more than 2,000
_TITLE_CHARACTERS = 150
# What services make a mention of: @everyone, <@42>, <!channel>. Taken out it would leave another one (@@everyone), and
# apprise's Discord plugin looks for @name by itself. A space of no width keeps it readable, and calls nobody.
_CALLS = re.compile("@|<!")
_NOTHING = "\u200b"
_KINDS = "https://github.com/caronc/apprise/wiki lists the forms; a webhook is json://host/path"

Severity = Literal["info", "success", "warning", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What a person is told. Plain text; addresses in it are canonical."""

    title: str
    lines: tuple[str, ...] = ()
    severity: Severity = "info"

    @property
    def body(self) -> str:
        """The lines, with what does not fit counted."""
        lines = [_one_line(line, _MAX_CHARACTERS // 2) for line in self.lines]
        told, size = list[str](), 0
        for line in lines:
            size += len(line) + 1
            if size > _MAX_CHARACTERS:
                return "\n".join([*told, f"... and {len(lines) - len(told)} more lines"])
            told.append(line)
        return "\n".join(told)


def check_alert_urls(alert_urls: str | None) -> None:
    """Raise an error if alerts could not be sent.

    Raises:
        MissingExtra: There are addresses, and no apprise.
        SettingError: An address is of no known kind; named by its position, as it is a secret.
    """
    _services(alert_urls)


def send_alert(alert: Alert, alert_urls: str | None) -> bool:
    """Tell every address; returns whether all took it. Whatever goes wrong is logged and never raised.

    An address that does not answer costs some seconds (apprise's `cto` and `rto`, 4 each unless the address says).
    """
    try:
        services = _services(alert_urls)
    except InputError as error:
        logger.error("no alert was sent (%s): %s", alert.title, error)  # noqa: TRY400 - expected, and one line
        return False
    refused = [f"{number}. {service.service_name}" for number, service in services if not _told(service, alert)]
    if refused:
        logger.error("the alert %r could not be delivered to address %s", alert.title, ", ".join(refused))
    return not refused


def _told(service: NotifyBase, alert: Alert) -> bool:
    import apprise  # noqa: PLC0415 - optional; `_services` has found it

    one = apprise.Apprise()
    one.add(service)
    title = _one_line(alert.title, _TITLE_CHARACTERS)
    try:
        return bool(
            one.notify(
                body=alert.body or title,
                title=title,
                notify_type=apprise.NotifyType(alert.severity),
                body_format=apprise.NotifyFormat.TEXT,  # what strangers wrote is no markup
            )
        )
    except Exception as error:  # noqa: BLE001 - no service's bug may break a run; its text may hold the address
        logger.error("%s raised %s", service.service_name, type(error).__name__)  # noqa: TRY400 - the same
        return False


def _services(alert_urls: str | None) -> list[tuple[int, NotifyBase]]:
    """Number and service of each address; they are separated by white space."""
    addresses = (alert_urls or "").split()
    if not addresses:
        return []
    try:
        import apprise  # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        raise MissingExtra("MRF_ALERT_URLS", "apprise", "alerts") from None
    found: list[tuple[int, NotifyBase]] = []
    for number, address in enumerate(addresses, 1):
        service = apprise.Apprise.instantiate(address, suppress_exceptions=True)
        if not isinstance(service, apprise.NotifyBase):
            raise SettingError("alert_urls", f"address {number} is of no known kind; {_KINDS}")
        found.append((number, service))
    return found


def _one_line(text: str, most: int) -> str:
    """Text of strangers as one line of a message, without a way to call a person or a channel."""
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    text = _CALLS.sub(rf"\g<0>{_NOTHING}", " ".join(text.split()))
    return text if len(text) <= most else text[: most - 1] + "…"
