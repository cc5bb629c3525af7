"""Parameters from the command line and from files."""

import json

import pytest

from llm_audit.deploy.errors import WrongUsageError
from llm_audit.deploy.parameters import assignments, check_known, for_cloudformation, read_file


def test_a_value_may_hold_equals_signs_and_be_empty():
    assert assignments(["A=b=c", "B=", " C =d"]) == {"A": "b=c", "B": "", "C": "d"}


@pytest.mark.parametrize("texts", [["A"], ["=b"], ["A=1", "A=2"]])
def test_what_is_no_assignment_or_comes_twice_is_refused(texts):
    with pytest.raises(WrongUsageError):
        assignments(texts)


@pytest.mark.parametrize(
    "content",
    [
        {"A": "x", "B": 3, "C": True, "D": ["p", "q"]},
        {"Parameters": {"A": "x", "B": 3, "C": "true", "D": "p,q"}, "Tags": {"t": "u"}},
        [
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in zip("ABCD", ["x", "3", "true", "p,q"], strict=True)
        ],
    ],
)
def test_a_file_may_have_any_form_that_awss_tools_know(tmp_path, content):
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert read_file(tmp_path / "p.json") == {"A": "x", "B": "3", "C": "true", "D": "p,q"}


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', '{"A": null}', '{"A": {"b": 1}}'])
def test_a_file_of_another_form_is_refused_with_the_forms_there_are(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(WrongUsageError, match=r"p\.json") as refused:
        read_file(tmp_path / "p.json")
    assert refused.value.advice


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WrongUsageError, match="cannot be read"):
        read_file(tmp_path / "none.json")


def test_an_unknown_parameter_is_refused_with_the_nearest():
    with pytest.raises(WrongUsageError) as refused:
        check_known({"IngestMod": "sqs"}, {"IngestMode", "TableName"})
    assert refused.value.advice == "did you mean IngestMode?"


def test_what_is_not_given_keeps_the_value_that_the_stack_has_if_the_template_still_knows_it():
    assert for_cloudformation({"A": "1"}, {"A", "B"}, ["A", "B", "Gone"]) == [
        {"ParameterKey": "A", "ParameterValue": "1"},
        {"ParameterKey": "B", "UsePreviousValue": True},
    ]
