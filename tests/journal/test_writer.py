from __future__ import annotations

import pytest

from journal_kit import Call, assert_whole, begin, finish, open_writer, read_all, respond, roll, write
from llm_audit.journal.model import JournalLockedError
from llm_audit.record.schema import Outcome


def test_calls_come_back_whole_and_in_the_order_in_which_they_ended(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    calls = [Call(f"call{n}", (b"x" * n, b"y"), (b"a" * (n + 1), b"b")) for n in range(20)]
    exchanges = [begin(writer, call) for call in calls]
    for call, exchange in zip(calls, exchanges, strict=True):
        respond(exchange, call)
    for sequence, (call, exchange) in enumerate(reversed(list(zip(calls, exchanges, strict=True)))):
        assert finish(exchange, call) == sequence
    writer.close()
    for ended, call in zip(read_all(directory), reversed(calls), strict=True):
        assert_whole(ended, call)


def test_bodies_larger_than_a_segment_are_split_and_come_back_as_the_pieces_that_came(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory, limit=16 << 20)
    call = Call("large", (b"q" * 5_000_000,), (b"a" * 3_000_000, b"b", b"c" * 200_000))
    write(writer, call)
    writer.close()
    [ended] = read_all(directory)
    assert_whole(ended, call)


def test_a_second_writer_of_the_same_directory_is_refused(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    with pytest.raises(JournalLockedError, match="another process"):
        open_writer(directory)
    writer.close()
    open_writer(directory).close()


def test_calls_left_open_at_a_death_end_as_interrupted_in_order_of_their_beginning(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    calls = [Call(f"call{n}", chunks=(b"abc",)) for n in range(5)]
    exchanges = [begin(writer, call) for call in calls]
    roll(writer)
    for call, exchange in zip(calls[2:], exchanges[2:], strict=True):
        respond(exchange, call)
    finish(exchanges[3], calls[3])
    last = exchanges[0].last_mono_ns
    writer.fail(RuntimeError("dead"))
    writer.close()
    open_writer(directory).close()
    found = read_all(directory)
    assert [ended.sequence for ended in found] == [0, 1, 2, 3, 4]
    assert_whole(found[0], calls[3])
    assert [ended.request.user for ended in found[1:]] == ["call0", "call1", "call2", "call4"]
    assert {ended.end.outcome for ended in found[1:]} == {Outcome.INTERRUPTED}
    assert [ended.end.status_code for ended in found[1:]] == [None, None, 200, 200]
    assert [len(ended.chunks) for ended in found[1:]] == [0, 0, 1, 1]
    assert found[1].end.ended_mono_ns == last
    assert {ended.end.delivered_bytes for ended in found[1:]} == {None}
