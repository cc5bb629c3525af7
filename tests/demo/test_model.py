import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.demo.model import Ask, Tool, answer, tokens

WEATHER = Tool(
    "get_weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
        "required": ["city"],
    },
)


def ask(prompt, **more):
    return Ask(model="demo", prompt=prompt, texts=(prompt,), **more)


@given(st.text())
def test_tokens_joined_are_the_text(text):
    assert "".join(tokens(text)) == text


@given(st.text(), st.integers(1, 50))
def test_the_same_question_gets_the_same_answer_within_its_limit(prompt, limit):
    once, twice = answer(ask(prompt, max_tokens=limit)), answer(ask(prompt, max_tokens=limit))
    assert once == twice
    assert once.completion_tokens <= limit


def test_an_answer_relates_to_its_question():
    assert answer(ask("What is the capital of France?")).text == "The capital of France is Paris."
    assert "how do magnets work" in answer(ask("how do magnets work")).text


def test_counting_gives_as_many_tokens_as_asked():
    said = answer(ask("Please count to 40."))
    assert said.completion_tokens == 40
    assert said.text.startswith("1 2 3 ")
    assert said.finish == "stop"


def test_repeating_gives_the_text_exactly():
    assert answer(ask("Repeat: häß\u2028\r\n  🦊 x")).text == "häß\u2028\r\n  🦊 x"


def test_an_answer_over_the_limit_ends_with_length():
    said = answer(ask("Count to 40", max_tokens=3))
    assert (said.text, said.finish) == ("1 2 3", "length")


def test_an_answer_ends_before_a_stop_string():
    assert answer(ask("Count to 9", stop=(" 4", " 7"))).text == "1 2 3"


def test_a_prompt_that_speaks_of_a_tool_calls_it_with_what_the_prompt_names():
    said = answer(ask("What is the weather in Paris?", tools=(WEATHER,)))
    assert (said.tool, said.finish) == ("get_weather", "tool_calls")
    assert orjson.loads(said.text) == {"city": "Paris"}


def test_a_prompt_about_something_else_calls_no_tool():
    assert answer(ask("Tell me a joke", tools=(WEATHER,))).tool is None


@pytest.mark.parametrize(
    ("choice", "called"), [("required", "get_weather"), ("=other", "other"), ("none", None)]
)
def test_the_tool_choice_decides(choice, called):
    prompt = "What is the weather in Paris?" if choice == "none" else "Tell me a joke"
    assert answer(ask(prompt, tools=(WEATHER, Tool("other")), tool_choice=choice)).tool == called


def test_a_tool_result_is_answered_and_not_asked_for_again():
    said = answer(ask("What is the weather in Paris?", tools=(WEATHER,), tool_result="18 °C"))
    assert said.tool is None
    assert "18 °C" in said.text


def test_arguments_follow_the_schema():
    schema = {
        "type": "object",
        "properties": {
            "days": {"type": "integer"},
            "deep": {"type": "object"},
            "odd": True,
            "maybe": {"type": ["null", "string"]},
        },
    }
    said = answer(ask("a forecast for 3 days", tools=(Tool("forecast", schema),)))
    assert orjson.loads(said.text) == {"days": 3, "deep": {}, "odd": "a forecast for 3 days", "maybe": None}
