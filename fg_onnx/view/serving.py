"""A file server for the page, on this machine alone."""

from __future__ import annotations

import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fg_onnx.errors import OutputError
from fg_onnx.view.policy import POLICY

HOST = "127.0.0.1"

_HEADERS = {
    "Content-Security-Policy": POLICY + "; frame-ancestors 'none'",
    # together they isolate the page, and only an isolated page may have threads
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the folder's files, bound to the loopback address and not yet running.

    Args:
        folder: of the page.
        port: 0 takes any that is free.

    Raises:
        OutputError: ``port-taken``.
    """
    try:
        return _Server((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise OutputError(
            "port-taken",
            f"port {port} cannot be listened to: {error.strerror}",
            "choose another one with --port, or leave it out",
        ) from error


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless a browser has only left before it had all of a file."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012 # the base class's, of which a system's own may be wrong
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".onnx": "application/octet-stream",
    }

    def do_GET(self) -> None:
        if self._is_own():
            super().do_GET()

    def do_HEAD(self) -> None:
        if self._is_own():
            super().do_HEAD()

    def _is_own(self) -> bool:
        """Whether the page itself asks: another one may have led its own host's name here."""
        host = self.headers.get("Host", "").partition(":")[0]  # of port 80 it names none
        if host in (HOST, "localhost"):
            return True
        self.send_error(HTTPStatus.FORBIDDEN)
        return False

    def list_directory(self, path: Any) -> None:  # noqa: ARG002 # there is no listing
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for what is worth reading."""
