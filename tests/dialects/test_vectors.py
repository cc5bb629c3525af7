"""Embeddings and pooled outputs: how many, and how long."""

from __future__ import annotations

import base64

import pytest

from dialects_exchanges import interpret_json

FLOATS = base64.b64encode(bytes(4 * 10)).decode()


@pytest.mark.parametrize(
    ("data", "request_", "preview"),
    [
        ([{"embedding": [0.0] * 8}], {}, "[1 embedding of 8 dimensions]"),
        ([{"embedding": FLOATS}] * 2, {}, "[2 embeddings of 10 dimensions]"),
        ([{"embedding": FLOATS}], {"embed_dtype": "float16"}, "[1 embedding of 20 dimensions]"),
        ([{"embedding": []}], {}, "[1 embedding]"),
        ([{"object": "pooling", "data": [[0.0] * 3] * 5}], {}, "[1 pooled output of 5 x 3 numbers]"),
        (["odd"], {}, "[1 embedding]"),
        ([], {}, None),
    ],
)
def test_vectors_are_counted_and_measured(data, request_, preview):
    found = interpret_json("/v1/embeddings", {"input": "x", **request_}, {"object": "list", "data": data})
    assert found.response_preview == preview


def test_inputs_and_conversations_are_shown():
    def preview(**request):
        return interpret_json("/pooling", request, {}).prompt_preview

    assert preview(input=["a", "b"]) == "a\nb"
    assert preview(messages=[{"role": "user", "content": "x"}]) == "user: x"
    assert preview(data={"any": "thing"}) == '{"any":"thing"}'


def test_coheres_embeddings_come_by_type():
    asked = {
        "model": "m",
        "texts": ["a", "b"],
        "images": ["data:…"],
        "inputs": [{"content": [{"type": "text", "text": "c"}]}],
    }
    reply = {"embeddings": {"float": [[0.0] * 4] * 4}, "meta": {"billed_units": {"input_tokens": 7}}}
    found = interpret_json("/v2/embed", asked, reply)
    assert found.operation == "embeddings"
    assert found.prompt_preview == "a\nb\nc\n[image]"
    assert found.response_preview == "[4 float embeddings of 4 numbers]"
    assert found.usage.input_tokens == 7
