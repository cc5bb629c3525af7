"""Speech to text: transcription and translation. Requests are forms with a file; the file is named, not shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_audit.dialects import choices, conventions
from llm_audit.dialects.dialect import Dialect, Reply, StreamEvent
from llm_audit.dialects.json_values import JsonObject, count, items, obj, short, text
from llm_audit.dialects.multipart import parts
from llm_audit.dialects.usage import read_usage

_SHOWN = ("language", "to_language", "prompt", "hotwords")
"""Fields that steer what the model hears; the prompt is text that it is given."""


def form_as_request(content_type: str, body: bytes) -> JsonObject:
    """Read a form as the JSON object that it stands for; a file becomes its name and size."""
    request: JsonObject = {}
    for part in parts(content_type, body):
        if part.file_name is None:
            request[part.name] = part.value
        else:
            request[part.name] = {"file_name": part.file_name, "size": part.size}
    return request


def prompt(request: JsonObject, limit: int) -> str | None:
    """Name the file, then the fields that steer the model."""
    lines = []
    file = obj(request.get("file"))
    if file:
        name = short(file.get("file_name"))
        size = count(file.get("size"))
        lines.append(f"[audio {f'{name}, ' if name else ''}{0 if size is None else size} bytes]")
    for field in _SHOWN:
        value = text(request.get(field))
        if value:
            lines.append(f"{field}: {value}")
    return "\n".join(lines)[:limit] if lines else None


def reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read a transcript (short or verbose), or what ``assemble`` made of a stream."""
    whole = obj(document)
    said = text(whole.get("text"))
    reason = short(whole.get("finish_reason"))
    return Reply(
        served=short(whole.get("model")),
        usage=read_usage(whole.get("usage")),
        finish_reasons=() if reason is None else (reason,),
        preview=None if said is None else said[:limit],
    )


def assemble(events: Iterable[StreamEvent]) -> JsonObject | None:
    """Put a transcript together: its text; the model and the finish reason too, which only streams tell.

    Takes vLLM's chunks (``choices`` with a ``delta``) and OpenAI's events (``transcript.text.delta``/``.done``).
    """
    pieces: list[str] = []
    ended: JsonObject = {}

    def chunks() -> Iterable[StreamEvent]:
        for name, event in events:
            kind = short(event.get("type")) or ""
            if kind == "transcript.text.done":
                ended.update((key, value) for key, value in event.items() if key in {"text", "usage"})
            elif kind == "transcript.text.delta":
                pieces.append(text(event.get("delta")) or "")
            else:
                yield name, event

    whole = choices.add_up(chunks())
    if whole is None and not pieces and not ended:
        return None
    whole = whole or {}
    choice = obj(items(whole.get("choices"))[0]) if whole.get("choices") else {}
    said = text(obj(choice.get("message")).get("content")) or "".join(pieces)
    told = {
        "model": whole.get("model"),
        "finish_reason": choice.get("finish_reason"),
        "usage": whole.get("usage"),
    }
    return {"text": said, **{key: value for key, value in told.items() if value is not None}, **ended}


TRANSCRIPTION = Dialect(conventions.TRANSCRIPTION, prompt, reply, assemble)
TRANSLATION = Dialect(conventions.TRANSLATION, prompt, reply, assemble)
