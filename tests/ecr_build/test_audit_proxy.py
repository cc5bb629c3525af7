"""The image's entry point: what it makes of the environment, and the container's processes as they really run."""

import json
import os
import signal
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from cli.served import Served, free_port
from cli.waiting import eventually, is_alive
from vllm_stand_in import stand_in_vllm

PROGRAM = Path(__file__).parents[2] / "docker/ecr-build/app/audit_proxy.py"
_SPEC = spec_from_file_location("audit_proxy", PROGRAM)
audit_proxy = module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit_proxy)

HUB = {"AUDIT_BUCKET": "central-llm-audit", "MODEL": "mistralai/Ministral-8B-Instruct-2410"}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "models" / "mistral8b"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def arguments(**environ):
    return audit_proxy.command_line(HUB | environ, [])


def refusal(environ, *words):
    with pytest.raises(audit_proxy.SettingError) as caught:
        audit_proxy.command_line(environ, words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_vllm_is_launched_behind_the_proxy_on_loopback():
    assert arguments() == [
        "serve",
        "--",
        "vllm",
        "serve",
        HUB["MODEL"],
        "--host",
        "127.0.0.1",
        "--port",
        "8001",
    ]


def test_options_of_vllm_are_split_as_a_shell_would():
    words = arguments(
        VLLM_ARGS="""--served-model-name mistral8b --override-generation-config '{"top_p": 1}'"""
    )
    assert words[5:-4] == ["--served-model-name", "mistral8b", "--override-generation-config", '{"top_p": 1}']


def test_vllm_moves_to_another_port_with_the_upstream():
    assert arguments(AUDIT_UPSTREAM="http://127.0.0.1:9001")[-4:] == ["--host", "127.0.0.1", "--port", "9001"]


def test_without_a_bucket_nothing_starts():
    assert refusal({"MODEL": HUB["MODEL"]}).startswith("AUDIT_BUCKET is not set; expected the bucket")
    assert "AUDIT_BUCKET" in refusal(HUB | {"AUDIT_BUCKET": ""})


@pytest.mark.parametrize(
    "option",
    ["--host 0.0.0.0", "--host=::", "--port 8000", "--uds /x", "--ssl_keyfile k", "-- x", "--ssl-certfile=c"],
)
def test_an_option_with_which_calls_would_go_past_the_audit_is_refused(option):
    assert refusal(HUB | {"VLLM_ARGS": f"--max-model-len 8192 {option}"}).startswith("VLLM_ARGS has --")


def test_a_quote_that_stays_open_is_refused_without_showing_what_may_be_a_key():
    said = refusal(HUB | {"VLLM_ARGS": "--api-key 'sk-very-secret"})
    assert said.startswith("VLLM_ARGS cannot be read: No closing quotation")
    assert "secret" not in said


@pytest.mark.parametrize(
    "model", ["", "--port", "a b", "s3://bucket/model", "a/b/c", "/nowhere", "./nowhere"]
)
def test_a_model_that_cannot_be_there_is_refused(model):
    assert refusal(HUB | {"MODEL": model}).startswith(f"MODEL is {model!r}")


@pytest.mark.parametrize(
    "upstream", ["http://gpu:8001", "https://127.0.0.1:8001", "http://127.0.0.1", "8001"]
)
def test_an_upstream_elsewhere_is_refused(upstream):
    assert refusal(HUB | {"AUDIT_UPSTREAM": upstream}).startswith("AUDIT_UPSTREAM is")


def test_a_command_is_refused_and_shown_where_options_go():
    assert "VLLM_ARGS" in refusal(HUB, "--max-model-len", "8192")


def test_a_staged_model_is_loaded_without_asking_the_hub(model):
    staged = HUB | {"MODEL": str(model)}
    assert audit_proxy.command_line(staged, [])[4] == str(model)
    assert audit_proxy._environment(staged)["HF_HUB_OFFLINE"] == "1"
    assert audit_proxy._environment(staged | {"HF_HUB_OFFLINE": "0"})["HF_HUB_OFFLINE"] == "0"
    assert "HF_HUB_OFFLINE" not in audit_proxy._environment(HUB)


def test_a_refusal_is_one_line_and_exit_code_2():
    ran = subprocess.run(
        [sys.executable, PROGRAM],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert ran.stderr.startswith("audit_proxy: AUDIT_BUCKET is not set")


def test_what_llm_audit_refuses_ends_the_container_with_its_one_line(model):
    environ = {"PATH": os.environ["PATH"], "MODEL": str(model), "AUDIT_BUCKET": "Not_A_Bucket"}
    ran = subprocess.run([sys.executable, PROGRAM], env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith("Error: AUDIT_BUCKET (flag --bucket): got 'Not_A_Bucket'")


@pytest.fixture
def container(tmp_path, model):
    called = stand_in_vllm(tmp_path / "bin")
    port = free_port()
    served = Served(
        tmp_path,
        [sys.executable, str(PROGRAM)],
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        MODEL=str(model),
        VLLM_ARGS="--served-model-name mistral8b --max-model-len 8192",
        AUDIT_UPSTREAM=f"http://127.0.0.1:{port}",
        AUDIT_BUCKET=(tmp_path / "data" / "objects").as_uri(),
        AUDIT_GATEWAY_SECRET="a-secret-of-the-gateway",
    )
    try:
        served.ready()
        yield served, json.loads(called.read_text()), port
    finally:
        served.end()


def test_the_container_serves_audited_calls_and_sigterm_drains_it(container, model):
    served, called, port = container
    assert called["argv"] == [
        *("serve", str(model), "--served-model-name", "mistral8b", "--max-model-len", "8192"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    assert called["environ"]["HF_HUB_OFFLINE"] == "1"
    assert [name for name in called["environ"] if name.startswith("AUDIT_")] == []

    status, request_id, _ = served.call("What is the capital of France?")
    assert status == 200
    document = eventually(lambda: served.documents().get(request_id))
    assert (document["outcome"], document["source"]) == ("complete", "tests")

    served.process.send_signal(signal.SIGTERM)  # reaches llm-audit: the entry point has become it
    assert served.process.wait(60) == 0
    assert not is_alive(called["pid"])


def test_the_health_check_tells_a_ready_container_from_one_that_is_gone(container, tmp_path):
    served, _, _ = container
    program = [sys.executable, PROGRAM.with_name("health.py")]
    environ = {"AUDIT_LISTEN": served.status()["listen"]}
    ready = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
    assert (ready.returncode, ready.stdout) == (0, "")

    served.process.send_signal(signal.SIGTERM)
    served.process.wait(60)
    gone = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
    assert (gone.returncode, gone.stdout.count("\n")) == (1, 1)
    assert gone.stdout.startswith("nobody answers: ")


def test_the_health_check_says_why_a_container_is_not_ready(tmp_path):
    command = [sys.executable, "-m", "llm_audit", "serve", "--upstream", f"http://127.0.0.1:{free_port()}"]
    served = Served(tmp_path, command)
    try:
        eventually(lambda: served.status() and served.health())
        environ = {"AUDIT_LISTEN": served.status()["listen"].replace("127.0.0.1", "0.0.0.0")}
        ran = subprocess.run(
            [sys.executable, PROGRAM.with_name("health.py")],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        served.end()
    assert ran.returncode == 1
    assert ran.stdout.startswith("503: ")
    assert ran.stdout.count("\n") == 1
