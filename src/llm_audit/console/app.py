"""The console as an ASGI application: its routes, what goes wrong, its guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from llm_audit.console.console import Console, LoginNeededError, RefusedError, redirect
from llm_audit.console.guard import Guard
from llm_audit.console.pages import access, call, calls, login, overview, pipeline, users
from llm_audit.console.pages.problem import Problem
from llm_audit.console.roles import Viewer
from llm_audit.console.setup import ConsoleSetup
from llm_audit.console.users import UsersError
from llm_audit.index.index import IndexUnavailableError
from llm_audit.index.selection import InvalidCursorError
from llm_audit.integrity.access_log_file import AccessLogError
from llm_audit.query.filters import FilterError
from llm_audit.store.objects import StoreError

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}

_ROOMS = (login, overview, calls, call, pipeline, access, users)
"""Each has ``routes(console)``."""


def create_app(setup: ConsoleSetup, mounts: Mapping[str, ASGIApp] | None = None) -> ASGIApp:
    """Give the application. ``mounts`` are others to serve beside it, each at one path such as ``/metrics``: objects, not functions.

    A mounted application is behind the same Host check and headers, and asks for its own credentials.
    """
    console = Console(setup)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        console.close()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    for path, other in (mounts or {}).items():
        app.router.routes.append(Route(path, other))

    for room in _ROOMS:
        app.include_router(room.routes(console))

    @app.get("/static/{path:path}")
    async def static(path: str) -> Response:
        name = path.partition("/")[2]  # what stands before is there for caches alone
        content = console.statics.get(name)
        if content is None:
            raise HTTPException(404)
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)

    _add_handlers(app, console)
    return Guard(app, hosts=setup.hosts, is_tls=setup.is_tls)


_PROBLEMS: Mapping[type[Exception], tuple[HTTPStatus, str]] = {
    FilterError: (HTTPStatus.BAD_REQUEST, "That filter cannot be used"),
    InvalidCursorError: (HTTPStatus.BAD_REQUEST, "That page does not exist"),
    IndexUnavailableError: (HTTPStatus.SERVICE_UNAVAILABLE, "The index cannot be read"),
    StoreError: (HTTPStatus.SERVICE_UNAVAILABLE, "The store does not answer"),
    AccessLogError: (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Nothing is shown, since this view could not be recorded",
    ),
    UsersError: (HTTPStatus.BAD_REQUEST, "That cannot be done with users"),
}


def _add_handlers(app: FastAPI, console: Console) -> None:
    def answer(request: Request, status: int, title: str, words: str) -> Response:
        return console.page("problem.html", _viewer(console, request), Problem(title, words), status=status)

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        return answer(request, error.status, error.status.phrase, str(error))

    def missing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        phrase = HTTPStatus(error.status_code).phrase
        return answer(request, error.status_code, phrase, "There is no such page here.")

    def known(request: Request, error: Exception) -> Response:
        status, title = next(said for kind, said in _PROBLEMS.items() if isinstance(error, kind))
        return answer(request, status, title, str(error))

    def broken(request: Request, _error: Exception) -> Response:
        words = "Something here is broken. What the console's process printed tells more."
        return answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, "This page cannot be shown", words)

    app.add_exception_handler(LoginNeededError, _to_login)
    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(HTTPException, missing)
    app.add_exception_handler(Exception, broken)
    for kind in _PROBLEMS:
        app.add_exception_handler(kind, known)


def _viewer(console: Console, request: Request) -> Viewer:
    try:
        return console.viewer(request)
    except UsersError:  # a page that says so must not fail for it again
        return Viewer(None, None, frozenset())


def _to_login(request: Request, _error: Exception) -> Response:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    response = redirect(f"/login?next={quote(path)}")
    if "hx-request" in request.headers:  # a live page whose session ended: the whole page goes to the login
        response.headers["hx-redirect"] = response.headers["location"]
        response.status_code = 200
    return response
