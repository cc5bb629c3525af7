"""What a client makes of the bytes that it received."""

import pytest

from faults.clients import Call, parse_response

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("wire", "status", "content", "ended"),
    [
        (b"", None, b"", False),
        (b"HTTP/1.1 200 OK\r\n", None, b"", False),
        (SIZED, 200, b"", False),
        (SIZED + b"go", 200, b"go", False),
        (SIZED + b"good", 200, b"good", True),
        (SIZED + b"good and more", 200, b"good", True),
        (CHUNKED, 200, b"", False),
        (CHUNKED + b"2\r\ngo\r\n2\r\no", 200, b"goo", False),
        (CHUNKED + b"2\r\ngo\r\n2\r\nod\r\n", 200, b"good", False),
        (CHUNKED + b"2\r\ngo\r\n2\r\nod\r\n0\r\n", 200, b"good", False),
        (CHUNKED + b"2\r\ngo\r\n2\r\nod\r\n0\r\n\r\n", 200, b"good", True),
    ],
)
def test_a_response_is_whole_only_where_its_framing_says_so(wire, status, content, ended):
    call = Call("id", b"")
    parse_response(call, wire)
    assert (call.status, call.content, call.ended) == (status, content, ended)
