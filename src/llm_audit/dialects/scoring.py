"""Calls that answer with scores: rerank, score, classify, generative scoring, structured decisions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_audit.dialects import conventions, vectors
from llm_audit.dialects.dialect import Dialect, Reply
from llm_audit.dialects.json_values import JsonObject, compact, items, obj, short, text
from llm_audit.dialects.previews import content_text, inputs_newest_first, keep_end, keep_start
from llm_audit.dialects.usage import read_usage

_PAIRS = (
    ("query", "documents"),
    ("query", "items"),
    ("queries", "documents"),
    ("queries", "items"),
    ("text_1", "text_2"),
    ("data_1", "data_2"),
)
"""Members that hold what is compared with what (vLLM's scoring requests, old names included)."""


def prompt(request: JsonObject, limit: int) -> str | None:
    """Give the query, and below it what is scored against it."""
    return keep_end(_newest_first(request), limit)


def _newest_first(request: JsonObject) -> Iterator[str]:
    for first, second in _PAIRS:
        if first in request and second in request:
            for name in (second, first):
                for line in _inputs(request[name]):
                    yield f"{name}: {line}"
            return
    yield from (f"query: {line}" for line in _inputs(request.get("query")))


def _inputs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        # {"content": [parts]}: a query or a document with pictures.
        yield content_text(value.get("content")) or content_text(value)
        return
    listed = items(value)
    if listed and isinstance(listed[0], dict):
        yield from (
            content_text(obj(entry).get("content")) or content_text(entry) for entry in reversed(listed)
        )
    else:
        yield from inputs_newest_first(value)


def reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read scores; a preview has a line for each: index, score, label or text."""
    whole = obj(document)
    listed = items(whole.get("results")) or items(whole.get("data"))
    return Reply(
        served=short(whole.get("model")),
        usage=read_usage(whole.get("usage")),
        preview=keep_start(_lines(listed), limit) if listed else None,
    )


def _lines(listed: list[Any]) -> Iterator[str]:
    separator = ""
    for entry in listed:
        result = obj(entry)
        score = result.get("relevance_score", result.get("score"))
        if score is None and items(result.get("probs")):
            score = max((p for p in result["probs"] if isinstance(p, int | float)), default=None)
        said = text(result.get("label")) or content_text(obj(result.get("document")).get("text"))
        yield f"{separator}{compact(result.get('index'))}: {_rounded(score)} {said}".rstrip()
        separator = "\n"


def _rounded(score: Any) -> str:
    return f"{score:.4g}" if isinstance(score, float) else compact(score)


def decision_prompt(request: JsonObject, limit: int) -> str | None:
    """Give the state that is asked about, and the questions."""
    return keep_end(_decision_newest_first(request), limit)


def _decision_newest_first(request: JsonObject) -> Iterator[str]:
    for name, question in reversed(obj(request.get("questions")).items()):
        asked = obj(question).get("instructions")
        yield f"{name}: {asked if isinstance(asked, str) else compact(asked)}"
    if "state" in request:
        state = request["state"]
        yield f"state: {state if isinstance(state, str) else compact(state)}"
    instructions = text(request.get("instructions"))
    if instructions:
        yield f"system: {instructions}"


def decision_reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read structured decisions: the answers, as JSON."""
    whole = obj(document)
    preview = compact(whole["answers"])[:limit] if "answers" in whole else None
    return Reply(short(whole.get("model")), read_usage(whole.get("usage")), (), preview)


RERANK = Dialect(conventions.RERANK, prompt, reply)
SCORE = Dialect(conventions.SCORE, prompt, reply)
GENERATIVE_SCORING = Dialect(conventions.GENERATIVE_SCORING, prompt, reply)
CLASSIFY = Dialect(conventions.CLASSIFY, vectors.prompt, reply)
DECISION = Dialect(conventions.STRUCTURED_DECISION, decision_prompt, decision_reply)
