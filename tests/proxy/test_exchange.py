"""One exchange as a playbook: what happens, and what it does about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_audit.journal.frames import encode_response_start
from llm_audit.journal.model import JournalFailedError, JournalFullError
from llm_audit.proxy.answers import error_answer
from llm_audit.proxy.exchange import TRANSITIONS, Exchange, ExchangeShell, State
from llm_audit.proxy.gate import CallerHeaders
from llm_audit.proxy.ports import ExchangeLimits
from llm_audit.proxy.request_head import RequestFields, RequestHead
from llm_audit.proxy.response_head import ResponseHead
from llm_audit.record.schema import ErrorInfo, Outcome

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
LOST = ErrorInfo("client_disconnected", "gone")


class World:
    """All three ports as one log, so that the order of effects across them can be told."""

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []
        self.delivered = 0
        self.kernel_takes = True
        self.journal_error: Exception | None = None
        self.waiting: list[Callable[[], None]] = []
        self.durable_at_once = True
        self.now = 100.0
        self.connecting: list[Exchange] = []
        self.truncated = False
        self.timers: list[Callable[[], None]] = []
        self.pass_when_full = False

    # client port
    def write(self, data: bytes, prefix: int, content: int) -> bool:
        assert prefix + content <= len(data)
        self.log.append(("client", data))
        if self.kernel_takes:
            self.delivered += content
        return self.kernel_takes

    def reset(self) -> None:
        self.log.append(("reset",))

    def exchange_ended(self, *, reusable: bool) -> None:
        self.log.append(("ended", reusable))

    # upstream port
    def pause_reading(self) -> None:
        self.log.append(("pause",))

    def resume_reading(self) -> None:
        self.log.append(("resume",))

    def abort(self) -> None:
        self.log.append(("abort",))

    # journal port
    def _frame(self, *what: object) -> None:
        if self.journal_error is not None:
            raise self.journal_error
        self.log.append(("journal", *what))

    def request_body(self, data: bytes, *, last: bool) -> None:
        self._frame("request", data, last)

    def response(self, start: bytes, body: bytes, *, last: bool) -> None:
        self._frame("response", start, body, last)

    def response_body(self, data: bytes, *, last: bool) -> None:
        self._frame("piece", data, last)

    def end(
        self, outcome: Outcome, status_code: int | None, delivered_bytes: int | None, error: ErrorInfo | None
    ) -> int:
        if isinstance(self.journal_error, JournalFailedError):
            raise self.journal_error
        self.log.append(("end", outcome, status_code, delivered_bytes, error and error.type))
        return 0

    # shell
    def connect(self, exchange: Exchange) -> None:
        self.log.append(("connect",))
        self.connecting.append(exchange)

    def when_durable(self, callback: Callable[[], None]) -> None:
        if self.durable_at_once:
            callback()
        else:
            self.waiting.append(callback)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        assert 0 < seconds <= 0.1
        self.timers.append(callback)

    def time_passes(self) -> None:
        timers, self.timers = self.timers, []
        for callback in timers:
            callback()

    def sync(self) -> None:
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()

    def exchange(self, *, method: bytes = b"POST", http_minor: int = 1, keep_alive: bool = True) -> Exchange:
        callers = CallerHeaders()
        fields = RequestFields(None, None, False, False, keep_alive, callers, b"", b"")
        head = RequestHead(method, b"/x", b"/x", http_minor, None, callers, b"", fields)
        limits = ExchangeLimits(client_timeout=30, upstream_timeout=600, max_duration=3600)
        shell = ExchangeShell(
            self.connect, self.when_durable, lambda: self.now, self.later, limits, self.pass_when_full
        )
        return Exchange(shell, self, self, head, ID)

    def waiting_exchange(self, *, http_minor: int = 1) -> Exchange:
        exchange = self.exchange(http_minor=http_minor, keep_alive=http_minor == 1)
        exchange.request_begun(b"hello", complete=True)
        assert exchange.upstream_ready(self) == [b"hello"]
        exchange.tick(self.now, client_waiting_since=None)
        self.log.clear()
        return exchange

    def kinds(self) -> list[object]:
        return [entry[0] for entry in self.log]

    def sent(self) -> bytes:
        return b"".join(entry[1] for entry in self.log if entry[0] == "client")  # type: ignore[misc]

    def the_end(self) -> tuple[object, ...]:
        ends = [entry for entry in self.log if entry[0] == "end"]
        assert len(ends) == 1
        return ends[0][1:]


def response(
    *, length: int | None = None, chunked: bool = False, status: int = 200, lines: bytes = b""
) -> ResponseHead:
    return ResponseHead(status, b"OK", length, chunked, False, lines, b"recorded: lines\r\n")


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_goes_upstream_before_the_whole_request_is_durable(world: World) -> None:
    world.durable_at_once = False
    exchange = world.exchange()
    exchange.request_begun(b"ab", complete=False)
    exchange.request_received(b"cd", complete=False)
    world.sync()
    assert "connect" not in world.kinds()
    exchange.request_received(b"", complete=True)
    assert "connect" not in world.kinds()
    world.sync()
    assert world.kinds() == ["journal", "journal", "connect"]
    assert exchange.upstream_ready(world) == [b"ab", b"cd"]
    assert exchange.body_bytes == 4


def test_every_piece_is_journaled_before_it_is_handed_to_the_client(world: World) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    exchange.upstream_received(None, b"two", complete=False)
    exchange.upstream_received(None, b"", complete=True)
    assert world.kinds() == ["journal", "client", "journal", "client", "journal", "client", "end", "ended"]
    assert world.log[0] == (
        "journal",
        "response",
        encode_response_start(200, b"recorded: lines\r\n"),
        b"one",
        False,
    )
    assert world.log[2] == ("journal", "piece", b"two", False)


def test_a_streamed_response_is_chunked_for_the_client_and_ends_with_the_last_chunk(world: World) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True, lines=b"a: b\r\n"), b"one", complete=False)
    exchange.upstream_received(None, b"twelve bytes", complete=False)
    exchange.upstream_received(None, b"", complete=True)
    head, _, body = world.sent().partition(b"\r\n\r\n")
    assert head == (
        b"HTTP/1.1 200 OK\r\na: b\r\nx-request-id: " + ID.encode() + b"\r\ntransfer-encoding: chunked"
    )
    assert body == b"3\r\none\r\nc\r\ntwelve bytes\r\n0\r\n\r\n"
    assert world.the_end() == (Outcome.COMPLETE, 200, 15, None)


def test_a_response_with_a_length_keeps_it(world: World) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(length=3), b"one", complete=True)
    assert b"content-length: 3\r\n" in world.sent()
    assert world.sent().endswith(b"\r\n\r\none")
    assert world.log[-1] == ("ended", True)


def test_an_http_1_0_client_gets_a_stream_without_chunks_that_ends_with_the_connection(world: World) -> None:
    exchange = world.waiting_exchange(http_minor=0)
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    exchange.upstream_received(None, b"two", complete=True)
    assert b"connection: close\r\n" in world.sent()
    assert b"chunked" not in world.sent()
    assert world.sent().endswith(b"\r\n\r\nonetwo")
    assert world.log[-1] == ("ended", False)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_gets_no_framing(world: World, status: int) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(status=status), b"", complete=True)
    assert b"chunked" not in world.sent()
    assert b"content-length" not in world.sent()


def test_the_last_bytes_wait_until_the_end_is_durable(world: World) -> None:
    exchange = world.waiting_exchange()
    world.durable_at_once = False
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    exchange.upstream_received(None, b"two", complete=True)
    assert world.sent().endswith(b"3\r\none\r\n")
    world.sync()
    assert world.sent().endswith(b"3\r\ntwo\r\n0\r\n\r\n")
    assert world.the_end() == (Outcome.COMPLETE, 200, 6, None)


def test_a_slow_client_pauses_upstream_until_it_has_taken_everything(world: World) -> None:
    exchange = world.waiting_exchange()
    world.kernel_takes = False
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    assert world.kinds()[-1] == "pause"
    exchange.client_drained()
    assert world.kinds()[-1] == "resume"


def test_an_exchange_is_complete_only_when_its_last_byte_was_handed_over(world: World) -> None:
    exchange = world.waiting_exchange()
    world.kernel_takes = False
    exchange.upstream_received(response(length=3), b"one", complete=True)
    assert exchange.state is State.FLUSHING
    world.delivered = 3
    exchange.client_drained()
    assert world.the_end() == (Outcome.COMPLETE, 200, 3, None)


def test_a_client_that_leaves_stops_the_model_server_at_once(world: World) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    exchange.client_lost(LOST)
    world.time_passes()
    assert world.kinds()[-2:] == ["abort", "end"]
    assert world.the_end() == (Outcome.CLIENT_DISCONNECTED, 200, 3, "client_disconnected")


def test_a_client_that_leaves_before_the_next_piece_stops_the_model_server_at_that_piece(
    world: World,
) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    exchange.client_lost(LOST)
    exchange.upstream_received(None, b"two", complete=False)
    assert world.kinds()[-3:] == ["journal", "abort", "end"]
    assert world.the_end() == (Outcome.CLIENT_DISCONNECTED, 200, 3, "client_disconnected")
    world.time_passes()


def test_a_client_that_leaves_an_instant_before_the_last_chunk_has_taken_the_whole_answer(
    world: World,
) -> None:
    """As the openai client does at ``[DONE]``."""
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True), b"data: [DONE]", complete=False)
    exchange.client_lost(LOST)
    exchange.upstream_received(None, b"", complete=True)
    assert world.the_end() == (Outcome.COMPLETE, 200, 12, None)
    world.time_passes()


def test_a_client_that_leaves_before_its_request_is_whole_has_no_status(world: World) -> None:
    exchange = world.exchange()
    exchange.request_begun(b"ab", complete=False)
    exchange.client_lost(LOST)
    assert world.the_end() == (Outcome.CLIENT_DISCONNECTED, None, 0, "client_disconnected")


def test_a_client_that_leaves_after_the_last_byte_of_upstream_but_before_taking_it_disconnected(
    world: World,
) -> None:
    exchange = world.waiting_exchange()
    world.kernel_takes = False
    exchange.upstream_received(response(length=3), b"one", complete=True)
    exchange.client_lost(LOST)
    assert world.the_end()[0] is Outcome.CLIENT_DISCONNECTED


def test_a_client_that_took_every_byte_and_leaves_at_the_last_chunk_is_complete(world: World) -> None:
    """As the openai client does at ``[DONE]``, while the end still waits for its sync."""
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    world.durable_at_once = False
    exchange.upstream_received(None, b"", complete=True)
    exchange.client_lost(LOST)
    assert world.the_end() == (Outcome.COMPLETE, 200, 3, None)


def test_a_client_that_is_gone_when_the_last_chunk_is_written_has_taken_the_whole_answer(
    world: World,
) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True), b"data: [DONE]", complete=False)
    world.kernel_takes = False  # the socket is closed already, and the loop has not said so yet
    exchange.upstream_received(None, b"", complete=True)
    exchange.client_lost(LOST)
    assert world.the_end() == (Outcome.COMPLETE, 200, 12, None)


def test_a_client_that_leaves_at_the_last_chunk_with_bytes_not_yet_taken_disconnected(world: World) -> None:
    exchange = world.waiting_exchange()
    world.kernel_takes = False
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    world.durable_at_once = False
    exchange.upstream_received(None, b"", complete=True)
    exchange.client_lost(LOST)
    assert world.the_end()[0] is Outcome.CLIENT_DISCONNECTED


def test_a_refused_client_that_does_not_wait_for_the_answer_was_refused(world: World) -> None:
    exchange = world.exchange()
    world.kernel_takes = False
    exchange.answer(error_answer(400, "x", "no"), Outcome.REJECTED, request_complete=False)
    exchange.client_lost(LOST)
    assert world.the_end()[:2] == (Outcome.REJECTED, 400)


@pytest.mark.parametrize(("timeout", "status"), [(False, 502), (True, 504)])
def test_an_upstream_that_fails_before_answering_is_answered_for(
    world: World, *, timeout: bool, status: int
) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_failed(ErrorInfo("upstream_closed", "went away"), timeout=timeout)
    assert world.sent().startswith(b"HTTP/1.1 %d " % status)
    assert b'"code":"upstream_closed"' in world.sent()
    expected = Outcome.UPSTREAM_TIMEOUT if timeout else Outcome.UPSTREAM_ERROR
    assert world.the_end()[:2] == (expected, status)
    assert world.log[-1] == ("ended", True)


def test_an_upstream_that_fails_mid_response_ends_the_clients_connection_without_a_last_chunk(
    world: World,
) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    exchange.upstream_failed(ErrorInfo("upstream_closed", "went away"))
    assert world.sent().endswith(b"3\r\none\r\n")
    assert world.log[-1] == ("ended", False)
    assert world.the_end() == (Outcome.UPSTREAM_ERROR, 200, 3, "upstream_closed")


@pytest.mark.parametrize(
    "error", [JournalFullError("full"), JournalFailedError("EIO")], ids=["full", "failed"]
)
def test_what_the_journal_cannot_take_does_not_reach_the_client(world: World, error: Exception) -> None:
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    world.log.clear()
    world.journal_error = error
    exchange.upstream_received(None, b"two", complete=False)
    assert "client" not in world.kinds()
    assert world.kinds()[-1] == "reset"
    assert "abort" in world.kinds()
    if isinstance(error, JournalFullError):
        assert world.the_end() == (Outcome.INTERRUPTED, 200, None, "journal_full")


def test_by_policy_what_a_full_journal_cannot_take_passes_and_the_end_says_so(world: World) -> None:
    world.pass_when_full = True
    exchange = world.waiting_exchange()
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    world.journal_error = JournalFullError("full")
    exchange.upstream_received(None, b"two", complete=False)
    world.journal_error = None
    exchange.upstream_received(None, b"three", complete=True)
    assert world.sent().endswith(b"3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")
    assert [entry[1] for entry in world.log if entry[0] == "journal"] == ["response"]
    assert world.truncated
    assert world.the_end() == (Outcome.COMPLETE, 200, 11, None)


def test_after_its_end_nothing_moves_an_exchange(world: World) -> None:
    exchange = world.waiting_exchange()
    exchange.client_lost(LOST)
    world.log.clear()
    exchange.upstream_received(response(length=1), b"x", complete=True)
    exchange.upstream_failed(LOST)
    exchange.client_lost(LOST)
    exchange.interrupt(LOST)
    exchange.journal_lost(JournalFullError("x"))
    exchange.request_received(b"x", complete=True)
    assert world.log == []


def test_a_body_that_stops_coming_is_answered_408_and_recorded_as_the_clients_doing(world: World) -> None:
    exchange = world.exchange()
    exchange.request_begun(b"ab", complete=False)
    exchange.tick(world.now, client_waiting_since=None)
    assert world.kinds() == []
    world.now += 31
    exchange.tick(world.now, client_waiting_since=None)
    assert world.sent().startswith(b"HTTP/1.1 408 ")
    assert world.the_end()[:2] == (Outcome.CLIENT_DISCONNECTED, 408)
    assert world.log[-1] == ("ended", False)


def test_a_body_that_trickles_is_answered_408_once_it_is_slower_than_500_bytes_a_second(world: World) -> None:
    exchange = world.exchange()
    began = world.now
    exchange.request_begun(b"", complete=False)
    for second in range(1, 31):
        exchange.request_received(b"x", complete=False)
        exchange.tick(began + second, client_waiting_since=None)
    assert world.sent() == b""
    exchange.request_received(b"x", complete=False)
    exchange.tick(began + 31, client_waiting_since=None)
    assert world.sent().startswith(b"HTTP/1.1 408 ")
    assert b"31 bytes of the body came in 31 s, less than 500 a second" in world.sent()
    assert world.the_end()[:2] == (Outcome.CLIENT_DISCONNECTED, 408)
    assert exchange.keep_alive is False


def test_a_body_that_is_large_may_take_long(world: World) -> None:
    exchange = world.exchange()
    began = world.now
    exchange.request_begun(b"", complete=False)
    for second in range(1, 300):
        exchange.request_received(b"x" * 600, complete=False)
        exchange.tick(began + second, client_waiting_since=None)
    assert world.sent() == b""


def test_a_silent_upstream_is_answered_504_at_its_limit_and_not_before(world: World) -> None:
    exchange = world.waiting_exchange()
    exchange.tick(world.now + 599, client_waiting_since=None)
    assert world.log == []
    exchange.tick(world.now + 601, client_waiting_since=None)
    assert world.the_end()[:2] == (Outcome.UPSTREAM_TIMEOUT, 504)


def test_an_upstream_that_we_do_not_read_from_is_not_silent(world: World) -> None:
    exchange = world.waiting_exchange()
    world.kernel_takes = False
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    world.log.clear()
    exchange.tick(world.now + 700, client_waiting_since=world.now + 690)
    assert world.log == []


def test_a_client_that_takes_nothing_is_reset(world: World) -> None:
    exchange = world.waiting_exchange()
    world.kernel_takes = False
    exchange.upstream_received(response(chunked=True), b"one", complete=False)
    exchange.tick(world.now + 31, client_waiting_since=world.now)
    assert world.the_end()[0] is Outcome.CLIENT_DISCONNECTED
    assert world.kinds()[-1] == "reset"


def test_no_exchange_lasts_longer_than_its_limit(world: World) -> None:
    exchange = world.waiting_exchange()
    exchange.tick(world.now + 3601, client_waiting_since=None)
    assert world.the_end() == (Outcome.INTERRUPTED, None, None, "max_duration")


def test_the_table_lets_every_state_end_and_none_come_back() -> None:
    order = list(State)
    for state, following in TRANSITIONS.items():
        assert state is State.ENDED or State.ENDED in following
        assert all(order.index(next_state) > order.index(state) for next_state in following)
