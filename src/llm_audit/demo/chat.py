"""Chat and text completions, as vLLM 0.32 shapes them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_audit.demo.model import Answer, Ask, answer
from llm_audit.demo.reply import DONE, FINGERPRINT, Piece, Reply, Stamp, data_event, stream, whole

JSON = dict[str, Any]


def chat(ask: Ask, stamp: Stamp) -> Reply:
    """Answer ``POST /v1/chat/completions``."""
    said = answer(ask)
    more: JSON = {"finish": said.finish, "prompt_tokens": ask.prompt_tokens}
    if ask.stream:
        return stream(_chat_events(ask, said, stamp), **more)
    choices = [
        {
            "index": index,
            "message": _message(said, stamp, index),
            "logprobs": None,
            "finish_reason": said.finish,
            "stop_reason": None,
        }
        for index in range(ask.count)
    ]
    document = _head(ask, stamp, "chat.completion", "chatcmpl") | {
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": _usage([ask], [said]),
    }
    return whole(200, document, tokens=said.completion_tokens, **more)


def completions(asks: list[Ask], stamp: Stamp) -> Reply:
    """Answer ``POST /v1/completions``: ``n`` choices for each prompt, numbered through."""
    said = [answer(ask) for ask in asks]
    more: JSON = {"finish": said[0].finish, "prompt_tokens": sum(ask.prompt_tokens for ask in asks)}
    choices = [(ask, one) for ask, one in zip(asks, said, strict=True) for _ in range(ask.count)]
    head = _head(asks[0], stamp, "text_completion", "cmpl")
    if asks[0].stream:
        return stream(_completion_events(head, asks, said), **more)
    document = head | {
        "choices": [
            {
                "index": index,
                "text": one.text,
                "logprobs": None,
                "finish_reason": one.finish,
                "stop_reason": None,
            }
            for index, (_, one) in enumerate(choices)
        ],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": _usage(asks, said),
    }
    return whole(200, document, tokens=max(one.completion_tokens for one in said), **more)


def _head(ask: Ask, stamp: Stamp, kind: str, prefix: str) -> JSON:
    return {
        "id": f"{prefix}-{stamp.request_id}",
        "object": kind,
        "created": stamp.created,
        "model": ask.model,
    }


def _usage(asks: list[Ask], said: list[Answer]) -> JSON:
    prompt = sum(ask.prompt_tokens for ask in asks)
    completion = sum(one.completion_tokens * ask.count for ask, one in zip(asks, said, strict=True))
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def _tool_id(stamp: Stamp, index: int) -> str:
    return f"chatcmpl-tool-{stamp.request_id}-{index}"


def _message(said: Answer, stamp: Stamp, index: int) -> JSON:
    message: JSON = {"role": "assistant", "content": said.text, "refusal": None, "reasoning": None}
    if said.tool is not None:
        function = {"name": said.tool, "arguments": said.text}
        call = {"id": _tool_id(stamp, index), "type": "function", "function": function}
        message |= {"content": None, "tool_calls": [call]}
    return message


def _chat_events(ask: Ask, said: Answer, stamp: Stamp) -> Iterator[Piece]:
    head = _head(ask, stamp, "chat.completion.chunk", "chatcmpl")

    def event(index: int, delta: JSON, finish: str | None = None, tokens: int = 0) -> Piece:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data_event(head | {"choices": [choice]}, tokens)

    for index in range(ask.count):
        yield event(index, {"role": "assistant", "content": ""})
    if said.tool is not None:
        for index in range(ask.count):
            opened = {"id": _tool_id(stamp, index), "type": "function", "index": 0}
            yield event(index, {"tool_calls": [opened | {"function": {"name": said.tool, "arguments": ""}}]})
    for piece in said.pieces:
        for index in range(ask.count):
            call = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
            # All choices of a batch are generated in the same step: only the first waits.
            yield event(index, {"content": piece} if said.tool is None else call, tokens=int(index == 0))
    for index in range(ask.count):
        yield event(index, {}, said.finish)
    if ask.include_usage:
        yield data_event(head | {"choices": [], "usage": _usage([ask], [said])})
    yield Piece(DONE)


def _completion_events(head: JSON, asks: list[Ask], said: list[Answer]) -> Iterator[Piece]:
    choices = [one for ask, one in zip(asks, said, strict=True) for _ in range(ask.count)]
    for step in range(max(one.completion_tokens for one in said)):
        for index, one in enumerate(choices):
            if step < one.completion_tokens:
                last = step == one.completion_tokens - 1
                choice = {
                    "index": index,
                    "text": one.pieces[step],
                    "logprobs": None,
                    "finish_reason": one.finish if last else None,
                    "stop_reason": None,
                }
                yield data_event(head | {"choices": [choice]}, tokens=int(index == 0))
    if asks[0].include_usage:
        yield data_event(head | {"choices": [], "usage": _usage(asks, said)})
    yield Piece(DONE)
