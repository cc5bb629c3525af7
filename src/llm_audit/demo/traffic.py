"""The first calls of ``serve --demo``: a few teams' requests, made by the real ``openai`` client.

Importing this module needs the extra ``demo`` (``pip install 'central-llm-audit[demo]'``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openai import APIConnectionError, APIStatusError, OpenAI

MODEL = "demo"
TIMEOUT_SECONDS = 60.0

WEATHER = {
    "name": "get_weather",
    "description": "Get the current weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

Create = Callable[..., Any]


class NoAnswerError(Exception):
    """The proxy could not be reached, or hung up."""


@dataclass(frozen=True, slots=True)
class DemoCall:
    """One call that was made."""

    request_id: str
    """The response's ``x-request-id``; empty where there was none."""
    what: str
    """A sentence for people."""
    status: int
    seconds: float
    """Until the last byte."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One call to make: who makes it, on which of the client's methods, with what."""

    what: str
    source: str
    user: str | None
    """None: the header is left out, and the call refused."""
    request_type: str
    method: Callable[[OpenAI], Create]
    arguments: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        """Who is calling, as every audited call must say."""
        said = {
            "x-llm-source": self.source,
            "x-llm-user": self.user,
            "x-llm-request-type": self.request_type,
        }
        return {name: value for name, value in said.items() if value is not None}


def _chat(client: OpenAI) -> Create:
    return client.chat.completions.with_raw_response.create


def _responses(client: OpenAI) -> Create:
    return client.responses.with_raw_response.create


def _embeddings(client: OpenAI) -> Create:
    return client.embeddings.with_raw_response.create


def _ask(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


PLANS = (
    Plan(
        "billing-app asks for a summary",
        "billing-app",
        "amelie",
        "summary",
        _chat,
        _ask("Summarise: invoice 4711 is 12 days overdue, the customer asked for another week."),
    ),
    Plan(
        "support-bot streams a chat",
        "support-bot",
        "bruno",
        "chat",
        _chat,
        _ask("What is the capital of France?", stream=True, stream_options={"include_usage": True}),
    ),
    Plan(
        "support-bot streams a longer chat",
        "support-bot",
        "chen",
        "chat",
        _chat,
        _ask("Count to 40", stream=True),
    ),
    Plan(
        "travel-planner lets the model call a tool",
        "travel-planner",
        "amelie",
        "agent",
        _chat,
        _ask("What is the weather in Paris?", tools=[{"type": "function", "function": WEATHER}]),
    ),
    Plan(
        "travel-planner uses the responses API",
        "travel-planner",
        "dana",
        "agent",
        _responses,
        {"input": "What is the capital of Japan?"},
    ),
    Plan(
        "search embeds two texts",
        "search",
        "indexer",
        "embedding",
        _embeddings,
        {"input": ["refund policy", "how do I get my money back?"]},
    ),
    Plan(
        "billing-app sends no message, and the model server says no",
        "billing-app",
        "bruno",
        "summary",
        _chat,
        {"messages": []},
    ),
    Plan(
        "a call that does not say who its user is: refused",
        "billing-app",
        None,
        "chat",
        _chat,
        _ask("Who am I?"),
    ),
)


def first_calls(base_url: str) -> list[DemoCall]:
    """Make the calls, one after another, against a proxy at ``base_url`` (``http://127.0.0.1:8000``, no ``/v1``).

    A refusal is a call like any other; a proxy that does not answer is a ``NoAnswerError``.
    """
    with OpenAI(
        base_url=f"{base_url.rstrip('/')}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_SECONDS
    ) as client:
        return [_call(client, plan) for plan in PLANS]


def _call(client: OpenAI, plan: Plan) -> DemoCall:
    started = time.monotonic()
    try:
        raw = plan.method(client)(model=MODEL, extra_headers=plan.headers, **plan.arguments)
        status, request_id = raw.status_code, raw.headers.get("x-request-id", "")
        if plan.arguments.get("stream"):
            for _ in raw.parse():
                pass  # read to the end: a client that leaves early is another story
    except APIStatusError as error:
        status, request_id = error.status_code, error.response.headers.get("x-request-id", "")
    except APIConnectionError as error:
        raise NoAnswerError(f"no answer from {client.base_url} ({plan.what}): {error}") from error
    return DemoCall(request_id, plan.what, status, time.monotonic() - started)
