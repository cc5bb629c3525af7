"""The model server's own errors, in every shape in which they come.

Seen from vLLM 0.32.0: ``{"error": {message, type, param, code}}`` (most), ``{"type": "error", "error": {type,
message}}`` (Anthropic routes), ``{"detail": …}`` (FastAPI's own), ``{"error": "Unauthorized"}`` (its API key
check), plain text (uvicorn, CORS) or nothing at all; ``{message, id}`` on Cohere's routes; ``{"object":
"error", message, type}`` in versions before 0.10. Inside a stream the first two come as an event, and
OpenAI's responses add ``{"type": "error", code, message}`` and ``response.failed``.
"""

from __future__ import annotations

from typing import Any

from llm_audit.dialects.json_values import JsonObject, compact, items, obj, short, text
from llm_audit.record.schema import ErrorInfo

MESSAGE_LIMIT = 2048
"""Characters kept of an error's message."""

UNNAMED = "error"
"""Type of an error inside a stream that names none."""


def error_in_reply(status: int | None, document: Any, body: bytes) -> ErrorInfo | None:
    """Find the error that a reply in one piece reports; ``document`` is its JSON, or None.

    A reply below 400 reports one only if it carries an error object (some servers answer so with 200).
    """
    failed = status is not None and status >= 400
    found = error_in_document(obj(document), unnamed=f"http_{status}" if failed else UNNAMED)
    if found is not None or not failed:
        return found
    whole = obj(document)
    message = (
        text(whole.get("error"))
        or text(whole.get("message"))
        or _detail(whole.get("detail"))
        or body[: MESSAGE_LIMIT * 4].decode("utf-8", "replace")
    )
    return _error(short(whole.get("type")) or f"http_{status}", message)


def error_in_document(document: JsonObject, unnamed: str = UNNAMED) -> ErrorInfo | None:
    """Find the error in a JSON object (a reply or an event), or None; ``unnamed`` is the type of last resort."""
    error = document.get("error")
    if isinstance(error, dict) and error:
        name = short(error.get("type")) or short(error.get("code")) or unnamed
        return _error(name, text(error.get("message")) or compact(error))
    if document.get("object") == "error" or (document.get("type") == "error" and "message" in document):
        named = "type" if document.get("object") == "error" else "code"
        return _error(short(document.get(named)) or unnamed, text(document.get("message")) or "")
    return None


def _error(name: str, message: str) -> ErrorInfo:
    return ErrorInfo(name, message[:MESSAGE_LIMIT])


def _detail(detail: Any) -> str | None:
    """FastAPI's ``detail``: a sentence, or a list of what was wrong where."""
    if isinstance(detail, str) or detail is None:
        return detail
    lines = []
    for entry in items(detail)[:32]:
        where = ".".join(str(step)[:64] for step in items(obj(entry).get("loc"))[:16])
        lines.append(f"{where}: {text(obj(entry).get('msg')) or compact(entry)}")
    return "; ".join(lines) or compact(detail)
