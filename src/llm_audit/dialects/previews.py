"""Previews: what a person wants to read of a call, in a bounded number of characters.

Of a conversation the end is kept, since the newest message is what the call is about; of an answer the
beginning. Pictures, sound and files are named, not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llm_audit.dialects.json_values import JsonObject, compact, items, obj, short, text

_PLACEHOLDERS = {
    "image_url": "[image]",
    "image": "[image]",
    "input_image": "[image]",
    "image_pil": "[image]",
    "image_embeds": "[image]",
    "input_audio": "[audio]",
    "audio_url": "[audio]",
    "audio": "[audio]",
    "audio_embeds": "[audio]",
    "video_url": "[video]",
    "video": "[video]",
    "input_video": "[video]",
    "file": "[file]",
    "input_file": "[file]",
    "document": "[document]",
    "redacted_thinking": "[redacted thinking]",
}

_TEXT_MEMBERS = ("text", "refusal", "thinking", "reasoning", "content")
"""Members that hold a part's text, whatever the part's type is called."""


def keep_start(pieces: Iterable[str], limit: int) -> str:
    """Join pieces, and keep the first ``limit`` characters; no more pieces are asked for than needed."""
    kept, size = [], 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= limit:
            break
    return "".join(kept)[:limit]


def keep_end(newest_first: Iterable[str], limit: int) -> str | None:
    """Join lines given newest first, and keep the last ``limit`` characters, marked by ``…`` if any went.

    None where there is no line.
    """
    kept, size = [], -1
    for line in newest_first:
        kept.append(line)
        size += len(line) + 1
        if size > limit:
            break
    if not kept:
        return None
    joined = "\n".join(reversed(kept))
    if len(joined) <= limit:
        return joined
    return f"…{joined[len(joined) - limit + 1 :]}" if limit > 0 else ""


def conversation(messages: Any) -> Iterator[str]:
    """Chat messages, newest first, each as ``role: text``; a batch's conversations stand under headings."""
    listed = items(messages)
    for index in range(len(listed) - 1, -1, -1):
        message = listed[index]
        if isinstance(message, list):
            yield from conversation_of_batch(message)
            yield f"[conversation {index}]"
        else:
            yield message_line(obj(message))


def conversation_of_batch(messages: list[Any]) -> Iterator[str]:
    """One conversation of a batch, newest message first."""
    return (message_line(obj(message)) for message in reversed(messages))


def message_line(message: JsonObject) -> str:
    """``role: text`` of one message, with the tools that it calls."""
    said = content_text(message.get("content"))
    calls = message.get("tool_calls")
    if calls:
        said = "\n".join(filter(None, (said, tool_calls_text(calls))))
    return f"{short(message.get('role')) or '?'}: {said}"


def content_text(content: Any) -> str:
    """Text of a message's content: a string, a list of parts, or one part."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(piece for part in content if (piece := part_text(part)))
    return part_text(content) if isinstance(content, dict) else ""


def part_text(part: Any) -> str:
    """Text of one content part, in OpenAI's, Anthropic's or Cohere's words; a placeholder where it is no text."""
    if isinstance(part, str):
        return part
    members = obj(part)
    kind = short(members.get("type"))
    if kind in _PLACEHOLDERS:
        return _PLACEHOLDERS[kind]
    if kind in {"tool_use", "server_tool_use"}:
        return call_text(members.get("name"), members.get("input"))
    for name in _TEXT_MEMBERS:
        value = members.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            # A tool's result is itself a list of parts; deeper than that nothing is written.
            return "\n".join(text(obj(inner).get("text")) or _placeholder(inner) for inner in value)
    return _placeholder(members)


def _placeholder(part: Any) -> str:
    members = obj(part)
    kind = short(members.get("type"))
    if kind is None:
        # vLLM takes parts without a type: {"image_url": …}.
        kind = next((name for name in members if name in _PLACEHOLDERS), None)
    return "" if kind is None else _PLACEHOLDERS.get(kind, f"[{kind}]")


def tool_calls_text(calls: Any) -> str:
    """Tool calls as ``name(arguments)``, one a line."""
    lines = []
    for call in items(calls):
        function = obj(obj(call).get("function")) or obj(obj(call).get("custom")) or obj(call)
        lines.append(call_text(function.get("name"), function.get("arguments", function.get("input"))))
    return "\n".join(lines)


def call_text(name: Any, arguments: Any) -> str:
    """``name(arguments)``; arguments come as JSON text (OpenAI) or as JSON (Anthropic)."""
    if arguments is None:
        arguments = ""
    return f"{short(name) or '?'}({arguments if isinstance(arguments, str) else compact(arguments)})"


def tokens_text(value: Any) -> str | None:
    """``[5 tokens]`` for a list of token ids."""
    return tokens_counted(len(value)) if isinstance(value, list) else None


def tokens_counted(number: int) -> str:
    """``[5 tokens]``, ``[1 token]``."""
    return f"[{number} token{'' if number == 1 else 's'}]"


def inputs_newest_first(value: Any) -> Iterator[str]:
    """Give what ``prompt`` or ``input`` holds, newest first: text, token ids, a list of either, or messages."""
    if isinstance(value, str):
        yield value
        return
    listed = items(value)
    if listed and isinstance(listed[0], int):
        yield tokens_counted(len(listed))
        return
    for entry in reversed(listed):
        if isinstance(entry, dict):
            yield message_line(entry) if "role" in entry else part_text(entry)
        elif isinstance(entry, list) and entry and isinstance(entry[0], dict):
            yield from conversation_of_batch(entry)
        else:
            yield text(entry) or tokens_text(entry) or ""
