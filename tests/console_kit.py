"""The console over a data folder with real records, and somebody who looks at it without a browser."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
from argon2 import PasswordHasher

from llm_audit.console.app import create_app
from llm_audit.console.roles import Role
from llm_audit.console.setup import ConsoleSetup
from llm_audit.console.users import FILE_NAME, User, UserFile
from llm_audit.index.sqlite import SqliteReader
from llm_audit.integrity.access_log_file import AccessLog
from llm_audit.query.pipeline import PipelineFolders

PASSWORD = "correct horse battery"
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
"""Cheap to check: a hash names its own cost."""


def setup_of(recorded, **changes):
    """Give a console's setup over ``recorded`` (see ``recorded.py``)."""
    data = recorded.data_dir
    plain = ConsoleSetup(
        listens_on="127.0.0.1",
        hosts=frozenset({"localhost", "127.0.0.1", "[::1]"}),
        is_tls=False,
        data_dir=data,
        prefix="logs",
        folders=PipelineFolders(data / "status", data / "journal", data / "quarantine"),
        open_index=lambda: SqliteReader(recorded.index_path),
        open_store=lambda: recorded.store,
        callers_url="http://127.0.0.1:8000",
        version="0.1.0",
        journal_limit_bytes=64 * 2**20,
    )
    return replace(plain, **changes)


class Visitor:
    """Somebody with cookies, at an address, who follows no redirect by itself."""

    def __init__(self, app, *, address="127.0.0.1", base="http://127.0.0.1:8080", **headers):
        self._app = app
        self._address = address
        self._base = base
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.cookies = httpx.Cookies()

    def get(self, path, **headers):
        return self._ask("GET", path, headers=headers)

    def post(self, path, fields, **headers):
        return self._ask("POST", path, data=fields, headers=headers)

    def _ask(self, method, path, **arguments):
        async def ask():
            transport = httpx.ASGITransport(
                self._app, client=(self._address, 4711), raise_app_exceptions=False
            )
            async with httpx.AsyncClient(
                transport=transport, base_url=self._base, cookies=self.cookies, headers=self._headers
            ) as client:
                answer = await client.request(method, path, **arguments)
                self.cookies = httpx.Cookies(client.cookies)
                return answer

        return asyncio.run(ask())

    def form_token(self, path="/login"):
        """Give the token of the last form on a page."""
        return re.findall(r'name="csrf" value="([0-9a-f]+)"', self.get(path).text)[-1]

    def log_in(self, name, password=PASSWORD, then="/"):
        fields = {"csrf": self.form_token(), "name": name, "password": password, "next": then}
        return self.post("/login", fields)


class Stage:
    """A console with users: vera (viewer), anna (auditor), adam (admin), all with one password."""

    def __init__(self, recorded, **changes):
        self.recorded = recorded
        self.setup = setup_of(recorded, **changes)
        self.users = UserFile(recorded.data_dir / FILE_NAME)
        for name, role in (("vera", Role.VIEWER), ("anna", Role.AUDITOR), ("adam", Role.ADMIN)):
            self.users.add(User(name, role, HASH, enabled=True, created="2026-11-24T12:00:00.000Z"))
        self.access_log = AccessLog(recorded.data_dir / "access")
        self.app = create_app(self.setup)

    def visitor(self, name=None, **arguments):
        visitor = Visitor(self.app, **arguments)
        if name:
            answer = visitor.log_in(name)
            assert answer.status_code == 303, answer.text
        return visitor

    def recorded_actions(self):
        """Give (actor, action, subject) of every entry of the access log, oldest first."""
        return [
            (entry.actor, entry.action, entry.subject) for entry in reversed(self.access_log.newest(1000))
        ]


def path_of(url):
    """Give path and query of an address."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


__all__ = ["HASH", "PASSWORD", "Stage", "Visitor", "path_of", "setup_of"]
