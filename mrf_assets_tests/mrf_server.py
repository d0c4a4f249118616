"""Serve files over real HTTP on loopback, as badly as a test asks for.

`MrfServer` is a context manager: it serves a folder, a mapping of path to bytes, or both,
counts what is asked for, and answers from a script where one is given. A `Gate` holds an
answer in the middle, so that a test can act there without sleeping.
No knowledge of MRFs lives here.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import io
import re
import socket
import socketserver
import struct
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, Self, cast
from urllib.parse import unquote, urlsplit

_BLOCK_BYTES = 1 << 16
_SUCCESS = range(200, 300)
_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z")
DEFAULT_LAST_MODIFIED = "Thu, 05 Nov 2026 06:00:00 GMT"


class Gate:
    """Holds one answer after some bytes until it is released."""

    def __init__(self) -> None:
        self.reached = threading.Event()  # the bytes before the gate are with the client
        self.released = threading.Event()

    def release(self) -> None:
        """Let the rest of the answer pass."""
        self.released.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one request is answered; the defaults send what is stored under the path."""

    status: int = HTTPStatus.OK
    body: bytes | None = None  # None: what is stored; for other statuses than 2xx: nothing
    headers: Mapping[str, str] = field(default_factory=dict)  # win over those the server makes
    truncate_at: int | None = None  # send this many bytes, though Content-Length announces all, and hang up
    cut_after: int | None = None  # the same, in bytes of this answer's own body: a range is cut too
    drip_seconds: float = 0.0  # send byte by byte, that far apart, until the client or the server has enough
    drip_head_seconds: float = 0.0  # the same for status line and headers
    cut_head_after: int | None = None  # send this many bytes of status line and headers, and hang up
    reset: bool = False  # hang up there by a reset, as a machine in between does
    send_length: bool = True  # without a length, the end of the connection is the end of the body
    stream: Callable[[], Iterator[bytes]] | None = None  # makes the body as it is sent, without a length: never stored
    hold_at: int = 0  # where `gate` holds, in bytes of the body
    gate: Gate | None = None


