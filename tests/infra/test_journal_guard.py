"""The program that holds an instance's end until its journal is shipped: taken out of host.yaml and run.

Instance metadata and the ECS agent are a real HTTP server here; ``aws`` and ``docker`` are stand-ins, whose answers the
test changes as Auto Scaling, ECS and the shipper would.
"""

import json
import re
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra_templates import load, resolved
from stand_ins import StandIns

INSTANCE = "i-0a1b2c3d4e5f60718"
CONTAINER = "arn:aws:ecs:eu-central-1:123456789012:container-instance/llm-audit/abc"
PARAMETERS = {"NamePrefix": "llm-audit", "Cluster": "llm-audit", "Journal": "vol-0a1b2c3d"}


def user_data():
    """Give the instance's start script as CloudFormation fills it in."""
    host = load("host.yaml")["Resources"]["HostTemplate"]["Properties"]["LaunchTemplateData"]
    return resolved(host["UserData"]["Fn::Base64"], PARAMETERS, {})


def written_by_user_data(path):
    """Give the content of a file that the start script writes."""
    return re.search(rf"cat >{re.escape(path)} <<'END'\n(.*?)\nEND\n", user_data(), re.DOTALL)[1] + "\n"


class Machine:
    """What surrounds the program on its instance."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.stand_ins = StandIns(folder / "bin")
        self.stand_ins.add("aws")
        self.task_runs(True)
        (self.data / "journal/w-1").mkdir(parents=True)
        (self.data / "status").mkdir()
        self.state = "InService"
        self.asked = threading.Event()

    def task_runs(self, runs):
        self.stand_ins.add("docker", [(["ps"], "c0ffee\n" if runs else "", 0)])

    def segments(self, *names):
        for old in (self.data / "journal/w-1").iterdir():
            old.unlink()
        for name in names:
            (self.data / "journal/w-1" / name).write_bytes(b"")

    def shipper_says(self, *, error=None, age_ms=0, before_s=0.0):
        status = {
            "updatedAt": int((time.time() - before_s) * 1000),
            "storeError": error,
            "backlogAgeMs": age_ms,
        }
        temporary = self.data / "status/.new"
        temporary.write_text(json.dumps(status))
        temporary.replace(self.data / "status/shipper.json")

    def hook_calls(self):
        """Every call to Auto Scaling and ECS so far, heartbeats aside: the verb, and the state asked for."""
        calls = [call["arguments"] for call in self.stand_ins.calls() if call["program"] == "aws"]
        told = [(words[1], words[-1]) for words in calls]
        return [told_one for told_one in told if told_one[0] != "record-lifecycle-action-heartbeat"]

    def answer(self, path):
        if path.endswith("/instance-id"):
            return INSTANCE
        if path.endswith("/target-lifecycle-state"):
            self.asked.set()
            return self.state
        return json.dumps({"ContainerInstanceArn": CONTAINER}) if path == "/v1/metadata" else "token"


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def guard(machine, tmp_path):
    """The program, running; it is ended with the test."""

    class Local(BaseHTTPRequestHandler):
        def do_GET(self):
            body = machine.answer(self.path).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815 - the name is the library's

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Local)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    settings = written_by_user_data("/etc/llm-audit/host")
    for name, value in {"DATA": machine.data, "IMDS": here, "AGENT": here, "PAUSE": "0.05"}.items():
        settings = re.sub(rf"^{name}=.*$", f"{name}={value}", settings, flags=re.MULTILINE)
    (tmp_path / "host").write_text(settings)
    program = tmp_path / "guard"
    program.write_text(written_by_user_data("/usr/local/bin/llm-audit-journal-guard"))
    program.chmod(0o755)
    with subprocess.Popen(
        ["bash", str(program), str(tmp_path / "host")],
        env={"PATH": machine.stand_ins.path},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        yield running
        running.kill()
    server.shutdown()
    server.server_close()


def wait_for(holds, running):
    """Wait until something holds; the test's own time limit ends it."""
    while not holds():
        assert running.poll() is None, running.stdout.read()
        time.sleep(0.02)


DRAIN = ("update-container-instances-state", "DRAINING")
LET_IN = ("update-container-instances-state", "ACTIVE")
AGREE = ("complete-lifecycle-action", "CONTINUE")


