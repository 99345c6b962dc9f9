"""A daphne on any endpoint, with settings of the test's own, and clients that read only when they are told to."""

import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tests.kit.sockets import masked
from tests.kit.waiting import wait_until
from tests.site import START_SECONDS, Daphne

WAIT = 30  # seconds, for a machine that is busy


class Server(Daphne):
    """A daphne of `tests.live.host`; keywords are settings of `BROADCAST`."""

    def __init__(self, database: Path, way: str = "tcp", **settings: Any) -> None:
        environment = {"DJANGO_SETTINGS_MODULE": "tests.live.host_settings", "BROADCAST": json.dumps(settings)}
        super().__init__(database, **environment)
        self.way = way
        self.directory = database.parent
        self.path = self.directory / f"{self.port}.sock"
        self.visitors = ExitStack()

    def endpoint(self) -> str:
        if self.way == "unix":
            return f"unix:{self.path}:backlog=4096"
        if self.way == "tls":
            key, certificate = self_made(self.directory)
            return f"ssl:{self.port}:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        return f"tcp:port={self.port}:interface=127.0.0.1:backlog=4096"

    def start(self) -> None:
        with self.log_file.open("a") as log:
            endpoint = ("-m", "daphne", "--endpoint", self.endpoint(), "tests.live.host:application")
            self.spawn(*endpoint, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: self.process.poll() is not None or self.is_listening(), START_SECONDS)
        assert self.process.poll() is None, self.log

    def is_listening(self) -> bool:
        try:
            self.socket().close()
        except OSError:
            return False
        return True

    def socket(self, receive_buffer: int = 0) -> socket.socket:
        """A connection to the server; with TLS where it speaks that."""
        found = socket.socket(socket.AF_UNIX if self.way == "unix" else socket.AF_INET)
        if receive_buffer:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        found.settimeout(WAIT)
        try:
            found.connect(str(self.path) if self.way == "unix" else ("127.0.0.1", self.port))
            if self.way == "tls":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                return context.wrap_socket(found)
        except BaseException:
            found.close()
            raise
        return found

    def visit(self, path: str = "/ws?v=1", receive_buffer: int = 0) -> "Client":
        """A WebSocket to the server that has heard its welcome; it is closed when the server ends."""
        client = self.visitors.enter_context(Client(self, path, receive_buffer))
        client.welcome = client.hear()
        return client

    def end(self) -> None:
        self.visitors.close()
        super().end()

    def ask(self, path: str) -> "Answer":
        return Answer(self, path)

    def get(self, path: str) -> bytes:
        """The body of an answer."""
        with self.ask(path) as answer:
            return answer.body()

    @property
    def memory(self) -> int:
        """How many bytes of memory the server has."""
        words = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(words[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def sockets(self) -> int:
        """How many sockets the server has open: what is counted twice alike, for files open and close meanwhile."""
        counts = [self._count_sockets()]
        while counts[-1] not in counts[:-1]:
            counts = [counts[-1], self._count_sockets()]
        return counts[-1]

    def _count_sockets(self) -> int:
        found = 0
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                found += os.readlink(link).startswith("socket:")
            except OSError:
                continue
        return found


def self_made(directory: Path) -> tuple[Path, Path]:
    """A key and a certificate for it that nobody else has signed."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command = [*made.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


class Answer:
    """A request that was sent, and its answer."""

    def __init__(self, server: Server, path: str, receive_buffer: int = 0) -> None:
        self.socket = server.socket(receive_buffer)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def body(self) -> bytes:
        """All of it, to the end of the connection."""
        parts = []
        while data := self.socket.recv(65536):
            parts.append(data)
        head, _, body = b"".join(parts).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return body


class Client:
    """A WebSocket that reads only when it is told to, and checks every byte of what it reads."""

    def __init__(self, server: Server, path: str = "/ws?v=1", receive_buffer: int = 0) -> None:
        self.socket = server.socket(receive_buffer)
        self.data = b""
        self.welcome: Any = None
        self.close_code: int | None = None
        try:
            self.shake_hands(path)
        except BaseException:
            self.socket.close()
            raise

    def shake_hands(self, path: str) -> None:
        head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        self.socket.sendall(request.encode())
        while b"\r\n\r\n" not in self.data:
            self.read()
        answer, _, self.data = self.data.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101"), answer

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def read(self) -> None:
        data = self.socket.recv(262144)
        if not data:
            raise EOFError
        self.data += data

    def take(self, count: int) -> bytes:
        while len(self.data) < count:
            self.read()
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def frame(self) -> tuple[int, bytes]:
        """The opcode and the payload of the next frame."""
        opcode, size = self.take(2)
        assert opcode & 0xF0 == 0x80, "not the beginning of a frame"
        if size == 126:
            size = int.from_bytes(self.take(2))
        elif size == 127:
            size = int.from_bytes(self.take(8))
        return opcode & 0x0F, self.take(size)

    def frames(self) -> Iterator[dict[str, Any]]:
        """What the server says, up to its close, which is answered."""
        while True:
            opcode, payload = self.frame()
            if opcode == 1:
                yield json.loads(payload)
            elif opcode == 9:
                self.write(payload, opcode=10)
            elif opcode == 8:
                self.close_code = int.from_bytes(payload[:2])
                with suppress(OSError):  # the server waits a second for it, and no longer
                    self.write(payload, opcode=8)
                return

    def hear(self) -> Any:
        return next(self.frames())

    def hear_to_the_end(self) -> list[dict[str, Any]]:
        return list(self.frames())

    def write(self, payload: bytes, opcode: int = 1) -> None:
        self.socket.sendall(masked(payload, opcode))

    def say(self, **fields: Any) -> None:
        self.write(json.dumps(fields).encode())
