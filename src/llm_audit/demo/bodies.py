"""From a request's JSON body to what it asks for, in four dialects. Pure; refusals are worded as vLLM 0.32's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from llm_audit.demo.model import CONTEXT_TOKENS, DEFAULT_MAX_TOKENS, Ask, Tool

MAX_CHOICES = 128
DEFAULT_MODEL = "demo"


class BadBodyError(Exception):
    """A body that the server refuses with 400."""

    def __init__(self, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.param = param

    @classmethod
    def validation(cls, what: str, loc: str, message: str, given: str) -> BadBodyError:
        """Build pydantic's complaint as vLLM prints it."""
        text = f"1 validation error:\n  {{'type': '{what}', 'loc': '{loc}', 'msg': '{message}', 'input': '{given}'}}"
        return cls(text, "Bad Request", loc)


def check_content_type(given: str | None) -> None:
    """Refuse a body that is declared as something else than JSON."""
    if given is not None and given.partition(";")[0].strip().lower() != "application/json":
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise BadBodyError(message, "Bad Request")


def parse(body: bytes) -> dict[str, Any]:
    """Read the body as one JSON object."""
    if not body:
        raise BadBodyError.validation("missing", "body", "Field required", "None")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        given = "<dict of 0 items>"
        raise BadBodyError.validation(
            "json_invalid", f"body.{error.pos}", "JSON decode error", given
        ) from None
    if not isinstance(parsed, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise BadBodyError.validation("model_attributes_type", "body", message, f"<{type(parsed).__name__}>")
    return parsed


def chat(body: dict[str, Any]) -> Ask:
    """``POST /v1/chat/completions``."""
    messages = _messages(body)
    if not messages:
        raise BadBodyError(
            "Cannot apply chat template to an empty conversation. Provide at least one message."
        )
    functions = [tool.get("function") for tool in _dicts(body.get("tools"))]
    limit = _limit(body, "max_completion_tokens", "max_tokens")
    return _conversation(body, messages, _tools(functions, "parameters"), limit)


def completions(body: dict[str, Any]) -> list[Ask]:
    """``POST /v1/completions``: one ask for each prompt."""
    prompt = _required(body, "prompt")
    several = isinstance(prompt, list) and not all(isinstance(token, int) for token in prompt)
    prompts = [_text(one) for one in prompt] if several else [_text(prompt)]
    limit = _limit(body, "max_tokens", default=16)
    return [
        Ask(
            model=model(body),
            prompt=text,
            texts=(text,),
            max_tokens=limit,
            stop=_stop(body.get("stop")),
            count=_count(body),
            stream=body.get("stream") is True,
            include_usage=_include_usage(body),
        )
        for text in prompts
    ]


def responses(body: dict[str, Any]) -> Ask:
    """``POST /v1/responses``: a string or a list of messages."""
    given = _required(body, "input")
    messages = _dicts(given) if isinstance(given, list) else [{"role": "user", "content": given}]
    if isinstance(body.get("instructions"), str):
        messages = [{"role": "system", "content": body["instructions"]}, *messages]
    tools = _tools(_dicts(body.get("tools")), "parameters")
    return _conversation(body, messages, tools, _limit(body, "max_output_tokens"))


def messages(body: dict[str, Any]) -> Ask:
    """``POST /v1/messages``, Anthropic's dialect; ``max_tokens`` is required there."""
    listed = _messages(body)
    _required(body, "max_tokens")
    if not listed:
        raise BadBodyError("messages: at least one message is required", param="messages")
    return _conversation(body, _system(body) + listed, anthropic_tools(body), _limit(body, "max_tokens"))


def count_tokens(body: dict[str, Any]) -> int:
    """``POST /v1/messages/count_tokens``: the tokens of the prompt alone."""
    return _conversation(body, _system(body) + _messages(body), anthropic_tools(body), 1).prompt_tokens


def embeddings(body: dict[str, Any]) -> list[str]:
    """``POST /v1/embeddings``: the texts to embed; token ids count as their decimal text."""
    given = _required(body, "input")
    several = isinstance(given, list) and not all(isinstance(token, int) for token in given)
    return [_text(one) for one in given] if several else [_text(given)]


def anthropic_tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    """Read the tools of Anthropic's dialect, whose schema is called ``input_schema``."""
    return _tools(_dicts(body.get("tools")), "input_schema")


def _conversation(
    body: dict[str, Any], listed: list[dict[str, Any]], tools: tuple[Tool, ...], limit: int
) -> Ask:
    said = [
        _text(message["content"])
        for message in listed
        if message.get("role", "user") == "user" and "content" in message
    ]
    return Ask(
        model=model(body),
        prompt=said[-1] if said else "",
        texts=tuple(_text(message.get("content", message.get("output", ""))) for message in listed),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice")),
        tool_result=_tool_result(listed[-1]) if listed else None,
        max_tokens=limit,
        stop=_stop(body.get("stop", body.get("stop_sequences"))),
        count=_count(body),
        stream=body.get("stream") is True,
        include_usage=_include_usage(body),
    )


def _system(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "system", "content": body["system"]}] if body.get("system") else []


