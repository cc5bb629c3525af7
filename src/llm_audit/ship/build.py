"""From an ended exchange to its record and its object's bytes. Pure, and a function of its arguments alone.

The frames, the writer's opening and the digest of the record before give the same bytes every time (invariant
5): no clock is read, no setting looked up, nothing random drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from llm_audit.dialects.interpret import interpret
from llm_audit.dialects.interpretation import Interpretation
from llm_audit.journal.model import Chunk, End, EndedExchange, RequestStart, ResponseStart
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
Note = Callable[[Record], object]
"""Gives what to remember of a record; never raises."""

_UNKNOWN = Identity(IdentitySource.CLAIMED)
QUARANTINED = "quarantined"
"""``error.type`` of a stub: the record that stands in the place of one that cannot be built."""

TRUNCATED = "truncated"
"""``error.type`` where ``AUDIT_WHEN_FULL=pass`` let bytes through that the journal could not take."""


class BuiltRecord(NamedTuple):
    """A record ready to be stored: its bytes, their digest, and where it goes."""

    data: bytes
    sha256: str
    key: str
    writer: WriterPosition
    started_at_ms: int
    ended_at_ms: int
    request_id: str
    prefix: str
    is_stub: bool
    note: object = None
    """What whoever watches wants to remember of the record (see ``watch``)."""

    @property
    def conflict_key(self) -> str:
        """Its name where the plain one belongs to another exchange."""
        writer = self.writer
        return conflict_key(
            self.prefix, self.started_at_ms, self.request_id, writer.id, writer.boot, writer.sequence
        )


def build(ended: EndedExchange, previous_sha256: str | None, note: Note | None = None) -> BuiltRecord:
    """Build the record of a whole exchange.

    Raises ValueError for a damaged one, and may raise anything where there is a mistake in our own code: the
    caller then ships ``build_stub`` in its place.
    """
    request, end = ended.request, ended.end
    if ended.damage is not None or request is None or end is None:
        raise ValueError(f"this exchange cannot be built: {ended.damage or 'request or end are missing'}")
    settings = ended.opening.settings
    asked = _Asked.of(request, b"".join(ended.request_body))
    answer = _Answer.of(ended.response, ended.chunks, request.started_mono_ns)
    derived = _interpret(asked, answer, settings.body_preview)
    record = _record(ended, previous_sha256, asked, answer, derived, _error(end, derived.error))
    return _built(ended, _as_set(record, settings.content, end), note, is_stub=False)


def build_stub(
    ended: EndedExchange, previous_sha256: str | None, reason: str, note: Note | None = None
) -> BuiltRecord:
    """Build the record that stands in the place of one that cannot be built, from whatever can be read.

    It keeps the sequence and the chain whole, so that the omission shows; it has no bodies. ``reason`` goes into
    ``error``. A stub without a readable request starts when its writer's boot opened.
    """
    asked = _Asked.of(ended.request, b"") if ended.request else _NOTHING_ASKED
    error = ErrorInfo(QUARANTINED, encodable(reason))
    record = _record(ended, previous_sha256, asked, _NO_ANSWER, _NOTHING_DERIVED, error)
    return _built(ended, record._replace(request=record.request._replace(body=None)), note, is_stub=True)


class _Asked(NamedTuple):
    """The request: what its frames say of it, taken apart."""

    headers: Headers
    first: Mapping[str, str]
    """The first value of each header, by lower-case name."""
    method: str | None
    path: str | None
    query: str | None
    body: bytes

    @classmethod
    def of(cls, request: RequestStart, body: bytes) -> _Asked:
        headers = header_fields(request.header_lines)
        path, mark, query = encodable(request.target).partition("?")
        return cls(
            headers=headers,
            first=first_values(headers),
            method=encodable(request.method) or None,
            path=path or None,
            query=query if mark else None,
            body=body,
        )


class _Answer(NamedTuple):
    """The response, joined: what its frames say of it."""

    start: ResponseStart | None
    headers: Headers
    first: Mapping[str, str]
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
        headers = header_fields(start.header_lines) if start else ()
        return cls(start, headers, first_values(headers), b"".join(pieces), tuple(times))


_NOTHING_ASKED = _Asked((), {}, None, None, None, b"")
_NO_ANSWER = _Answer(None, (), {}, b"", ())
_NOTHING_DERIVED = Interpretation(
    operation=None,
    model=ModelNames(),
    usage=Usage(),
    finish_reasons=(),
    stream=False,
    prompt_preview=None,
    response_preview=None,
    assembled=None,
    error=None,
)


def _record(
    ended: EndedExchange,
    previous_sha256: str | None,
    asked: _Asked,
    answer: _Answer,
    derived: Interpretation,
    error: ErrorInfo | None,
) -> Record:
    """Put the record together; request and end may be missing in a stub, and what they would say is None."""
    request, end, opening = ended.request, ended.end, ended.opening
    return Record(
        request_id=_request_id(ended),
        source=_text(request.source if request else None),
        user=_text(request.user if request else None),
        request_type=_text(request.request_type if request else None),
        identity=Identity(request.identity_source, _text(request.key_id)) if request else _UNKNOWN,
        started_at_ms=(request.started_wall_ns if request else opening.opened_wall_ns) // _NS_PER_MS,
        latency_ms=_ms_between(request.started_mono_ns, end.ended_mono_ns) if request and end else 0,
        time_to_first_chunk_ms=answer.chunk_times_ms[0] if answer.chunk_times_ms else None,
        chunk_times_ms=answer.chunk_times_ms,
        outcome=end.outcome if end else Outcome.INTERRUPTED,
        status_code=end.status_code if end else None,
        error=error,
        operation=derived.operation,
        model=derived.model,
        usage=derived.usage,
        finish_reasons=derived.finish_reasons,
        stream=derived.stream,
        prompt_preview=fit_preview(derived.prompt_preview),
        response_preview=fit_preview(derived.response_preview),
        client=Client(
            _text(request.client_address if request else None) or None,
            asked.first.get("user-agent"),
        ),
        writer=WriterPosition(opening.writer_id, opening.boot, ended.sequence, previous_sha256),
        proxy_version=opening.settings.proxy_version,
        request=_request_part(asked, is_kept=end is not None and end.outcome is not Outcome.REJECTED),
        response=_response_part(answer, end, derived),
    )


def _request_part(asked: _Asked, *, is_kept: bool) -> RequestPart:
    return RequestPart(
        method=asked.method,
        path=asked.path,
        query=asked.query,
        headers=asked.headers,
        content_type=asked.first.get("content-type"),
        byte_count=len(asked.body),
        sha256=sha256_hex(asked.body),
        body=asked.body if is_kept else None,
    )


def _response_part(answer: _Answer, end: End | None, derived: Interpretation) -> ResponsePart | None:
    if answer.start is None:
        return None
    return ResponsePart(
        headers=answer.headers,
        content_type=answer.first.get("content-type"),
        byte_count=len(answer.body),
        delivered_bytes=end.delivered_bytes if end else None,
        sha256=sha256_hex(answer.body),
        assembled=derived.assembled,
        body=answer.body,
    )


def _interpret(asked: _Asked, answer: _Answer, preview_chars: int) -> Interpretation:
    return interpret(
        path=asked.path or "",
        request_content_type=asked.first.get("content-type"),
        request_encoding=asked.first.get("content-encoding"),
        request_body=asked.body,
        status=answer.start.status if answer.start else None,
        response_content_type=answer.first.get("content-type"),
        response_encoding=answer.first.get("content-encoding"),
        response_body=answer.body,
        response_metadata=answer.first.get("metadata"),
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
    return record._replace(prompt_preview=None, response_preview=None, error=error)


def _error(end: End, interpreted: ErrorInfo | None) -> ErrorInfo | None:
    """Give the proxy's own error before the model server's, and what is missing before what was said."""
    if end.error is not None:
        return ErrorInfo(encodable(end.error.type), encodable(end.error.message))
    if end.truncated:
        return ErrorInfo(
            TRUNCATED, "the journal was full and AUDIT_WHEN_FULL=pass: more was passed on than is recorded"
        )
    return interpreted


def _built(ended: EndedExchange, record: Record, note: Note | None, *, is_stub: bool) -> BuiltRecord:
    data = encode_record(record)
    prefix = ended.opening.settings.prefix
    return BuiltRecord(
        data=data,
        sha256=sha256_hex(data),
        key=object_key(prefix, record.started_at_ms, record.request_id),
        writer=record.writer,
        started_at_ms=record.started_at_ms,
        ended_at_ms=record.started_at_ms + record.latency_ms,
        request_id=record.request_id,
        prefix=prefix,
        is_stub=is_stub,
        note=None if note is None else note(record),
    )


def _request_id(ended: EndedExchange) -> str:
    """Give the id as 8-4-4-4-12; where none can be read, one made from the place in the chain (RFC 9562, UUIDv8)."""
    raw = ended.request.request_id if ended.request else ended.request_id
    if raw is not None:
        return _dashed(raw.hex())
    place = f"{ended.opening.writer_id}/{ended.opening.boot}/{ended.sequence}"
    digest = bytearray(bytes.fromhex(sha256_hex(place.encode()))[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return _dashed(digest.hex())


def _dashed(digits: str) -> str:
    """Write 32 hexadecimal digits as a UUID is written (RFC 9562, section 4)."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _ms_between(from_ns: int, to_ns: int) -> int:
    """Whole milliseconds, never negative: frames of a damaged clock must not make a record that nobody can read."""
    return max(0, (to_ns - from_ns) // _NS_PER_MS)


def _text(value: str | None) -> str | None:
    return value if value is None or value.isascii() else encodable(value)


def encodable(text: str) -> str:
    """Give the text as it is, or, where it holds lone surrogates (bytes that were no UTF-8), those escaped."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def header_fields(lines: bytes) -> Headers:
    """Read ``name: value`` lines, each ended by CRLF, in order; bytes as latin-1 (RFC 9110, section 5.5)."""
    parted = [line.partition(":") for line in lines.decode("latin-1").split("\r\n") if line]
    return tuple([(name, value.strip(" \t")) for name, _, value in parted])


def first_values(headers: Headers) -> Mapping[str, str]:
    """Give the first value of each field, by its name in lower case."""
    return {name.lower(): value for name, value in reversed(headers)}
