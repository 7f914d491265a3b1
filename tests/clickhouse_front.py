"""A ClickHouse server for tests: HTTP in front of the engine in this process, failing on demand.

It speaks what the driver's HTTP client uses: statements in the body, inserts with the statement in
the address and the rows in the body, settings as parameters, errors with their code. Each request
has a connection of its own to the engine, so that settings end with it.
"""

from __future__ import annotations

import http.server
import re
import socket
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import chdb
import zstandard

_TRANSPORT = {
    "query", "database", "session_id", "query_id", "wait_end_of_query", "default_format",
    "client_protocol_version", "enable_http_compression", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "buffer_size", "compress", "decompress", "quota_key",
    "session_timeout", "session_check", "role",
}  # fmt: skip
_ROWS_FOLLOW = re.compile(r"\s+FORMAT\s+(\w+)\s*$", re.IGNORECASE)
_STATEMENT = re.compile(rb"\s*INSERT\s[^\n]*?\sFORMAT\s+\w+\n", re.IGNORECASE)
"""Of an insert whose rows follow in the same body."""
_CODE = re.compile(r"Code: (\d+)")
SLOW_S = 0.2
AWAY_S = 0.3


class Fault(Enum):
    """What may go wrong with one request."""

    NONE = "none"
    REFUSED = "hung up on before anything was read"
    ERROR_BEFORE = "error 500, nothing done"
    ERROR_AFTER = "error 500 although it was done"
    HANG_UP_AFTER = "done, and hung up without a word"
    CUT_REQUEST = "hung up on in the middle of its rows"
    CUT_REPLY = "done, and the reply cut in the middle"
    SLOW = "done, slowly"
    RESTART_BEFORE = "the server restarts, nothing done"
    RESTART_AFTER = "done, and the server restarts"


class ClickHouseFront:
    """One server; ``choose`` says what goes wrong with each request."""

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        choose: Callable[[str], Fault] = lambda statement: Fault.NONE,
    ) -> None:
        self._directory = directory
        self.choose = choose
        """Given a statement, what shall go wrong with it. Called by one thread at a time."""
        self.happened: Counter[Fault] = Counter()
        self._lock = threading.Lock()
        self._engine = chdb.connect(str(directory))
        front = self

        class Handler(_Handler):
            pass

        Handler.front = front
        self._handler = Handler
        self._server: http.server.ThreadingHTTPServer | None = None
        self._listen(port)
        assert self._server is not None
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"http://127.0.0.1:{self.port}/"

    def close(self) -> None:
        """End the server and the engine."""
        self._stop_listening()
        with self._lock:
            self._engine.close()

    def query(self, sql: str) -> list[list[str]]:
        """Ask the engine without going through the front."""
        with self._lock:
            text = self._engine.query(sql, "TabSeparated").bytes().decode()
        return [line.split("\t") for line in text.splitlines()]

    def run(self, sql: str, settings: dict[str, str], rows: bytes, style: str) -> bytes:
        """Run one statement, with the rows that follow it if any."""
        with self._lock, tempfile.TemporaryDirectory() as directory:
            follows = _ROWS_FOLLOW.search(sql) if rows else None
            if follows is not None:
                path = Path(directory, "rows")
                path.write_bytes(rows)
                sql = f"{sql[: follows.start()]} FROM INFILE '{path}' FORMAT {follows[1]}"
            connection = chdb.connect(str(self._directory))
            try:
                for name, value in settings.items():
                    connection.query(f"SET {name} = '{value}'")
                data: bytes = connection.query(sql, style).bytes()
                return data
            finally:
                connection.close()

    def restart(self) -> None:
        """Stop serving, end the engine, begin again at the same port after a while."""
        self._stop_listening()
        with self._lock:
            self._engine.close()
            time.sleep(AWAY_S)
            self._engine = chdb.connect(str(self._directory))
        self._listen(self.port)

    def _listen(self, port: int) -> None:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler)
        server.daemon_threads = True
        server.block_on_close = False
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    front: ClickHouseFront

    def do_GET(self) -> None:
        if urllib.parse.urlsplit(self.path).path == "/ping":
            self._reply(200, b"Ok.\n")
        else:
            self.do_POST()

    def do_POST(self) -> None:
        split = urllib.parse.urlsplit(self.path)
        parameters = dict(urllib.parse.parse_qsl(split.query))
        length = int(self.headers.get("Content-Length") or 0)
        half = self.rfile.read(length // 2)
        asked = parameters.get("query", "") or half[:400].decode(errors="replace")
        fault = self.front.choose(asked)
        self.front.happened[fault] += 1
        if fault in (Fault.REFUSED, Fault.CUT_REQUEST):
            return self._hang_up()
        body = half + self.rfile.read(length - len(half))
        if fault is Fault.ERROR_BEFORE:
            return self._reply(500, b"Code: 241. DB::Exception: out of memory", code="241")
        if fault is Fault.RESTART_BEFORE:
            self._hang_up()
            return self.front.restart()
        self._answer(fault, parameters, self._unpacked(body))
        return None

    def _answer(self, fault: Fault, parameters: dict[str, str], body: bytes) -> None:
        settings = {name: each for name, each in parameters.items() if name not in _TRANSPORT}
        style = parameters.get("default_format") or self.headers.get("X-ClickHouse-Format")
        statement, rows = parameters.get("query", "").encode(), body
        if not statement and (start := _STATEMENT.match(body)) is not None:
            statement, rows = start[0], body[start.end() :]
        elif not statement:
            statement, rows = body, b""
        try:
            data = self.front.run(statement.decode(), settings, rows, style or "TabSeparated")
        except RuntimeError as error:
            text = str(error)
            code = _CODE.search(text)
            return self._reply(500, text.encode(), code=code[1] if code else "1")
        match fault:
            case Fault.ERROR_AFTER:
                self._reply(500, b"Code: 209. DB::Exception: timeout", code="209")
            case Fault.HANG_UP_AFTER:
                self._hang_up()
            case Fault.RESTART_AFTER:
                self._hang_up()
                self.front.restart()
            case Fault.CUT_REPLY:
                self._reply(200, data, missing_bytes=1 + len(data) // 2)
            case _:
                if fault is Fault.SLOW:
                    time.sleep(SLOW_S)
                self._reply(200, data)
        return None

    def _unpacked(self, body: bytes) -> bytes:
        if self.headers.get("Content-Encoding") == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(body)
        assert "Content-Encoding" not in self.headers, "unknown compression"
        return body

    def _reply(self, status: int, data: bytes, *, code: str = "", missing_bytes: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) + (1 if missing_bytes > len(data) else 0)))
        self.send_header("X-ClickHouse-Timezone", "UTC")
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.end_headers()
        self.wfile.write(data[: max(0, len(data) - missing_bytes)])
        self.wfile.flush()
        if missing_bytes:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def log_message(self, *_: Any) -> None:
        """Tests have enough to say."""