NOT_FOUND = Answer(status=HTTPStatus.NOT_FOUND, body=b"not found", headers={"Content-Type": "text/plain"})
REFUSED = Answer(status=HTTPStatus.FORBIDDEN, body=b"signature expired", headers={"Content-Type": "text/plain"})
# Emblem answers a stale link with a page and the status 200.
HTML_PAGE = Answer(
    body=b"<!DOCTYPE html><html><body>This file has moved.</body></html>", headers={"Content-Type": "text/html"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came in."""

    method: str
    path: str  # percent escapes decoded, without the query
    query: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes = b""  # of a POST


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What lies under a path: its size and validators, and how to open it."""

    size: int
    etag: str
    last_modified: str
    source: bytes | Path

    def open(self) -> BinaryIO:
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")


class MrfServer:
    """A web server on 127.0.0.1, in threads of this process.

    Use as a context manager. `port` 0 takes any free port; a port that is taken raises `OSError`.
    """

    def __init__(
        self,
        content: Path | Mapping[str, bytes] | None = None,
        *,
        port: int = 0,
        ranges: bool = True,
        last_modified: str = DEFAULT_LAST_MODIFIED,
    ) -> None:
        self.ranges, self.last_modified = ranges, last_modified
        self.requests: list[Request] = []
        self.peak_concurrency = 0
        self.connections = 0
        self.sent_bytes = 0  # of bodies
        self._folder = content.resolve() if isinstance(content, Path) else None
        self._files: dict[str, bytes] = {}
        self._scripts: dict[str, deque[Answer]] = {}
        self._standing: dict[str, Answer] = {}
        self._heads: dict[str, Answer] = {}
        self._signatures: dict[str, str] = {}
        self._gates: list[Gate] = []
        self._stopped = threading.Event()
        self._active = 0
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []
        self._http = _Listener(self, port)
        for path, data in content.items() if isinstance(content, Mapping) else ():
            self.put(path, data)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="mrf-server")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Release all gates, end all connections and threads; an error of a handler is raised here."""
        self._stopped.set()
        for gate in self._gates:
            gate.release()
        self._http.shutdown()
        self._thread.join()
        self._http.hang_up()
        self._http.server_close()
        if self._errors:
            raise self._errors[0]

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._http.server_address[1]

    @property
    def base_url(self) -> str:
        """Address of the root, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        """Address of a path."""
        return self.base_url + _rooted(path)

    def put(self, path: str, data: bytes) -> str:
        """Store bytes under a path, in place of what was there; gives the address."""
        with self._lock:
            self._files[_rooted(path)] = data
        return self.url(path)

    def stored(self, path: str) -> bytes:
        """What `put` stored."""
        with self._lock:
            return self._files[_rooted(path)]

    def sign(self, path: str, signature: str) -> None:
        """From now on refuse requests of a path whose query has not this in it."""
        with self._lock:
            self._signatures[_rooted(path)] = signature

    def remove(self, path: str) -> None:
        """Forget what `put` stored."""
        with self._lock:
            del self._files[_rooted(path)]

    def script(self, path: str, *answers: Answer) -> None:
        """Answer the next GETs of a path with these, one each; after them the path is as it was.

        HEAD gets the status and headers of the answer that comes next, and does not use it up.
        """
        with self._lock:
            self._scripts.setdefault(_rooted(path), deque()).extend(answers)
            self._gates += [answer.gate for answer in answers if answer.gate]

    def always(self, path: str, answer: Answer) -> None:
        """Answer every request of a path with this, once its script has ended."""
        with self._lock:
            self._standing[_rooted(path)] = answer
            self._gates += [answer.gate] if answer.gate else []

    def answer_heads(self, path: str, answer: Answer) -> None:
        """Answer every HEAD of a path with this, whatever GETs get."""
        with self._lock:
            self._heads[_rooted(path)] = answer

    def hold(self, path: str, at: int) -> Gate:
        """Hold the next GET of a path after that many bytes of its body."""
        gate = Gate()
        self.script(path, Answer(gate=gate, hold_at=at))
        return gate

    def count(self, path: str, method: str = "GET") -> int:
        """How many requests of a path came in."""
        return sum(request.method == method for request in self.requests_of(path))

    def counts(self, method: str = "GET") -> Counter[str]:
        """How many requests came in, by path."""
        with self._lock:
            return Counter(request.path for request in self.requests if request.method == method)

    def requests_of(self, path: str) -> list[Request]:
        """The requests of a path, in the order they came."""
        with self._lock:
            return [request for request in self.requests if request.path == _rooted(path)]

    # What the handler's threads call.

    @contextlib.contextmanager
    def _serving(self, request: Request) -> Iterator[None]:
        with self._lock:
            self.requests.append(request)
            self._active += 1
            self.peak_concurrency = max(self.peak_concurrency, self._active)
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1

    def _next_answer(self, request: Request) -> Answer | None:
        with self._lock:
            if self._signatures.get(request.path, "") not in request.query:
                return REFUSED
            if request.method == "HEAD" and request.path in self._heads:
                return self._heads[request.path]
            waiting = self._scripts.get(request.path)
            if waiting:
                return waiting[0] if request.method == "HEAD" else waiting.popleft()
            return self._standing.get(request.path)

    def _stored(self, path: str) -> _Stored | None:
        with self._lock:
            data = self._files.get(path)
        if data is not None:
            return self._stored_bytes(data)
        if self._folder is None:
            return None
        found = (self._folder / path.lstrip("/")).resolve()
        if not found.is_relative_to(self._folder) or not found.is_file():
            return None
        facts = found.stat()
        return _Stored(
            size=facts.st_size,
            etag=f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"',
            last_modified=email.utils.formatdate(facts.st_mtime, usegmt=True),
            source=found,
        )

    def _stored_bytes(self, data: bytes) -> _Stored:
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        return _Stored(size=len(data), etag=etag, last_modified=self.last_modified, source=data)

    def _sent(self, size: int) -> None:
        with self._lock:
            self.sent_bytes += size

    def _failed(self, error: BaseException) -> None:
        self._errors.append(error)


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


class _Listener(ThreadingHTTPServer):
    """Threads that are joined at the end, and nothing on stderr."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, owner: MrfServer, port: int) -> None:
        self.owner = owner
        self._connections: set[socket.socket] = set()
        self._resets: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer asks DNS for the host's name here, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        with self._connections_lock:
            self._connections.add(cast("socket.socket", request))
            self.owner.connections += 1
        super().process_request(request, cast("tuple[str, int]", client_address))

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._connections_lock:
            self._connections.discard(cast("socket.socket", request))
            is_reset = request in self._resets
            self._resets.discard(cast("socket.socket", request))
        if is_reset:
            cast("socket.socket", request).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def reset(self, connection: socket.socket) -> None:
        """End a connection by RST rather than by FIN, when it is done."""
        with self._connections_lock:
            self._resets.add(connection)

    def hang_up(self) -> None:
        """End the connections that clients keep alive, so that their threads end."""
        with self._connections_lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        # Called in an except block. A client that hangs up is not an error of ours.
        del request, client_address
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.owner._failed(error)  # noqa: SLF001 - one unit with its owner


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener
    answering = Answer()
    _headers_buffer: list[bytes]

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def flush_headers(self) -> None:
        head, self._headers_buffer = b"".join(self._headers_buffer), []
        if self.answering.cut_head_after is not None:
            self.wfile.write(head[: self.answering.cut_head_after])
            raise ConnectionAbortedError  # as if the client had hung up: nothing more is sent
        if self.answering.drip_head_seconds:
            self._drip(io.BytesIO(head), len(head), self.answering.drip_head_seconds)
        else:
            self.wfile.write(head)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server uses
        """Say nothing: tests read `requests`."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=unquote(parts.path),
            query=parts.query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        owner = self.server.owner
        with owner._serving(request):  # noqa: SLF001 - one unit with its owner
            answer = owner._next_answer(request)  # noqa: SLF001
            stored = owner._stored(request.path)  # noqa: SLF001
            if request.method == "POST":  # a webhook: anything is taken, unless a script says otherwise
                self._send(answer or Answer(), owner._stored_bytes((answer and answer.body) or b""))  # noqa: SLF001
            elif answer is not None and answer.stream is not None:
                self._send_stream(answer, answer.stream)
            elif answer is not None and (answer.body is not None or answer.status not in _SUCCESS):
                self._send(answer, owner._stored_bytes(answer.body or b""))  # noqa: SLF001
            elif stored is None:
                self._send(NOT_FOUND, owner._stored_bytes(NOT_FOUND.body or b""))  # noqa: SLF001
            else:
                self._send_stored(answer or Answer(), stored, request)

    def _send_stream(self, answer: Answer, stream: Callable[[], Iterator[bytes]]) -> None:
        self.close_connection = True
        self.send_response(answer.status)
        for name, value in _merged({"Connection": "close"}, answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            for block in stream():
                self.wfile.write(block)

    def _send_stored(self, answer: Answer, stored: _Stored, request: Request) -> None:
        """What is stored, all or a range of it, or 304 where the client has it."""
        validators = {"ETag": stored.etag, "Last-Modified": stored.last_modified}
        if _is_fresh(request, stored):
            self._send(Answer(status=HTTPStatus.NOT_MODIFIED, headers=validators), None)
            return
        if self.server.owner.ranges:
            validators["Accept-Ranges"] = "bytes"
        first, last = _wanted_range(request, stored) if self.server.owner.ranges else (0, stored.size - 1)
        if first >= stored.size > 0:
            headers = {"Content-Range": f"bytes */{stored.size}"}
            self._send(Answer(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers), None)
            return
        self._send(answer, stored, first=first, last=last, headers=validators)

    def _send(
        self,
        answer: Answer,
        stored: _Stored | None,
        *,
        first: int = 0,
        last: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        size = stored.size if stored else 0
        last = size - 1 if last is None else last
        made = dict(headers or {})
        status = answer.status
        if last - first + 1 < size:
            status = HTTPStatus.PARTIAL_CONTENT
            made["Content-Range"] = f"bytes {first}-{last}/{size}"
        if answer.send_length:
            made["Content-Length"] = str(last - first + 1)
        else:
            made["Connection"] = "close"
        self.answering = answer
        self.send_response(status)
        for name, value in _merged(made, answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command in ("GET", "POST") and stored is not None:
            self._send_body(answer, stored, first, last + 1)

    def _send_body(self, answer: Answer, stored: _Stored, first: int, end: int) -> None:
        if answer.truncate_at is not None:
            end = min(end, answer.truncate_at)
            self.close_connection = True
        if answer.cut_after is not None:
            end = min(end, first + answer.cut_after)
            self.close_connection = True
        if answer.reset:
            self.server.reset(self.connection)
        with stored.open() as source:
            source.seek(first)
            if answer.drip_seconds:
                self._drip(source, end - first, answer.drip_seconds)
                return
            if answer.gate:
                held = max(first, min(end, answer.hold_at))
                self._copy(source, held - first)
                answer.gate.reached.set()
                answer.gate.released.wait()
                first = held
            self._copy(source, end - first)

    def _drip(self, source: BinaryIO, size: int, seconds: float) -> None:
        owner = self.server.owner
        for _ in range(size):
            self.wfile.write(source.read(1))
            owner._sent(1)  # noqa: SLF001 - one unit with its owner
            if owner._stopped.wait(seconds):  # noqa: SLF001
                return

    def _copy(self, source: BinaryIO, size: int) -> None:
        while size > 0 and (block := source.read(min(size, _BLOCK_BYTES))):
            self.wfile.write(block)
            self.server.owner._sent(len(block))  # noqa: SLF001 - one unit with its owner
            size -= len(block)


def _merged(made: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    overridden = {name.lower() for name in asked}
    return {name: value for name, value in made.items() if name.lower() not in overridden} | dict(asked)


def _is_fresh(request: Request, stored: _Stored) -> bool:
    etags = request.headers.get("if-none-match")
    if etags is not None:
        return stored.etag in etags or etags == "*"
    return request.headers.get("if-modified-since") == stored.last_modified


def _wanted_range(request: Request, stored: _Stored) -> tuple[int, int]:
    """First and last byte asked for; all of them where the range is of another kind or of an older version."""
    found = _RANGE.match(request.headers.get("range", ""))
    if not found or request.headers.get("if-range", stored.etag) not in (stored.etag, stored.last_modified):
        return 0, stored.size - 1
    last = int(found[2]) if found[2] else stored.size - 1
    return int(found[1]), min(last, stored.size - 1)
