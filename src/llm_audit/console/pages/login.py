"""Logging in and out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from llm_audit.console.console import Console, redirect
from llm_audit.console.roles import RIGHTS, Viewer


@dataclass(frozen=True, slots=True)
class LoginPage:
    """The form: where to go afterwards, and what was wrong with the last try."""

    csrf: str
    next: str
    message: str | None
    has_users: bool
    is_plain: bool
    """The browser came without TLS to a console that is not on its own machine: its cookie will not be kept."""


def routes(console: Console) -> APIRouter:
    """Give the routes."""
    router = APIRouter()

    @router.get("/login")
    def form(request: Request) -> Response:
        return _form(console, request, request.query_params.get("next", "/"))

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        fields = await console.form(request)
        return await run_in_threadpool(_log_in, console, request, fields)

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        await console.form(request)
        return await run_in_threadpool(_log_out, console, request)

    return router


def local_path(path: str) -> str:
    """Give a path of this console, or ``/`` for what could lead to another site."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_local else "/"


def _form(
    console: Console, request: Request, then: str, message: str | None = None, status: int = 200
) -> Response:
    seed, is_new = console.form_seed(request)
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
    page = LoginPage(
        csrf=console.sessions.form_token(seed),
        next=local_path(then),
        message=message,
        has_users=bool(console.users.users()),
        is_plain=console.is_secure and scheme != "https",
    )
    response = console.page("login.html", console.viewer(request), page, status=status)
    if is_new:
        console.set_cookie(response, console.form_cookie, seed)
    return response


def _log_in(console: Console, request: Request, fields: dict[str, str]) -> Response:
    name, then = fields.get("name", "")[:64].strip(), fields.get("next", "/")
    address = request.client.host if request.client else ""
    viewer = Viewer(None, None, frozenset(), address=address)
    now = time.monotonic()
    wait = console.attempts.wait_seconds(name, address, now)
    if wait > 0:
        words = f"Too many failed logins. Try again in {int(wait / 60) + 1} minutes."
        response = _form(console, request, then, words, HTTPStatus.TOO_MANY_REQUESTS)
        response.headers["retry-after"] = str(int(wait) + 1)
        return response
    console.attempts.failed(
        name, address, now
    )  # counted first: tries at the same time must not pass the limit
    user = console.users.get(name)
    if not console.passwords.matches(user, fields.get("password", "")) or user is None:
        console.record(viewer, "session.refused", name or None)
        return _form(
            console, request, then, "Name and password do not fit together.", HTTPStatus.UNAUTHORIZED
        )
    console.attempts.succeeded(name, address)
    viewer = Viewer(user.name, user.role, RIGHTS[user.role], address=address)
    console.record(viewer, "session.begin", user.name, role=user.role.value)
    old = request.cookies.get(console.session_cookie)
    if old:
        console.sessions.end(old)
    response = redirect(local_path(then))
    console.set_cookie(response, console.session_cookie, console.sessions.begin(user.name, now))
    console.drop_cookie(response, console.form_cookie)
    return response


def _log_out(console: Console, request: Request) -> Response:
    viewer = console.viewer(request)
    if viewer.name:
        console.record(viewer, "session.end", viewer.name)
    console.sessions.end(request.cookies.get(console.session_cookie, ""))
    response = redirect("/")
    console.drop_cookie(response, console.session_cookie)
    return response
