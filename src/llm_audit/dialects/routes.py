"""Which dialect a call speaks: by its path; where the path does not tell, by what it looks like."""

from __future__ import annotations

from llm_audit.dialects import conventions, scoring, speech, tokens, vectors
from llm_audit.dialects.anthropic_messages import MESSAGES
from llm_audit.dialects.cohere_chat import COHERE_CHAT
from llm_audit.dialects.dialect import Dialect, Reply, StreamEvent
from llm_audit.dialects.json_values import JsonObject, short
from llm_audit.dialects.openai_chat import CHAT
from llm_audit.dialects.openai_completions import COMPLETION
from llm_audit.dialects.openai_responses import CANCELLED_RESPONSE, FETCHED_RESPONSE, RESPONSES

REALTIME = Dialect(conventions.REALTIME_INFERENCE, lambda *_: None, lambda *_: Reply())
"""Not forwarded (501); named all the same, so that refusals of it can be found."""

BY_PATH = {
    "/v1/chat/completions": CHAT,
    "/v1/chat/completions/batch": CHAT,
    "/v1/chat/completions/render": tokens.RENDER_CHAT,
    "/v1/chat/completions/derender": tokens.DERENDER,
    "/v1/completions": COMPLETION,
    "/v1/completions/render": tokens.RENDER_COMPLETION,
    "/v1/completions/derender": tokens.DERENDER,
    "/v1/responses": RESPONSES,
    "/v1/responses/render": tokens.RENDER_RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": tokens.COUNT_TOKENS,
    "/v1/messages/render": tokens.RENDER_MESSAGES,
    "/v1/embeddings": vectors.EMBEDDINGS,
    "/v2/embed": vectors.COHERE_EMBED,
    "/pooling": vectors.POOLING,
    "/classify": scoring.CLASSIFY,
    "/rerank": scoring.RERANK,
    "/v1/rerank": scoring.RERANK,
    "/v2/rerank": scoring.RERANK,
    "/score": scoring.SCORE,
    "/v1/score": scoring.SCORE,
    "/generative_scoring": scoring.GENERATIVE_SCORING,
    "/v1/systemone": scoring.DECISION,
    "/tokenize": tokens.TOKENIZE,
    "/detokenize": tokens.DETOKENIZE,
    "/inference/v1/generate": tokens.GENERATE,
    "/v1/audio/transcriptions": speech.TRANSCRIPTION,
    "/v1/audio/translations": speech.TRANSLATION,
    "/v1/realtime": REALTIME,
    "/cohere/v2/chat": COHERE_CHAT,
    "/cohere/v2/chat/render": tokens.RENDER_CHAT,
}
"""vLLM 0.32.0's routes that carry prompts or generated text (``tests/captures/ROUTES.txt``); not
``/invocations``, which takes the bodies of any of them."""

_RESPONSE = "/v1/responses/"

_BY_MEMBERS: tuple[tuple[frozenset[str], Dialect], ...] = (
    (frozenset({"query", "documents"}), scoring.RERANK),
    (frozenset({"query", "items"}), scoring.GENERATIVE_SCORING),
    (frozenset({"text_1", "text_2"}), scoring.SCORE),
    (frozenset({"data_1", "data_2"}), scoring.SCORE),
    (frozenset({"queries", "documents"}), scoring.SCORE),
    (frozenset({"queries", "items"}), scoring.SCORE),
    (frozenset({"state", "questions"}), scoring.DECISION),
    (frozenset({"token_ids", "sampling_params"}), tokens.GENERATE),
    (frozenset({"texts", "input_type"}), vectors.COHERE_EMBED),
    (frozenset({"prompt"}), COMPLETION),
    (frozenset({"input", "encoding_format"}), vectors.EMBEDDINGS),
)
"""Requests known by their members, the surest first."""

_RESPONSES_ONLY = frozenset(
    {"instructions", "max_output_tokens", "previous_response_id", "reasoning", "store"}
)
_MESSAGES_ONLY = frozenset({"system", "stop_sequences", "anthropic_version", "thinking"})


def by_path(path: str) -> Dialect | None:
    """Give the dialect that a path stands for; None where the path does not tell."""
    known = BY_PATH.get(path)
    if known is not None or not path.startswith(_RESPONSE):
        return known
    rest = path[len(_RESPONSE) :]
    if "/" not in rest:
        return FETCHED_RESPONSE if rest else None
    return CANCELLED_RESPONSE if rest.endswith("/cancel") and rest.count("/") == 1 else None


def by_request(request: JsonObject) -> Dialect | None:
    """Tell the dialect from a request's members: ``/invocations``, and paths that an operator added."""
    for members, dialect in _BY_MEMBERS:
        if members <= request.keys():
            return dialect
    if "messages" in request:
        return MESSAGES if _MESSAGES_ONLY & request.keys() else CHAT
    if "input" in request:
        return RESPONSES if _RESPONSES_ONLY & request.keys() else vectors.EMBEDDINGS
    file = request.get("file")
    return speech.TRANSCRIPTION if isinstance(file, dict) and "file_name" in file else None


def by_reply(document: JsonObject) -> Dialect | None:
    """Tell the dialect from a reply in one piece."""
    kind = short(document.get("object"))
    if kind == "chat.completion":
        return CHAT
    if kind == "text_completion":
        return COMPLETION
    if kind == "response":
        return RESPONSES
    if document.get("type") == "message":
        return MESSAGES
    return scoring.RERANK if "results" in document else None


_BY_EVENT = {
    "message_start": MESSAGES,
    "content_block_start": MESSAGES,
    "content_block_delta": MESSAGES,
    "message_delta": MESSAGES,
    "message-start": COHERE_CHAT,
    "content-start": COHERE_CHAT,
    "content-delta": COHERE_CHAT,
    "transcript.text.delta": speech.TRANSCRIPTION,
    "transcript.text.done": speech.TRANSCRIPTION,
}

_BY_CHUNK = {
    "": CHAT,
    "chat.completion.chunk": CHAT,
    "text_completion": COMPLETION,
    "transcription.chunk": speech.TRANSCRIPTION,
    "translation.chunk": speech.TRANSLATION,
}
"""By the ``object`` of a chunk that carries choices."""


def by_event(event: StreamEvent) -> Dialect | None:
    """Tell the dialect from one event of a stream."""
    name, document = event
    kind = short(document.get("type")) or name
    if kind.startswith("response."):
        return RESPONSES
    if "choices" in document:
        return _BY_CHUNK.get(short(document.get("object")) or "", CHAT)
    return _BY_EVENT.get(kind)
