"""One call's content as a page shows it: conversation, timeline, messages on the wire, checks made now. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from llm_audit.console.text import shortened
from llm_audit.query.lookup import FoundCall
from llm_audit.query.transcript import Turn, body_bytes, transcript
from llm_audit.query.visible import pieces
from llm_audit.record.encoding import sha256_hex

_KINDS = ("system", "developer", "user", "assistant", "tool", "tools", "error")
_BINS = 120
"""Columns of the timeline."""

_LONGEST_COMMAND = 20_000
MOST_EVENTS = 400
EVENT_CHARACTERS = 400
"""Shown of a stream's events; the whole stream is among the raw bytes."""


@dataclass(frozen=True, slots=True)
class TurnView:
    """One contribution: its role, a word for its colour, its text (cut), and how much is left out."""

    role: str
    kind: str
    text: str
    left_out: int


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified while the page was made; ``is_ok`` is None where it could not be."""

    name: str
    is_ok: bool | None
    words: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Chunks of one stretch of the reply. Places are in the timeline's own units: 0 to 1000 across, 0 to 100 up."""

    x: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """When the reply's chunks came, and what came with each, where each brought one event."""

    bars: tuple[Bar, ...]
    chunks: int
    first_ms: int
    last_ms: int
    longest_pause_ms: int
    events: tuple[tuple[int, str], ...]
    """Milliseconds after the request's begin, and the event's data; the first ``MOST_EVENTS``."""