def test_the_start_script_and_the_program_are_sound_shell(tmp_path):
    shellcheck = Path(sys.executable).parent / "shellcheck"
    for name, text in {
        "start": user_data(),
        "guard": written_by_user_data("/usr/local/bin/llm-audit-journal-guard"),
    }.items():
        path = tmp_path / name
        path.write_text(text)
        # SC1090, SC1091, SC2154: the settings that it sources are on the instance.
        ran = subprocess.run(
            [shellcheck, "--shell=bash", "--exclude=SC1090,SC1091,SC2154", path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.stdout == ""


def test_user_data_fits_into_what_ec2_takes():
    assert len(user_data().encode()) < 16_384


def test_an_instance_in_service_is_left_alone(machine, guard):
    for _ in range(3):
        machine.asked.clear()
        assert machine.asked.wait(30)
    assert machine.stand_ins.commands() == []
    assert guard.poll() is None


def test_an_instance_ends_when_the_task_has_stopped_and_no_segment_is_left(machine, guard):
    machine.segments("00000001-00000000.seg")
    machine.shipper_says()
    machine.state = "Terminated"
    wait_for(lambda: DRAIN in machine.hook_calls(), guard)
    machine.segments()  # the shipper's clean end
    machine.task_runs(False)
    assert guard.wait(60) == 0
    assert machine.hook_calls() == [DRAIN, DRAIN, AGREE]
    assert "the journal is empty" in guard.stdout.read()


def test_an_instance_is_held_while_the_store_is_away(machine, guard):
    machine.segments("00000001-00000000.seg")
    machine.shipper_says(error={"message": "no answer"}, age_ms=90_000)
    machine.state = "Terminated"
    heartbeat = [
        "aws",
        "autoscaling",
        "record-lifecycle-action-heartbeat",
        "--auto-scaling-group-name",
        "llm-audit-host",
    ]
    heartbeat += ["--lifecycle-hook-name", "llm-audit-journal", "--instance-id", INSTANCE]
    wait_for(lambda: heartbeat in machine.stand_ins.commands(), guard)
    for _ in range(5):
        before = len(machine.stand_ins.calls())
        wait_for(lambda before=before: len(machine.stand_ins.calls()) > before, guard)
    assert machine.hook_calls() == []
    machine.shipper_says()  # the store is back
    wait_for(lambda: DRAIN in machine.hook_calls(), guard)
    machine.segments()
    machine.task_runs(False)
    assert guard.wait(60) == 0


def test_a_status_that_nobody_renews_counts_for_nothing(machine, guard):
    machine.segments("00000001-00000000.seg")
    machine.shipper_says(before_s=600)
    machine.state = "Terminated"
    for _ in range(5):
        before = len(machine.stand_ins.calls())
        wait_for(lambda before=before: len(machine.stand_ins.calls()) > before, guard)
    assert machine.hook_calls() == []


def test_a_task_that_left_records_behind_is_let_back_in_to_ship_them(machine, guard):
    machine.segments("00000001-00000000.seg")
    machine.shipper_says()
    machine.state = "Terminated"
    wait_for(lambda: DRAIN in machine.hook_calls(), guard)
    machine.task_runs(False)  # killed at the end of its time: the segment is still there
    wait_for(lambda: LET_IN in machine.hook_calls(), guard)
    machine.shipper_says()
    machine.task_runs(True)
    wait_for(lambda: machine.hook_calls().count(DRAIN) == 2, guard)
    machine.segments()
    machine.task_runs(False)
    assert guard.wait(60) == 0
    assert machine.hook_calls() == [DRAIN, LET_IN, DRAIN, DRAIN, AGREE]
    assert "let back in" in guard.stdout.read()


def test_an_instance_on_which_nothing_ever_ran_ends_at_once(machine, guard):
    machine.task_runs(False)
    machine.state = "Terminated"
    assert guard.wait(60) == 0
    assert machine.hook_calls() == [DRAIN, AGREE]


def test_no_task_starts_before_the_disk_is_there_and_only_an_empty_disk_is_formatted():
    script = textwrap.dedent(user_data())
    attach, empty, mount = (
        script.index(part) for part in ("aws ec2 attach-volume", "blkid", 'mount "$DATA"')
    )
    assert attach < empty < mount
    assert 'blkid "$disk" || mkfs.xfs' in script
