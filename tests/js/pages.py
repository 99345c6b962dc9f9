"""A loopback server with the app's static files, chat pages and the cases, under a strict security policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.contrib.staticfiles import finders
from django.template.loader import render_to_string

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
POLICY = "default-src 'self'; require-trusted-types-for 'script'"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
SCRIPTS = re.compile(r"<script\b.*?</script>", re.DOTALL)


def chat_html(context: Mapping[str, Any]) -> str:
    return render_to_string("broadcast/chat.html", dict(context))


def lifeless(html: str) -> str:
    """The page without the script that brings it to life: the cases do so by hand."""
    return SCRIPTS.sub("", html)


class Site(ThreadingHTTPServer):
    """Serves the text of each of ``pages`` at its path, the static files, their sources, and the cases."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, str] = {}
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        page = self.server.pages.get(path)
        content = page.encode() if page else self.file(path)
        self.send_response(200 if content else 404)
        self.send_header("Content-Type", TYPES.get(Path(path).suffix, "text/html; charset=utf-8"))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store" if page else "max-age=60")
        self.end_headers()
        self.wfile.write(content)

    def file(self, path: str) -> bytes:
        if path.startswith("/static/"):
            found = finders.find(path.removeprefix("/static/"))
        else:
            found = (ROOT if path.startswith("/frontend/") else HERE) / path[1:]
        return Path(found).read_bytes() if found and Path(found).is_file() else b""

    def log_message(self, *args: object) -> None:
        pass
