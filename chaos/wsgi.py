"""The host site under a WSGI server with a thread a request: `python -m chaos.wsgi PORT`."""

import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from project.wsgi import application


class ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name in the base class)
        pass


if __name__ == "__main__":
    with make_server("127.0.0.1", int(sys.argv[1]), application, ThreadingServer, QuietHandler) as server:
        server.serve_forever()
