"""The console's users, kept by admins. Every change is on record before it is made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from llm_audit.console.console import Console, RefusedError, redirect
from llm_audit.console.roles import MEANINGS, Right, Role, Viewer
from llm_audit.console.users import User, UsersError, check_name, new_password
from llm_audit.record.times import iso_from_ms


@dataclass(frozen=True, slots=True)
class UsersPage:
    """What the template shows; a new password is shown this once."""

    users: Sequence[User]
    roles: Mapping[Role, str]
    made_for: str | None = None
    password: str | None = None


def routes(console: Console) -> APIRouter:
    """Give the routes."""
    router = APIRouter()

    @router.get("/users")
    def users(request: Request) -> Response:
        viewer = console.require(request, Right.USERS)
        return console.page("users.html", viewer, UsersPage(console.users.users(), MEANINGS))

    @router.post("/users")
    async def add(request: Request) -> Response:
        fields = await console.form(request)
        return await run_in_threadpool(_add, console, request, fields)

    @router.post("/users/{name}")
    async def change(request: Request, name: str) -> Response:
        fields = await console.form(request)
        return await run_in_threadpool(_change, console, request, name, fields)

    return router


def _add(console: Console, request: Request, fields: Mapping[str, str]) -> Response:
    viewer = console.require(request, Right.USERS)
    name, role = check_name(fields.get("name", "").strip()), _role(fields)
    if console.users.get(name) is not None:
        raise UsersError(f"there is a user {name!r} already")
    password = new_password()
    hashed = console.passwords.hash(password)
    now = iso_from_ms(time.time_ns() // 1_000_000)
    console.record(viewer, "users.add", name, role=role.value)
    console.users.add(User(name, role, hashed, enabled=True, created=now))
    return _shown_once(console, viewer, name, password)


def _change(console: Console, request: Request, name: str, fields: Mapping[str, str]) -> Response:
    viewer = console.require(request, Right.USERS)
    what = fields.get("do")
    if what == "password":
        password = new_password()
        hashed = console.passwords.hash(password)
        console.record(viewer, "users.password", name)
        console.users.change(name, password_hash=hashed)
        console.sessions.end_all_of(name)
        return _shown_once(console, viewer, name, password)
    if what in ("enable", "disable"):
        console.record(viewer, f"users.{what}", name)
        console.users.change(name, enabled=what == "enable")
    elif what == "role":
        role = _role(fields)
        console.record(viewer, "users.role", name, role=role.value)
        console.users.change(name, role=role)
    else:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "The form does not say what to do.")
    if what == "disable":
        console.sessions.end_all_of(name)
    return redirect("/users")


def _role(fields: Mapping[str, str]) -> Role:
    try:
        return Role(fields.get("role", ""))
    except ValueError:
        raise UsersError(f"role is {fields.get('role')!r}, expected one of {', '.join(Role)}") from None


def _shown_once(console: Console, viewer: Viewer, name: str, password: str) -> Response:
    """Give the page with a password that nothing keeps; an admin who made their own anew is logged out by it."""
    return console.page(
        "users.html", viewer, UsersPage(console.users.users(), MEANINGS, name, password), status=HTTPStatus.OK
    )
