"""OpenAI's chat completions, as vLLM serves them (and its batch of conversations)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_audit.dialects import choices, conventions
from llm_audit.dialects.dialect import Dialect, Reply
from llm_audit.dialects.json_values import JsonObject, obj, short, text
from llm_audit.dialects.previews import (
    call_text,
    content_text,
    conversation,
    keep_end,
    keep_start,
    tool_calls_text,
)
from llm_audit.dialects.usage import read_usage


def prompt(request: JsonObject, limit: int) -> str | None:
    """Give the conversation, its end if it is long."""
    return keep_end(conversation(request.get("messages")), limit)


def reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read a chat completion."""
    whole = obj(document)
    listed = choices.in_order(whole)
    return Reply(
        served=short(whole.get("model")),
        usage=read_usage(whole.get("usage")),
        finish_reasons=choices.finish_reasons(listed),
        preview=preview(listed, limit),
    )


def preview(listed: list[JsonObject], limit: int) -> str | None:
    """Text of the first choice; further ones follow under headings."""
    if not listed:
        return None
    return keep_start(_pieces(listed), limit)


def _pieces(listed: list[JsonObject]) -> Iterator[str]:
    for position, choice in enumerate(listed):
        if position:
            yield f"\n\n[choice {position}] "
        yield message_text(obj(choice.get("message")))


def message_text(message: JsonObject) -> str:
    """Say what an assistant's message says: its text, its tool calls, and last how it got there."""
    said = [content_text(message.get("content"))]
    if message.get("refusal"):
        said.append(text(message["refusal"]) or "")
    if message.get("tool_calls"):
        said.append(tool_calls_text(message["tool_calls"]))
    function = message.get("function_call")
    if isinstance(function, dict):
        said.append(call_text(function.get("name"), function.get("arguments")))
    audio = message.get("audio")
    if isinstance(audio, dict):
        said.append(f"[audio] {text(audio.get('transcript')) or ''}")
    # vLLM 0.32 says ``reasoning``; older versions, and others, ``reasoning_content``.
    thought = text(message.get("reasoning")) or text(message.get("reasoning_content"))
    if thought:
        said.append(f"[reasoning] {thought}")
    return "\n".join(piece for piece in said if piece)


CHAT = Dialect(conventions.CHAT, prompt, reply, choices.add_up)
