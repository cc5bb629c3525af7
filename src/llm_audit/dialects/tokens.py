"""Calls about tokens: tokenize, detokenize, count, render a prompt to tokens and back, generate from tokens.

None of them but the last makes the model work, so that only the last reports usage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_audit.dialects import anthropic_messages, choices, conventions, openai_chat, openai_completions
from llm_audit.dialects import openai_responses as responses
from llm_audit.dialects.dialect import Dialect, PromptReader, Reply
from llm_audit.dialects.json_values import JsonObject, count, items, obj, short, text
from llm_audit.dialects.previews import (
    content_text,
    inputs_newest_first,
    keep_end,
    tokens_counted,
    tokens_text,
)


def text_or_chat_prompt(request: JsonObject, limit: int) -> str | None:
    """Give ``prompt``, or the conversation in ``messages``."""
    if "messages" in request:
        return openai_chat.prompt(request, limit)
    return openai_completions.prompt(request, limit)


def tokens_prompt(request: JsonObject, limit: int) -> str | None:
    """Say how many tokens came, and show what text came beside them."""
    return keep_end(_tokens_newest_first(request), limit)


def _tokens_newest_first(request: JsonObject) -> Iterator[str]:
    for name in ("tokens", "token_ids"):
        said = tokens_text(request.get(name))
        if said is not None:
            yield said
    parts = content_text(request.get("content_parts"))
    if parts:
        yield parts


def derender_prompt(request: JsonObject, limit: int) -> str | None:
    """Give the original request where it came along; else how many tokens are turned to text."""
    original = obj(request.get("chat_request")) or obj(request.get("completion_request"))
    if original:
        return text_or_chat_prompt(original, limit)
    return keep_end(inputs_newest_first(request.get("prompt_token_ids")), limit)


def reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read a count of tokens, tokens, or text."""
    whole = obj(document)
    number = count(whole.get("count"))
    if number is None:
        number = count(whole.get("input_tokens"))
    rendered = items(document) or [whole]
    if number is not None:
        preview: str | None = tokens_counted(number)
    elif isinstance(whole.get("prompt"), str):
        preview = whole["prompt"]
    else:
        lengths = [tokens_text(obj(entry).get("token_ids")) for entry in rendered[:64]]
        preview = " ".join(length for length in lengths if length) or None
    return Reply(short(whole.get("model")), preview=None if preview is None else preview[:limit])


def derendered(request: JsonObject, document: Any, limit: int) -> Reply:
    """Read the completion that tokens were turned into, or one chunk of it; its tokens were counted before."""
    whole = obj(document)
    whole = obj(whole.get("chunk")) or whole
    listed = choices.in_order(whole)
    if any("message" in choice for choice in listed):
        preview = openai_chat.preview(listed, limit)
    else:
        deltas = [{"text": text(obj(choice.get("delta")).get("content")), **choice} for choice in listed]
        preview = openai_completions.reply(request, {"choices": deltas}, limit).preview
    return Reply(
        short(whole.get("model")),
        finish_reasons=choices.finish_reasons(listed),
        preview=preview,
    )


def _rendered_by(prompt: PromptReader) -> Dialect:
    return Dialect(conventions.RENDER, prompt, reply)


TOKENIZE = Dialect(conventions.TOKENIZE, text_or_chat_prompt, reply)
DETOKENIZE = Dialect(conventions.DETOKENIZE, tokens_prompt, reply)
COUNT_TOKENS = Dialect(conventions.COUNT_TOKENS, anthropic_messages.prompt, reply)
RENDER_CHAT = _rendered_by(openai_chat.prompt)
RENDER_COMPLETION = _rendered_by(openai_completions.prompt)
RENDER_MESSAGES = _rendered_by(anthropic_messages.prompt)
RENDER_RESPONSES = _rendered_by(responses.prompt)
DERENDER = Dialect(conventions.DERENDER, derender_prompt, derendered)
GENERATE = Dialect(conventions.GENERATE_CONTENT, tokens_prompt, openai_completions.reply, choices.add_up)
