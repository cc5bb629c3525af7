"""What every page works with: who asks, what is read, what is recorded, how an answer is made."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from llm_audit.console.attempts import Attempts
from llm_audit.console.roles import RIGHTS, Right, Viewer, is_local
from llm_audit.console.seen import Seen
from llm_audit.console.sessions import Sessions
from llm_audit.console.setup import ConsoleSetup
from llm_audit.console.text import FILTERS
from llm_audit.console.users import FILE_NAME, Passwords, UserFile
from llm_audit.index.index import IndexReader
from llm_audit.integrity.access_log_file import AccessLog
from llm_audit.record.times import iso_from_ms
from llm_audit.store.objects import ObjectStore

HERE = Path(__file__).parent

_FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class LoginNeededError(Exception):
    """The page needs a right that the viewer does not have; a login may give it."""


class RefusedError(Exception):
    """The request cannot be answered: status and words for the viewer."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


class Console:
    """One console. Handlers run in several threads."""

    def __init__(self, setup: ConsoleSetup) -> None:
        self.setup = setup
        self.users = UserFile(setup.data_dir / FILE_NAME)
        self.passwords = Passwords()
        self.sessions = Sessions()
        self.attempts = Attempts()
        self.seen = Seen()
        self.access_log = AccessLog(setup.data_dir / "access")
        self.is_secure = setup.is_tls or not is_local(
            listens_on=setup.listens_on, client="127.0.0.1", host="localhost", is_forwarded=False
        )
        """Whether cookies are for TLS only."""
        prefix = "__Host-" if self.is_secure else ""
        self.session_cookie = f"{prefix}audit_session"
        self.form_cookie = f"{prefix}audit_form"
        self.statics = _statics()
        self._templates = _environment()
        self._opening = threading.Lock()
        self._index: IndexReader | None = None
        self._counted: IndexReader | None = None
        self._store: ObjectStore | None = None

    def index(self) -> IndexReader:
        """Give the index. Raises IndexUnavailableError; asked again, it is opened again."""
        with self._opening:
            if self._index is None:
                self._index = self.setup.open_index()
            return self._index

    def index_for_counts(self) -> IndexReader:
        """Give the index once more, for what takes long: a reader does one thing at a time, and pages must not wait."""
        with self._opening:
            if self._counted is None:
                self._counted = self.setup.open_index()
            return self._counted

    def store(self) -> ObjectStore:
        """Give the store. Raises StoreError."""
        with self._opening:
            if self._store is None:
                self._store = self.setup.open_store()
            return self._store

    def close(self) -> None:
        """Let go of the index."""
        for index in (self._index, self._counted):
            if index is not None:
                index.close()

    def viewer(self, request: Request) -> Viewer:
        """Give whoever asks: by the session's cookie, or as somebody on this machine, or nobody with any right."""
        address = request.client.host if request.client else ""
        token = request.cookies.get(self.session_cookie, "")
        name = self.sessions.user_of(token, time.monotonic()) if token else None
        user = self.users.get(name) if name else None
        if user is not None and user.enabled:
            return Viewer(user.name, user.role, RIGHTS[user.role], self.sessions.form_token(token), address)
        local = is_from_here(request, self.setup.listens_on)
        return Viewer(None, None, frozenset({Right.METADATA} if local else ()), "", address)

    def require(self, request: Request, right: Right) -> Viewer:
        """Give whoever asks, if the right is theirs. Raises LoginNeededError, RefusedError."""
        viewer = self.viewer(request)
        if viewer.may(right):
            return viewer
        if viewer.name is None:
            raise LoginNeededError
        raise RefusedError(
            HTTPStatus.FORBIDDEN,
            f"{viewer.name} is {viewer.role}, and this page needs the right to see or change {right}.",
        )

    def record(self, viewer: Viewer, action: str, subject: str | None, **details: Any) -> None:
        """Write into the access log, durably, before anything is shown. Raises AccessLogError."""
        actor = f"console:{viewer.name}" if viewer.name else "console"
        at = iso_from_ms(time.time_ns() // 1_000_000)
        self.access_log.append(at, actor, action, subject, {**details, "address": viewer.address})

    def page(
        self,
        template: str,
        viewer: Viewer,
        context: Any,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Give a page: a template with its typed context, which it sees as ``page``."""
        text = self._templates.get_template(template).render(
            page=context, viewer=viewer, setup=self.setup, Right=Right
        )
        return HTMLResponse(text, status_code=status, headers=dict(headers or {}))

    def set_cookie(self, response: Response, name: str, value: str) -> None:
        """Set a cookie that no script and no other site can use."""
        response.set_cookie(name, value, path="/", secure=self.is_secure, httponly=True, samesite="strict")

    def drop_cookie(self, response: Response, name: str) -> None:
        """Take a cookie back."""
        response.delete_cookie(name, path="/", secure=self.is_secure, httponly=True, samesite="strict")

    def form_seed(self, request: Request) -> tuple[str, bool]:
        """Give what forms of somebody who is not logged in are bound to, and whether it is new (its cookie is to be set)."""
        seed = request.cookies.get(self.form_cookie, "")
        return (seed, False) if seed else (secrets.token_urlsafe(32), True)

    async def form(self, request: Request) -> dict[str, str]:
        """Read a form that a page of ours sent. Raises RefusedError for any other."""
        body = await request.body()
        try:
            fields = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=50))
        except ValueError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "The form cannot be read.") from None
        cookie = self.session_cookie if self.session_cookie in request.cookies else self.form_cookie
        seeds = {request.cookies.get(name, "") for name in (cookie, self.form_cookie)}
        is_ours = any(self.sessions.is_form_token(seed, fields.get("csrf", "")) for seed in seeds)
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if not is_ours or site != "same-origin" or (origin is not None and not self._is_own(origin, request)):
            raise RefusedError(
                HTTPStatus.FORBIDDEN, "The form is not one of this console's, or is too old. Open it again."
            )
        return fields

    def _is_own(self, origin: str, request: Request) -> bool:
        return origin.partition("://")[2].lower() == request.headers.get("host", "").lower()


def is_from_here(request: Request, listens_on: str) -> bool:
    """Tell whether a request comes from this machine, to a console that listens on ``listens_on``."""
    return is_local(
        listens_on=listens_on,
        client=request.client.host if request.client else "",
        host=request.headers.get("host", ""),
        is_forwarded=any(name in request.headers for name in _FORWARDING),
    )


def redirect(path: str) -> Response:
    """Send the browser on, by GET."""
    return RedirectResponse(path, status_code=303)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tag = _tag_of(_statics())
    environment.filters.update(FILTERS)
    # An address changes with the files, so that browsers may keep them for ever.
    environment.globals["static"] = lambda name: f"/static/{tag}/{name}"
    return environment


@cache
def _statics() -> Mapping[str, bytes]:
    """Read every static file, by its path below the folder: they are few, and no path of a request reaches the disk."""
    folder = HERE / "static"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".css", ".js", ".svg")
    }


def _tag_of(statics: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in statics.items():
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
