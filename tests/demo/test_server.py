"""The server as a process of its own."""

import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from demo_process import call, demo_process

COMMAND = [sys.executable, "-m", "llm_audit.demo.server"]
LONG = b'{"messages":[{"role":"user","content":"Count to %d"}],"stream":true}'


def opened(*arguments):
    process = subprocess.Popen([*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, text=True)
    host, port = process.stdout.readline().split("//")[1].split(":")
    return process, socket.create_connection((host, int(port)), timeout=20)


def start_stream(connection, count):
    body = LONG % count
    lines = b"POST /v1/chat/completions HTTP/1.1\r\nhost: demo\r\ncontent-length: %d\r\n\r\n" % len(body)
    connection.sendall(lines + body)
    return connection.recv(100)


def rest(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_it_takes_calls_as_soon_as_it_says_so():
    with demo_process() as url:
        assert call(url, "GET", "/health") == (200, b"")


def test_a_port_that_is_taken_is_one_clear_line_and_status_2():
    with demo_process() as url:
        port = url.rpartition(":")[2]
        ended = subprocess.run(
            [*COMMAND, "--port", port], check=False, capture_output=True, text=True, timeout=20
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"demo server: can't listen on 127.0.0.1:{port}: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--pace-ms", "-1"], ["--port", "99999"], ["--pace-ms", "quick"]])
def test_a_wrong_setting_is_status_2(arguments):
    ended = subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_though_connections_are_open(signum):
    process, connection = opened("--grace", "60")
    with process, connection:
        process.send_signal(signum)
        assert process.wait(timeout=20) == 0
        assert rest(connection) == b""


def test_a_call_in_flight_may_finish():
    process, connection = opened("--pace-ms", "10", "--grace", "60")
    with process, connection:
        start_stream(connection, 30)
        process.terminate()
        assert rest(connection).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert process.wait(timeout=20) == 0


def test_a_second_signal_cuts_what_is_in_flight():
    process, connection = opened("--pace-ms", "100", "--grace", "60")
    with process, connection:
        start_stream(connection, 10_000)
        process.terminate()
        with suppress(ConnectionError):
            while True:  # the listener closes once the first signal was taken
                socket.create_connection(connection.getpeername(), timeout=20).close()
        process.terminate()
        assert process.wait(timeout=20) == 0


def test_the_grace_limits_what_is_in_flight():
    process, connection = opened("--pace-ms", "100", "--grace", "0")
    with process, connection:
        start_stream(connection, 10_000)
        process.terminate()
        assert process.wait(timeout=20) == 0
