"""Anthropic's messages, as vLLM serves them at ``/v1/messages``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llm_audit.dialects import conventions
from llm_audit.dialects.dialect import Dialect, Reply, StreamEvent
from llm_audit.dialects.json_values import JsonObject, count, items, obj, parse, short, text
from llm_audit.dialects.previews import content_text, conversation, keep_end, keep_start, part_text
from llm_audit.dialects.usage import read_usage

_GROWING = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


def prompt(request: JsonObject, limit: int) -> str | None:
    """Give the conversation, its end if it is long; the system prompt stands first."""
    return keep_end(_newest_first(request), limit)


def _newest_first(request: JsonObject) -> Iterator[str]:
    yield from conversation(request.get("messages"))
    system = content_text(request.get("system"))
    if system:
        yield f"system: {system}"


def reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read a message. The text comes first in the preview, thinking last."""
    whole = obj(document)
    reason = short(whole.get("stop_reason"))
    blocks = items(whole.get("content"))
    return Reply(
        served=short(whole.get("model")),
        usage=read_usage(whole.get("usage")),
        finish_reasons=() if reason is None else (reason,),
        preview=keep_start(_pieces(blocks), limit) if "content" in whole else None,
    )


def _pieces(blocks: list[Any]) -> Iterator[str]:
    separator = ""
    for block in blocks:
        if obj(block).get("type") != "thinking":
            yield f"{separator}{part_text(block)}"
            separator = "\n"
    for block in blocks:
        if obj(block).get("type") == "thinking":
            yield f"{separator}[reasoning] {text(block.get('thinking')) or ''}"
            separator = "\n"


def assemble(events: Iterable[StreamEvent]) -> JsonObject | None:
    """Put a message together from its events.

    Output tokens count once ``message_delta`` gave them: what ``message_start`` says of them is a placeholder.
    """
    message: JsonObject | None = None
    blocks: dict[int, JsonObject] = {}
    texts: dict[tuple[int, str], list[str]] = {}
    for name, event in events:
        kind = event.get("type", name)
        if kind == "content_block_delta":
            delta = obj(event.get("delta"))
            member = _GROWING.get(short(delta.get("type")) or "")
            piece = delta.get(member) if member else None
            if member and isinstance(piece, str):
                texts.setdefault((count(event.get("index")) or 0, member), []).append(piece)
        elif kind == "content_block_start":
            blocks[count(event.get("index")) or 0] = dict(obj(event.get("content_block")))
        elif kind == "message_start":
            message = _started(obj(event.get("message")))
        elif kind == "message_delta":
            message = message if message is not None else {}
            message.update(
                (key, value) for key, value in obj(event.get("delta")).items() if value is not None
            )
            usage = {key: value for key, value in obj(event.get("usage")).items() if value is not None}
            message["usage"] = {**obj(message.get("usage")), **usage}
    if message is None and not blocks and not texts:
        return None
    return {**(message or {}), "content": _contents(blocks, texts)}


def _started(message: JsonObject) -> JsonObject:
    started = dict(message)
    if "usage" in started:
        usage = obj(started["usage"])
        started["usage"] = {key: value for key, value in usage.items() if key != "output_tokens"}
    return started


def _contents(blocks: dict[int, JsonObject], texts: dict[tuple[int, str], list[str]]) -> list[JsonObject]:
    for (index, member), pieces in texts.items():
        block = blocks.setdefault(index, {"type": "text" if member == "text" else member})
        joined = "".join(pieces)
        if member == "partial_json":
            # Cut off in the middle, it is no JSON yet: then it stays the text that it is.
            parsed = parse(joined.encode())
            block["input"] = joined if parsed is None else parsed
        else:
            block[member] = f"{text(block.get(member)) or ''}{joined}"
    return [blocks[index] for index in sorted(blocks)]


MESSAGES = Dialect(conventions.CHAT, prompt, reply, assemble)
