"""What the journal holds, as values: the vocabulary that proxy, journal and shipper share. Pure.

An exchange is written as frames (``frames`` gives their bytes): one REQUEST, then REQUEST_BODY frames, one
RESPONSE, RESPONSE_BODY frames, one END. The shell that writes them never interprets a body.

Clocks: ``*_ns`` named *mono* count on the writer's monotonic clock and mean something within one boot only;
*wall* ones count from the epoch, UTC. Only the request's start carries both.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from llm_audit.record.schema import ErrorInfo, IdentitySource, Outcome


class JournalFullError(Exception):
    """The journal has no room for this frame; nothing of it was written."""


class JournalFailedError(Exception):
    """Writing or syncing failed; this writer's boot is over, and nothing more may be appended."""


class JournalLockedError(Exception):
    """Another living process writes into this writer's directory."""


class JournalFormatError(Exception):
    """The journal was written by a newer version than this one."""


class Durability(IntEnum):
    """What an acknowledged frame survives."""

    PROCESS = 0
    """SIGKILL of any process; synced once a second, so that I/O errors show."""
    HOST = 1
    """Power loss: callbacks wait for a (grouped) fdatasync."""


class RecordSettings(NamedTuple):
    """The settings that shape a record, written into every segment's OPEN frame.

    So a record is a function of its frames (invariant 5), even when a later process with other settings
    ships it.
    """

    prefix: str = "logs"
    body_preview: int = 2048
    content: str = "full"
    proxy_version: str = ""


class Opening(NamedTuple):
    """A boot of a writer: one process's life with one journal directory."""

    writer_id: str
    boot: int
    settings: RecordSettings
    opened_wall_ns: int


class RequestStart(NamedTuple):
    """The REQUEST frame without its body: what came, credentials already replaced."""

    request_id: bytes
    """16 bytes of the UUID."""
    started_wall_ns: int
    started_mono_ns: int
    method: str
    target: str
    """As in the request line, undecoded; empty where the request line could not be parsed."""
    header_lines: bytes
    """``name: value`` lines, each ended by CRLF, in order, credentials replaced."""
    client_address: str
    identity_source: IdentitySource
    key_id: str | None
    source: str | None
    user: str | None
    request_type: str | None
    """What the gate accepted; None in refusals where the header was unusable."""


class ResponseStart(NamedTuple):
    """The RESPONSE frame without its body piece: status and header lines as received."""

    status: int
    header_lines: bytes


class End(NamedTuple):
    """The END frame. ``sequence`` is assigned by the writer, gapless within a boot, from 0."""

    sequence: int
    outcome: Outcome
    status_code: int | None
    delivered_bytes: int | None
    """Content bytes (without transfer coding) handed to the kernel; None where the process died."""
    ended_mono_ns: int
    error: ErrorInfo | None
    truncated: bool = False
    """True where ``AUDIT_WHEN_FULL=pass`` let bytes through that the journal could not take."""


class Chunk(NamedTuple):
    """One piece of a response body as it was received from upstream."""

    mono_ns: int
    data: bytes


class EndedExchange(NamedTuple):
    """One exchange as the reader gives it, in order of sequence; whole, or damaged with a reason."""

    opening: Opening
    sequence: int
    request_id: bytes | None
    """From the END frame where the REQUEST frame is unreadable; None where neither can be read."""
    request: RequestStart | None
    request_body: Sequence[bytes]
    response: ResponseStart | None
    chunks: Sequence[Chunk]
    end: End | None
    damage: str | None
    """None, or why the exchange cannot be built (it ships as a stub in its place)."""
    damaged_frames: bytes
    """Where damaged: the raw bytes of its readable and unreadable frames, for the quarantine folder."""
    segments: frozenset[int]
    """Segments of this boot that hold a frame of it; they may be freed once its record is stored."""
