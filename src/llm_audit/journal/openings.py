"""OPEN and CLOSE frames: what a segment says of itself and of its boot. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any

from llm_audit.journal.model import Opening, RecordSettings

Buffer = bytes | bytearray | memoryview
_CLOSE = Struct("<Q")


@dataclass(frozen=True, slots=True)
class SegmentOpening:
    """An OPEN frame: the boot's opening, and where this file stands in its boot."""

    opening: Opening
    first_sequence: int
    """The next sequence when this segment was begun; files before it may be gone."""
    next_sequence: int | None = None
    """In a carry-over: the next sequence after the segment whose place it takes (its END frames are gone)."""
    needed_from: int = 0
    """The oldest segment that holds a frame of an exchange still open when this one was begun."""
    host_boot: str = ""
    """The machine's boot (``boot_id`` of the kernel): if it is another now, the power may have gone."""
    recovered: bool = False
    """True where recovery wrote it, after the writer's death."""
    power_lost: bool = False
    """True where recovery wrote it and found pages of the boot that had not reached the disk."""


def encode_open(value: SegmentOpening) -> bytes:
    """Give an OPEN frame's payload: JSON, for it is rare and should be readable in a hex dump."""
    opening, settings = value.opening, value.opening.settings
    document = {
        "writerId": opening.writer_id,
        "boot": opening.boot,
        "openedWallNs": opening.opened_wall_ns,
        "prefix": settings.prefix,
        "bodyPreview": settings.body_preview,
        "content": settings.content,
        "proxyVersion": settings.proxy_version,
        "firstSequence": value.first_sequence,
        "nextSequence": value.next_sequence,
        "neededFrom": value.needed_from,
        "hostBoot": value.host_boot,
        "recovered": value.recovered,
        "powerLost": value.power_lost,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode_open(payload: Buffer) -> SegmentOpening:
    """Read an OPEN frame's payload, whose checksum was right."""
    document: Mapping[str, Any] = json.loads(bytes(payload))
    settings = RecordSettings(
        prefix=document["prefix"],
        body_preview=document["bodyPreview"],
        content=document["content"],
        proxy_version=document["proxyVersion"],
    )
    opening = Opening(document["writerId"], document["boot"], settings, document["openedWallNs"])
    return SegmentOpening(
        opening,
        document["firstSequence"],
        document["nextSequence"],
        document["neededFrom"],
        document["hostBoot"],
        document["recovered"],
        document.get("powerLost", False),  # journals before 0.2 do not say
    )


def encode_close(next_sequence: int) -> bytes:
    """Give a CLOSE frame's payload: how many exchanges the boot ended."""
    return _CLOSE.pack(next_sequence)


def decode_close(payload: Buffer) -> int:
    """Read how many exchanges the boot ended."""
    count: int = _CLOSE.unpack_from(payload)[0]
    return count
