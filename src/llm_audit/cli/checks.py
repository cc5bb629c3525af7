"""What ``doctor`` looks at: one function per check, each gives findings and never raises for what it finds."""

from __future__ import annotations

import http.client
import json
import os
import platform
import shutil
import socket
import sqlite3
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llm_audit import __version__
from llm_audit.cli.indexes import open_index, table_faults
from llm_audit.cli.kinds import Address
from llm_audit.cli.reading import open_objects
from llm_audit.cli.settings import SettingError, Settings
from llm_audit.cli.startup import is_locked
from llm_audit.cli.terminal import shown_bytes, shown_ms
from llm_audit.index.index import IndexMissingError, IndexUnavailableError
from llm_audit.index.selection import Selection
from llm_audit.record.times import iso_from_ms, ms_from_iso
from llm_audit.store.objects import StoreError


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``advice`` says what to do where it is a problem."""

    is_ok: bool
    what: str
    advice: str = ""


Check = Callable[[Settings], Iterator[Finding]]

ANSWER_SECONDS = 3.0
CLOCK_SECONDS = 60
"""A clock that is further off makes records of several machines hard to put in order; S3 refuses 15 minutes."""

SILENCE_SECONDS = 30
"""The shipper writes its status about once a second."""

WAITING_SECONDS = 60
"""A record is stored within a second or two; one that waits longer has a reason."""

RELEASED_MS = ms_from_iso("2026-11-01T00:00:00Z")

_UNSUITABLE = {
    "nfs": "a network filesystem",
    "nfs4": "a network filesystem",
    "cifs": "a network filesystem",
    "smb3": "a network filesystem",
    "9p": "a filesystem of another machine",
    "btrfs": "copy-on-write: a full disk can end a mapped write with SIGBUS",
    "zfs": "copy-on-write: a full disk can end a mapped write with SIGBUS",
    "tmpfs": "memory: nothing in it survives a restart of the machine",
    "ramfs": "memory: nothing in it survives a restart of the machine",
}


def versions(_settings: Settings) -> Iterator[Finding]:
    """Name Python, SQLite and the libraries of the data path."""
    is_ok = sys.version_info >= (3, 11)
    yield Finding(
        is_ok, f"llm-audit {__version__}, Python {platform.python_version()}", "use Python 3.11 or newer"
    )
    newer = sqlite3.sqlite_version_info >= (3, 35)
    yield Finding(newer, f"SQLite {sqlite3.sqlite_version}", "use a Python with SQLite 3.35 or newer")
    for name in ("httptools", "uvloop", "obstore", "orjson"):
        try:
            yield Finding(True, f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(False, f"{name} is missing", "install the package again, with its dependencies")


def folders(settings: Settings) -> Iterator[Finding]:
    """Check that every folder can be written, or made, and none can be read by others."""
    wanted = [settings.data_dir, settings.journal_dir, settings.index_path.parent]
    if settings.objects_dir:
        wanted.append(settings.objects_dir)
    for folder in dict.fromkeys(wanted):
        there = folder
        while not there.exists() and there != there.parent:
            there = there.parent
        advice = f"give this user the right to write in {there}, or set another folder"
        if not there.is_dir():
            yield Finding(False, f"{there} is no folder", "move the file, or set another folder")
            continue
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            yield Finding(False, f"{folder} cannot be written: {error.strerror}", advice)
            continue
        if there != folder:
            yield Finding(True, f"{folder} can be made")
        elif folder.stat().st_mode & 0o077:
            yield Finding(False, f"{folder} is open to other users", f"chmod 700 {folder}")
        else:
            yield Finding(True, f"{folder} can be written")


def journal_disk(settings: Settings) -> Iterator[Finding]:
    """Check that the journal's filesystem keeps what is written, and has room."""
    there = _existing(settings.journal_dir)
    kind = filesystem_of(there, Path("/proc/self/mountinfo"))
    reason = _UNSUITABLE.get(kind or "")
    if reason:
        yield Finding(
            False, f"the journal is on {kind}, {reason}", "set AUDIT_JOURNAL_DIR to a local ext4 or xfs disk"
        )
    else:
        yield Finding(True, f"the journal is on {kind or 'a filesystem that this system does not name'}")
    free = shutil.disk_usage(there).free
    wanted = settings.journal_max_bytes
    line = f"the journal's disk has {shown_bytes(free)} free, the journal may take {shown_bytes(wanted)}"
    yield Finding(free >= wanted, line, "free some, or set AUDIT_JOURNAL_MAX_BYTES lower")


