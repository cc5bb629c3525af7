"""OpenAI's responses, as vLLM 0.32 shapes them: named events, numbered through, and no ``[DONE]``. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from llm_audit.demo.model import Answer, Ask, answer
from llm_audit.demo.reply import Piece, Reply, Stamp, named_event, stream, whole

JSON = dict[str, Any]


def responses(ask: Ask, body: JSON, stamp: Stamp) -> Reply:
    """Answer ``POST /v1/responses``; ``body`` is echoed where the dialect wants it."""
    said = answer(ask)
    more: JSON = {"finish": said.finish, "prompt_tokens": ask.prompt_tokens}
    if ask.stream:
        return stream(_events(ask, said, body, stamp), **more)
    return whole(200, _finished(ask, said, body, stamp), tokens=said.completion_tokens, **more)


def _response(ask: Ask, body: JSON, stamp: Stamp) -> JSON:
    return {
        "id": f"resp_{stamp.request_id}",
        "created_at": stamp.created,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata"),
        "model": ask.model,
        "object": "response",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": body.get("temperature", 1.0),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
        "max_output_tokens": ask.max_tokens,
        "previous_response_id": None,
        "service_tier": "auto",
        "status": "in_progress",
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
    }


def _finished(ask: Ask, said: Answer, body: JSON, stamp: Stamp) -> JSON:
    cut = said.finish == "length"
    used = said.completion_tokens
    return _response(ask, body, stamp) | {
        "output": [_item(said, stamp, complete=True)],
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "usage": {
            "input_tokens": ask.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": used,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": ask.prompt_tokens + used,
        },
    }


def _part(text: str) -> JSON:
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": []}


def _item(said: Answer, stamp: Stamp, *, complete: bool) -> JSON:
    status = ("incomplete" if said.finish == "length" else "completed") if complete else "in_progress"
    if said.tool is None:
        content = [_part(said.text)] if complete else []
        identity = {"id": f"msg_{stamp.request_id}", "type": "message", "role": "assistant"}
        return identity | {"content": content, "status": status}
    return {
        "id": f"fc_{stamp.request_id}",
        "type": "function_call",
        "call_id": f"call_{stamp.request_id}",
        "name": said.tool,
        "arguments": said.text if complete else "",
        "status": status,
    }


def _events(ask: Ask, said: Answer, body: JSON, stamp: Stamp) -> Iterator[Piece]:
    numbers = count()

    def event(kind: str, tokens: int = 0, **members: Any) -> Piece:
        name = f"response.{kind}"
        return named_event(name, {"type": name, "sequence_number": next(numbers), **members}, tokens)

    opened, closed = (_item(said, stamp, complete=complete) for complete in (False, True))
    where: JSON = {"item_id": opened["id"], "output_index": 0}
    yield event("created", response=_response(ask, body, stamp))
    yield event("in_progress", response=_response(ask, body, stamp))
    yield event("output_item.added", output_index=0, item=opened)
    if said.tool is None:
        where |= {"content_index": 0}
        yield event("content_part.added", part=_part(""), **where)
        for piece in said.pieces:
            yield event("output_text.delta", 1, delta=piece, logprobs=[], **where)
        yield event("output_text.done", text=said.text, logprobs=[], **where)
        yield event("content_part.done", part=_part(said.text), **where)
    else:
        for piece in said.pieces:
            yield event("function_call_arguments.delta", 1, delta=piece, **where)
        yield event("function_call_arguments.done", arguments=said.text, name=said.tool, **where)
    yield event("output_item.done", output_index=0, item=closed)
    ended = "incomplete" if said.finish == "length" else "completed"
    yield event(ended, response=_finished(ask, said, body, stamp))