@dataclass(frozen=True, slots=True)
class Message:
    """One HTTP message as it was on the wire: start line, header lines (credentials replaced), body (cut)."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: str | None
    """None where it is not kept; bytes that are no text are only counted."""
    body_bytes: int
    left_out: int
    has_body: bool


@dataclass(frozen=True, slots=True)
class WriterView:
    """The record's place in its writer's chain."""

    id: str | None
    boot: int | None
    sequence: int | None
    previous_sha256: str | None


@dataclass(frozen=True, slots=True)
class CallContent:
    """All that needs the right to content."""

    asked: tuple[TurnView, ...]
    answered: tuple[TurnView, ...]
    error: str | None
    timeline: Timeline | None
    request: Message
    response: Message | None
    checks: tuple[Check, ...]
    writer: WriterView
    cached_tokens: int | None
    reasoning_tokens: int | None
    requested_model: str | None
    delivered_bytes: int | None
    curl: str | None
    proxy_version: str | None


def content_of(
    found: FoundCall, document: Mapping[str, Any], callers_url: str, chain: Check | None = None
) -> CallContent:
    """Read a document leniently: any member may be missing or strange."""
    said = transcript(document)
    request, response = _part(document, "request"), _part(document, "response")
    error, usage = _part(document, "error"), _part(document, "usage")
    return CallContent(
        asked=tuple(map(_turn, said.asked)),
        answered=tuple(map(_turn, said.answered)),
        error=f"{error.get('type')}: {error.get('message')}" if error else None,
        timeline=timeline_of(document),
        request=_message(_request_line(request), request),
        response=_message(f"HTTP/1.1 {document.get('statusCode')}", response) if response else None,
        checks=tuple(_checks(found, request, response, chain)),
        writer=writer_of(document),
        cached_tokens=_whole(usage.get("cachedInputTokens")),
        reasoning_tokens=_whole(usage.get("reasoningTokens")),
        requested_model=_text(_part(document, "model").get("requested")),
        delivered_bytes=_whole(response.get("deliveredBytes")),
        curl=_curl(document, request, callers_url),
        proxy_version=_text(document.get("proxyVersion")),
    )


def _turn(turn: Turn) -> TurnView:
    text, left_out = shortened(turn.text)
    word = turn.role.split(" ")[0].lower()
    kind = "reasoning" if "(reasoning)" in turn.role else "tool" if "(calls)" in turn.role else word
    return TurnView(turn.role[:80], kind if kind in (*_KINDS, "reasoning") else "other", text, left_out)


def _checks(
    found: FoundCall, request: Mapping[str, Any], response: Mapping[str, Any], chain: Check | None
) -> Iterator[Check]:
    """Compute every digest anew, from the bytes that the store has just given."""
    digest = sha256_hex(found.data)
    if found.indexed_sha256 is None:
        yield Check(
            "Object", None, f"SHA-256 {digest}; no index has a digest of this object to hold against it"
        )
    else:
        words = "is the one that was indexed" if found.is_as_indexed else "IS NOT the one that was indexed"
        yield Check("Object", found.is_as_indexed, f"SHA-256 {digest} {words}")
    for name, part in (("Request", request), ("Response", response)):
        body = body_bytes(part)
        said = part.get("sha256")
        if body is None:
            if part:
                yield Check(
                    f"{name} body", None, f"is not kept, so its digest {said} cannot be computed again"
                )
        elif said is not None:
            is_ok = said == sha256_hex(body)
            yield Check(
                f"{name} body", is_ok, f"SHA-256 {said} {'fits' if is_ok else 'DOES NOT FIT'} the body"
            )
    if chain is not None:
        yield chain


def chain_check(writer: WriterView, before: tuple[str, bytes] | None) -> Check:
    """Hold the digest that a record names against the record before it, as the store has just given it.

    ``before`` is that record's key and bytes; None where it is not at hand.
    """
    if writer.previous_sha256 is None:
        return Check("Chain", None, "it is its writer's first record: it names none before it")
    if before is None:
        words = "the record before is not at hand (the shipper remembers two days); `llm-audit verify` follows the whole chain"
        return Check("Chain", None, words)
    key, data = before
    is_ok = sha256_hex(data) == writer.previous_sha256
    return Check(
        "Chain", is_ok, f"{key} {'has' if is_ok else 'DOES NOT HAVE'} the digest that this record names"
    )


def timeline_of(document: Mapping[str, Any]) -> Timeline | None:
    """Give the chunks' times as columns; None for a reply of one piece."""
    runs = list(_runs(document.get("chunkTimesMs")))
    if len(runs) < 2:
        return None
    first, last = runs[0][0], max(at for at, _ in runs)
    end = max(last, 1)
    counts = [0] * _BINS
    for at, count in runs:
        counts[min(_BINS - 1, max(0, at) * _BINS // (end + 1))] += count
    most = max(counts)
    width = 1000 / _BINS
    bars = tuple(
        Bar(
            round(number * width, 1),
            round(width * 0.8, 1),
            round(max(6.0, 100 * count / most), 1),
            f"{count} from {number * (end + 1) // _BINS} ms on",
        )
        for number, count in enumerate(counts)
        if count
    )
    pauses = (later[0] - earlier[0] for earlier, later in pairwise(runs))
    chunks = sum(count for _, count in runs)
    events = tuple(_events(document, runs, chunks))
    return Timeline(bars, chunks, first, last, max(pauses), events)


def _events(
    document: Mapping[str, Any], runs: Sequence[tuple[int, int]], chunks: int
) -> Iterator[tuple[int, str]]:
    """Give each event with its chunk's time. Chunks' borders are not kept: it can be told only where there is one of each."""
    body = _part(document, "response").get("bodyText")
    if not isinstance(body, str) or not _text(_part(document, "response").get("contentType")):
        return
    events = [
        event.strip() for event in body.replace("\r\n", "\n").split("\n\n", chunks + 1) if event.strip()
    ]
    if len(events) != chunks or not all(event.startswith(("data:", "event:")) for event in events):
        return
    times = (at for at, count in runs for _ in range(count))
    for at, event in islice(zip(times, events, strict=False), MOST_EVENTS):
        yield at, event.partition("data:")[2].strip()[:EVENT_CHARACTERS]


def _runs(times: Any) -> Iterator[tuple[int, int]]:
    """Give times and how many chunks came then; what is no time is left out."""
    for run in times if isinstance(times, list) else ():
        at, count = run if isinstance(run, list) and len(run) == 2 else (run, 1)
        if _whole(at) is not None and _whole(count) is not None and at >= 0 and count > 0:
            yield at, count


def _request_line(request: Mapping[str, Any]) -> str:
    query = request.get("query")
    target = f"{request.get('path') or ''}{f'?{query}' if query else ''}"
    return f"{request.get('method') or '?'} {target} HTTP/1.1"


def _message(start: str, part: Mapping[str, Any]) -> Message:
    body = body_bytes(part)
    text = part.get("bodyText")
    shown, left_out = shortened(text) if isinstance(text, str) else (None, 0)
    return Message(
        start=start,
        headers=_headers(part),
        body=shown,
        body_bytes=_whole(part.get("bytes")) or 0,
        left_out=left_out,
        has_body=body is not None,
    )


def writer_of(document: Mapping[str, Any]) -> WriterView:
    """Give a document's place in its chain."""
    part = _part(document, "writer")
    return WriterView(
        _text(part.get("id")),
        _whole(part.get("boot")),
        _whole(part.get("sequence")),
        _text(part.get("previousSha256")),
    )


def _headers(part: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    headers = part.get("headers")
    if not isinstance(headers, list):
        return ()
    return tuple((str(one[0]), str(one[1])) for one in headers if isinstance(one, list) and len(one) == 2)


_REPLACED = "[redacted]"
"""What the proxy keeps of a credential."""

_NOT_SENT_AGAIN = frozenset(
    {
        *("host", "content-length", "connection", "transfer-encoding", "accept-encoding", "expect"),
        *("x-request-id", "user-agent", "accept"),
    }
)


def _curl(document: Mapping[str, Any], request: Mapping[str, Any], callers_url: str) -> str | None:
    """Give a command that makes the call again; None where its body is not kept or is no text."""
    body = request.get("bodyText")
    path = request.get("path")
    if not isinstance(path, str) or ("bodyText" not in request and request.get("bytes")):
        return None
    query = request.get("query")
    words = ["curl", shlex.quote(f"{callers_url}{path}{f'?{query}' if query else ''}")]
    if request.get("method") not in (None, "GET", "POST"):
        words += ["-X", shlex.quote(str(request["method"]))]
    callers = {"x-llm-source": "source", "x-llm-user": "user", "x-llm-request-type": "requestType"}
    headers = {
        name.lower(): value for name, value in _headers(request) if name.lower() not in _NOT_SENT_AGAIN
    }
    headers = {
        name: value for name, value in headers.items() if value != _REPLACED and "stainless" not in name
    }
    headers |= {name: str(document[member]) for name, member in callers.items() if document.get(member)}
    lines = [" ".join(words)]
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    if isinstance(body, str) and body:
        # A character that a terminal obeys would act when the command is pasted.
        if len(body) > _LONGEST_COMMAND or any(is_named for is_named, _ in pieces(body)):
            lines.append("--data-binary @request.bin  # download the request body under this name")
        else:
            lines.append(f"--data-raw {shlex.quote(body)}")
    return " \\\n  ".join(lines)


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
