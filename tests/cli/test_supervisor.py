import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.waiting import eventually, is_alive, kill_quietly, read_status

DRIVER = Path(__file__).parent / "supervised" / "run.py"


class Running:
    """A supervisor in a process of its own, over small children."""

    def __init__(self, folder, names):
        self.folder = folder
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(DRIVER), str(folder), *names], stdin=subprocess.DEVNULL, stderr=log
            )
        self.status_path = folder / "status.json"

    def status(self):
        return read_status(self.status_path)

    def all_running(self, count):
        eventually(lambda: len(list(self.folder.glob("*.ready"))) == count)
        return self.status()

    def call(self):
        """Connect and read who answers; the connection stays open for as long as the caller keeps it."""
        connection = socket.create_connection(("127.0.0.1", self.status()["port"]), timeout=30)
        return connection, int(connection.makefile("rb").readline())

    def ended(self, name):
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / f"{name}.ended").read_text().splitlines()
        return []

    def restarted(self, name, old):
        def fact():
            child = (self.status() or {"children": {}})["children"].get(name)
            return child and child["pid"] != old and child

        return eventually(fact)

    def end(self):
        status = self.status()
        self.process.kill()
        self.process.wait()
        for child in (status or {"children": {}})["children"].values():
            kill_quietly(child["pid"], signal.SIGKILL)


@pytest.fixture
def run(tmp_path):
    running = []

    def start(*names):
        running.append(Running(tmp_path, names))
        return running[-1]

    yield start
    for one in running:
        one.end()


def test_a_status_that_the_disk_did_not_take_is_written_once_it_does(run):
    supervisor = run()
    before = supervisor.all_running(3)["children"]["proxy-1"]["pid"]
    in_the_way = supervisor.folder / f".status.json.{supervisor.process.pid}"
    in_the_way.mkdir()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: "cannot write" in supervisor.log.read_text())
    assert supervisor.status()["children"]["proxy-1"]["pid"] == before
    in_the_way.rmdir()
    assert supervisor.restarted("proxy-1", before)["restarts"] == 1


def test_every_child_that_is_killed_comes_back(run):
    supervisor = run()
    first = supervisor.all_running(3)["children"]
    for name, child in first.items():
        os.kill(child["pid"], signal.SIGKILL)
        assert supervisor.restarted(name, child["pid"])["restarts"] == 1
    assert "proxy-1 was ended by SIGKILL" in supervisor.log.read_text()


def test_no_call_is_refused_while_both_workers_are_killed_again_and_again(run):
    supervisor = run()
    supervisor.all_running(3)
    answered = set()
    for _ in range(12):
        connection, pid = supervisor.call()
        answered.add(pid)
        os.kill(pid, signal.SIGKILL)
        connection.close()
    assert len(answered) == 12


def test_sigterm_lets_a_call_in_flight_finish_then_ends_the_next_stage(run):
    supervisor = run()
    supervisor.all_running(3)
    connection, pid = supervisor.call()
    supervisor.process.send_signal(signal.SIGTERM)
    eventually(lambda: len(list(supervisor.folder.glob("*.draining"))) == 2)
    assert is_alive(pid)
    assert not supervisor.ended("shipper")
    connection.sendall(b"done")
    with connection:
        assert connection.makefile("rb").read() == b"finished\n"
    assert supervisor.process.wait(30) == 0
    assert supervisor.ended("proxy-1") == supervisor.ended("proxy-2") == ["drained"]
    assert supervisor.ended("shipper") == ["asked"]
    assert not supervisor.status_path.exists()


def test_new_connections_are_refused_once_workers_have_drained_although_the_supervisor_still_runs(run):
    supervisor = run("unending")
    status = supervisor.all_running(4)
    port = status["port"]
    supervisor.process.send_signal(signal.SIGTERM)
    for name in ("proxy-1", "proxy-2"):
        eventually(lambda pid=status["children"][name]["pid"]: not is_alive(pid))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert supervisor.process.poll() is None


def test_a_child_that_does_not_end_in_time_is_killed_and_the_exit_code_is_still_0(run):
    supervisor = run("stubborn")
    supervisor.all_running(4)
    supervisor.process.send_signal(signal.SIGTERM)
    assert supervisor.process.wait(30) == 0
    assert supervisor.ended("stubborn") == []
    assert "stubborn did not end in time: killed" in supervisor.log.read_text()


def test_what_a_killed_child_had_started_is_killed_with_it(run):
    supervisor = run("with-child")
    supervisor.all_running(4)
    path = supervisor.folder / "with-child.child"
    sleeper = int(eventually(lambda: path.exists() and path.read_text()))
    os.kill(supervisor.status()["children"]["with-child"]["pid"], signal.SIGKILL)
    eventually(lambda: not is_alive(sleeper))


def test_when_the_supervisor_is_killed_every_child_learns_it_and_the_port_is_free(run):
    supervisor = run()
    status = supervisor.all_running(3)
    supervisor.process.kill()
    for child in status["children"].values():
        eventually(lambda pid=child["pid"]: not is_alive(pid))
    assert supervisor.ended("shipper") == ["gone"]
    with socket.create_server(("127.0.0.1", status["port"]), reuse_port=False):
        pass


def test_a_child_that_refuses_stops_everything_and_its_words_are_passed_on(run):
    supervisor = run("refusing")
    assert supervisor.process.wait(30) == 2
    assert "refusing | refused: no such thing" in supervisor.log.read_text()


def test_log_lines_carry_their_childs_name_and_long_ones_are_cut(run):
    supervisor = run("talkative")
    eventually(lambda: supervisor.log.read_text().count("x") >= 180_000)
    lines = [line for line in supervisor.log.read_text().splitlines() if line.startswith("talkative | ")]
    assert len(lines) > 10
    assert max(len(line) for line in lines) < 20_000


def test_a_signal_storm_is_survived(run):
    supervisor = run()
    supervisor.all_running(3)
    for _ in range(50):
        supervisor.process.send_signal(signal.SIGCHLD)
    supervisor.process.send_signal(signal.SIGINT)
    assert supervisor.process.wait(30) == 0
