"""Which dialect is spoken: every audited route has one, and bodies tell where paths do not."""

from __future__ import annotations

import pytest

from captures_loader import FOLDER, capture
from dialects_exchanges import interpret_json, interpret_stream
from llm_audit.dialects import routes

AUDITED = [
    path
    for line in (FOLDER / "ROUTES.txt").read_text(encoding="utf-8").splitlines()
    if "AUDIT" in line and not line.startswith(("#", "gRPC"))
    for path in line.split()[1:]
    if path.startswith("/")
]


@pytest.mark.parametrize("path", [path.rstrip(",") for path in AUDITED])
def test_every_audited_route_has_a_dialect(path):
    path = path.replace("{response_id}", "resp_1")
    assert path == "/invocations" or routes.by_path(path) is not None


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/health",
        "/v1/chat/completions/",
        "/v1/responses/",
        "/v1/responses/a/b",
        "/v1/responses/a/b/cancel",
        "",
    ],
)
def test_other_paths_have_none(path):
    assert routes.by_path(path) is None


@pytest.mark.parametrize(
    ("request_", "operation"),
    [
        ({"messages": []}, "chat"),
        ({"messages": [], "system": "x"}, "chat"),
        ({"prompt": "x"}, "text_completion"),
        ({"input": "x"}, "embeddings"),
        ({"input": "x", "instructions": "y"}, "chat"),
        ({"query": "x", "documents": []}, "rerank"),
        ({"query": "x", "items": []}, "generative_scoring"),
        ({"text_1": "x", "text_2": "y"}, "score"),
        ({"state": "x", "questions": {}}, "structured_decision"),
        ({"token_ids": [1], "sampling_params": {}}, "generate_content"),
        ({"file": {"file_name": "a.wav", "size": 1}}, "transcription"),
        ({"foo": 1}, None),
        ({}, None),
    ],
)
def test_a_request_tells_its_dialect_where_the_path_does_not(request_, operation):
    for path in ("/invocations", "/my/own/route"):
        assert interpret_json(path, request_, {}).operation == operation


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("chat-nonstream", "chat"),
        ("completion-nonstream", "text_completion"),
        ("responses-nonstream", "chat"),
        ("messages-nonstream", "chat"),
        ("rerank", "rerank"),
    ],
)
def test_a_reply_tells_its_dialect_where_the_request_does_not(name, operation):
    found = interpret_json("/own", b"", capture(name).response.body)
    assert found.operation == operation
    assert found.response_preview


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("chat-stream", "chat"),
        ("completion-stream", "text_completion"),
        ("responses-stream", "chat"),
        ("messages-stream", "chat"),
        ("transcription-stream-with-prompt", "transcription"),
    ],
)
def test_a_stream_tells_its_dialect_where_the_request_does_not(name, operation):
    found = interpret_stream("/own", b"", capture(name).response.body)
    assert found.operation == operation
    assert found.response_preview
    assert found.finish_reasons


def test_events_of_no_known_kind_leave_their_error_to_be_found():
    found = interpret_stream(
        "/own", b"", b'data: {"tick": 1}\n\ndata: {"error": {"message": "m", "type": "T"}}\n\n'
    )
    assert found.operation is None
    assert found.error.type == "T"
