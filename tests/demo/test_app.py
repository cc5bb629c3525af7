"""The dialects, read back by the real clients."""

import anthropic
import openai
import orjson
import pytest

from demo_process import call

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
COUNT = [{"role": "user", "content": "Count to 5"}]


@pytest.fixture
def client(server_url):
    with openai.OpenAI(base_url=f"{server_url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(server_url):
    with anthropic.Anthropic(base_url=server_url, api_key="none", max_retries=0) as made:
        yield made


def test_chat_answers_for_any_model_and_counts_its_tokens(client):
    reply = client.chat.completions.create(model="anything", messages=COUNT, n=2)
    assert [choice.message.content for choice in reply.choices] == ["1 2 3 4 5"] * 2
    assert reply.model == "anything"
    assert reply.usage.completion_tokens == 10
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 10


def test_a_chat_stream_says_what_the_whole_answer_says(client):
    whole = client.chat.completions.create(model="demo", messages=COUNT)
    with client.chat.completions.create(
        model="demo", messages=COUNT, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 5


def test_a_tool_is_called_alike_streamed_and_not(client):
    whole = client.chat.completions.create(model="demo", messages=WEATHER, tools=TOOLS)
    (call,) = whole.choices[0].message.tool_calls
    assert whole.choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(model="demo", messages=WEATHER, tools=TOOLS) as stream:
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Paris"}')
    assert (streamed.function.name, streamed.function.arguments) == ("get_weather", '{"city":"Paris"}')


def test_completions_answer_each_prompt_streamed_and_not(client):
    prompts = ["Count to 2", "Repeat: x"]
    whole = client.completions.create(model="demo", prompt=prompts)
    assert [choice.text for choice in whole.choices] == ["1 2", "x"]
    with client.completions.create(model="demo", prompt=prompts, stream=True) as stream:
        texts = ["", ""]
        for chunk in stream:
            texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == ["1 2", "x"]


def test_responses_say_the_same_streamed_and_not(client):
    whole = client.responses.create(model="demo", input="Count to 5")
    assert (whole.output_text, whole.status, whole.usage.output_tokens) == ("1 2 3 4 5", "completed", 5)
    with client.responses.stream(model="demo", input="Count to 5") as stream:
        events = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == "1 2 3 4 5"
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"


def test_a_response_that_is_cut_is_incomplete(client):
    cut = client.responses.create(model="demo", input="Count to 50", max_output_tokens=3)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_responses_call_tools_streamed_and_not(client):
    tool = {"type": "function", **TOOLS[0]["function"], "strict": False}
    whole = client.responses.create(model="demo", input="the weather in Paris?", tools=[tool])
    assert whole.output[0].arguments == '{"city":"Paris"}'
    with client.responses.create(
        model="demo", input="the weather in Paris?", tools=[tool], stream=True
    ) as stream:
        last = list(stream)[-1]
    assert last.response.output[0].arguments == '{"city":"Paris"}'


def test_messages_say_the_same_streamed_and_not(claude):
    whole = claude.messages.create(model="demo", max_tokens=50, messages=COUNT)
    assert (whole.content[0].text, whole.stop_reason, whole.usage.output_tokens) == (
        "1 2 3 4 5",
        "end_turn",
        5,
    )
    with claude.messages.stream(model="demo", max_tokens=3, messages=COUNT) as stream:
        final = stream.get_final_message()
    assert (final.content[0].text, final.stop_reason) == ("1 2 3", "max_tokens")


def test_messages_call_tools_streamed_and_not(claude):
    function = TOOLS[0]["function"]
    tools = [{"name": function["name"], "input_schema": function["parameters"]}]
    whole = claude.messages.create(model="demo", max_tokens=50, messages=WEATHER, tools=tools)
    with claude.messages.stream(model="demo", max_tokens=50, messages=WEATHER, tools=tools) as stream:
        final = stream.get_final_message()
    assert whole.content[0].input == final.content[0].input == {"city": "Paris"}
    assert whole.stop_reason == final.stop_reason == "tool_use"


def test_the_tokens_of_messages_are_counted_as_their_call_counts_them(claude):
    counted = claude.messages.count_tokens(model="demo", messages=COUNT)
    called = claude.messages.create(model="demo", max_tokens=5, messages=COUNT)
    assert counted.input_tokens == called.usage.input_tokens


def test_embeddings_are_read_by_the_client(client):
    reply = client.embeddings.create(model="demo", input=["a", "b"])
    assert [len(item.embedding) for item in reply.data] == [64, 64]
    assert reply.usage.total_tokens == 2


def test_demo_is_the_model_that_is_listed(client):
    assert [model.id for model in client.models.list()] == ["demo"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("GET", "/version", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/nope", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/health", 405),
    ],
)
def test_each_route_answers_its_methods_alone(server_url, method, path, status):
    assert call(server_url, method, path)[0] == status


@pytest.mark.parametrize(
    ("body", "content_type", "param"),
    [
        (b"", "application/json", "body"),
        (b'{"messages": [', "application/json", "body.14"),
        (b"[]", "application/json", "body"),
        (b"\xff", "application/json", "body.0"),
        (b"{}", "text/plain", None),
    ],
)
def test_a_bad_body_is_refused_in_openai_s_error_shape(server_url, body, content_type, param):
    status, reply = call(server_url, "POST", "/v1/chat/completions", body, content_type=content_type)
    error = orjson.loads(reply)["error"]
    assert status == error["code"] == 400
    assert error["param"] == param
