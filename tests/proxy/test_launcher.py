import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.waiting import eventually, is_alive, kill_quietly
from llm_audit.proxy.launcher import LaunchError, prepare

PYTHON = sys.executable

MODEL_SERVER = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder, manners = Path(sys.argv[1]), sys.argv[2]
if manners == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
engine = subprocess.Popen(["sleep", "1000"])
(folder / "engine").write_text(str(engine.pid))
(folder / "leader").write_text(str(os.getpid()))
if manners == "short":
    sys.exit(7)
time.sleep(1000)
"""

HOLDER = """
import signal, sys
from llm_audit.cli.signals import STOPS, signals_as_bytes
from llm_audit.proxy.launcher import hold
with signals_as_bytes(signal.SIGCHLD, *STOPS) as signals:
    sys.exit(hold(sys.argv[1:], lifeline=0, signals=signals, say=lambda text: None, grace=0.5) % 256)
"""


@pytest.mark.parametrize(
    ("command", "default_port", "expected"),
    [
        ([PYTHON], 8001, ([PYTHON, "--host", "127.0.0.1", "--port", "8001"], "127.0.0.1", 8001)),
        (
            [PYTHON, "--port", "9000"],
            8001,
            ([PYTHON, "--port", "9000", "--host", "127.0.0.1"], "127.0.0.1", 9000),
        ),
        ([PYTHON, "--port=9000", "--host=::1"], 8001, ([PYTHON, "--port=9000", "--host=::1"], "::1", 9000)),
        (
            [PYTHON, "--host", "localhost", "--port", "1", "--port", "2"],
            8001,
            ([PYTHON, "--host", "localhost", "--port", "1", "--port", "2"], "localhost", 2),
        ),
    ],
)
def test_a_command_gets_the_host_and_port_that_it_does_not_name(command, default_port, expected):
    launch = prepare(command, default_port=default_port)
    assert (list(launch.argv), launch.host, launch.port) == expected


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org", ""])
def test_a_command_that_names_a_host_others_can_reach_is_refused(host):
    with pytest.raises(LaunchError, match="--allow-model-host"):
        prepare([PYTHON, f"--host={host}"], default_port=8001)


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3"), ("127.0.0.9", "127.0.0.9")],
)
def test_an_operator_may_insist_on_a_host_and_the_proxy_reaches_it_locally(host, reached):
    assert prepare([PYTHON, "--host", host], default_port=8001, any_host=True).host == reached


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "٣"])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(LaunchError, match="--port"):
        prepare([PYTHON, f"--port={port}"], default_port=8001)


def test_a_program_that_does_not_exist_is_refused_by_name():
    with pytest.raises(LaunchError, match="'no-such-model-server'"):
        prepare(["no-such-model-server"], default_port=8001)
    with pytest.raises(LaunchError, match="no command"):
        prepare([], default_port=8001)


class Held:
    """A holder process over a model server with an engine of its own."""

    def __init__(self, folder, manners):
        self.process = subprocess.Popen(
            [PYTHON, "-c", HOLDER, PYTHON, "-c", MODEL_SERVER, str(folder), manners],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        path = folder / "leader"
        self.leader = int(eventually(lambda: path.exists() and path.read_text()))
        self.engine = int((folder / "engine").read_text())

    def end(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        kill_quietly(self.leader, signal.SIGKILL)
        kill_quietly(self.engine, signal.SIGKILL)


@pytest.fixture
def hold(tmp_path: Path):
    held = []

    def start(manners):
        held.append(Held(tmp_path, manners))
        return held[-1]

    yield start
    for one in held:
        one.end()


def test_sigterm_ends_the_model_server_and_what_it_started(hold):
    held = hold("polite")
    held.process.terminate()
    assert held.process.wait(20) == -signal.SIGTERM % 256
    assert not is_alive(held.leader)
    eventually(lambda: not is_alive(held.engine))


def test_a_model_server_that_ignores_sigterm_is_killed_with_its_group(hold):
    held = hold("stubborn")
    held.process.terminate()
    assert held.process.wait(20) == -signal.SIGKILL
    eventually(lambda: not is_alive(held.leader))
    eventually(lambda: not is_alive(held.engine))


@pytest.mark.parametrize("manners", ["polite", "stubborn"])
def test_when_the_supervisor_is_gone_nothing_of_the_model_server_is_left(hold, manners):
    held = hold(manners)
    held.process.stdin.close()
    assert held.process.wait(20) == -signal.SIGKILL
    eventually(lambda: not is_alive(held.leader))
    eventually(lambda: not is_alive(held.engine))


def test_a_model_server_that_ends_gives_its_exit_code(hold):
    held = hold("short")
    assert held.process.wait(20) == 7


def test_the_model_server_shares_the_holders_process_group(hold):
    """So the supervisor can end it when the holder itself was killed."""
    held = hold("polite")
    assert os.getpgid(held.leader) == os.getpgid(held.engine) == held.process.pid


def test_a_model_server_ends_with_its_holder_though_no_supervisor_is_there_to_see_to_it(hold):
    held = hold("polite")
    held.process.kill()  # the holder alone, and nobody kills its group
    held.process.wait()
    eventually(lambda: not is_alive(held.leader), within=5.0)
