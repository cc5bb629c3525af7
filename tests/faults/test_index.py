"""The index against the objects: it must be able to find what it looks for."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import pytest

from faults.index import differences

TIME = "2026-11-24T00:00:00.000Z"


def a_record(number):
    said = {"requestId": f"id-{number}", "requestType": "t", "startedAt": TIME, "statusCode": 200}
    return json.dumps({**said, "outcome": "complete", "latencyMs": 7}).encode()


OBJECTS = {f"logs/id-{number}.json": a_record(number) for number in range(3)}


def item(key, **changes):
    said = json.loads(OBJECTS[key])
    stem = key.removeprefix("logs/").removesuffix(".json")
    return {
        **said,
        "latencyMs": Decimal(said["latencyMs"]),
        "auditObjectKey": key,
        "auditObjectSha256": hashlib.sha256(OBJECTS[key]).hexdigest(),
        "createdAt": f"{TIME}#{stem}",
        **changes,
    }


def test_one_item_for_each_object_is_no_difference():
    assert differences(OBJECTS, [item(key) for key in OBJECTS]) == {}


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"auditObjectSha256": "0" * 64}, "an item with another digest than its object's"),
        ({"statusCode": 418}, "an item that says otherwise than its object"),
        ({"latencyMs": Decimal(8)}, "an item that says otherwise than its object"),
        ({"createdAt": f"{TIME}#id-9"}, "an item at another time than its object's"),
    ],
)
def test_an_item_that_says_otherwise_is_found(changes, finding):
    first, *others = OBJECTS
    assert differences(OBJECTS, [item(first, **changes), *map(item, others)]) == {finding: 1}


def test_what_is_missing_doubled_or_too_much_is_found():
    first, second, third = OBJECTS
    items = [item(first), item(first), item(second) | {"auditObjectKey": "logs/id-7.json"}]
    assert differences({first: OBJECTS[first], third: OBJECTS[third]}, items) == {
        "an item without its object": 1,
        "an object without its item": 1,
        "an object with several items": 1,
    }
