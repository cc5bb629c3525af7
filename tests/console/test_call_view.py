import json

from hypothesis import given
from hypothesis import strategies as st

from calls import record
from llm_audit.console.call_view import content_of, timeline_of
from llm_audit.query.lookup import FoundCall
from llm_audit.record.encoding import encode_record, sha256_hex

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = [
    *(
        "request",
        "response",
        "error",
        "model",
        "usage",
        "writer",
        "chunkTimesMs",
        "statusCode",
        "proxyVersion",
    ),
    *("source", "user", "requestType", "promptPreview"),
]


def shown(one):
    data = encode_record(one)
    return content_of(FoundCall("key", data, sha256_hex(data)), json.loads(data), "http://here")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, JSON)))
def test_a_document_of_any_shape_is_read_as_far_as_it_goes(document):
    data = json.dumps(document).encode()
    assert content_of(FoundCall("key", data, None), document, "http://here").checks[0].is_ok is None


def test_every_digest_is_computed_anew():
    assert [check.is_ok for check in shown(record(1)).checks] == [True, True, True]
    request = record(1).request._replace(body=b"another")
    assert [check.is_ok for check in shown(record(1, request=request)).checks] == [True, False, True]
    request = record(1).request._replace(body=None)
    assert [check.is_ok for check in shown(record(1, request=request)).checks] == [True, None, True]


def test_a_timeline_holds_every_chunk_in_its_place():
    line = timeline_of({"chunkTimesMs": [10, 20, [500, 30], 1000]})
    assert (line.chunks, line.first_ms, line.last_ms, line.longest_pause_ms) == (33, 10, 1000, 500)
    assert max(bar.height for bar in line.bars) == 100
    assert all(0 <= bar.x <= 1000 for bar in line.bars)
    assert timeline_of({"chunkTimesMs": [10]}) is None
    assert timeline_of({}) is None


def test_a_command_makes_the_same_call_without_credentials():
    headers = (
        ("Host", "x"),
        ("authorization", "[redacted]"),
        ("content-type", "application/json"),
        ("X-Mine", "it's"),
    )
    one = record(1, request=record(1).request._replace(headers=headers, query="a=1&b=2"))
    command = shown(one).curl
    assert command.splitlines()[0] == "curl 'http://here/v1/chat/completions?a=1&b=2' \\"
    assert "redacted" not in command
    assert "-H 'x-llm-source: billing'" in command
    assert """-H 'x-mine: it'"'"'s'""" in command
    assert command.splitlines()[-1].startswith('  --data-raw \'{"model":"demo"')


def test_a_streams_events_have_their_times_where_each_chunk_brought_one():
    response = {
        "contentType": "text/event-stream",
        "bodyText": "data: {1}\n\nevent: x\ndata: {2}\n\ndata: [DONE]\n\n",
    }
    document = {"chunkTimesMs": [5, [9, 2]], "response": response}
    assert timeline_of(document).events == ((5, "{1}"), (9, "{2}"), (9, "[DONE]"))
    assert timeline_of({**document, "chunkTimesMs": [5, 9]}).events == ()
    assert timeline_of({**document, "response": {**response, "bodyText": "x"}}).events == ()
