"""One call: its facts for everybody who may see metadata; its content for those who may, once that is on record."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llm_audit.console.call_view import CallContent, WriterView, chain_check, content_of, writer_of
from llm_audit.console.console import Console, RefusedError
from llm_audit.console.roles import Right
from llm_audit.index.schema import Item
from llm_audit.query.lookup import DAY_MS, FoundCall, find_items
from llm_audit.query.transcript import body_bytes
from llm_audit.store.objects import ObjectMissingError

LOOK_BACK_MS = 90 * DAY_MS


@dataclass(frozen=True, slots=True)
class CallPage:
    """What the template shows. ``content`` is None for those who may not see it."""

    item: Item
    twins: tuple[str, ...]
    """Other calls with the same request id, by their objects' names."""
    content: CallContent | None


def routes(console: Console) -> APIRouter:
    """Give the routes."""
    router = APIRouter()

    @router.get("/calls/{stem}")
    def call(request: Request, stem: str) -> Response:
        viewer = console.require(request, Right.METADATA)
        item, twins = _item(console, stem)
        content = None
        if viewer.sees_content:
            found = _found(console, item)
            console.record(viewer, "content.page", item.stem, key=found.key)
            document = _document(found)
            chain = chain_check(writer_of(document), _before(console, writer_of(document)))
            content = content_of(found, document, console.setup.callers_url, chain)
        return console.page("call.html", viewer, CallPage(item, twins, content))

    @router.get("/calls/{stem}/record.json")
    def record(request: Request, stem: str) -> Response:
        viewer = console.require(request, Right.CONTENT)
        item, _ = _item(console, stem)
        found = _found(console, item)
        console.record(viewer, "content.record", item.stem, key=found.key)
        return _download(found.data, f"{item.stem}.json")

    @router.get("/calls/{stem}/{part}.bin")
    def body(request: Request, stem: str, part: str) -> Response:
        viewer = console.require(request, Right.CONTENT)
        if part not in ("request", "response"):
            raise RefusedError(HTTPStatus.NOT_FOUND, "A call has a request and a response.")
        item, _ = _item(console, stem)
        found = _found(console, item)
        data = body_bytes(_document(found).get(part))
        if data is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"No body of the {part} is kept.")
        console.record(viewer, "content.raw", item.stem, key=found.key, part=part)
        return _download(data, f"{item.stem}-{part}.bin")

    return router


def _item(console: Console, stem: str) -> tuple[Item, tuple[str, ...]]:
    now_ms = time.time_ns() // 1_000_000
    found = find_items(
        console.index(), console.store, console.setup.prefix, stem.lower(), now_ms - LOOK_BACK_MS, now_ms
    )
    if not found:
        raise RefusedError(
            HTTPStatus.NOT_FOUND,
            f"There is no call {stem[:80]}. One that ended just now comes within a second or two.",
        )
    item = next((one for one in found if one.stem == stem.lower()), found[0])
    return item, tuple(one.stem for one in found if one is not item)


def _found(console: Console, item: Item) -> FoundCall:
    store = console.store()
    key = item.audit_object_key
    return FoundCall(key, store.get(key), item.audit_object_sha256 or None)


def _document(found: FoundCall) -> dict[str, Any]:
    try:
        document = json.loads(found.data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RefusedError(HTTPStatus.BAD_GATEWAY, f"{found.key} is no record: it is no JSON object.")
    return document


def _before(console: Console, writer: WriterView) -> tuple[str, bytes] | None:
    """Read the record before, which is not shown; None where nobody knows where it is, or it is gone."""
    if writer.id is None or writer.boot is None or writer.sequence is None:
        return None
    key = console.setup.key_before(writer.id, writer.boot, writer.sequence)
    try:
        return None if key is None else (key, console.store().get(key))
    except ObjectMissingError:
        return None


def _download(data: bytes, name: str) -> Response:
    """Give bytes as a file that no browser shows."""
    return Response(
        data,
        media_type="application/octet-stream",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )
