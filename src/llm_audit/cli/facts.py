"""What is worth reading of a record's head: a table of members, their words and their form. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm_audit.cli.terminal import shown_bytes, shown_ms
from llm_audit.index.schema import NOBODY


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a document: its dotted path, the word before it, and how it is shown."""

    path: str
    word: str = ""
    form: Callable[[Any], str] = str
    missing: str = ""
    """What stands for it where there is nothing."""

    def shown_in(self, document: Mapping[str, Any]) -> str:
        """Give the member as text; what stands for it where it is missing or null."""
        value: Any = document
        for name in self.path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None or value == "":
            return self.missing
        return f"{self.word} {self.form(value)}".strip()


def _ms(value: Any) -> str:
    return shown_ms(value) if isinstance(value, int) else str(value)


def _bytes(value: Any) -> str:
    return shown_bytes(value) if isinstance(value, int) else str(value)


def _joined(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


_FACTS: dict[str, tuple[Member, ...]] = {
    "request id": (Member("requestId"),),
    "caller": (
        Member("source", missing=NOBODY),
        Member("user", missing=NOBODY),
        Member("requestType", missing=NOBODY),
    ),
    "identity": (Member("identity.source"), Member("identity.keyId")),
    "client": (Member("client.address"), Member("client.userAgent")),
    "began": (Member("startedAt"),),
    "took": (Member("latencyMs", form=_ms), Member("timeToFirstChunkMs", "first chunk", _ms)),
    "ended": (Member("outcome"), Member("statusCode", "status")),
    "error": (Member("error.type"), Member("error.message")),
    "call": (Member("request.method"), Member("request.path"), Member("operation")),
    "model": (Member("model.requested"), Member("model.served", "served as")),
    "tokens": (Member("usage.inputTokens", "in"), Member("usage.outputTokens", "out")),
    "finish": (Member("finishReasons", form=_joined),),
    "request": (Member("request.bytes", form=_bytes), Member("request.contentType")),
    "response": (Member("response.bytes", form=_bytes), Member("response.contentType")),
    "delivered": (Member("response.deliveredBytes", form=_bytes),),
    "writer": (Member("writer.id"), Member("writer.boot", "boot"), Member("writer.sequence", "sequence")),
}


def facts_of(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give each fact that the document has, as name and text; any member may be missing or strange."""
    for name, members in _FACTS.items():
        shown = " · ".join(text for member in members if (text := member.shown_in(document)))
        if shown:
            yield name, shown
