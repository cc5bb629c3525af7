"""Events of every shape, as AWS documents them: which objects they name, and what of them is ignored or wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.ingest.events import Delivery, Event, read_event
from llm_audit.ingest.ingest import Notification

EVENTS = Path(__file__).parent / "events"
ONE = Notification("central-llm-audit", "logs/2026/11/24/019abcde-0000-7000-8000-000000000001.json")
TWO = Notification("central-llm-audit", "logs/2026/11/24/019abcde-0000-7000-8000-000000000002.json")


def event(name: str):
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


def understood(name: str) -> Event:
    return read_event(event(name))


def only(name: str) -> Delivery:
    (delivery,) = understood(name).deliveries
    return delivery


def test_each_record_of_a_notification_is_a_delivery_of_its_own():
    assert [one.named for one in understood("s3-several").deliveries] == [
        (ONE,),
        (TWO,),
        (Notification("central-llm-audit", "logs/readme.txt"),),
    ]
    assert not understood("s3-several").is_queue_batch


def test_s3_encodes_keys_and_eventbridge_does_not():
    assert only("s3-key-with-space-and-plus").named[0].key == "logs/2026/11/24/a b+c é\U0001f600.json"
    assert only("eventbridge-created").named[0].key == "logs/2026/11/24/a b+c é\U0001f600.json"


def test_messages_of_a_queue_are_answered_one_by_one():
    event = understood("sqs-s3")
    assert event.is_queue_batch
    assert [(one.message_id, one.named) for one in event.deliveries] == [("m-1", (ONE,)), ("m-2", (TWO,))]


def test_a_message_with_two_records_is_one_delivery():
    assert only("sqs-two-objects-in-one-message") == Delivery("m-1", (ONE, TWO))


@pytest.mark.parametrize("name", ["s3-put", "sns-s3", "dead-letter-envelope"])
def test_envelopes_are_opened(name):
    assert only(name) == Delivery(None, (ONE,))


@pytest.mark.parametrize("name", ["sqs-eventbridge", "sqs-sns-s3"])
def test_envelopes_in_messages_are_opened(name):
    assert only(name) == Delivery("m-1", (ONE,))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s3-test-event", "s3:TestEvent"),
        ("sqs-test-event", "s3:TestEvent"),
        ("s3-removed", "creates no object"),
        ("eventbridge-deleted", "Object Deleted"),
        ("eventbridge-scheduled", "aws.events"),
        ("kinesis", "aws:kinesis"),
    ],
)
def test_what_tells_of_no_new_object_is_ignored_by_name(name, words):
    delivery = only(name)
    assert (delivery.named, delivery.problems) == ((), ())
    (reason,) = delivery.ignored
    assert words in reason


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s3-key-not-utf8", "not UTF-8"),
        ("s3-without-key", "without bucket name and object key"),
        ("unknown-shape", "unknown shape"),
    ],
)
def test_what_cannot_be_understood_is_a_problem_since_it_may_name_an_object(name, words):
    delivery = only(name)
    assert (delivery.named, delivery.ignored) == ((), ())
    (problem,) = delivery.problems
    assert words in problem


def test_one_message_that_is_no_json_leaves_the_others():
    bad, good = understood("sqs-not-json").deliveries
    assert bad.message_id == "m-1"
    assert bad.problems
    assert good == Delivery("m-2", (ONE,))


def test_an_empty_event_names_nothing_and_is_no_problem():
    assert only("empty") == Delivery()
    assert read_event({"Records": []}) == Event(is_queue_batch=False, deliveries=())


def test_a_record_without_event_name_counts_as_a_new_object():
    bare = {"eventSource": "aws:s3", "s3": {"bucket": {"name": "b"}, "object": {"key": "logs/x.json"}}}
    assert read_event({"Records": [bare]}).deliveries == (
        Delivery(named=(Notification("b", "logs/x.json"),)),
    )


def test_envelopes_without_end_are_a_problem_and_no_recursion():
    nested = event("s3-put")
    for _ in range(50):
        nested = (
            {"Type": "Notification", "Message": json.dumps(nested)} if len(str(nested)) < 10**6 else nested
        )
    assert read_event(nested).deliveries[0].problems
    wrapped: dict = {}
    for _ in range(5000):
        wrapped = {"requestPayload": wrapped}
    assert read_event(wrapped).deliveries[0].problems


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Records",
                    "eventSource",
                    "s3",
                    "bucket",
                    "name",
                    "object",
                    "key",
                    "body",
                    "detail",
                    "source",
                ]
            ),
            inner | st.sampled_from(["aws:s3", "aws:sqs", "aws:sns", "aws.s3", '{"Records":[{}]}']),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_event_whatever_it_is_makes_it_raise_or_name_what_is_no_text(event):
    for delivery in read_event(event).deliveries:
        for named in delivery.named:
            assert isinstance(named.bucket, str)
            assert isinstance(named.key, str)
