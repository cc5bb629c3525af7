"""The demo "model": the same question always gets the same answer, in token-sized pieces. Pure.

It knows three tricks, so that a demonstration or a test can ask for the answer it needs:
``Count to 40`` gives forty tokens, ``Repeat: TEXT`` gives TEXT, and a prompt that speaks of a tool that was
offered gives a call of that tool.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

TOKEN = re.compile(r"\s*\w{1,8}|\s*[^\w\s]|\s+")
"""A token: up to eight word characters or one sign, with the blanks before it; joined, tokens are the text."""

DEFAULT_MAX_TOKENS = 131_072
CONTEXT_TOKENS = 131_072
TOKENS_PER_MESSAGE = 4
COUNT_LIMIT = 100_000

CAPITALS = {
    "austria": "Vienna",
    "france": "Paris",
    "germany": "Berlin",
    "italy": "Rome",
    "japan": "Tokyo",
    "spain": "Madrid",
    "switzerland": "Bern",
}


SIMPLEST: tuple[tuple[str, Any], ...] = (("boolean", True), ("array", []), ("object", {}), ("null", None))
"""The simplest value of each of JSON schema's types that a prompt can't suggest."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the caller offers; ``parameters`` is its JSON schema."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of an offered tool; ``arguments`` is JSON text, as OpenAI sends it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request of any dialect asks for."""

    model: str
    prompt: str
    texts: tuple[str, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """``auto``, ``none``, ``required``, or the name of a tool after ``=``."""
    tool_result: str | None = None
    """What a tool returned, where the conversation ends with that."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    stop: tuple[str, ...] = ()
    count: int = 1
    stream: bool = False
    include_usage: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Tokens of everything that was sent, with a few for each message's frame."""
        return sum(len(tokens(text)) + TOKENS_PER_MESSAGE for text in self.texts)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says: text, or one tool call, in pieces of one token each."""

    pieces: tuple[str, ...]
    tool: str | None
    finish: str
    """``stop``, ``length`` or ``tool_calls``."""

    @property
    def text(self) -> str:
        """Everything said; of a tool call, its arguments."""
        return "".join(self.pieces)

    @property
    def completion_tokens(self) -> int:
        """Tokens generated."""
        return len(self.pieces)


def tokens(text: str) -> tuple[str, ...]:
    """Split text into tokens; joined, they are the text again."""
    return tuple(TOKEN.findall(text))


def answer(ask: Ask) -> Answer:
    """Answer; cut at ``max_tokens`` (``length``) or at a stop string (``stop``)."""
    call = _tool_call(ask)
    if call:
        pieces = tokens(call.arguments)
        return _cut(pieces, ask.max_tokens, call.name, "tool_calls")
    text = _text(ask)
    ends = [at for at in (text.find(stop) for stop in ask.stop if stop) if at >= 0]
    return _cut(tokens(text[: min(ends)] if ends else text), ask.max_tokens, None, "stop")


def _cut(pieces: tuple[str, ...], limit: int, tool: str | None, finish: str) -> Answer:
    return Answer(pieces[:limit], tool, "length" if len(pieces) > limit else finish)


def _text(ask: Ask) -> str:
    prompt = ask.prompt.strip()
    if ask.tool_result is not None:
        return f"The tool says: {ask.tool_result}"
    if told := re.search(r"\brepeat:\s*(.+)", prompt, re.IGNORECASE | re.DOTALL):
        return told[1]
    if told := re.search(r"\bcount to (\d{1,6})\b", prompt, re.IGNORECASE):
        return " ".join(str(number) for number in range(1, min(int(told[1]), COUNT_LIMIT) + 1))
    if told := re.search(r"\bcapital of (\w+)", prompt, re.IGNORECASE):
        city = CAPITALS.get(told[1].lower())
        if city:
            return f"The capital of {told[1].capitalize()} is {city}."
    asked = prompt if len(prompt) <= 200 else f"{prompt[:200]}…"
    return f"You asked: “{asked}” I am the demo model: no GPU, no opinion, and always the same answer."


def _tool_call(ask: Ask) -> ToolCall | None:
    if not ask.tools or ask.tool_choice == "none" or ask.tool_result is not None:
        return None
    named = ask.tool_choice.removeprefix("=") if ask.tool_choice.startswith("=") else None
    words = set(re.findall(r"\w+", ask.prompt.lower()))
    for tool in ask.tools:
        meant = set(re.split(r"[\W_]+", tool.name.lower())) - {"get", "set", "the", "a", "find", ""}
        if tool.name == named or (named is None and meant & words):
            return ToolCall(tool.name, _arguments(tool, ask.prompt))
    if ask.tool_choice == "required":
        return ToolCall(ask.tools[0].name, _arguments(ask.tools[0], ask.prompt))
    return None


def _arguments(tool: Tool, prompt: str) -> str:
    properties = tool.parameters.get("properties")
    known = properties if isinstance(properties, dict) else {}
    required = tool.parameters.get("required")
    names = [name for name in required if name in known] if isinstance(required, list) else list(known)
    return orjson.dumps({name: _value(known[name], prompt) for name in names}).decode()


def _value(schema: Any, prompt: str) -> Any:
    """Give the first value that the schema allows and the prompt suggests."""
    if not isinstance(schema, dict):
        return prompt
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "string"
    if str(kind) in {"integer", "number"}:
        number = re.search(r"\d+", prompt)
        return int(number[0]) if number and len(number[0]) <= 15 else 0
    for known, simplest in SIMPLEST:
        if kind == known:
            return simplest
    proper = re.findall(r"(?<=[\w,] )[A-Z]\w+", prompt)
    return proper[-1] if proper else prompt
