"""Evidence that could not become a record, kept for people: one folder per exchange, owner-readable only.

``<quarantine>/<writer>-<boot>-<sequence>/`` holds ``reason.txt`` and whatever there is of frames: ``frames.bin``
for a damaged exchange, else its parts as files. Written and synced before the stub that stands in its place is
stored; writing it again changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llm_audit.journal.model import EndedExchange
from llm_audit.ship.folders import private_folder


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What goes into one folder: its name, and the files' names and contents."""

    folder: str
    files: tuple[tuple[str, bytes], ...]


def quarantined(ended: EndedExchange, reason: str, *, with_frames: bool = True) -> Quarantined:
    """Say what to keep of an exchange. Interprets nothing, so that it does not fail where ``build`` did."""
    folder = f"{ended.opening.writer_id}-{ended.opening.boot}-{ended.sequence}"
    files = [("reason.txt", (reason + "\n").encode("utf-8", "backslashreplace"))]
    if not with_frames:
        return Quarantined(folder, tuple(files))
    if ended.damaged_frames:
        files.append(("frames.bin", ended.damaged_frames))
    if ended.request is not None:
        line = f"{ended.request.method} {ended.request.target}\r\n".encode("utf-8", "backslashreplace")
        files.append(("request-head.bin", line + ended.request.header_lines))
        files.append(("request-body.bin", b"".join(ended.request_body)))
    if ended.response is not None:
        files.append(("response-head.bin", b"%d\r\n" % ended.response.status + ended.response.header_lines))
        files.append(("response-body.bin", b"".join(chunk.data for chunk in ended.chunks)))
    if ended.end is not None:
        files.append(("end.txt", repr(ended.end).encode("utf-8", "backslashreplace")))
    return Quarantined(folder, tuple(files))


def keep(root: Path, quarantined: Quarantined) -> Path:
    """Write the folder, durably; give its path. Raises OSError."""
    folder = private_folder(root / quarantined.folder)
    for name, content in quarantined.files:
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for directory in (folder, root):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return folder
