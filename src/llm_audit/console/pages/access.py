"""The access log: who looked at what, and whether the log itself is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llm_audit.console.console import Console, RefusedError
from llm_audit.console.roles import Right
from llm_audit.integrity.access_log import Entry, Fault

PAGE_SIZE = 50
CHECKED_BYTES = 4 * 2**20
"""A log up to this size (some ten thousand entries) is verified with each page; a larger one when asked."""


@dataclass(frozen=True, slots=True)
class AccessPage:
    """What the template shows. ``faults`` is None where the log was not checked."""

    entries: Sequence[Entry]
    fields: dict[str, str]
    next_url: str | None
    check_url: str
    is_first: bool
    faults: Sequence[Fault] | None


def routes(console: Console) -> APIRouter:
    """Give the routes."""
    router = APIRouter()

    @router.get("/access")
    def access(request: Request) -> Response:
        viewer = console.require(request, Right.CONTENT)
        given = request.query_params
        fields = {name: given.get(name, "").strip() for name in ("actor", "action", "subject")}
        before = _before(given.get("before"))
        log = console.access_log
        entries = log.newest(PAGE_SIZE + 1, before, lambda entry: _is_wanted(entry, fields))
        shown = entries[:PAGE_SIZE]
        more = shown[-1].sequence if len(entries) > PAGE_SIZE else None
        checks = "check" in given or log.size() <= CHECKED_BYTES
        page = AccessPage(
            entries=shown,
            fields=fields,
            next_url=None if more is None else _url(fields, before=str(more)),
            check_url=_url(fields, check="1"),
            is_first=before is None,
            faults=log.faults() if checks else None,
        )
        return console.page("access.html", viewer, page)

    return router


def _before(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, "That page does not exist: `before` is the number of an entry."
        )
    return int(text)


def _is_wanted(entry: Entry, fields: dict[str, str]) -> bool:
    """Tell whether an entry is among those asked for; a call that only stands in a list's details counts as well."""
    if fields["actor"] and fields["actor"] not in (entry.actor, entry.actor.partition(":")[2]):
        return False
    if fields["action"] and not entry.action.startswith(fields["action"]):
        return False
    calls = entry.details.get("calls")
    listed = calls if isinstance(calls, list) else []
    return not fields["subject"] or fields["subject"] in (entry.subject, *listed)


def _url(fields: dict[str, str], **more: str) -> str:
    return "/access?" + urlencode({**{name: value for name, value in fields.items() if value}, **more})
