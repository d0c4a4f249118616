"""Answer on loopback with bytes as they are, over TLS too: for answers that no server of the library would send."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@contextmanager
def raw_server(answers: Sequence[bytes], pem: Path | None = None) -> Iterator[str]:
    """Answer each connection with the next bytes, the last ones again and again, and hang up; gives the address.

    `pem` holds key and certificate, where TLS is spoken.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, answers, _context(pem)))
        thread.start()
        try:
            yield f"{'http' if pem is None else 'https'}://localhost:{listening.getsockname()[1]}"
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _context(pem: Path | None) -> ssl.SSLContext | None:
    if pem is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def _serve(listening: socket.socket, answers: Sequence[bytes], context: ssl.SSLContext | None) -> None:
    number = 0
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # the test is over
            return
        with suppress(OSError), closing(connection), _spoken(connection, context) as stream:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += stream.recv(1 << 16) or b"\r\n\r\n"
            stream.sendall(answers[min(number, len(answers) - 1)])
        number += 1


def _spoken(connection: socket.socket, context: ssl.SSLContext | None) -> socket.socket:
    return connection if context is None else context.wrap_socket(connection, server_side=True)


def write_certificate(path: Path, *, host: str = "localhost", until: dt.datetime | None = None) -> Path:
    """Write a key, and a certificate of two days that nobody has signed but itself; gives the path."""
    until = until or dt.datetime.now(tz=dt.UTC) + dt.timedelta(days=1)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))] if host == "localhost" else []
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(until - dt.timedelta(days=2))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host), *addresses]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