def filesystem_of(path: Path, mountinfo: Path) -> str | None:
    """Give the type of the filesystem that holds a path (proc_pid_mountinfo(5)); None where it isn't told."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mount = fields.split(" ")[4].encode().decode("unicode_escape")
        if path.resolve().is_relative_to(mount) and len(mount) >= best:
            best, kind = len(mount), rest.split(" ")[0]
    return kind


def store(settings: Settings) -> Iterator[Finding]:
    """Check that the object store answers and takes objects."""
    try:
        objects = open_objects(settings)
        if settings.objects_dir and not settings.objects_dir.exists():
            yield Finding(True, f"the store {objects.bucket} will be made with the first record")
            return
        objects.probe(settings.prefix)
    except StoreError as error:
        yield Finding(
            False, f"the store {settings.bucket} does not answer rightly: {error}", "see the message"
        )
    else:
        yield Finding(True, f"the store {objects.bucket} answers")


def index(settings: Settings) -> Iterator[Finding]:
    """Check that the index can be read, is of the right shape, and has no record from the future."""
    name = settings.index_path if settings.index == "sqlite" else settings.index
    try:
        yield from _table(settings)
        reader = open_index(settings)
        try:
            newest = reader.query(Selection(), limit=1).items
        finally:
            reader.close()
    except IndexMissingError as error:
        if settings.index == "sqlite":
            yield Finding(True, "there is no index yet; serving makes it, or `llm-audit reindex`")
        else:
            yield Finding(False, str(error), "make the table, or set AUDIT_INDEX")
        return
    except (IndexUnavailableError, SettingError) as error:
        advice = "run `llm-audit reindex`" if settings.index == "sqlite" else "see the message"
        yield Finding(False, str(error), advice)
        return
    last = f"its newest call began at {newest[0].started_at}" if newest else "it is empty"
    yield Finding(True, f"the index {name} can be read; {last}")
    if newest and ms_from_iso(newest[0].started_at) > _now_ms() + CLOCK_SECONDS * 1000:
        yield Finding(
            False, f"the clock is behind the newest record ({newest[0].started_at})", "set the clock; use NTP"
        )


def _table(settings: Settings) -> Iterator[Finding]:
    """Check a DynamoDB table's keys and indexes."""
    if settings.index == "sqlite":
        return
    found = table_faults(settings)
    for fault in found:
        yield Finding(False, f"{settings.index}: {fault}", "see section 4 of the requirement document")
    if not found:
        yield Finding(True, f"{settings.index} has its keys and its three indexes")


def clock(_settings: Settings) -> Iterator[Finding]:
    """Check that the clock is later than this program."""
    now = _now_ms()
    yield Finding(now > RELEASED_MS, f"the clock says {iso_from_ms(now)}", "set the clock; use NTP")


def ports(settings: Settings) -> Iterator[Finding]:
    """Check that the proxy's port is free, or that our own proxy has it."""
    is_serving = is_locked(settings.journal_dir / "supervisor.lock")
    if is_serving:
        yield Finding(True, "llm-audit serve is running on this journal")
    address = settings.listen
    try:
        _bind(address)
    except OSError as error:
        reason = "is taken, as it should be" if is_serving else f"cannot be taken: {error.strerror}"
        advice = "set AUDIT_LISTEN to another port, or stop what uses it"
        yield Finding(is_serving, f"port {address} {reason}", advice)
    else:
        advice = "give doctor the settings that serve was given (AUDIT_LISTEN)"
        yield Finding(not is_serving, f"port {address} is free", advice)


