"""An audit document as a conversation: who said what, for a person to read. Pure.

Bodies are read leniently: what has no known shape is shown as it is, and nothing raises. The exact bytes
are always in the document; this is a way to look at them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SHOWN_JSON = 2000
"""Characters shown of a value that has no known shape."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One contribution: ``role`` as the body says it, or what the text is (``tools``, ``error``, …)."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was asked and what was answered, in order."""

    asked: tuple[Turn, ...]
    answered: tuple[Turn, ...]


def transcript(document: Mapping[str, Any]) -> Transcript:
    """Read a document's bodies as a conversation; previews stand in where bodies are not kept."""
    request, response = document.get("request"), document.get("response")
    asked = _asked(_value(request)) or _raw("request", request, document.get("promptPreview"))
    assembled = response.get("assembled") if isinstance(response, dict) else None
    reply = assembled if isinstance(assembled, dict) else _value(response)
    answered = _answered(reply) or _raw("reply", response, document.get("responsePreview"))
    return Transcript(tuple(asked), tuple(answered))


def body_bytes(part: Any) -> bytes | None:
    """Give a part's exact body; None where the document does not keep it."""
    if not isinstance(part, dict):
        return None
    text, encoded = part.get("bodyText"), part.get("bodyBase64")
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    if isinstance(encoded, str):
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return None
    return None


def _value(part: Any) -> Any:
    """Give a body as JSON, or None."""
    text = part.get("bodyText") if isinstance(part, dict) else None
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None


def _raw(name: str, part: Any, preview: Any) -> list[Turn]:
    """Show a body that is no JSON we know: its text, its size, or else the preview."""
    body = body_bytes(part)
    if body is None or "bodyText" not in part:
        shown = [Turn(f"{name} (preview)", preview)] if isinstance(preview, str) and preview else []
        if body:
            shown.append(Turn(name, f"[{len(body)} bytes of {part.get('contentType') or 'unknown type'}]"))
        return shown
    return [Turn(name, part["bodyText"])] if body else []


def _asked(body: Any) -> list[Turn]:
    if not isinstance(body, dict):
        return []
    turns = [Turn("system", content(body[name])) for name in ("system", "instructions") if body.get(name)]
    messages = body.get("messages")
    if isinstance(messages, list):
        turns += [turn for message in messages for turn in _message(message)]
    turns += [Turn(name, content(body[name])) for name in _INPUTS if body.get(name)]
    given = body.get("input")
    if isinstance(given, list):
        turns += [turn for one in given for turn in _message(one)]
    elif given:
        turns.append(Turn("user", content(given)))
    if turns and isinstance(body.get("tools"), list):
        turns.append(Turn("tools", ", ".join(_tool_name(tool) for tool in body["tools"])))
    return turns


_INPUTS = ("prompt", "query", "documents", "text_1", "text_2")


def _message(message: Any) -> list[Turn]:
    """One message of a chat, or one item of a Responses input or output."""
    if not isinstance(message, dict):
        return [Turn("user", content(message))]
    role = str(message.get("role") or message.get("type") or "message")
    turns = []
    for name in ("reasoning", "reasoning_content", "summary"):
        if message.get(name):
            turns.append(Turn(f"{role} (reasoning)", content(message[name])))
            break
    said = [content(message[name]) for name in ("content", "refusal", "output") if message.get(name)]
    if said:
        turns.append(Turn(role, "\n".join(said)))
    calls = message.get("tool_calls")
    if message.get("type") == "function_call":
        calls = [{"function": message}]
    if isinstance(calls, list):
        turns += [Turn(f"{role} (calls)", _call(call)) for call in calls]
    return turns or [Turn(role, _as_json(message))]


def _call(call: Any) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return _as_json(call)
    arguments = function.get("arguments")
    shown = arguments if isinstance(arguments, str) else _as_json(arguments)
    return f"{function.get('name')}({shown})"


def _tool_name(tool: Any) -> str:
    if not isinstance(tool, dict):
        return _as_json(tool)
    function = tool.get("function")
    named = function if isinstance(function, dict) else tool
    return str(named.get("name") or tool.get("type"))


def content(value: Any) -> str:
    """Give a content as text: a string, a list of parts (pictures and sound become placeholders), or JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, str | dict) for part in value):
        return "\n".join(_part(part) for part in value)
    return _as_json(value)


def _part(part: str | dict[str, Any]) -> str:
    if isinstance(part, str):
        return part
    kind = str(part.get("type") or "")
    for name in ("text", "thinking", "refusal"):
        if isinstance(part.get(name), str):
            return str(part[name])
    if kind == "tool_use":
        return f"[calls {part.get('name')}({_as_json(part.get('input'))})]"
    if kind == "tool_result":
        return f"[result: {content(part.get('content'))}]"
    for word in ("image", "audio", "video", "file", "document"):
        if word in kind:
            return f"[{word}, {len(_as_json(part, None))} characters of JSON]"
    return _as_json(part)


def _answered(reply: Any) -> list[Turn]:
    if not isinstance(reply, dict):
        return []
    return list(_error(reply) or [turn for read in _REPLIES for turn in read(reply)])


def _error(reply: dict[str, Any]) -> list[Turn]:
    error = reply.get("error")
    if reply.get("object") == "error" and "message" in reply:
        error = reply
    if isinstance(error, dict):
        return [Turn("error", f"{error.get('type')}: {content(error.get('message'))}")]
    if error:
        return [Turn("error", content(error))]
    return [Turn("error", content(reply["detail"]))] if "detail" in reply else []


def _choices(reply: dict[str, Any]) -> Iterator[Turn]:
    choices = reply.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if not isinstance(choice, dict):
            continue
        if isinstance(choice.get("message"), dict):
            yield from _message(choice["message"])
        elif isinstance(choice.get("text"), str):
            yield Turn("completion", choice["text"])


def _output(reply: dict[str, Any]) -> Iterator[Turn]:
    output = reply.get("output")
    for one in output if isinstance(output, list) else []:
        yield from _message(one)


def _blocks(reply: dict[str, Any]) -> Iterator[Turn]:
    blocks = reply.get("content")
    if isinstance(blocks, list) and blocks:
        yield Turn(str(reply.get("role") or "assistant"), content(blocks))


def _vectors(reply: dict[str, Any]) -> Iterator[Turn]:
    data = reply.get("data")
    if isinstance(data, list) and data:
        yield Turn(str(reply.get("object") or "data"), f"[{len(data)} results, see --json]")


def _text(reply: dict[str, Any]) -> Iterator[Turn]:
    if isinstance(reply.get("text"), str):
        yield Turn("text", reply["text"])


_REPLIES = (_choices, _output, _blocks, _vectors, _text)


def _as_json(value: Any, limit: int | None = SHOWN_JSON) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if limit is None or len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
