"""OpenAI's responses: items in, items out; streams of named events without ``[DONE]``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from llm_audit.dialects import conventions
from llm_audit.dialects.dialect import Dialect, Reply, StreamEvent
from llm_audit.dialects.json_values import JsonObject, count, items, obj, short, text
from llm_audit.dialects.previews import call_text, content_text, keep_end, keep_start, message_line
from llm_audit.dialects.usage import NO_USAGE, read_usage

_ENDINGS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_CALLS = frozenset({"function_call", "custom_tool_call", "mcp_call"})


class _Growth(NamedTuple):
    """Where in its item a delta belongs."""

    where: str
    """The item's member: a list of parts, or a text."""
    place: str = ""
    """Name of the index among the parts; empty where the member is a text itself."""
    part: str = ""
    """Type of a part that no event announced."""
    member: str = "text"
    """The part's member that grows."""


_DELTAS = {
    "response.output_text.delta": _Growth("content", "content_index", "output_text"),
    "response.refusal.delta": _Growth("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text.delta": _Growth("content", "content_index", "reasoning_text"),
    "response.reasoning_summary_text.delta": _Growth("summary", "summary_index", "summary_text"),
    "response.function_call_arguments.delta": _Growth("arguments"),
    "response.mcp_call_arguments.delta": _Growth("arguments"),
    "response.custom_tool_call_input.delta": _Growth("input"),
    "response.code_interpreter_call_code.delta": _Growth("code"),
}
_PARTS = {
    "response.content_part.added": _Growth("content", "content_index"),
    "response.reasoning_part.added": _Growth("content", "content_index"),
    "response.reasoning_summary_part.added": _Growth("summary", "summary_index"),
}
_ITEMS = frozenset({"response.output_item.added", "response.output_item.done"})


def prompt(request: JsonObject, limit: int) -> str | None:
    """Give instructions and input, the end if they are long."""
    return keep_end(_newest_first(request), limit)


def _newest_first(request: JsonObject) -> Iterator[str]:
    given = request.get("input")
    if isinstance(given, str):
        yield f"user: {given}"
    for item in reversed(items(given)):
        yield f"user: {item}" if isinstance(item, str) else _input_line(obj(item))
    instructions = text(request.get("instructions"))
    if instructions:
        yield f"system: {instructions}"


def _input_line(item: JsonObject) -> str:
    kind = short(item.get("type"))
    if kind in _CALLS:
        return f"assistant: {call_text(item.get('name'), item.get('arguments', item.get('input')))}"
    if "output" in item:
        return f"tool: {content_text(item['output'])}"
    if "role" in item:
        return message_line(item)
    return f"[{kind or 'item'}] {_thought(item)}".rstrip()


def reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read a response. Its finish reason is why it is incomplete, else its status once it has ended."""
    whole = obj(document)
    return Reply(
        served=short(whole.get("model")),
        usage=read_usage(whole.get("usage")),
        finish_reasons=_finish_reasons(whole),
        preview=keep_start(_pieces(items(whole.get("output"))), limit) if "output" in whole else None,
    )


def _finish_reasons(whole: JsonObject) -> tuple[str, ...]:
    status = short(whole.get("status"))
    if status == "incomplete":
        return (short(obj(whole.get("incomplete_details")).get("reason")) or status,)
    return () if status in {None, "in_progress", "queued"} else (str(status),)


def fetched(request: JsonObject, document: Any, limit: int) -> Reply:
    """Read a response that was made by an earlier call, whose tokens were counted there."""
    found = reply(request, document, limit)
    return Reply(found.served, NO_USAGE, found.finish_reasons, found.preview)


def _pieces(output: list[Any]) -> Iterator[str]:
    separator = ""
    for entry in output:
        item = obj(entry)
        kind = short(item.get("type"))
        if kind == "reasoning":
            continue
        if kind in _CALLS:
            yield separator + call_text(item.get("name"), item.get("arguments", item.get("input")))
        else:
            yield separator + (content_text(item.get("content")) or _named(item))
        separator = "\n"
    for entry in output:
        if obj(entry).get("type") == "reasoning":
            yield f"{separator}[reasoning] {_thought(obj(entry))}"
            separator = "\n"


def _named(item: JsonObject) -> str:
    kind = short(item.get("type"))
    return "" if kind in {None, "message"} else f"[{kind}]"


def _thought(item: JsonObject) -> str:
    return content_text(item.get("content")) or content_text(item.get("summary"))


class _Item:
    """One output item as it grows: as it was announced, and the text that deltas brought since."""

    __slots__ = ("members", "parts", "texts")

    def __init__(self, members: JsonObject) -> None:
        self.members = members
        self.parts: dict[tuple[str, int], JsonObject] = {}
        self.texts: dict[tuple[str, int], list[str]] = {}
        """By the kind of delta, and the place among the parts."""

    def finished(self) -> JsonObject:
        members = self.members
        for (kind, place), pieces in self.texts.items():
            growth, joined = _DELTAS[kind], "".join(pieces)
            if growth.place:
                part = self.parts.setdefault((growth.where, place), {"type": growth.part})
                part[growth.member] = joined
                is_thought = growth.part in {"reasoning_text", "summary_text"}
                members.setdefault("type", "reasoning" if is_thought else "message")
            else:
                members.setdefault("type", "function_call")
                members[growth.where] = joined
        for (where, _), part in sorted(self.parts.items(), key=lambda entry: entry[0]):
            members[where] = [*items(members.get(where)), part]
        return members


class _Output:
    """The output of a response as it grows, item by item."""

    def __init__(self) -> None:
        self.items: dict[int, _Item] = {}

    def take(self, kind: str, event: JsonObject) -> None:
        at = count(event.get("output_index")) or 0
        growth = _DELTAS.get(kind)
        if growth is not None:
            delta = event.get("delta")
            if isinstance(delta, str):
                place = count(event.get(growth.place)) or 0
                texts = self._item(at).texts
                pieces = texts.get((kind, place))
                if pieces is None:
                    pieces = texts[kind, place] = []
                pieces.append(delta)
        elif kind in _ITEMS:
            self.items[at] = _Item(dict(obj(event.get("item"))))
        elif kind in _PARTS:
            growth = _PARTS[kind]
            place = count(event.get(growth.place)) or 0
            self._item(at).parts[growth.where, place] = dict(obj(event.get("part")))

    def _item(self, at: int) -> _Item:
        item = self.items.get(at)
        if item is None:
            item = self.items[at] = _Item({})
        return item

    def finished(self) -> list[JsonObject]:
        return [self.items[at].finished() for at in sorted(self.items)]


def assemble(events: Iterable[StreamEvent]) -> JsonObject | None:
    """Put a response together: the last event carries it whole; if that never came, from what did."""
    base: JsonObject | None = None
    growing = _Output()
    for name, event in events:
        kind = short(event.get("type")) or name
        response = event.get("response")
        if isinstance(response, dict):
            if kind in _ENDINGS:
                return response
            base = response
        else:
            growing.take(kind, event)
    output = growing.finished()
    if base is None and not output:
        return None
    return {**(base or {}), "output": output}


RESPONSES = Dialect(conventions.CHAT, prompt, reply, assemble)
FETCHED_RESPONSE = Dialect(conventions.FETCH_RESPONSE, prompt, fetched, assemble)
CANCELLED_RESPONSE = Dialect(conventions.CANCEL_RESPONSE, prompt, fetched)
