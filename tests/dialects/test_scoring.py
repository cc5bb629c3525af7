"""Rerank, score, classify, generative scoring, structured decisions."""

from __future__ import annotations

import pytest

from dialects_exchanges import interpret_json


@pytest.mark.parametrize(
    ("request_", "prompt"),
    [
        (
            {"query": "q", "documents": ["a", {"content": [{"type": "text", "text": "b"}]}]},
            "query: q\ndocuments: a\ndocuments: b",
        ),
        ({"queries": ["q", "r"], "items": "a"}, "queries: q\nqueries: r\nitems: a"),
        ({"text_1": "a", "text_2": ["b", "c"]}, "text_1: a\ntext_2: b\ntext_2: c"),
        ({"query": {"content": [{"type": "image_url"}]}, "documents": ["a"]}, "query: [image]\ndocuments: a"),
        ({"query": [1, 2], "items": [[3], [4, 5]]}, "query: [2 tokens]\nitems: [1 token]\nitems: [2 tokens]"),
        ({}, None),
    ],
)
def test_what_is_compared_with_what_is_shown(request_, prompt):
    assert interpret_json("/score", request_, {}).prompt_preview == prompt


def test_scores_have_a_line_each():
    results = [
        {"index": 1, "relevance_score": 0.98766, "document": {"text": "b"}},
        {"index": 0, "relevance_score": 1},
    ]
    found = interpret_json("/rerank", {}, {"model": "m", "results": results})
    assert found.response_preview == "1: 0.9877 b\n0: 1"
    assert found.model.served == "m"


def test_classes_are_named_with_their_probability():
    data = [{"index": 0, "label": "positive", "probs": [0.25, 0.75], "num_classes": 2}]
    found = interpret_json("/classify", {"input": "great"}, {"data": data})
    assert (found.operation, found.prompt_preview) == ("classify", "great")
    assert found.response_preview == "0: 0.75 positive"


def test_decisions_show_state_questions_and_answers():
    asked = {
        "state": {"city": "Paris"},
        "questions": {"q1": {"instructions": "Capital?"}},
        "instructions": "Be exact.",
    }
    answers = {
        "answers": {"q1": {"answer": "yes"}},
        "usage": {"input_tokens": 5, "output_tokens": 1},
        "model": "m",
    }
    found = interpret_json("/v1/systemone", asked, answers)
    assert found.operation == "structured_decision"
    assert found.prompt_preview == 'system: Be exact.\nstate: {"city":"Paris"}\nq1: Capital?'
    assert found.response_preview == '{"q1":{"answer":"yes"}}'
    assert found.usage.total_tokens == 6
