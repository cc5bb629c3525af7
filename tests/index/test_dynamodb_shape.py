"""A table is held against what the requirement document's section 4 makes."""

from __future__ import annotations

import copy

import pytest

from llm_audit.index.dynamodb_shape import faults


@pytest.fixture(scope="module")
def described(dynamodb):
    table = dynamodb.table(dynamodb.new_table())
    yield table.describe()
    table.close()


def test_the_documents_table_is_right(described):
    assert list(faults(described)) == []


def test_a_table_without_its_indexes_says_which_are_missing(dynamodb):
    table = dynamodb.table(dynamodb.new_table(("GSI_StatusTime",)))
    assert list(faults(table.describe())) == [
        "index GSI_UserTime is missing",
        "index GSI_ProjectLatency is missing",
    ]
    table.close()


def changed(described, **members):
    one = copy.deepcopy(dict(described))
    one.update(members)
    return one


def with_first_index(described, **members):
    one = changed(described)
    one["GlobalSecondaryIndexes"][0].update(members)
    return one


def test_each_other_fault_is_named(described):
    name = described["GlobalSecondaryIndexes"][0]["IndexName"]
    keys = [{"AttributeName": "x", "KeyType": "HASH"}]
    for wrong, words in (
        (changed(described, TableStatus="CREATING"), "the table is CREATING"),
        (changed(described, KeySchema=keys), "its key is ('x',)"),
        (with_first_index(described, IndexStatus="CREATING"), f"{name} is CREATING: wait"),
        (with_first_index(described, KeySchema=keys), f"{name} has the key ('x',)"),
        (with_first_index(described, Projection={"ProjectionType": "KEYS_ONLY"}), "must be ALL"),
    ):
        (fault,) = faults(wrong)
        assert words in fault
