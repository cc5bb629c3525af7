"""What every request passes first: is it for us, and what may the browser do with the answer. ASGI, no routes.

The policy lets a page load this origin's files and nothing else: no inline script or style, no other host, no frame
around it. So markup in a prompt that somehow reached a page as markup could still do nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_audit.console.roles import is_served

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Content-Security-Policy (W3C CSP 3)."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), clipboard-read=()",
}

LARGEST_FORM = 64 * 1024
"""Bytes of a request's body; no form of ours is larger."""


class Guard:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], is_tls: bool) -> None:
        """``hosts`` are the names that are served, lower case, without ports."""
        self._app = app
        self._hosts = frozenset(hosts)
        self._headers = {**HEADERS, **({"strict-transport-security": "max-age=31536000"} if is_tls else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not is_served(hosts[0], self._hosts):
            return PlainTextResponse(
                "This console is not served under that name. Whoever runs it can add the name to AUDIT_CONSOLE_HOSTS.\n",
                status_code=421,
            )
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and int(length) <= LARGEST_FORM):
            return PlainTextResponse("That is more than any form of this console sends.\n", status_code=413)
        return None
