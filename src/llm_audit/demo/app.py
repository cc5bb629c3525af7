"""The demo server's routes: a request's head and body in, a reply out. Pure but for the clock it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_audit import __version__
from llm_audit.demo import bodies, chat, embeddings, messages, responses
from llm_audit.demo.model import CONTEXT_TOKENS
from llm_audit.demo.reply import Piece, Reply, Stamp, detail, refusal, whole

JSON = dict[str, Any]
Handler = Callable[[JSON, Stamp], Reply]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end. Header names are lower-case; of a repeated header the last counts."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Meter:
    """What ``GET /metrics`` tells, under vLLM's names."""

    running: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    finished: dict[str, int] = field(
        default_factory=lambda: {"stop": 0, "length": 0, "abort": 0, "tool_calls": 0}
    )

    def text(self) -> str:
        """Print them in Prometheus's text format."""
        ended = [
            f'vllm:request_success_total{{finished_reason="{reason}",model_name="demo"}} {count}'
            for reason, count in self.finished.items()
        ]
        lines = [
            "# HELP vllm:num_requests_running Number of requests being generated.",
            "# TYPE vllm:num_requests_running gauge",
            f'vllm:num_requests_running{{model_name="demo"}} {self.running}',
            "# TYPE vllm:prompt_tokens_total counter",
            f'vllm:prompt_tokens_total{{model_name="demo"}} {self.prompt_tokens}',
            "# TYPE vllm:generation_tokens_total counter",
            f'vllm:generation_tokens_total{{model_name="demo"}} {self.generation_tokens}',
            "# HELP vllm:request_success_total Requests ended; abort: the client left first.",
            "# TYPE vllm:request_success_total counter",
            *ended,
        ]
        return "\n".join(lines) + "\n"


def respond(request: Request, stamp: Stamp, meter: Meter) -> Reply:
    """Answer one request; whatever it holds, there is a reply."""
    reads: dict[str, Callable[[], Reply]] = {
        "/health": lambda: Reply(200, (), content_type=None),
        "/metrics": lambda: Reply(
            200, (Piece(meter.text().encode()),), "text/plain; version=0.0.4; charset=utf-8"
        ),
        "/v1/models": lambda: whole(200, {"object": "list", "data": [_card(stamp)]}),
        "/version": lambda: whole(200, {"version": f"demo-{__version__}"}),
    }
    read, written = reads.get(request.path), HANDLERS.get(request.path)
    if read is None and written is None:
        return detail(404, "Not Found")
    allowed = ("GET", "HEAD") if read else ("POST",)
    if request.method not in allowed:
        return detail(405, "Method Not Allowed", headers=(("allow", ", ".join(allowed)),))
    if read:
        return read()
    assert written is not None
    return _written(request, written, stamp)


def _written(request: Request, handler: Handler, stamp: Stamp) -> Reply:
    try:
        bodies.check_content_type(request.headers.get("content-type"))
        return handler(bodies.parse(request.body), stamp)
    except bodies.BadBodyError as error:
        return refusal(400, error.message, error.kind, error.param)


def _card(stamp: Stamp) -> JSON:
    return {
        "id": bodies.DEFAULT_MODEL,
        "object": "model",
        "created": stamp.created,
        "owned_by": "llm-audit",
        "root": bodies.DEFAULT_MODEL,
        "parent": None,
        "max_model_len": CONTEXT_TOKENS,
    }


def _embeddings(body: JSON, stamp: Stamp) -> Reply:
    texts = bodies.embeddings(body)
    return embeddings.embeddings(bodies.model(body), texts, body.get("encoding_format"), stamp)


HANDLERS: dict[str, Handler] = {
    "/v1/chat/completions": lambda body, stamp: chat.chat(bodies.chat(body), stamp),
    "/v1/completions": lambda body, stamp: chat.completions(bodies.completions(body), stamp),
    "/v1/embeddings": _embeddings,
    "/v1/messages": lambda body, stamp: messages.messages(bodies.messages(body), stamp),
    "/v1/messages/count_tokens": lambda body, _: messages.count_tokens(bodies.count_tokens(body)),
    "/v1/responses": lambda body, stamp: responses.responses(bodies.responses(body), body, stamp),
}
