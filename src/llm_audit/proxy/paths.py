r"""Which paths go through, and how: the allow-list, exact and undecoded. Pure.

The table below is the one place where a path is named. It holds every route of vLLM 0.32.0 whose body carries
prompts, completions or text, also those that only some models or settings register; everything else that
the server offers (sleep, LoRA adapters, weights, profiling, metrics, documentation) is not forwarded.

Matching is by bytes: nothing is decoded, folded or normalised, so there is no second spelling of a path that
the proxy and the model server could understand differently. ``%``, ``//``, ``\\``, ``;`` and dot segments are
in no entry and in no parameter, and thus are 404. A query string is not part of the match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto


class Handling(Enum):
    """What is done with a call on a known path."""

    AUDIT = auto()
    """Identity is demanded, the call is forwarded and recorded."""
    PASS = auto()
    """Forwarded and not recorded; a key is demanded where keys are configured."""
    HEALTH = auto()
    """Answered by the proxy itself, to anybody."""
    NOT_IMPLEMENTED = auto()
    """Carries content in a way that can't be recorded yet: 501, whatever the method."""


@dataclass(frozen=True, slots=True)
class Route:
    """One entry: ``path`` is literal but for ``{name}`` segments, each of 1 to 128 of ``A-Za-z0-9_-``."""

    method: str
    path: str
    handling: Handling = Handling.AUDIT


ROUTES: tuple[Route, ...] = (
    # OpenAI
    Route("POST", "/v1/chat/completions"),
    Route("POST", "/v1/chat/completions/batch"),
    Route("POST", "/v1/chat/completions/render"),
    Route("POST", "/v1/chat/completions/derender"),
    Route("POST", "/v1/completions"),
    Route("POST", "/v1/completions/render"),
    Route("POST", "/v1/completions/derender"),
    Route("POST", "/v1/responses"),
    Route("POST", "/v1/responses/render"),
    Route("GET", "/v1/responses/{response_id}"),
    Route("POST", "/v1/responses/{response_id}/cancel"),
    Route("POST", "/v1/embeddings"),
    Route("POST", "/v1/audio/transcriptions"),
    Route("POST", "/v1/audio/translations"),
    # Anthropic
    Route("POST", "/v1/messages"),
    Route("POST", "/v1/messages/count_tokens"),
    Route("POST", "/v1/messages/render"),
    # Cohere and Jina
    Route("POST", "/cohere/v2/chat"),
    Route("POST", "/cohere/v2/chat/render"),
    Route("POST", "/v2/embed"),
    Route("POST", "/rerank"),
    Route("POST", "/v1/rerank"),
    Route("POST", "/v2/rerank"),
    # vLLM's own, and SageMaker's
    Route("POST", "/classify"),
    Route("POST", "/detokenize"),
    Route("POST", "/generative_scoring"),
    Route("POST", "/inference/v1/generate"),
    Route("POST", "/invocations"),
    Route("POST", "/pooling"),
    Route("POST", "/score"),
    Route("POST", "/tokenize"),
    Route("POST", "/v1/score"),
    Route("POST", "/v1/systemone"),
    # No content
    Route("GET", "/v1/models", Handling.PASS),
    Route("GET", "/health", Handling.HEALTH),
    Route("HEAD", "/health", Handling.HEALTH),
)

NOT_IMPLEMENTED_PATHS: tuple[str, ...] = ("/v1/realtime",)
"""Websockets: audio and text in frames that this proxy does not record, and so does not forward."""

PARAMETER = "[A-Za-z0-9_-]{1,128}"
_EXTRA = re.compile(
    r"(?:(GET|HEAD|POST|PUT|PATCH|DELETE) )?((?:/(?:\{[a-z_]+\}|[A-Za-z0-9._~!$&'()*+=:@-]+))+)"
)
_DOT_SEGMENTS = frozenset({".", ".."})


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """The path is known, the method is not: ``allow`` is the value of the Allow header (RFC 9110, 15.5.6)."""

    allow: str


class PathTable:
    """Finds the handling of a method and a path; built once, then one dictionary look-up for literal paths."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        """Build the table of ``ROUTES`` and the operator's ``extra`` entries.

        Raises ValueError for the first that is none (see ``extra_route``).
        """
        by_path: dict[str, dict[bytes, Handling]] = {}
        for route in (*ROUTES, *map(extra_route, extra)):
            by_path.setdefault(route.path, {})[route.method.encode()] = route.handling
        self._literal = {path.encode(): methods for path, methods in by_path.items() if "{" not in path}
        self._patterns = [
            (re.compile(re.sub(r"\\\{\w+\\\}", lambda _: PARAMETER, re.escape(path)).encode()), methods)
            for path, methods in by_path.items()
            if "{" in path
        ]
        self._not_implemented = frozenset(path.encode() for path in NOT_IMPLEMENTED_PATHS)

    def find(self, method: bytes, path: bytes) -> Handling | WrongMethod | None:
        """Give what to do with a call, or the methods that its path knows, or None for an unknown path.

        ``path`` is the request target in origin-form, undecoded, with or without a query string.
        """
        methods = self._literal.get(path)
        if methods is None:
            path = path.partition(b"?")[0]
            methods = self._literal.get(path) or self._parametrised(path)
            if methods is None:
                return Handling.NOT_IMPLEMENTED if path in self._not_implemented else None
        return methods.get(method) or WrongMethod(", ".join(sorted(name.decode() for name in methods)))

    def _parametrised(self, path: bytes) -> dict[bytes, Handling] | None:
        for pattern, methods in self._patterns:
            if pattern.fullmatch(path):
                return methods
        return None


def extra_route(entry: str) -> Route:
    """Read one entry of ``AUDIT_EXTRA_PATHS``: ``[METHOD ]/path``, POST where no method is named.

    ``GET /v1/things/{id}`` has a parameter. Raises ValueError with the entry that came and the form that is
    expected.
    """
    match = _EXTRA.fullmatch(entry)
    if match is None or not _DOT_SEGMENTS.isdisjoint(match[2].split("/")):
        raise ValueError(
            f"{entry!r} is no path to audit: expected '[METHOD ]/path', for example 'GET /v1/things/{{id}}',"
            " without query, '%', '//', '\\', ';' or dot segments"
        )
    path = match[2]
    if path in NOT_IMPLEMENTED_PATHS or any(
        r.path == path and r.handling is not Handling.AUDIT for r in ROUTES
    ):
        raise ValueError(f"{entry!r} can't be an extra path: {path} has a handling of its own")
    return Route(match[1] or "POST", path)
