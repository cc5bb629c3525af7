"""OpenAI's responses, whole and cut."""

from __future__ import annotations

from captures_loader import capture
from dialects_exchanges import interpret_capture, interpret_json, interpret_stream, named_stream_of

PATH = "/v1/responses"


def event(kind, **members):
    return {"type": f"response.{kind}", "output_index": 0, **members}


def test_items_of_the_input_read_as_a_conversation():
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}, {"type": "input_image"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "I need a tool."}]},
        {"type": "function_call", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "output": "18C"},
        {"type": "item_reference", "id": "x"},
    ]
    found = interpret_json(PATH, {"instructions": "Be terse.", "input": items}, {})
    assert found.prompt_preview == (
        "system: Be terse.\nuser: Weather?\n[image]\n[reasoning] I need a tool.\n"
        'assistant: f({"a":1})\ntool: 18C\n[item_reference]'
    )


def test_output_reads_text_and_calls_first_and_reasoning_last():
    output = [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "web_search_call"},
    ]
    found = interpret_json(PATH, {}, {"status": "completed", "output": output})
    assert found.response_preview == "Hello\nf({})\n[web_search_call]\n[reasoning] hm"


def test_how_it_ended_is_its_reason_or_its_status():
    def reasons(**members):
        return interpret_json(PATH, {}, members).finish_reasons

    assert reasons(status="completed") == ("completed",)
    assert reasons(status="incomplete", incomplete_details={"reason": "max_output_tokens"}) == (
        "max_output_tokens",
    )
    assert reasons(status="incomplete") == ("incomplete",)
    assert reasons(status="failed") == ("failed",)
    assert reasons(status="in_progress") == ()
    assert reasons() == ()


def test_a_stream_that_lost_its_end_is_put_together_from_its_deltas():
    body = capture("responses-stream").response.body
    cut = interpret_capture(
        capture("responses-stream"), body=body[: body.index(b"event: response.output_text.done")]
    )
    assert cut.response_preview == "The capital of France is Paris."
    assert cut.assembled["status"] == "in_progress"
    assert cut.assembled["output"][0]["content"][0]["text"] == "The capital of France is Paris."
    assert cut.finish_reasons == ()
    assert cut.model.served == "smollm2-135m-instruct"


def test_an_item_that_was_done_stands_as_it_was_told():
    body = capture("responses-stream").response.body
    cut = interpret_capture(
        capture("responses-stream"), body=body[: body.index(b"event: response.completed")]
    )
    assert [item["status"] for item in cut.assembled["output"]] == ["completed"]
    assert cut.response_preview == "The capital of France is Paris."


def test_calls_reasoning_and_refusals_grow_where_they_belong():
    found = interpret_stream(
        PATH,
        {},
        named_stream_of(
            event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="I "),
            event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="think"),
            event(
                "output_item.added",
                output_index=1,
                item={"type": "function_call", "name": "f", "arguments": ""},
            ),
            event("function_call_arguments.delta", output_index=1, delta='{"a"'),
            event("function_call_arguments.delta", output_index=1, delta=": 1}"),
            event("refusal.delta", output_index=2, content_index=0, delta="No."),
            event("output_text.delta", output_index=3, content_index=1, delta="second"),
            event("output_text.delta", output_index=3, content_index=0, delta="first"),
        ),
    )
    assert found.assembled["output"] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "I think"}]},
        {"type": "function_call", "name": "f", "arguments": '{"a": 1}'},
        {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "first"}, {"type": "output_text", "text": "second"}],
        },
    ]
    assert found.response_preview == 'f({"a": 1})\nNo.\nfirst\nsecond\n[reasoning] I think'


def test_thoughts_that_nothing_announced_are_told_from_what_was_said():
    found = interpret_stream(
        PATH, {}, named_stream_of(event("reasoning_text.delta", content_index=0, delta="hm"))
    )
    assert found.assembled["output"] == [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}
    ]
    assert found.response_preview == "[reasoning] hm"


def test_sound_is_not_mistaken_for_text():
    body = named_stream_of(event("audio.delta", delta="AAAA"), event("output_text.delta", delta="Hi"))
    assert interpret_stream(PATH, {}, body).response_preview == "Hi"


def test_a_failed_response_tells_its_error():
    failed = {"status": "failed", "error": {"code": "server_error", "message": "m"}, "output": []}
    found = interpret_stream(PATH, {}, named_stream_of(event("failed", response=failed)))
    assert (found.error.type, found.error.message) == ("server_error", "m")
    assert found.finish_reasons == ("failed",)
    whole = interpret_json(PATH, {}, failed)
    assert whole.error == found.error


def test_an_error_event_ends_up_beside_what_came():
    found = interpret_stream(
        PATH,
        {},
        named_stream_of(
            event("output_text.delta", delta="par"), {"type": "error", "code": "server_error", "message": "m"}
        ),
    )
    assert found.response_preview == "par"
    assert (found.error.type, found.error.message) == ("server_error", "m")


def test_fetching_a_response_counts_no_tokens_twice():
    stored = capture("responses-nonstream").response.body
    found = interpret_json("/v1/responses/resp_1", b"", stored)
    assert found.operation == "fetch_response"
    assert found.response_preview == "The capital of France is Paris."
    assert found.usage.input_tokens is None
    assert interpret_json("/v1/responses/resp_1/cancel", b"", stored).operation == "cancel_response"
