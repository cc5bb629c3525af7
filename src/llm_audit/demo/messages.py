"""Anthropic's messages, as vLLM 0.32 shapes them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from llm_audit.demo.model import Answer, Ask, answer
from llm_audit.demo.reply import Piece, Reply, Stamp, named_event, stream, whole

JSON = dict[str, Any]
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def messages(ask: Ask, stamp: Stamp) -> Reply:
    """Answer ``POST /v1/messages``."""
    said = answer(ask)
    more: JSON = {"finish": said.finish, "prompt_tokens": ask.prompt_tokens}
    if ask.stream:
        return stream(_events(ask, said, stamp), **more)
    document = _message(ask, stamp) | {
        "content": [_block(said, stamp, complete=True)],
        "stop_reason": STOP_REASONS[said.finish],
        "usage": _usage(ask, said.completion_tokens),
    }
    return whole(200, document, tokens=said.completion_tokens, **more)


def count_tokens(count: int) -> Reply:
    """Answer ``POST /v1/messages/count_tokens``."""
    return whole(200, {"input_tokens": count})


def _usage(ask: Ask, output: int) -> JSON:
    return {"input_tokens": ask.prompt_tokens, "output_tokens": output}


def _message(ask: Ask, stamp: Stamp) -> JSON:
    return {
        "id": f"msg_{stamp.request_id}",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": ask.model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(ask, 0),
    }


def _block(said: Answer, stamp: Stamp, *, complete: bool) -> JSON:
    if said.tool is None:
        return {"type": "text", "text": said.text if complete else ""}
    arguments = _arguments(said) if complete else {}
    return {"type": "tool_use", "id": f"toolu_{stamp.request_id}", "name": said.tool, "input": arguments}


def _arguments(said: Answer) -> Any:
    """Parse the arguments; a call that ``max_tokens`` cut has none that parse."""
    try:
        return orjson.loads(said.text)
    except orjson.JSONDecodeError:
        return {}


def _events(ask: Ask, said: Answer, stamp: Stamp) -> Iterator[Piece]:
    def event(kind: str, tokens: int = 0, **members: Any) -> Piece:
        return named_event(kind, {"type": kind, **members}, tokens)

    yield event("message_start", message=_message(ask, stamp))
    yield event("content_block_start", index=0, content_block=_block(said, stamp, complete=False))
    for piece in said.pieces:
        text = {"type": "text_delta", "text": piece}
        arguments = {"type": "input_json_delta", "partial_json": piece}
        yield event("content_block_delta", 1, index=0, delta=text if said.tool is None else arguments)
    yield event("content_block_stop", index=0)
    ended = {"stop_reason": STOP_REASONS[said.finish], "stop_sequence": None}
    yield event("message_delta", delta=ended, usage=_usage(ask, said.completion_tokens))
    yield event("message_stop")
