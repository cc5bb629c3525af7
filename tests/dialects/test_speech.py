"""Transcriptions and translations: forms in, text out."""

from __future__ import annotations

from dialects_exchanges import interpret_json, interpret_stream, stream_of
from llm_audit.dialects.speech import form_as_request, prompt

FORM = "multipart/form-data; boundary=B"


def field(name, value):
    return f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def test_a_form_becomes_the_request_that_it_stands_for():
    file = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
        + b"\x00" * 10
        + b"\r\n"
    )
    request = form_as_request(
        FORM, field("model", "whisper") + field("prompt", "names: Ada") + file + b"--B--\r\n"
    )
    assert request == {"model": "whisper", "prompt": "names: Ada", "file": {"file_name": "a.mp3", "size": 10}}
    assert prompt(request, 100) == "[audio a.mp3, 10 bytes]\nprompt: names: Ada"


def test_openais_own_events_add_up_too():
    events = [
        {"type": "transcript.text.delta", "delta": "Hel"},
        {"type": "transcript.text.delta", "delta": "lo"},
        {"type": "transcript.text.done", "text": "Hello", "usage": {"input_tokens": 5, "output_tokens": 2}},
    ]
    found = interpret_stream("/v1/audio/transcriptions", {}, stream_of(*events))
    assert found.assembled == {"text": "Hello", "usage": {"input_tokens": 5, "output_tokens": 2}}
    assert found.usage.total_tokens == 7
    cut = interpret_stream("/v1/audio/transcriptions", {}, stream_of(events[0]))
    assert cut.response_preview == "Hel"


def test_a_transcript_is_its_text():
    found = interpret_json(
        "/v1/audio/translations", {"model": "m"}, {"text": "Hello", "usage": {"seconds": 3}}
    )
    assert (found.operation, found.response_preview, found.usage.total_tokens) == (
        "translation",
        "Hello",
        None,
    )
