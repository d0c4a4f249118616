"""An address shows what may be shown, wherever it stands."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

import mrf_assets
from mrf_assets import errors
from mrf_assets.errors import FetchError, MrfError
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address

_SECRET = "S3cr3tS1gnature"
_NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=12)
_SIGNATURES = st.sampled_from(("Signature", "sig", "X-Amz-Signature", "X-Goog-Signature", "token", "hdnts"))


@st.composite
def _signed(draw: st.DrawFn) -> str:
    folders = draw(st.lists(_NAMES, max_size=3))
    login = draw(st.sampled_from(("", f"user:{_SECRET}@")))
    path = "/".join([*folders, f"{draw(_NAMES)}.json.gz"])
    return f"https://{login}{draw(_NAMES).strip('-_') or 'a'}.example/{path}?{draw(_SIGNATURES)}={_SECRET}"


def _task(address: Address) -> FileTask:
    identity = NetworkIdentity(rule="explicit", rule_version=1, scope="x", raw_id="acme")
    return FileTask(address=address, network_id="acme", identity=identity, index_address=address)


def _errors_of(address: Address) -> list[MrfError]:
    """One of each kind of error that names an address."""
    found: list[MrfError] = []
    for kind in vars(errors).values():
        if not (inspect.isclass(kind) and issubclass(kind, MrfError)):
            continue
        parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
        if parameters and "Address" in str(parameters[0].annotation):
            rest: dict[str, Any] = {"int": 1, "str": "what", "int | None": 1}
            found.append(kind(address, *(rest.get(str(it.annotation), ()) for it in parameters[1:])))
    return found


def _texts(value: object) -> list[str]:
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s %r", (value, value), None)
    return [str(value), repr(value), f"{value}", f"{value!r}", record.getMessage(), repr([value])]


@given(_signed())
def test_no_text_of_an_address_shows_a_signature(url: str) -> None:
    """Nor does one of what crossed a process as a pickle."""
    address = Address(url)

    for value in (address, pickle.loads(pickle.dumps(address))):  # noqa: S301 - our own
        assert _SECRET not in "".join(_texts(value))
        assert f"{address:>300}".endswith(address.shown)
    assert _SECRET in address.real


@given(_signed())
def test_no_text_of_a_task_shows_a_signature(url: str) -> None:
    """Whoever logs a whole task, or a plain copy of its fields, logs no secret."""
    task = _task(Address(url))

    assert _SECRET not in "".join([*_texts(task), *_texts(asdict(task))])


@given(_signed())
def test_no_error_that_names_an_address_has_its_signature(url: str) -> None:
    """Neither its text nor its arguments, and no pickle of it: errors are kept, sent and shown anywhere."""
    found = _errors_of(Address(url))

    assert {"AccessRefused", "IndexShrunk", "LimitExceeded", "MalformedJson", "SourceProblems"} <= {
        type(error).__name__ for error in found
    }
    for error in found:
        assert _SECRET not in "".join([*_texts(error), repr(error.args), repr(vars(error))])
        assert _SECRET.encode() not in pickle.dumps(error)


@given(_signed())
def test_an_address_is_no_text(url: str) -> None:
    """What takes texts alone refuses it, and writes no secret by mistake."""
    address = Address(url)

    assert not isinstance(address, str)
    with pytest.raises(TypeError):
        json.dumps(address)
    with pytest.raises(TypeError):
        "&".join(list[Any]([address]))


def test_addresses_are_equal_by_their_real_texts() -> None:
    """Another signature is another address; whether both name one file, the shown form says."""
    one, other = Address("https://a.example/x.json?sig=1"), Address("https://a.example/x.json?sig=2")

    assert one != other
    assert one.shown == other.shown
    assert {one, Address(one.real)} == {one}
    assert one != one.real


def test_an_address_stays_as_it_is() -> None:
    """It is a value."""
    address = Address("https://a.example/x.json")

    with pytest.raises(AttributeError):
        address.real = "https://b.example/"
    with pytest.raises(AttributeError):
        del address.real


def test_an_address_comes_whole_into_another_process() -> None:
    """A worker has to send the request."""
    address = Address(f"https://a.example/x.json?sig={_SECRET}")

    with get_context("spawn").Pool(1) as pool:
        assert address == pool.apply(Address.of, (address,))


def test_a_local_path_is_an_address() -> None:
    """It is shown as it is, and has no host."""
    address = Address.of("/data/x.json")

    assert ("/data/x.json", False, "", None) == (str(address), address.is_remote, address.host, address.store_kind)
    assert address is Address.of(address)
    assert isinstance(FetchError(address, "why"), MrfError)


def test_only_identities_make_canonical_texts_of_urls() -> None:
    """Whatever shows an address has an `Address`, and so cannot forget the call."""
    package = Path(mrf_assets.__file__).parent
    callers = {
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if "canonical_url(" in path.read_text()
    }

    assert {
        "discover/register.py",  # a name in the registry
        "network_id/names.py",  # a network
        "sources/spool.py",  # a file
        "urls/__init__.py",
        "urls/address.py",
    } == callers
