"""Cohere's chat (v2), which vLLM serves at ``/cohere/v2/chat``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llm_audit.dialects import conventions, openai_chat
from llm_audit.dialects.dialect import Dialect, Reply, StreamEvent
from llm_audit.dialects.json_values import JsonObject, count, items, obj, short, text
from llm_audit.dialects.previews import keep_start, part_text, tool_calls_text
from llm_audit.dialects.usage import read_cohere_usage


def reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read a reply. It names no model, so that none counts as served."""
    whole = obj(document)
    reason = short(whole.get("finish_reason"))
    return Reply(
        served=short(whole.get("model")),
        usage=read_cohere_usage(whole.get("usage")),
        finish_reasons=() if reason is None else (reason,),
        preview=keep_start(_pieces(obj(whole.get("message"))), limit) if "message" in whole else None,
    )


def _pieces(message: JsonObject) -> Iterator[str]:
    parts = items(message.get("content"))
    said = [part_text(part) for part in parts if obj(part).get("type") != "thinking"]
    said.append(tool_calls_text(message.get("tool_calls")))
    said += [f"[plan] {plan}" for plan in (text(message.get("tool_plan")),) if plan]
    said += [f"[reasoning] {part_text(part)}" for part in parts if obj(part).get("type") == "thinking"]
    yield "\n".join(piece for piece in said if piece)


def assemble(events: Iterable[StreamEvent]) -> JsonObject | None:
    """Put a reply together from its events."""
    whole: JsonObject = {}
    growing = _Message()
    for name, event in events:
        kind = short(event.get("type")) or name
        delta = obj(event.get("delta"))
        if kind == "message-start":
            whole.update((key, value) for key, value in event.items() if key in {"id", "model"})
            growing.role = short(obj(delta.get("message")).get("role"))
        elif kind == "message-end":
            whole.update((key, value) for key, value in delta.items() if value is not None)
        else:
            growing.take(kind, count(event.get("index")) or 0, obj(delta.get("message")))
    message = growing.finished()
    return {**whole, "message": message} if whole or message else None


class _Message:
    def __init__(self) -> None:
        self.role: str | None = None
        self.parts: dict[int, dict[str, list[str]]] = {}
        self.calls: dict[int, JsonObject] = {}
        self.arguments: dict[int, list[str]] = {}
        self.plan: list[str] = []

    def take(self, kind: str, index: int, message: JsonObject) -> None:
        if kind in {"content-start", "content-delta"}:
            part = self.parts.setdefault(index, {})
            for name, value in obj(message.get("content")).items():
                if isinstance(value, str):
                    part.setdefault(name, []).append(value)
        elif kind in {"tool-call-start", "tool-call-delta"}:
            call = obj(message.get("tool_calls"))
            if kind == "tool-call-start":
                self.calls[index] = dict(call)
            arguments = obj(call.get("function")).get("arguments")
            if isinstance(arguments, str):
                self.arguments.setdefault(index, []).append(arguments)
        elif kind == "tool-plan-delta" and isinstance(message.get("tool_plan"), str):
            self.plan.append(message["tool_plan"])

    def finished(self) -> JsonObject:
        message: JsonObject = {} if self.role is None else {"role": self.role}
        if self.plan:
            message["tool_plan"] = "".join(self.plan)
        if self.parts:
            message["content"] = [
                {name: pieces[0] if name == "type" else "".join(pieces) for name, pieces in part.items()}
                for _, part in sorted(self.parts.items())
            ]
        for index, pieces in self.arguments.items():
            call = self.calls.setdefault(index, {"type": "function"})
            call["function"] = {**obj(call.get("function")), "arguments": "".join(pieces)}
        if self.calls:
            message["tool_calls"] = [call for _, call in sorted(self.calls.items())]
        return message


COHERE_CHAT = Dialect(conventions.CHAT, openai_chat.prompt, reply, assemble)
