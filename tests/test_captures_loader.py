"""The loader itself, against facts about the captures that can be seen with the eye."""

from captures_loader import all_captures, capture


def test_all_182_exchanges_are_there_and_their_ids_are_unique():
    captures = all_captures()
    assert len(captures) == 182
    assert len({one.id for one in captures}) == 182


def test_pieces_make_up_the_whole_response():
    for one in all_captures():
        assert b"".join(one.pieces) == one.raw_response, one.name


def test_only_the_streams_that_the_client_left_are_incomplete():
    cut = {one.name for one in all_captures() if one.response is None or not one.response.complete}
    assert cut == {"disconnect-mid-stream", "disconnect-nonstream"}


def test_chunk_framing_is_taken_off_a_stream():
    response = capture("chat-stream-usage").response
    assert response.body.startswith(b'data: {"id":"chatcmpl-b7e92dc614fc22a2"')
    assert response.body.endswith(b"data: [DONE]\n\n")
    assert response.header("content-type") == "text/event-stream; charset=utf-8"


def test_chunk_framing_is_taken_off_a_request():
    request = capture("request-chunked").request
    assert request.body.startswith(b'{"model": "smollm2-135m-instruct", "messages"')
    assert request.body.endswith(b'"max_tokens": 4}')


def test_interim_responses_stand_apart_from_the_final_one():
    one = capture("request-expect-100")
    assert [message.start_line for message in one.interim] == ["HTTP/1.1 100 Continue"]
    assert one.status == 200


def test_a_head_response_has_no_body_in_spite_of_its_content_length():
    assert capture("head-health").response.body == b""
