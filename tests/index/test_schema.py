"""Items: keys that sort, attributes as the contract names them, and documents that are none."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from calls import item, key_of, record, request_id
from llm_audit.index.schema import (
    ATTRIBUTE_NAMES,
    ItemSettings,
    NewerDocumentError,
    NotAnAuditDocumentError,
    attributes,
    item_from_attributes,
    item_from_document,
    keys,
)
from llm_audit.record.encoding import document
from llm_audit.record.schema import Client, Identity, IdentitySource, ModelNames, Outcome

CONTRACT_NAMES = [
    "id",
    "createdAt",
    "userIdPk",
    "userIdSk",
    "statusPk",
    "statusSk",
    "latencyPk",
    "latencySk",
    "requestId",
    "requestType",
    "statusCode",
    "outcome",
    "latencyMs",
    "timeToFirstChunkMs",
    "operation",
    "model",
    "stream",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "finishReasons",
    "promptPreview",
    "responsePreview",
    "requestBytes",
    "responseBytes",
    "requestSha256",
    "responseSha256",
    "auditBucket",
    "auditObjectKey",
    "auditObjectSha256",
    "clientAddress",
    "userAgent",
    "identitySource",
    "keyId",
    "writerId",
    "sequence",
    "schemaVersion",
    "expiresAt",
]


def made(settings: ItemSettings | None = None, name: str | None = None, **changes: Any) -> Any:
    one = record(1, **changes)
    return item_from_document(document(one), "audit", key_of(one, name), "ab" * 32, settings)


def edited(**members: Any) -> dict[str, Any]:
    return {**document(record(1)), **members}


def test_an_item_has_exactly_the_names_of_the_contract():
    assert sorted(ATTRIBUTE_NAMES) == sorted(CONTRACT_NAMES)
    assert set(attributes(item(1))) == set(CONTRACT_NAMES)


def test_keys_are_built_as_the_contract_says():
    when = f"2026-11-24T12:00:00.001Z#{request_id(1)}"
    assert keys(item(1)) == {
        "id": "project#billing",
        "createdAt": when,
        "userIdPk": "user#ada",
        "userIdSk": when,
        "statusPk": "status#200",
        "statusSk": f"2026-11-24T12:00:00.001Z#project#{request_id(1)}",
        "latencyPk": "project#billing",
        "latencySk": f"latency#0000000120#{when}",
    }


def test_latencies_sort_as_numbers_although_they_are_text():
    latencies = [1000, 5, 0, 99_999, 120]
    sorted_by_key = sorted((keys(item(n, latency_ms=ms))["latencySk"], ms) for n, ms in enumerate(latencies))
    assert [ms for _, ms in sorted_by_key] == sorted(latencies)


def test_a_latency_beyond_ten_digits_is_cut_so_that_its_key_keeps_its_length():
    assert keys(item(1, latency_ms=10**11))["latencySk"].startswith("latency#9999999999#")


def test_a_refusal_without_source_user_or_status_stands_under_placeholders():
    refusal = item(1, source=None, user=None, status_code=None, outcome=Outcome.REJECTED)
    assert keys(refusal)["id"] == keys(refusal)["latencyPk"] == "project#-"
    assert keys(refusal)["userIdPk"] == "user#-"
    assert keys(refusal)["statusPk"] == "status#none"
    assert item_from_attributes(attributes(refusal)).source is None


def test_nobody_can_pass_for_the_placeholder():
    assert item_from_document(edited(source="-", user=""), "b", key_of(record(1)), "0").source is None


def test_attributes_give_back_the_item():
    for one in (item(1), item(2, source=None, status_code=None, time_to_first_chunk_ms=None, response=None)):
        assert item_from_attributes(attributes(one)) == one
    sharded = made(ItemSettings(status_shards=8))
    assert item_from_attributes(attributes(sharded)) == sharded


def test_a_status_is_spread_over_shards_by_the_crc_of_the_stem():
    shard = zlib.crc32(request_id(1).encode()) % 8
    assert keys(made(ItemSettings(status_shards=8)))["statusPk"] == f"status#200#{shard}"


def test_a_second_call_with_the_same_id_has_keys_of_its_own():
    first, second = made(), made(name=f"{request_id(1)}~w-1-3-9")
    assert first.request_id == second.request_id
    assert keys(first)["createdAt"] != keys(second)["createdAt"]
    assert second.stem == f"{request_id(1)}~w-1-3-9"


def test_retention_sets_the_second_at_which_the_item_expires():
    assert made(ItemSettings(retention_days=2)).expires_at == 1_795_521_600 + 2 * 86_400
    assert made().expires_at is None


def test_derived_strings_are_cut_to_256_characters_and_previews_to_their_setting():
    one = made(
        ItemSettings(preview_characters=10),
        model=ModelNames(None, "m" * 300),
        client=Client("a" * 300, "u" * 300),
        finish_reasons=("f" * 300,) * 200,
        prompt_preview="p" * 11,
        response_preview="é" * 11,
    )
    assert one.model == "m" * 256
    assert (one.client_address, one.user_agent) == ("a" * 256, "u" * 256)
    assert one.finish_reasons == ("f" * 256,) * 64
    assert (one.prompt_preview, one.response_preview) == ("p" * 10, "é" * 10)


def test_the_served_model_counts_and_the_requested_one_stands_in():
    assert made(model=ModelNames("asked", "served")).model == "served"
    assert made(model=ModelNames("asked", None)).model == "asked"


def test_who_vouched_for_the_caller_is_in_the_item():
    one = made(identity=Identity(IdentitySource.GATEWAY, "g-7"))
    assert (one.identity_source, one.key_id) == ("gateway", "g-7")


@pytest.mark.parametrize("wrong", [-1, 10**13, 1.5, True, "12", None, [1]])
def test_a_count_that_is_none_is_left_out(wrong):
    usage = {"inputTokens": wrong, "outputTokens": 7, "totalTokens": wrong}
    one = item_from_document(edited(usage=usage), "b", key_of(record(1)), "0")
    assert (one.input_tokens, one.output_tokens, one.total_tokens) == (None, 7, None)


def test_a_lone_surrogate_becomes_a_question_mark():
    one = item_from_document(edited(promptPreview="a\ud800b"), "b", key_of(record(1)), "0")
    assert one.prompt_preview == "a?b"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("schemaVersion", None),
        ("schemaVersion", "1"),
        ("requestId", "another"),
        ("requestId", 7),
        ("startedAt", "yesterday"),
        ("startedAt", "2026-13-45T00:00:00.000Z"),
        ("startedAt", "2026-11-24"),
        ("startedAt", "1969-12-31T23:59:59.999Z"),
        ("startedAt", "9999-12-31T23:59:59-23:59"),
        ("startedAt", 1795521600.5),
        ("latencyMs", -5),
        ("latencyMs", None),
        ("outcome", None),
        ("source", "s" * 257),
        ("user", 5),
    ],
)
def test_what_lacks_a_documents_marks_is_refused_by_name(member, value):
    with pytest.raises(NotAnAuditDocumentError, match=member):
        item_from_document(edited(**{member: value}), "b", key_of(record(1)), "0")


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-24T12:00:00.001Z",
        "2026-11-24T12:00:00.001+00:00",
        "2026-11-24T14:00:00.001+02:00",
        "2026-11-24 12:00:00.001999",
        "2026-11-24T07:30:00.001-04:30",
    ],
)
def test_the_start_is_in_utc_with_milliseconds_however_it_was_written(time):
    one = item_from_document(edited(startedAt=time), "b", key_of(record(1)), "0")
    assert one.started_at == "2026-11-24T12:00:00.001Z"


def test_a_start_in_whole_seconds_gets_its_milliseconds():
    one = item_from_document(edited(startedAt="2026-11-24T12:00:00Z"), "b", key_of(record(1)), "0")
    assert one.started_at == "2026-11-24T12:00:00.000Z"


@pytest.mark.parametrize(
    "word", ["-", "", "  ", "null", "None", "UNKNOWN", "n/a", "${user}", "$context.x", "{{u}}"]
)
def test_a_placeholder_names_nobody(word):
    one = item_from_document(edited(source=word, user=word), "b", key_of(record(1)), "0")
    assert (one.source, one.user) == (None, None)
    assert (keys(one)["id"], keys(one)["userIdPk"]) == ("project#-", "user#-")


def test_a_request_id_too_long_for_a_sort_key_is_refused():
    long = "é" * 257
    with pytest.raises(NotAnAuditDocumentError, match="requestId has more than 512 bytes"):
        item_from_document(edited(requestId=long), "b", f"logs/{long}.json", "0")


def test_what_a_stranger_wrote_is_not_in_the_message():
    for member in ("schemaVersion", "requestId", "startedAt", "latencyMs", "outcome", "source"):
        with pytest.raises(NotAnAuditDocumentError) as caught:
            item_from_document(edited(**{member: ["secret words"] * 300}), "b", key_of(record(1)), "0")
        assert "secret" not in str(caught.value)


def test_a_document_of_a_later_schema_is_refused_with_advice():
    with pytest.raises(NewerDocumentError, match="newer llm-audit"):
        item_from_document(edited(schemaVersion=2), "b", key_of(record(1)), "0")


@pytest.mark.parametrize("key", ["logs/x", "logs/.json", "logs/a#b.json", "", "logs/x.json.gz"])
def test_a_key_that_names_no_call_is_refused(key):
    with pytest.raises(NotAnAuditDocumentError, match="key"):
        item_from_document(document(record(1)), "b", key, "0")
