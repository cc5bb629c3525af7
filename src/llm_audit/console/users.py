"""The console's users: one JSON file (0600) with names, roles and argon2 hashes, read again whenever it changes.

Edited by ``llm-audit console users`` and by the Users page, under one lock, and replaced whole: a reader sees the old
file or the new one.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from llm_audit.console.roles import Role

FILE_NAME = "console-users.json"
FILE_VERSION = 1
SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without 0O1lI


class UsersError(Exception):
    """The users' file, or what was asked of it, is wrong; says what and what to do."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in."""

    name: str
    role: Role
    password_hash: str
    enabled: bool
    created: str
    """ISO 8601 UTC."""


def new_password() -> str:
    """Make a password: 20 characters, 116 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(20))


def check_name(name: str) -> str:
    """Give a user's name, or raise UsersError."""
    if not _NAME.fullmatch(name):
        raise UsersError(f"name is {name!r}, expected 1 to 64 letters, digits and ._@- characters")
    return name


def check_password(password: str) -> str:
    """Give a password, or raise UsersError."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UsersError(
            f"the password has {len(password)} characters, expected {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}"
        )
    return password


_DECOY = "$argon2id$v=19$m=65536,t=3,p=4$4moMviv2Q/9r1rITZE97ew$zxUZyX+mToj0ATi7V++csR7gqRpENMYw5pERyL38VLY"
"""The hash of 32 random bytes that nobody knows."""


class Passwords:
    """Hashes and checks passwords (argon2id, the library's parameters: 64 MiB each). At most two at once."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._turn = threading.Semaphore(2)

    def hash(self, password: str) -> str:
        """Give a password's hash."""
        with self._turn:
            return self._hasher.hash(password)

    def matches(self, user: User | None, password: str) -> bool:
        """Tell whether it is the user's. It takes as long for one that does not exist, so that names cannot be guessed."""
        if len(password) > LONGEST_PASSWORD:
            return False
        usable = user is not None and user.enabled
        try:
            with self._turn:
                self._hasher.verify(user.password_hash if user and usable else _DECOY, password)
        except (VerificationError, InvalidHashError):
            return False
        return usable


class UserFile:
    """The file. May be used from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._users: tuple[User, ...] = ()

    def users(self) -> tuple[User, ...]:
        """Give every user by name; none where there is no file. Raises UsersError: a broken file lets nobody in."""
        with self._lock:
            seen = _signature(self.path)
            if seen is None:
                return ()
            if seen != self._seen:
                self._users = _read(self.path)
                self._seen = seen
            return self._users

    def get(self, name: str) -> User | None:
        """Give one user. Raises UsersError."""
        return next((user for user in self.users() if user.name == name), None)

    def add(self, user: User) -> None:
        """Add a user. Raises UsersError where the name is taken."""
        with self._editing() as users:
            if user.name in users:
                raise UsersError(f"there is a user {user.name!r} already")
            users[user.name] = user

    def change(
        self,
        name: str,
        *,
        role: Role | None = None,
        enabled: bool | None = None,
        password_hash: str | None = None,
    ) -> User:
        """Change what is given of a user; give it as it is then. The last enabled admin stays one. Raises UsersError."""
        with self._editing() as users:
            if name not in users:
                raise UsersError(f"there is no user {name!r}")
            old = users[name]
            users[name] = replace(
                old,
                role=old.role if role is None else role,
                enabled=old.enabled if enabled is None else enabled,
                password_hash=old.password_hash if password_hash is None else password_hash,
            )
            if _is_admin(old) and not any(map(_is_admin, users.values())):
                raise UsersError(f"{name} is the last admin who may log in: make another one first")
            return users[name]

    @contextmanager
    def _editing(self) -> Iterator[dict[str, User]]:
        """Give the users to change, and write them; nothing is written where the block raises."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(
                self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                users = {user.name: user for user in (_read(self.path) if self.path.exists() else ())}
                yield users
                _write(self.path, sorted(users.values(), key=lambda user: user.name))
            finally:
                os.close(lock)
        except OSError as error:
            raise UsersError(f"{self.path} cannot be written: {error.strerror}") from error


def _is_admin(user: User) -> bool:
    return user.enabled and user.role is Role.ADMIN


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsersError(f"{path} cannot be read: {error.strerror}") from error
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path) -> tuple[User, ...]:
    try:
        document = json.loads(path.read_bytes())
        if document["version"] != FILE_VERSION:
            raise UsersError(f"{path} has version {document['version']!r}, this program reads {FILE_VERSION}")
        return tuple(map(_user, document["users"]))
    except OSError as error:
        raise UsersError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsersError(
            f"{path} is no file of users ({error!r}): mend it, or move it away and add them again"
        ) from None


def _user(entry: dict[str, Any]) -> User:
    values = (entry["name"], entry["passwordHash"], entry["created"])
    if not all(isinstance(value, str) for value in values) or type(entry["enabled"]) is not bool:
        raise ValueError("a member has another type")
    return User(
        name=entry["name"],
        role=Role(entry["role"]),
        password_hash=entry["passwordHash"],
        enabled=entry["enabled"],
        created=entry["created"],
    )


def _write(path: Path, users: list[User]) -> None:
    entries = [
        {
            "name": user.name,
            "role": user.role.value,
            "passwordHash": user.password_hash,
            "enabled": user.enabled,
            "created": user.created,
        }
        for user in users
    ]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps({"version": FILE_VERSION, "users": entries}, indent=2).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
