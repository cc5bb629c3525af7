"""From an ended exchange to its record and its object's bytes. Pure, and a function of its arguments alone.

The frames, the writer's opening and the digest of the record before give the same bytes every time (invariant
5): no clock is read, no setting looked up, nothing random drawn.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_audit.dialects.interpret import interpret
from llm_audit.dialects.interpretation import Interpretation
from llm_audit.journal.model import Chunk, End, EndedExchange, ResponseStart
from llm_audit.record.encoding import encode_record, sha256_hex, without_bodies
from llm_audit.record.schema import (
    Client,
    ErrorInfo,
    Headers,
    Identity,
    IdentitySource,
    ModelNames,
    Outcome,
    Record,
    RequestPart,
    ResponsePart,
    Usage,
    WriterPosition,
)
from llm_audit.ship.previews import fit_preview
from llm_audit.store.keys import conflict_key, object_key

_NS_PER_MS = 1_000_000
_NO_CONTENT = sha256_hex(b"")
_NO_MODEL, _NO_USAGE = ModelNames(), Usage()
QUARANTINED = "quarantined"
"""``error.type`` of a stub: the record that stands in the place of one that cannot be built."""

TRUNCATED = "truncated"
"""``error.type`` where ``AUDIT_WHEN_FULL=pass`` let bytes through that the journal could not take."""


@dataclass(frozen=True, slots=True)
class BuiltRecord:
    """A record ready to be stored: its bytes, their digest, and both names that it may get."""

    data: bytes
    sha256: str
    key: str
    conflict_key: str
    writer: WriterPosition
    ended_at_ms: int
    is_stub: bool


def build(ended: EndedExchange, previous_sha256: str | None) -> BuiltRecord:
    """Build the record of a whole exchange.

    Raises ValueError for a damaged one, and may raise anything where there is a mistake in our own code: the
    caller then ships ``build_stub`` in its place.
    """
    request, end = ended.request, ended.end
    if ended.damage is not None or request is None or end is None:
        raise ValueError(f"this exchange cannot be built: {ended.damage or 'request or end are missing'}")
    settings = ended.opening.settings
    record = _undescribed(ended, previous_sha256)
    body = b"".join(ended.request_body)
    answer = _Answer.of(ended.response, ended.chunks, request.started_mono_ns)
    derived = _interpret(record.request, body, answer, settings.body_preview)
    record = replace(
        record,
        time_to_first_chunk_ms=answer.chunk_times_ms[0] if answer.chunk_times_ms else None,
        chunk_times_ms=answer.chunk_times_ms,
        error=_error(end, derived.error),
        operation=derived.operation,
        model=derived.model,
        usage=derived.usage,
        finish_reasons=derived.finish_reasons,
        stream=derived.stream,
        prompt_preview=fit_preview(derived.prompt_preview),
        response_preview=fit_preview(derived.response_preview),
        request=replace(
            record.request,
            byte_count=len(body),
            sha256=sha256_hex(body),
            body=None if end.outcome is Outcome.REJECTED else body,
        ),
        response=answer.part(end.delivered_bytes, derived),
    )
    return _built(ended, _as_set(record, settings.content, end), is_stub=False)


def build_stub(ended: EndedExchange, previous_sha256: str | None, reason: str) -> BuiltRecord:
    """Build the record that stands in the place of one that cannot be built, from whatever can be read.

    It keeps the sequence and the chain whole, so that the omission shows; it has no bodies. ``reason`` goes into
    ``error``. A stub without a readable request starts when its writer's boot opened.
    """
    record = replace(_undescribed(ended, previous_sha256), error=ErrorInfo(QUARANTINED, encodable(reason)))
    return _built(ended, record, is_stub=True)


def _undescribed(ended: EndedExchange, previous_sha256: str | None) -> Record:
    """Give the record as far as it needs no body; whatever cannot be read is None."""
    request, end, opening = ended.request, ended.end, ended.opening
    headers = header_fields(request.header_lines) if request else ()
    path, mark, query = encodable(request.target).partition("?") if request else ("", "", "")
    started_ns = request.started_wall_ns if request else opening.opened_wall_ns
    return Record(
        request_id=_request_id(ended),
        source=_text(request and request.source),
        user=_text(request and request.user),
        request_type=_text(request and request.request_type),
        identity=Identity(request.identity_source, _text(request.key_id))
        if request
        else Identity(IdentitySource.CLAIMED),
        started_at_ms=started_ns // _NS_PER_MS,
        latency_ms=_ms_between(request.started_mono_ns, end.ended_mono_ns) if request and end else 0,
        time_to_first_chunk_ms=None,
        chunk_times_ms=(),
        outcome=end.outcome if end else Outcome.INTERRUPTED,
        status_code=end.status_code if end else None,
        error=None,
        operation=None,
        model=_NO_MODEL,
        usage=_NO_USAGE,
        finish_reasons=(),
        stream=False,
        prompt_preview=None,
        response_preview=None,
        client=Client(_text(request and request.client_address) or None, first_value(headers, "user-agent")),
        writer=WriterPosition(opening.writer_id, opening.boot, ended.sequence, previous_sha256),
        proxy_version=opening.settings.proxy_version,
        request=RequestPart(
            method=_text(request and request.method) or None,
            path=path or None,
            query=query if mark else None,
            headers=headers,
            content_type=first_value(headers, "content-type"),
            byte_count=0,
            sha256=_NO_CONTENT,
            body=None,
        ),
        response=None,
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """The response, joined: what the frames say of it."""

    start: ResponseStart | None
    headers: Headers
    body: bytes
    chunk_times_ms: tuple[int, ...]

    @classmethod
    def of(cls, start: ResponseStart | None, chunks: Sequence[Chunk], started_mono_ns: int) -> _Answer:
        pieces = []
        times = []
        for chunk in chunks:
            if chunk.data:
                pieces.append(chunk.data)
                times.append(_ms_between(started_mono_ns, chunk.mono_ns))
        return cls(start, header_fields(start.header_lines) if start else (), b"".join(pieces), tuple(times))

    def part(self, delivered_bytes: int | None, derived: Interpretation) -> ResponsePart | None:
        if self.start is None:
            return None
        return ResponsePart(
            headers=self.headers,
            content_type=first_value(self.headers, "content-type"),
            byte_count=len(self.body),
            delivered_bytes=delivered_bytes,
            sha256=sha256_hex(self.body),
            assembled=derived.assembled,
            body=self.body,
        )


def _interpret(request: RequestPart, body: bytes, answer: _Answer, preview_chars: int) -> Interpretation:
    return interpret(
        path=request.path or "",
        request_content_type=request.content_type,
        request_encoding=first_value(request.headers, "content-encoding"),
        request_body=body,
        status=answer.start.status if answer.start else None,
        response_content_type=first_value(answer.headers, "content-type"),
        response_encoding=first_value(answer.headers, "content-encoding"),
        response_body=answer.body,
        response_metadata=first_value(answer.headers, "metadata"),
        preview_chars=preview_chars,
    )


def _as_set(record: Record, content: str, end: End) -> Record:
    """Leave out what ``AUDIT_CONTENT`` says; a model server's error may quote the prompt, so ``none`` cuts it too."""
    if content == "full":
        return record
    record = without_bodies(record)
    if content == "preview":
        return record
    error = record.error
    if error is not None and end.error is None and not end.truncated:
        error = ErrorInfo(error.type, "(not kept: AUDIT_CONTENT=none)")
    return replace(record, prompt_preview=None, response_preview=None, error=error)


