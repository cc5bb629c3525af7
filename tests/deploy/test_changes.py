"""What a change set would do, in words."""

import pytest

from llm_audit.deploy.changes import change_from, sentence


def change(action="Modify", kind="AWS::SQS::Queue", **more):
    found = change_from(
        {
            "Type": "Resource",
            "ResourceChange": {"Action": action, "LogicalResourceId": "R", "ResourceType": kind, **more},
        }
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("made", "mark", "words"),
    [
        (change("Add"), "+", "is made"),
        (change(Replacement="False"), "~", "changes"),
        (change(Replacement="True"), "!", "is replaced"),
        (change(Replacement="Conditional"), "!", "may be replaced"),
        (change("Remove"), "-", "is removed"),
        (change("Dynamic"), "?", "may change"),
        (
            change("Remove", PolicyAction="Retain"),
            "-",
            "is removed in the stack; the old one stays in the account",
        ),
    ],
)
def test_each_action_has_its_mark_and_words(made, mark, words):
    assert (made.mark, made.words) == (mark, words)


def test_what_changes_of_a_resource_is_named_once():
    details = [
        {"Target": {"Attribute": "Properties", "Name": "DelaySeconds"}},
        {"Target": {"Attribute": "Properties", "Name": "DelaySeconds"}},
        {"Target": {"Attribute": "Tags"}},
    ]
    assert change(Replacement="False", Details=details).words == "changes (DelaySeconds, Tags)"


@pytest.mark.parametrize("kind", ["AWS::S3::Bucket", "AWS::DynamoDB::Table"])
def test_only_data_that_goes_away_is_a_matter_of_data(kind):
    assert change("Remove", kind).is_of_data
    assert change(kind=kind, Replacement="Conditional").is_of_data
    assert not change(kind=kind, Replacement="False").is_of_data
    assert not change("Add", kind).is_of_data
    assert not change("Remove").is_of_data


def test_changes_are_counted_in_a_sentence():
    assert sentence((change("Add"), change("Add"), change(Replacement="True"))) == "2 added, 1 replaced"
    assert sentence(()) == "nothing changes"


def test_what_is_no_resources_change_is_left_out():
    assert change_from({"Type": "Hook"}) is None
