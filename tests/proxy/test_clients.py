"""The clients that people use, unchanged but for base URL and default headers, through a real worker process."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anthropic
import httpx2
import openai
import pytest

from demo_process import demo_process
from llm_audit.journal.model import EndedExchange
from llm_audit.journal.reader import WriterReader
from llm_audit.record.schema import Outcome
from llm_audit.ship.build import build
from proxy_process import worker

TOOL = {"name": "weather", "description": "The weather.", "parameters": {"type": "object", "properties": {}}}
ASK = [{"role": "user", "content": "What is the capital of France?"}]


def caller() -> dict[str, str]:
    """Identity headers of a new call."""
    return {
        "x-llm-source": "finance-app",
        "x-llm-user": "ann",
        "x-llm-request-type": "ask",
        "x-request-id": str(uuid.uuid4()),
    }


@dataclass
class Front:
    """A worker process in front of the demo model server."""

    url: str
    directory: Path
    reader: WriterReader

    def recorded(self, headers: dict[str, str], *, count: int = 1) -> dict:
        """Wait for the call's exchange in the journal; its record."""
        wanted = uuid.UUID(headers["x-request-id"]).bytes
        found = [one for one in self.wait_for(count) if one.request_id == wanted]
        assert len(found) == 1
        assert found[0].end.outcome is Outcome.COMPLETE
        return json.loads(build(found[0], None).data)

    def wait_for(self, count: int) -> list[EndedExchange]:
        """Read until so many exchanges have come since the last time."""
        found: list[EndedExchange] = []
        while len(found) < count:  # a client has its answer a moment before the end is written
            found += self.reader.poll()
        assert len(found) == count
        return found


@pytest.fixture(scope="module")
def front(tmp_path_factory) -> Iterator[Front]:
    directory = tmp_path_factory.mktemp("clients") / "w-00000001"
    with demo_process() as url, worker(directory, int(url.rsplit(":", 1)[1])) as (_, port):
        reader = WriterReader(directory)
        yield Front(f"http://127.0.0.1:{port}", directory, reader)
        reader.close()


@contextmanager
def openai_client(front: Front, headers: dict[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{front.url}/v1", api_key="sk-none", default_headers=headers, max_retries=0
    ) as client:
        yield client


@contextmanager
def anthropic_client(front: Front, headers: dict[str, str]) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=front.url, api_key="sk-none", default_headers=headers, max_retries=0
    ) as client:
        yield client


def test_openai_chat(front):
    headers = caller()
    with openai_client(front, headers) as client:
        reply = client.chat.completions.create(model="demo", messages=ASK)
    record = front.recorded(headers)
    assert record["responsePreview"] == reply.choices[0].message.content
    assert record["usage"]["totalTokens"] == reply.usage.total_tokens
    assert record["user"] == "ann"


def test_openai_chat_streamed(front):
    headers = caller()
    with openai_client(front, headers) as client:
        stream = client.chat.completions.create(model="demo", messages=ASK, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    record = front.recorded(headers)
    assert text
    assert record["responsePreview"] == text
    assert record["stream"] is True


def test_openai_chat_with_tools(front):
    headers = caller()
    with openai_client(front, headers) as client:
        reply = client.chat.completions.create(
            model="demo",
            messages=ASK,
            tools=[{"type": "function", "function": TOOL}],
            tool_choice={"type": "function", "function": {"name": "weather"}},
        )
    record = front.recorded(headers)
    assert reply.choices[0].message.tool_calls[0].function.name == "weather"
    assert "weather" in record["response"]["bodyText"]


def test_openai_responses(front):
    headers = caller()
    with openai_client(front, headers) as client:
        reply = client.responses.create(model="demo", input="Hello")
    assert front.recorded(headers)["responsePreview"] == reply.output_text


def test_openai_embeddings(front):
    headers = caller()
    with openai_client(front, headers) as client:
        reply = client.embeddings.create(model="demo", input=["one", "two"])
    assert len(reply.data) == 2
    assert front.recorded(headers)["operation"] == "embeddings"


def test_openai_lists_models_without_a_record(front):
    with openai_client(front, caller()) as client:
        assert [model.id for model in client.models.list()] == ["demo"]
    assert front.reader.poll() == []


def test_openai_async_streams_side_by_side(front):
    async def one() -> tuple[dict[str, str], str]:
        headers = caller()
        async with openai.AsyncOpenAI(
            base_url=f"{front.url}/v1", api_key="sk-none", default_headers=headers, max_retries=0
        ) as client:
            stream = await client.chat.completions.create(model="demo", messages=ASK, stream=True)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        return headers, "".join(parts)

    async def main() -> list[tuple[dict[str, str], str]]:
        return await asyncio.gather(*(one() for _ in range(10)))

    replies = asyncio.run(main())
    kept = {exchange.request_id: exchange for exchange in front.wait_for(10)}
    for headers, text in replies:
        record = json.loads(build(kept[uuid.UUID(headers["x-request-id"]).bytes], None).data)
        assert record["responsePreview"] == text != ""


def test_openai_async_chat(front):
    headers = caller()

    async def main() -> str | None:
        async with openai.AsyncOpenAI(
            base_url=f"{front.url}/v1", api_key="sk-none", default_headers=headers, max_retries=0
        ) as client:
            reply = await client.chat.completions.create(model="demo", messages=ASK)
            return reply.choices[0].message.content

    text = asyncio.run(main())
    assert front.recorded(headers)["responsePreview"] == text


def test_openai_sees_a_refusal_as_its_own_error(front):
    headers = caller() | {"x-llm-user": "none"}
    with openai_client(front, headers) as client, pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="demo", messages=ASK)
    assert "x-llm-user" in str(refused.value)
    (ended,) = front.wait_for(1)
    assert ended.end.outcome is Outcome.REJECTED


