"""What each status of a stack means."""

import boto3
import pytest

from llm_audit.deploy.states import STATES, Next, state_of


def test_every_status_that_aws_knows_has_a_meaning():
    client = boto3.client("cloudformation", region_name="eu-central-1")
    known = client.meta.service_model.shape_for("StackStatus").enum
    assert set(known) == set(STATES)


@pytest.mark.parametrize("status", sorted(STATES))
def test_only_what_is_at_work_counts_as_running(status):
    assert state_of(status).is_running == (status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS")


@pytest.mark.parametrize("status", sorted(STATES))
def test_whatever_is_neither_good_nor_a_shell_comes_with_advice(status):
    state = state_of(status)
    assert state.is_good or state.advice or state.next is Next.CREATE


def test_a_stack_that_stands_is_updated_and_one_whose_creation_failed_replaced():
    assert state_of("UPDATE_ROLLBACK_COMPLETE").next is Next.UPDATE
    assert state_of("ROLLBACK_COMPLETE").next is Next.REMOVE_THEN_CREATE
    assert state_of("UPDATE_ROLLBACK_FAILED").next is Next.CONTINUE_ROLLBACK
    assert state_of("DELETE_FAILED").next is Next.REFUSE


def test_a_status_of_tomorrow_is_refused_and_waited_for_where_it_says_it_is_in_progress():
    assert state_of("REFACTOR_IN_PROGRESS").is_running
    assert state_of("REFACTOR_DONE").next is Next.REFUSE