def upstream(settings: Settings) -> Iterator[Finding]:
    """Check that the model server answers, and that its clock agrees with ours."""
    origin = settings.upstream
    advice = "start the model server, or set AUDIT_UPSTREAM"
    factory = http.client.HTTPSConnection if origin.is_tls else http.client.HTTPConnection
    connection = factory(origin.host, origin.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        date = response.getheader("date")
    except (OSError, ssl.SSLError, http.client.HTTPException) as error:
        yield Finding(False, f"the model server {origin} does not answer: {error}", advice)
        return
    finally:
        connection.close()
    is_ok = response.status < 500
    yield Finding(is_ok, f"the model server {origin} answers /health with {response.status}", advice)
    yield from _compared_clock(date)


def _compared_clock(date: str | None) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return
    difference = abs(time.time() - theirs)
    line = f"our clock and the model server's differ by {difference:.0f} s"
    yield Finding(difference <= CLOCK_SECONDS, line, "set the clocks; use NTP")


def files(settings: Settings) -> Iterator[Finding]:
    """Check that keys and certificates can be read, and secrets by nobody else."""
    secret = [path for path in (settings.api_keys, settings.tls_key) if path]
    for path in [*secret, *([settings.tls_cert] if settings.tls_cert else [])]:
        if not os.access(path, os.R_OK):
            yield Finding(False, f"{path} cannot be read", "check the path and its owner")
        elif path in secret and path.stat().st_mode & 0o077:
            yield Finding(False, f"{path} is open to other users", f"chmod 600 {path}")
        else:
            yield Finding(True, f"{path} can be read")


def shipper(settings: Settings) -> Iterator[Finding]:
    """Check what the shipper says of itself, and that nothing lies in quarantine."""
    try:
        status = json.loads((settings.status_dir / "shipper.json").read_bytes())
    except (OSError, ValueError):
        status = None
    if isinstance(status, dict):
        yield from _said(status, is_serving=is_locked(settings.journal_dir / "supervisor.lock"))
    quarantined = sorted(settings.quarantine_dir.glob("*/")) if settings.quarantine_dir.is_dir() else []
    if quarantined:
        line = f"{len(quarantined)} exchanges could not become records, such as {quarantined[0].name}"
        yield Finding(
            False, line, f"read the reasons in {settings.quarantine_dir}; their frames are kept there"
        )


def _said(status: dict[str, Any], *, is_serving: bool) -> Iterator[Finding]:
    updated_at, age = status.get("updatedAt"), status.get("backlogAgeMs")
    silence = _now_ms() - updated_at if isinstance(updated_at, int) else 0
    if is_serving and silence > SILENCE_SECONDS * 1000:
        yield Finding(
            False, f"the shipper says nothing since {shown_ms(silence)}", "look at what serve prints"
        )
    for name, advice in (
        ("storeError", "mend the store; records wait in the journal until then"),
        ("ledgerError", "see the message; records wait in the journal until then"),
        ("digestError", "see the message; records are stored, and listed in a digest once that is mended"),
        ("indexError", "run `llm-audit reindex` if the index is damaged; it is told again"),
    ):
        if error := status.get(name):
            said = error.get("message", error) if isinstance(error, dict) else error
            yield Finding(False, f"the shipper's {name}: {said}", advice)
    if isinstance(age, int):
        line = f"the shipper has stored {status.get('stored')} records; the oldest that waits is {shown_ms(age)} old"
        yield Finding(age <= WAITING_SECONDS * 1000, line, "see whether the store is away or too slow")


CHECKS: tuple[Check, ...] = (
    *(versions, clock, folders, journal_disk, store, index, shipper, files, ports, upstream),
)
"""In the order of the report."""


def _bind(address: Address) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address.host, address.port))


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