def test_anthropic_messages(front):
    headers = caller()
    with anthropic_client(front, headers) as client:
        reply = client.messages.create(model="demo", max_tokens=50, messages=ASK)
    record = front.recorded(headers)
    assert record["responsePreview"] == reply.content[0].text
    assert record["usage"]["inputTokens"] == reply.usage.input_tokens
    assert b"sk-none" not in b"".join(one.read_bytes() for one in front.directory.iterdir() if one.is_file())


def test_anthropic_messages_streamed(front):
    headers = caller()
    with (
        anthropic_client(front, headers) as client,
        client.messages.stream(model="demo", max_tokens=50, messages=ASK) as stream,
    ):
        text = "".join(stream.text_stream)
    assert front.recorded(headers)["responsePreview"] == text != ""


def test_anthropic_async_with_tools(front):
    headers = caller()
    tool = {"name": "weather", "description": "The weather.", "input_schema": TOOL["parameters"]}

    async def main() -> anthropic.types.Message:
        async with anthropic.AsyncAnthropic(
            base_url=front.url, api_key="sk-none", default_headers=headers, max_retries=0
        ) as client:
            return await client.messages.create(
                model="demo",
                max_tokens=50,
                messages=ASK,
                tools=[tool],
                tool_choice={"type": "tool", "name": "weather"},
            )

    reply = asyncio.run(main())
    assert reply.content[-1].name == "weather"
    assert front.recorded(headers)["finishReasons"] == [reply.stop_reason]


def test_http_client_keeps_its_connection(front):
    connection = http.client.HTTPConnection(front.url.removeprefix("http://"), timeout=20)
    body = json.dumps({"model": "demo", "messages": ASK})
    sent = [caller() for _ in range(5)]
    sockets = set()
    for headers in sent:
        connection.request("POST", "/v1/chat/completions", body, headers)
        reply = connection.getresponse()
        assert reply.status == 200
        assert reply.getheader("x-request-id") == headers["x-request-id"]
        reply.read()
        sockets.add(id(connection.sock))
    connection.close()
    assert len(sockets) == 1
    assert [one.request_id for one in front.wait_for(5)] == [
        uuid.UUID(headers["x-request-id"]).bytes for headers in sent
    ]


def test_urllib(front):
    headers = caller() | {"content-type": "application/json"}
    body = json.dumps({"model": "demo", "messages": ASK}).encode()
    request = urllib.request.Request(f"{front.url}/v1/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=20) as reply:
        assert json.load(reply)["object"] == "chat.completion"
    assert front.recorded(headers)["client"]["userAgent"].startswith("Python-urllib")


def test_httpx_sends_chunks(front):
    headers = caller()
    body = json.dumps({"model": "demo", "messages": ASK}).encode()
    with httpx2.Client() as client:
        reply = client.post(
            f"{front.url}/v1/chat/completions", content=iter([body[:7], body[7:]]), headers=headers
        )
    assert reply.status_code == 200
    assert front.recorded(headers)["request"]["bodyText"] == body.decode()
