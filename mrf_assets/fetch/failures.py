"""Why no answer came, in words that blame nobody for what is ours: which certificates are trusted, which proxy asks."""

from __future__ import annotations

import re
import ssl

import requests

from mrf_assets.errors import ConnectionLostError, FetchError, HttpStatusError, UnsupportedUrl, UntrustedServer
from mrf_assets.urls import host_of
from mrf_assets.urls.address import Address

_NOT_VALID_NOW = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_OF_ANOTHER_HOST = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")
_CHECK_PROXY = "check http_proxy, https_proxy and no_proxy"


def connection_failure(address: Address, error: Exception, proxy: str | None) -> FetchError:
    """The error of a request that had no answer.

    Args:
        address: The address that was asked for.
        error: What the client raised; its text holds the address with its signature, and is not told.
        proxy: The proxy that was to ask, where there is one; may hold a login.
    """
    causes = _causes(error)
    certificate_error = next((each for each in causes if isinstance(each, ssl.SSLCertVerificationError)), None)
    if certificate_error is not None:
        return UntrustedServer(address, _why_untrusted(certificate_error))
    if isinstance(error, requests.exceptions.InvalidHeader):
        return HttpStatusError(
            address, "the server announces two different lengths; tell the payer, or download it by hand"
        )
    if isinstance(error, requests.exceptions.ProxyError) and proxy is not None:
        status = next((match[1] for each in causes if (match := _TUNNEL.search(str(each)))), None)
        how = type(error).__name__ if status is None else f"HTTP {status}"
        return ConnectionLostError(address, f"the proxy {_host(proxy)} gave no connection ({how}); {_CHECK_PROXY}")
    if isinstance(error, ValueError):
        if proxy is not None:
            return FetchError(address, f"the proxy of the environment cannot be used; {_CHECK_PROXY}")
        return UnsupportedUrl(address, "is not a usable address; check it")
    return ConnectionLostError(address, f"no answer ({type(error).__name__}); check the address and the network")


def _why_untrusted(error: ssl.SSLCertVerificationError) -> str:
    message = f"the server's certificate cannot be verified ({error.verify_message})"
    if error.verify_code in _NOT_VALID_NOW:
        return f"{message}; check the clock of this machine, or download it by hand"
    if error.verify_code in _OF_ANOTHER_HOST:
        return f"{message}; check the address, and whether a proxy or a portal of your network answers in its place"
    return (
        f"{message}; if a proxy of your network opens TLS, or the server sends an incomplete chain, name a file of "
        "certificates to trust in REQUESTS_CA_BUNDLE or SSL_CERT_FILE"
    )


def _host(proxy: str) -> str:
    return host_of(proxy if "://" in proxy else f"http://{proxy}") or "of the environment"


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what led to it, wherever libraries keep that."""
    causes: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        each = queue.pop()
        if isinstance(each, BaseException) and each not in causes:
            causes.append(each)
            queue += [*each.args, each.__cause__, each.__context__, getattr(each, "reason", None)]
    return causes
