"""The captured exchanges in ``tests/captures``, as values: the one way that tests read them.

Messages are cut into head and body here, by hand, so that no parser under test reads its own test data.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "captures"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a final response, taken apart.

    ``start_line`` is the request or status line; header values are latin-1 with outer white space cut;
    ``body`` is what ``Transfer-Encoding`` leaves (never content-decoded); ``complete`` is False where the
    message was cut off before its framing said that it ended.
    """

    start_line: str
    headers: Headers
    body: bytes
    complete: bool

    def header(self, name: str) -> str | None:
        """First value of a header, by lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Capture:
    """One exchange. ``id`` is unique; ``name`` is too, but for ``get-models``, which two folders have."""

    folder: str
    name: str
    raw_request: bytes
    raw_response: bytes
    pieces: tuple[bytes, ...]
    """``raw_response`` as it was received, piece by piece."""
    piece_times_ms: tuple[float, ...]
    request: Message
    interim: tuple[Message, ...]
    """1xx responses that came before the final one."""
    response: Message | None
    """None where the client left before anything came."""
    note: str | None

    @property
    def id(self) -> str:
        """``folder/name``, which is unique; good as a test's id."""
        return f"{self.folder}/{self.name}"

    @property
    def method(self) -> str:
        """Request method; the whole line where it is no HTTP request line."""
        return self.request.start_line.split(" ")[0]

    @property
    def target(self) -> str:
        """Request target as sent; empty where the request line has none."""
        words = self.request.start_line.split(" ")
        return words[1] if len(words) > 1 else ""

    @property
    def status(self) -> int | None:
        """Final status code."""
        return None if self.response is None else int(self.response.start_line.split(" ")[1])


@functools.cache
def all_captures() -> tuple[Capture, ...]:
    """Every capture, by folder and name."""
    return tuple(_load(path) for path in sorted(FOLDER.glob("*/*.meta.json")))


def capture(name: str) -> Capture:
    """Give one capture by its name or its ``folder/name``; KeyError unless exactly one answers to it."""
    found = [one for one in all_captures() if name in {one.name, one.id}]
    if len(found) != 1:
        raise KeyError(f"{len(found)} captures are called {name!r}")
    return found[0]


def _load(meta_path: Path) -> Capture:
    stem = meta_path.name.removesuffix(".meta.json")
    meta = json.loads(meta_path.read_text(encoding="utf-8"))
    raw_request = meta_path.with_name(f"{stem}.req").read_bytes()
    raw_response = meta_path.with_name(f"{stem}.resp").read_bytes()
    pieces, at = [], 0
    for _, size in meta["recvs"]:
        pieces.append(raw_response[at : at + size])
        at += size
    request, rest = _message(raw_request, is_head=False)
    if rest:
        raise AssertionError(f"{stem}.req: {len(rest)} bytes after the request")
    responses = _responses(raw_response, is_head=raw_request.startswith(b"HEAD "))
    return Capture(
        folder=meta_path.parent.name,
        name=stem,
        raw_request=raw_request,
        raw_response=raw_response,
        pieces=tuple(pieces),
        piece_times_ms=tuple(ms for ms, _ in meta["recvs"]),
        request=request,
        interim=tuple(responses[:-1]),
        response=responses[-1] if responses else None,
        note=meta["note"],
    )


def _responses(raw: bytes, *, is_head: bool) -> list[Message]:
    messages = []
    while raw:
        message, raw = _message(raw, is_head=is_head)
        messages.append(message)
    return messages


def _message(raw: bytes, *, is_head: bool) -> tuple[Message, bytes]:
    """Take the first message off; the second value is what follows it."""
    head, separator, rest = raw.partition(b"\r\n\r\n")
    start_line, *lines = head.decode("latin-1").split("\r\n")
    headers = tuple(
        (name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)
    )
    fields = {name.lower(): value for name, value in headers}
    if not separator:
        return Message(start_line, headers, b"", complete=False), b""
    body, rest, complete = _body(start_line, fields, rest, is_head=is_head)
    return Message(start_line, headers, body, complete), rest


def _body(
    start_line: str, fields: dict[str, str], rest: bytes, *, is_head: bool
) -> tuple[bytes, bytes, bool]:
    is_response = start_line.startswith("HTTP/")
    status = int(start_line.split(" ")[1]) if is_response else 0
    if is_head or 100 <= status < 200 or status in {204, 304}:
        return b"", rest, True
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return _dechunk(rest)
    if "content-length" in fields:
        size = int(fields["content-length"])
        return rest[:size], rest[size:], len(rest) >= size
    # RFC 9112 section 6.3: a response without length runs to the connection's end, a request is empty.
    return (rest, b"", True) if is_response else (b"", rest, True)


def _dechunk(raw: bytes) -> tuple[bytes, bytes, bool]:
    parts = []
    while True:
        line, separator, rest = raw.partition(b"\r\n")
        if not separator:
            return b"".join(parts), b"", False
        size = int(line.split(b";")[0], 16)
        if size == 0:
            trailer, _, after = (b"\r\n" + rest).partition(b"\r\n\r\n")
            return b"".join(parts), after, not trailer.strip() or after == b""
        parts.append(rest[:size])
        if len(rest) < size + 2:
            return b"".join(parts), b"", False
        raw = rest[size + 2 :]
