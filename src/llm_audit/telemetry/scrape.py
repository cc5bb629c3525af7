"""``/metrics`` as an ASGI application: who may scrape, and the snapshot that was published last.

Metrics are metadata: whoever is on this machine may see them, anybody else needs the bearer token (RFC 6750).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from llm_audit.telemetry.exposition import exposition
from llm_audit.telemetry.snapshot import Snapshot


class Scrape:
    """The application."""

    def __init__(
        self, read: Callable[[], Snapshot | None], *, token: str | None, is_local: Callable[[Request], bool]
    ) -> None:
        """``read`` gives the snapshot to tell. Without a ``token`` nobody but local requests is served."""
        self._read, self._token, self._is_local = read, token, is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        answer: Response | None = None
        if not self._is_local(request):
            answer = _refusal(request, self._token)
        if answer is None and request.method not in ("GET", "HEAD"):
            answer = PlainTextResponse("Metrics are read with GET.\n", 405, {"allow": "GET, HEAD"})
        if answer is None:
            answer = await run_in_threadpool(_told, self._read, request)
        await answer(scope, receive, send)


def _refusal(request: Request, token: str | None) -> Response | None:
    if token is None:
        return PlainTextResponse(
            "From another machine metrics need a bearer token, and none is set: see AUDIT_METRICS_TOKEN.\n",
            403,
        )
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
        return None
    return PlainTextResponse(
        "Metrics need the bearer token that AUDIT_METRICS_TOKEN sets.\n", 401, {"www-authenticate": "Bearer"}
    )


def _told(read: Callable[[], Snapshot | None], request: Request) -> Response:
    snapshot = read()
    if snapshot is None:
        return PlainTextResponse(
            "The shipper has published no metrics: it starts, or AUDIT_METRICS is off.\n",
            503,
            {"retry-after": "1"},
        )
    body, content_type = exposition(snapshot, request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})