def _error(end: End, interpreted: ErrorInfo | None) -> ErrorInfo | None:
    """Give the proxy's own error before the model server's, and what is missing before what was said."""
    if end.error is not None:
        return ErrorInfo(encodable(end.error.type), encodable(end.error.message))
    if end.truncated:
        return ErrorInfo(
            TRUNCATED, "the journal was full and AUDIT_WHEN_FULL=pass: more was passed on than is recorded"
        )
    return interpreted


def _built(ended: EndedExchange, record: Record, *, is_stub: bool) -> BuiltRecord:
    data = encode_record(record)
    prefix = ended.opening.settings.prefix
    writer = record.writer
    return BuiltRecord(
        data=data,
        sha256=sha256_hex(data),
        key=object_key(prefix, record.started_at_ms, record.request_id),
        conflict_key=conflict_key(
            prefix, record.started_at_ms, record.request_id, writer.id, writer.boot, writer.sequence
        ),
        writer=writer,
        ended_at_ms=record.started_at_ms + record.latency_ms,
        is_stub=is_stub,
    )


def _request_id(ended: EndedExchange) -> str:
    """Give the id as 8-4-4-4-12; where none can be read, one made from the place in the chain (RFC 9562, UUIDv8)."""
    raw = ended.request.request_id if ended.request else ended.request_id
    if raw is not None:
        return str(uuid.UUID(bytes=raw))
    place = f"{ended.opening.writer_id}/{ended.opening.boot}/{ended.sequence}"
    digest = bytearray(bytes.fromhex(sha256_hex(place.encode()))[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


def _ms_between(from_ns: int, to_ns: int) -> int:
    """Whole milliseconds, never negative: frames of a damaged clock must not make a record that nobody can read."""
    return max(0, (to_ns - from_ns) // _NS_PER_MS)


def _text(value: str | None) -> str | None:
    return None if value is None else encodable(value)


def encodable(text: str) -> str:
    """Give the text as it is, or, where it holds lone surrogates (bytes that were no UTF-8), those escaped."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def header_fields(lines: bytes) -> Headers:
    """Read ``name: value`` lines, each ended by CRLF, in order; bytes as latin-1 (RFC 9110, section 5.5)."""
    fields = []
    for line in lines.decode("latin-1").split("\r\n"):
        if line:
            name, _, value = line.partition(":")
            fields.append((name, value.strip(" \t")))
    return tuple(fields)


def first_value(headers: Headers, name: str) -> str | None:
    """Give the first field of that (lower-case) name, None where there is none."""
    for field, value in headers:
        if len(field) == len(name) and field.lower() == name:
            return value
    return None
