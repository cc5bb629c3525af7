"""What ``serve`` asks of the machine before it starts anything: folders, the journal's lock, ports, files.

Each is refused with one clear line (``SettingError``, exit code 2) that names the setting to change.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import secrets
import socket
import ssl
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from llm_audit.cli.kinds import Address
from llm_audit.cli.settings import SettingError, Settings, refuse
from llm_audit.journal.files import UnfitFilesystemError, prepare_directory
from llm_audit.journal.segments import SMALLEST_LIMIT
from llm_audit.proxy.keys import KeyFileError, read_keys

_BACKLOG = 4096
"""Connections that the kernel queues while every worker is busy or restarting (cut to ``net.core.somaxconn``)."""

_LOCK_TRIES = 10

_OPEN_FILES = 65536
"""Descriptors wanted per process: two for each stream."""


def prepare_folders(settings: Settings) -> None:
    """Make every folder (0700) and prove that it can be written."""
    wanted = [
        ("data_dir", settings.data_dir),
        ("journal_dir", settings.journal_dir),
        *([("bucket", settings.objects_dir)] if settings.objects_dir else []),
        ("data_dir", settings.index_path.parent),
        ("data_dir", settings.quarantine_dir),
        ("data_dir", settings.status_dir),
        ("data_dir", settings.usage_dir),
    ]
    for field, folder in wanted:
        try:
            _make_private(folder)
            with tempfile.TemporaryFile(dir=folder, prefix=".probe-"):
                pass
        except OSError as error:
            refuse(field, folder, f"a folder that can be made and written here: {error.strerror}")
    try:
        prepare_directory(settings.journal_dir)
    except UnfitFilesystemError as error:
        refuse("journal_dir", settings.journal_dir, f"another filesystem: {error}")


def check_journal_size(settings: Settings) -> None:
    """Refuse a journal in which a worker's share could not hold even its smallest segments."""
    least = SMALLEST_LIMIT * settings.workers
    if settings.journal_max_bytes < least:
        workers = "one worker" if settings.workers == 1 else f"{settings.workers} workers"
        refuse("journal_max_bytes", settings.journal_max_bytes, f"at least {least} bytes for {workers}")


def _make_private(folder: Path) -> None:
    """Make a folder and what is missing above it, for nobody else to read."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not folder.is_dir():
        if folder.parent != folder:
            _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


@dataclass(frozen=True, slots=True)
class JournalLock:
    """The supervisor's lock on a journal: the kernel lets go of it when the process ends, however it ends.

    The file names the process that holds it, and is emptied by a clean end: so the next one knows whether the last
    one died, and that its children may be holding ports and files for a moment.
    """

    descriptor: int
    last_one_died: bool

    def release(self) -> None:
        """Let go, cleanly."""
        os.truncate(self.descriptor, 0)
        os.close(self.descriptor)


def lock_journal(journal_dir: Path) -> JournalLock:
    """Take the supervisor's lock on a journal."""
    path = journal_dir / "supervisor.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            refuse(
                "journal_dir",
                journal_dir,
                f"a journal that no other supervisor serves (process {holder} does)",
            )
        refuse("journal_dir", journal_dir, f"a filesystem with file locks: {error.strerror}")
    last_one_died = os.fstat(descriptor).st_size > 0
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return JournalLock(descriptor, last_one_died)


def _take(descriptor: int) -> None:
    """Take a lock. ``is_locked``, in another process, holds it for an instant, too: so it is tried for a moment."""
    for _ in range(_LOCK_TRIES):
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.02)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def choose_writers(journal_dir: Path, count: int) -> list[Path]:
    """Give each worker its writer's directory: those that nobody holds first, then new ones.

    A directory that is locked belongs to a worker that a dead supervisor left draining; the shipper takes care of it.
    """
    found = sorted(path for path in journal_dir.glob("w-*") if path.is_dir())
    chosen = [path for path in found if not is_locked(path / "lock")][:count]
    return chosen + [journal_dir / f"w-{secrets.token_hex(4)}" for _ in range(count - len(chosen))]


def is_locked(path: Path) -> bool:
    """Tell whether a living process holds a lock file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def bind_listener(address: Address, *, patience: float, setting: str = "listen") -> socket.socket:
    """Bind and listen. ``patience`` seconds are given to workers of a dead supervisor that still leave the port.

    Raises SettingError in the name of ``setting``.
    """
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        refuse(setting, address, f"an address of this machine: {error.strerror}")
    deadline = time.monotonic() + patience
    while True:
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(name)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if time.monotonic() >= deadline:
                refuse(setting, address, f"an address that can be listened on: {error.strerror}")
            time.sleep(0.05)
        else:
            listener.setblocking(False)
            return listener


def check_port_is_free(address: Address, *, patience: float) -> None:
    """Refuse where something already answers at the port that the model server is to take.

    Without this a stranger's server would be audited under the model server's name.
    """
    deadline = time.monotonic() + patience
    while True:
        with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
            except OSError as error:
                if time.monotonic() >= deadline:
                    _refuse_model_port(address, error)
                time.sleep(0.05)
            else:
                return


def _refuse_model_port(address: Address, error: OSError) -> NoReturn:
    raise SettingError(
        f"the model server's port {address} cannot be taken: {error.strerror}. "
        "Name another with --port in its command (with --demo: --upstream http://127.0.0.1:PORT), or stop what uses it."
    )


def check_files(settings: Settings) -> None:
    """Refuse files that the workers could not use: certificate and key, API keys."""
    if settings.tls_cert and settings.tls_key:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                settings.tls_cert, settings.tls_key
            )
        except (OSError, ssl.SSLError) as error:
            expected = f"a PEM certificate that fits the key {settings.tls_key}: {error.strerror or error}"
            refuse("tls_cert", settings.tls_cert, expected)
    if settings.api_keys:
        try:
            read_keys(settings.api_keys)
        except KeyFileError as error:
            refuse("api_keys", settings.api_keys, f"a file made by `llm-audit keys add`: {error}")


def raise_open_files() -> None:
    """Allow as many open descriptors as we may (a thousand streams need two thousand)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