def _required(body: dict[str, Any], name: str) -> Any:
    if body.get(name) is None:
        raise BadBodyError.validation(
            "missing", f"body.{name}", "Field required", f"<dict of {len(body)} items>"
        )
    return body[name]


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    given = _required(body, "messages")
    if not isinstance(given, list) or not all(isinstance(message, dict) for message in given):
        raise BadBodyError.validation(
            "list_type", "body.messages", "Input should be a valid list", type(given).__name__
        )
    return given


def model(body: dict[str, Any]) -> str:
    """Give the model that was asked for; without one, ours."""
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise BadBodyError.validation(
            "string_type", "body.model", "Input should be a valid string", type(model).__name__
        )
    return model or DEFAULT_MODEL


def _limit(body: dict[str, Any], *names: str, default: int = DEFAULT_MAX_TOKENS) -> int:
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature < 0:
        raise BadBodyError(
            f"temperature must be non-negative, got {float(temperature)}. "
            f"(parameter=temperature, value={float(temperature)})",
            param="temperature",
        )
    for name in names:
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= CONTEXT_TOKENS:
            raise BadBodyError(
                f"{name}={limit} must be a whole number from 1 to max_model_len={CONTEXT_TOKENS}. "
                f"(parameter={name}, value={limit})",
                param=name,
            )
        return limit
    return default


def _count(body: dict[str, Any]) -> int:
    count = body.get("n", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_CHOICES:
        raise BadBodyError(f"n must be from 1 to {MAX_CHOICES}, got {count}.", param="n")
    return count


def _include_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is not None and body.get("stream") is not True:
        raise BadBodyError(
            "Stream options can only be defined when `stream=True`.", "Bad Request", "stream_options"
        )
    return isinstance(options, dict) and options.get("include_usage") is True


def _stop(given: Any) -> tuple[str, ...]:
    listed = given if isinstance(given, list) else [given]
    return tuple(stop for stop in listed if isinstance(stop, str))


def _tools(listed: Iterable[Any], schema: str) -> tuple[Tool, ...]:
    def read() -> Iterator[Tool]:
        for tool in _dicts(listed):
            if isinstance(tool.get("name"), str):
                parameters = tool.get(schema)
                yield Tool(tool["name"], parameters if isinstance(parameters, dict) else {})

    return tuple(read())


def _tool_choice(given: Any) -> str:
    """Read ``auto``, ``none``, ``required`` (Anthropic: ``any``), or a named tool in any dialect's shape."""
    if isinstance(given, dict):
        function = given.get("function")
        name = function.get("name") if isinstance(function, dict) else given.get("name")
        if isinstance(name, str):
            return f"={name}"
        given = given.get("type")
    if given == "any":
        return "required"
    return given if isinstance(given, str) and given in {"none", "required"} else "auto"


def _tool_result(last: dict[str, Any]) -> str | None:
    if last.get("role") == "tool":
        return _text(last.get("content"))
    if last.get("type") == "function_call_output":
        return _text(last.get("output"))
    parts = last.get("content")
    if isinstance(parts, list):
        results = [part for part in _dicts(parts) if part.get("type") == "tool_result"]
        if results:
            return _text(results[-1].get("content"))
    return None


def _dicts(given: Any) -> list[dict[str, Any]]:
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def _text(content: Any) -> str:
    """Take the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else str(part) for part in content]
        return "\n".join(part for part in parts if isinstance(part, str))
    return "" if content is None else str(content)
