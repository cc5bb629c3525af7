"""From the raw bytes of one exchange to what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import orjson

from llm_audit.dialects import routes, speech
from llm_audit.dialects.content_coding import decode
from llm_audit.dialects.dialect import Dialect, Reply, StreamEvent
from llm_audit.dialects.errors import error_in_document, error_in_reply
from llm_audit.dialects.event_stream import events
from llm_audit.dialects.interpretation import Interpretation
from llm_audit.dialects.json_values import JsonObject, encodable, obj, parse, short
from llm_audit.dialects.usage import NO_USAGE
from llm_audit.record.schema import ErrorInfo, ModelNames

_NOTHING = Reply()
_DONE = b"[DONE]"
"""What OpenAI's streams end with; the only event that is no JSON."""


def interpret(
    *,
    path: str,
    request_content_type: str | None,
    request_body: bytes,
    status: int | None,
    response_content_type: str | None,
    response_encoding: str | None,
    response_body: bytes,
    preview_chars: int,
    request_encoding: str | None = None,
    response_metadata: str | None = None,
) -> Interpretation:
    """Interpret one exchange. Never raises; what cannot be understood is None.

    ``path`` is the request's, without query. Bodies are as recorded: after transfer decoding, before content
    decoding; the encodings are the ``Content-Encoding`` headers. ``status`` is the upstream's, None where no
    response came. ``response_metadata`` is vLLM's ``metadata`` response header, which carries what JSON would
    where embeddings are sent as bytes. Previews have at most ``preview_chars`` characters.
    """
    try:
        return understand(
            path.partition("?")[0],
            read_request(request_content_type, request_encoding, request_body),
            Answer(status, response_content_type, response_encoding, response_body, response_metadata),
            max(0, preview_chars),
        )
    except Exception:  # noqa: BLE001 - a body that we misread must not keep its record from being stored
        return _not_understood(path, response_content_type)


def _not_understood(path: str, content_type: str | None) -> Interpretation:
    dialect = routes.by_path(path)
    return Interpretation(
        operation=None if dialect is None else dialect.operation,
        model=ModelNames(),
        usage=NO_USAGE,
        finish_reasons=(),
        stream=_media_type(content_type) == "text/event-stream",
        prompt_preview=None,
        response_preview=None,
        assembled=None,
        error=None,
    )


class Answer(NamedTuple):
    """What came back, as ``interpret`` was given it."""

    status: int | None
    content_type: str | None
    encoding: str | None
    body: bytes
    metadata: str | None

    @property
    def is_stream(self) -> bool:
        """Whether it is an event stream."""
        return _media_type(self.content_type) == "text/event-stream"


@lru_cache(maxsize=64)
def _media_type(content_type: str | None) -> str:
    return "" if content_type is None else content_type.partition(";")[0].strip().lower()


def read_request(content_type: str | None, encoding: str | None, body: bytes) -> JsonObject:
    """Read a request as a JSON object, whatever it was sent as; empty where it is none."""
    content = decode(body, encoding)
    if content is None:
        return {}
    if content_type is not None and _media_type(content_type) == "multipart/form-data":
        return speech.form_as_request(content_type, content)
    # vLLM wants application/json; what was sent under another name is interpreted all the same.
    return obj(parse(content))


def understand(path: str, request: JsonObject, answer: Answer, limit: int) -> Interpretation:
    """Do what ``interpret`` does, without its safety net: this must not raise either, and tests hold it to that."""
    dialect = routes.by_path(path) or routes.by_request(request)
    assembled: JsonObject | None = None
    content = decode(answer.body, answer.encoding)
    if answer.is_stream:
        dialect, assembled, error = _read_stream(dialect, content or b"")
        if error is None and assembled is None:
            # A refusal that only says that it is an event stream.
            error = error_in_reply(answer.status, parse(content or b""), content or b"")
        reply = _NOTHING if dialect is None or assembled is None else dialect.reply(request, assembled, limit)
    else:
        document = _document(dialect, answer, content)
        error = error_in_reply(answer.status, document, content or b"")
        dialect = dialect or routes.by_reply(obj(document))
        reply = _read_reply(dialect, request, answer, document, content, limit)
    return Interpretation(
        operation=None if dialect is None else dialect.operation,
        model=ModelNames(short(request.get("model")), reply.served),
        usage=reply.usage,
        finish_reasons=reply.finish_reasons,
        stream=answer.is_stream,
        prompt_preview=None if dialect is None else dialect.prompt(request, limit),
        response_preview=reply.preview,
        assembled=assembled,
        error=error,
    )


def _document(dialect: Dialect | None, answer: Answer, content: bytes | None) -> Any:
    """Give the JSON of a reply in one piece, or None."""
    if not content:
        return None
    if answer.metadata is not None and _media_type(answer.content_type) == "application/octet-stream":
        return parse(answer.metadata.encode("utf-8", "replace"))
    return None if dialect is None and content[:1] not in b"{[" else parse(content)


def _read_reply(
    dialect: Dialect | None,
    request: JsonObject,
    answer: Answer,
    document: Any,
    content: bytes | None,
    limit: int,
) -> Reply:
    if dialect is None or answer.status is None or answer.status >= 400 or not content:
        return _NOTHING
    if isinstance(document, dict | list):
        return dialect.reply(request, document, limit)
    media = _media_type(answer.content_type)
    if media.startswith("text/"):
        # A transcript as subtitles, say. A character has at most four bytes.
        return Reply(preview=content[: limit * 4].decode("utf-8", "replace")[:limit])
    return (
        Reply(preview=f"[{len(content)} bytes]"[:limit]) if media == "application/octet-stream" else _NOTHING
    )


class _Events:
    """The JSON objects of a stream, one pass; errors among them are set aside."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.error: ErrorInfo | None = None
        self.error_document: Any = None

    def __iter__(self) -> Iterator[StreamEvent]:
        for name, data in events(self._body):
            if data == _DONE:
                continue
            try:
                document = orjson.loads(data)
            except orjson.JSONDecodeError:
                document = parse(data)
            if not isinstance(document, dict):
                continue
            if "error" in document or document.get("type") == "error":
                found = error_in_document(document)
                if found is not None:
                    self.error = self.error or found
                    self.error_document = self.error_document or document.get("error") or document
                    if "choices" not in document:
                        continue
            yield name, document


def _read_stream(
    dialect: Dialect | None, body: bytes
) -> tuple[Dialect | None, JsonObject | None, ErrorInfo | None]:
    """Put a stream together: (dialect, the reply in one piece, the error that it reports)."""
    documents = _Events(body)
    stream = iter(documents)
    assemble = None if dialect is None else dialect.assemble
    if assemble is None:
        first = next(stream, None)
        if first is not None:
            stream = chain((first,), stream)
            told = routes.by_event(first)
            dialect = dialect or told
            assemble = None if told is None else told.assemble
    assembled = None
    if assemble is None:
        # Nobody knows how these add up, but an error among them is still an error.
        for _ in stream:
            pass
    else:
        assembled = assemble(stream)
    error = documents.error
    if error is not None:
        assembled = {**(assembled or {}), "error": documents.error_document}
    elif assembled is not None:
        error = error_in_document(assembled)
    return dialect, None if assembled is None else encodable(assembled), error
