"""Replies that consist of ``choices``, and their streams: chat, completions, speech to text, token generation.

Chunks add up by one rule each: text is appended, lists are extended, tool calls are merged by their index,
anything else is what was said last. So members that a server invents tomorrow are kept too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_audit.dialects.dialect import FINISH_REASON_LIMIT, StreamEvent
from llm_audit.dialects.json_values import JsonObject, count, items, obj, short

_APPENDED = frozenset({"content", "reasoning", "reasoning_content", "refusal", "text"})
_SAID_ONCE = frozenset({"role", "name", "id", "type", "index"})
"""Members that some servers repeat in every chunk: said once, they are not text that grows."""

_UNFINISHED: JsonObject = {"finish_reason": None}


class _Choice:
    """One choice as it grows. Text is kept in pieces and joined at the end."""

    __slots__ = ("calls", "members", "message", "said", "texts")

    def __init__(self, index: int) -> None:
        self.members: JsonObject = {"index": index}
        self.texts: list[str] = []
        """``text`` of the choice itself (completions)."""
        self.message: JsonObject | None = None
        self.said: dict[str, list[str]] = {}
        """Texts of the message (``content``, ``reasoning``): its member by that name holds their place."""
        self.calls: dict[int, JsonObject] = {}

    def add(self, chunk: JsonObject) -> None:
        for name, value in chunk.items():
            if value is None or name == "index":
                continue
            if name == "delta":
                if isinstance(value, dict):
                    said = self.said
                    for inner, part in value.items():
                        pieces = said.get(inner)
                        if pieces is not None and isinstance(part, str):
                            pieces.append(part)
                        elif part is not None:
                            self._add_to_message(inner, part)
                    if self.message is None:
                        self.message = {}
            elif name == "text" and isinstance(value, str):
                self.texts.append(value)
            else:
                _merge(self.members, name, value)

    def _add_to_message(self, name: str, value: Any) -> None:
        message = self.message
        if message is None:
            message = self.message = {}
        if name in _APPENDED and isinstance(value, str):
            message[name] = ""
            self.said[name] = [value]
        elif name == "tool_calls" and isinstance(value, list):
            self._add_calls(value)
        elif name in {"function_call", "audio"} and isinstance(value, dict):
            _add_texts(_inner(message, name), value)
        else:
            _merge(message, name, value)

    def _add_calls(self, calls: list[Any]) -> None:
        for position, piece in enumerate(calls):
            call = obj(piece)
            index = count(call.get("index"))
            known = self.calls.setdefault(position if index is None else index, {})
            for name, value in call.items():
                if name == "index" or value is None:
                    continue
                if isinstance(value, dict):
                    _add_texts(_inner(known, name), value)
                else:
                    known[name] = value

    def finished(self) -> JsonObject:
        members = self.members
        if self.texts:
            members["text"] = "".join(self.texts)
        message = self.message
        if message is not None:
            for name, pieces in self.said.items():
                message[name] = "".join(pieces)
            for name in ("function_call", "audio"):
                if isinstance(message.get(name), dict):
                    message[name] = _joined(message[name])
            if self.calls:
                message["tool_calls"] = [_finished_call(call) for _, call in sorted(self.calls.items())]
            members["message"] = message
        return _UNFINISHED | members


class _Growing(list[str]):
    """Pieces of a text inside a tool call, told apart from a list that came as one."""

    __slots__ = ()


def _inner(target: JsonObject, name: str) -> JsonObject:
    """Give an object inside another, made where there is none."""
    inner = target.get(name)
    if not isinstance(inner, dict):
        inner = target[name] = {}
    return inner


def _add_texts(target: JsonObject, piece: JsonObject) -> None:
    """Append every text of a piece (``arguments``, ``transcript``), except what is said once."""
    for name, value in piece.items():
        if value is None:
            continue
        if isinstance(value, str) and name not in _SAID_ONCE:
            pieces = target.get(name)
            if isinstance(pieces, _Growing):
                pieces.append(value)
            else:
                target[name] = _Growing([value])
        else:
            target[name] = value


def _finished_call(call: JsonObject) -> JsonObject:
    return {name: _joined(value) if isinstance(value, dict) else value for name, value in call.items()}


def _joined(members: JsonObject) -> JsonObject:
    return {name: "".join(value) if isinstance(value, _Growing) else value for name, value in members.items()}


def _merge(target: JsonObject, name: str, value: Any) -> None:
    """Merge a member: lists grow (token ids, log probabilities), objects merge one level down, the rest is said last."""
    known = target.get(name)
    if isinstance(value, list) and isinstance(known, list):
        known.extend(value)
    elif isinstance(value, dict) and isinstance(known, dict):
        for inner, part in value.items():
            if part is not None:
                before = known.get(inner)
                if isinstance(part, list) and isinstance(before, list):
                    before.extend(part)
                else:
                    known[inner] = part
    else:
        target[name] = value


def add_up(events: Iterable[StreamEvent]) -> JsonObject | None:
    """Put a stream of chunks together: chat's (``delta``) or completions' (``text``), any number of choices.

    The last word on usage stands: of a stream with continuous usage that was cut, its last chunk's, which speaks
    of that chunk's choice.
    """
    choices: dict[int, _Choice] = {}
    top: JsonObject = {}
    for _, chunk in events:
        for position, piece in enumerate(items(chunk.get("choices"))):
            if isinstance(piece, dict):
                index = piece.get("index")
                known = choices.get(index) if type(index) is int else None
                (known or _choice(choices, index, position)).add(piece)
        if None in chunk.values():
            top.update((name, value) for name, value in chunk.items() if value is not None)
        else:
            top.update(chunk)
    top.pop("choices", None)
    if not top and not choices:
        return None
    return _whole(top, [choices[index].finished() for index in sorted(choices)])


def _choice(choices: dict[int, _Choice], index: Any, position: int) -> _Choice:
    """Give the choice that a chunk means: by its index, or by its place where it has none."""
    number = count(index)
    return choices.setdefault(
        position if number is None else number, _Choice(position if number is None else number)
    )


def _whole(top: JsonObject, choices: list[JsonObject]) -> JsonObject:
    usage = top.pop("usage", None)
    kind = top.get("object")
    if isinstance(kind, str):
        top["object"] = kind.removesuffix(".chunk")
    top["choices"] = choices
    if usage is not None:
        top["usage"] = usage
    return top


def in_order(document: JsonObject) -> list[JsonObject]:
    """Choices of a reply by their index; those without one keep their place."""
    choices = [choice for choice in items(document.get("choices")) if isinstance(choice, dict)]
    if len(choices) < 2:
        return choices
    return sorted(choices, key=lambda choice: count(choice.get("index")) or 0)


def finish_reasons(choices: list[JsonObject]) -> tuple[str, ...]:
    """Finish reasons by choice; a choice without one gives none."""
    return tuple(
        reason
        for choice in choices[:FINISH_REASON_LIMIT]
        if (reason := short(choice.get("finish_reason"))) is not None
    )
