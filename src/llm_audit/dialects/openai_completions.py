"""OpenAI's text completions: one prompt or many, as text or as token ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_audit.dialects import choices, conventions
from llm_audit.dialects.dialect import Dialect, Reply
from llm_audit.dialects.json_values import JsonObject, obj, short, text
from llm_audit.dialects.previews import inputs_newest_first, keep_end, keep_start, tokens_text
from llm_audit.dialects.usage import read_usage


def prompt(request: JsonObject, limit: int) -> str | None:
    """Give the prompts, one after the other, the end if they are long."""
    return keep_end(_prompts_newest_first(request), limit)


def _prompts_newest_first(request: JsonObject) -> Iterator[str]:
    suffix = text(request.get("suffix"))
    if suffix:
        yield f"[suffix] {suffix}"
    if request.get("prompt_embeds"):
        yield "[prompt embeddings]"
    yield from inputs_newest_first(request.get("prompt"))


def reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read a completion; also of token ids alone, as ``/inference/v1/generate`` gives it."""
    whole = obj(document)
    listed = choices.in_order(whole)
    return Reply(
        served=short(whole.get("model")),
        usage=read_usage(whole.get("usage")),
        finish_reasons=choices.finish_reasons(listed),
        preview=keep_start(_pieces(listed), limit) if listed else None,
    )


def _pieces(listed: list[JsonObject]) -> Iterator[str]:
    for position, choice in enumerate(listed):
        if position:
            yield f"\n\n[choice {position}] "
        said = text(choice.get("text"))
        yield (tokens_text(choice.get("token_ids")) or "") if said is None else said


COMPLETION = Dialect(conventions.TEXT_COMPLETION, prompt, reply, choices.add_up)
