"""A model server that goes wrong as a script says, in a process of its own: ``python -m faults.scripted PORT``.

Raw blocking sockets, a thread for each connection, and nothing of the product's code.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Self

from faults.scripts import BYTES, CHUNKS, PLAYED, Step, answer_of, stream_of
from faults.system import free_port

LATER_S = 0.05
"""How long an answer has been taken when its surplus comes."""

PAUSE_S = 20e-6
"""Between two chunks of a long stream, so that a proxy finds each by itself; the kernel makes some 100 µs of it."""

_SCRIPT = re.compile(rb'"script":"([^"]*)"')
_RESET = struct.pack("ii", 1, 0)


class _Connection:
    """One connection, one request after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._unread = bytearray()

    def serve(self) -> None:
        """Play until either side ends it."""
        with contextlib.suppress(OSError), self._sock:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                head, body = self._read_request()
                if not head or not self._play(head, body):
                    return

    def _read_request(self) -> tuple[bytes, bytes]:
        """Read a request by its length; empty where the other side ended."""
        while (end := self._unread.find(b"\r\n\r\n")) < 0:
            if not self._read_more():
                return b"", b""
        head = bytes(self._unread[:end])
        del self._unread[: end + 4]
        length = int((re.search(rb"(?i)\r\ncontent-length: *(\d+)", head) or [b"", b"0"])[1])
        while len(self._unread) < length:
            if not self._read_more():
                return b"", b""
        body = bytes(self._unread[:length])
        del self._unread[:length]
        return head, body

    def _read_more(self) -> bool:
        piece = self._sock.recv(1 << 18)
        self._unread += piece
        return bool(piece)

    def _play(self, head: bytes, body: bytes) -> bool:
        """Answer one request; True where the connection goes on."""
        named = _SCRIPT.search(body)
        name = named[1].decode() if named else "good"
        if name.startswith((BYTES, CHUNKS)):
            self._play_at_length(name)
            return True
        request_id = (re.search(rb"(?i)\r\nx-request-id: *(\S+)", head) or [b"", b"0" * 36])[1]
        steps = PLAYED[name]
        last = b""
        for at, step in enumerate(steps):
            if isinstance(step, bytes):
                last = step.replace(b"%ID%", request_id)
                if at + 1 < len(steps) and steps[at + 1] is Step.CLOSE:
                    self._cork()
                self._sock.sendall(last)
            elif not self._do(step, last):
                return False
        return True

    def _play_at_length(self, name: str) -> None:
        kind, _, size = name.partition(" ")
        pieces = answer_of(int(size)) if kind == BYTES.strip() else stream_of(int(size))
        for piece in pieces:
            self._sock.sendall(piece)
            if kind == CHUNKS.strip():
                time.sleep(PAUSE_S)

    def _cork(self) -> None:
        """Let the end of the connection go out with the last bytes, not an instant after them."""
        if hasattr(socket, "TCP_CORK"):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)

    def _do(self, step: Step, last: bytes) -> bool:
        if step is Step.RESET:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        elif step is Step.STALL:
            self._read_more()
        elif step is Step.FOREVER:
            while True:
                self._sock.sendall(last)
        elif step is Step.TRICKLE:
            while True:
                self._sock.sendall(b"y")
                time.sleep(0.2)
        elif step is Step.LATER:
            time.sleep(LATER_S)
        return step in {Step.KEEP, Step.LATER}


def main() -> None:
    """Serve until the process is ended."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
    print("listening", flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_Connection(sock).serve, daemon=True).start()


class ScriptedServer:
    """The process, for a ``with``; it may be ended and started again on its port."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def start(self) -> None:
        """Start it (again); it listens when this returns."""
        command = [sys.executable, "-m", "faults.scripted", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        if not self._process.stdout.readline().startswith(b"listening"):
            raise RuntimeError("the scripted model server does not start")

    def end(self) -> None:
        """End it by SIGKILL, with whatever it was sending."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None


if __name__ == "__main__":
    main()
