"""The root cause among events, and what to do about it."""

from dataclasses import replace

import pytest

from llm_audit.deploy.events import StackEvent, advice_for, root_cause

STACK = "arn:aws:cloudformation:eu-central-1:000000000000:stack/s/1"


def event(logical_id, status, reason="", *, kind="AWS::SQS::Queue", physical_id="p"):
    return StackEvent("e", "2026-11-24T12:00:00.000Z", logical_id, physical_id, kind, status, reason, STACK)


def of_stack(status, reason=""):
    return event("s", status, reason, kind="AWS::CloudFormation::Stack", physical_id=STACK)


def test_the_first_that_failed_by_itself_is_the_cause_not_those_that_were_cancelled():
    events = [
        of_stack("CREATE_IN_PROGRESS"),
        event("A", "CREATE_IN_PROGRESS"),
        event("C", "CREATE_FAILED", "Resource creation cancelled"),
        event("B", "CREATE_FAILED", "Bucket already exists"),
        event("D", "CREATE_FAILED", "Too late"),
        of_stack("ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [B, C]."),
    ]
    assert root_cause(events) == events[3]


def test_where_only_the_stack_failed_it_is_the_cause():
    failed = of_stack("CREATE_FAILED", "Circular dependency")
    assert root_cause([of_stack("CREATE_IN_PROGRESS"), failed]) == failed


def test_where_everything_went_well_there_is_no_cause():
    assert root_cause([of_stack("CREATE_COMPLETE"), event("A", "CREATE_COMPLETE")]) is None


def test_a_nested_stacks_event_is_not_the_stacks_own():
    nested = event("Storage", "CREATE_COMPLETE", kind="AWS::CloudFormation::Stack", physical_id=STACK + "2")
    assert (nested.is_of_stack, nested.is_nested, nested.is_end) == (False, True, False)
    assert not replace(nested, physical_id="").is_nested  # before it is there


@pytest.mark.parametrize(
    ("status", "is_end"),
    [
        ("UPDATE_IN_PROGRESS", False),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", False),
        ("UPDATE_ROLLBACK_COMPLETE", True),
    ],
)
def test_an_operation_ends_with_the_stacks_own_event(status, is_end):
    assert of_stack(status).is_end == is_end
    assert not event("A", status).is_end


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("User: arn:… is not authorized to perform: iam:CreateRole", "permission"),
        ("central-llm-audit already exists in stack arn:…", "another name"),
        ("S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.", "uploaded"),
        ("You have requested more vCPU capacity than your current vCPU limit of 0", "Running On-Demand G"),
        ("The role defined for the function cannot be assumed by Lambda.", "deploy again"),
        ("Unable to validate the following destination configurations", "deploy again"),
        ("Properties validation failed for resource Queue", "correct it by --parameter"),
        ("Something nobody has seen", "--events"),
    ],
)
def test_a_reason_comes_with_what_to_do(reason, words):
    assert words in advice_for(reason)
