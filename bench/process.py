"""What another process uses: processor time, memory, files, and the memory of its sockets in the kernel."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x301
INET_DIAG_SKMEMINFO = 7
MESSAGE_HEAD = struct.Struct("=IHHII")
DIAG_BYTES = 72


def processor_seconds(pid: int) -> float:
    """The processor time of all threads so far, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) makes of a pid


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def socket_bytes(port: int) -> int:
    """What the kernel holds in memory for the TCP sockets of a server on ``port``, sent and received."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as netlink:
        states = 0xFFF
        request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 1 << (INET_DIAG_SKMEMINFO - 1), 0, states)
        request += bytes(40) + b"\xff" * 8
        netlink.send(MESSAGE_HEAD.pack(16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + request)
        total = 0
        while True:
            answer = memoryview(netlink.recv(1 << 17))
            while answer:
                size, kind, *_ = MESSAGE_HEAD.unpack_from(answer)
                if kind != SOCK_DIAG_BY_FAMILY:
                    return total
                total += memory_of(answer[16:size], port)
                answer = answer[(size + 3) & ~3 :]


def memory_of(diag: memoryview, port: int) -> int:
    """The memory of one socket of a dump; 0 if it is bound to another port."""
    if int.from_bytes(diag[4:6], "big") != port:
        return 0
    attributes = diag[DIAG_BYTES:]
    while attributes:
        size, kind = struct.unpack_from("=HH", attributes)
        if kind == INET_DIAG_SKMEMINFO:
            received, _, _, _, reserved, queued = struct.unpack_from("=6I", attributes, 4)
            return int(received + reserved + queued)
        attributes = attributes[(size + 3) & ~3 :]
    return 0
