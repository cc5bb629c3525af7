"""The whole system as a user runs it: ``llm-audit serve`` in a process of its own, for tests."""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

from cli.waiting import eventually, is_alive, kill_quietly, read_status
from llm_audit.index.index import IndexUnavailableError
from llm_audit.index.sqlite import SqliteReader

CALLER = {"x-llm-source": "tests", "x-llm-user": "somebody", "x-llm-request-type": "chat"}


def free_port():
    """Give a port below the range from which the kernel picks, so that nobody else gets it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def serve_command(port, *arguments, pace_ms=0):
    """Give the command line that serves a demo model server, launched."""
    server = [sys.executable, "-m", "llm_audit.demo.server", "--pace-ms", str(pace_ms), "--port", str(port)]
    return [sys.executable, "-m", "llm_audit", "serve", *arguments, "--", *server]


class Served:
    """A running ``llm-audit serve``."""

    def __init__(self, folder, command, **environ):
        self.data = folder / "data"
        self.log = folder / "log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUDIT_")}
        settings = {
            "AUDIT_DATA_DIR": str(self.data),
            "AUDIT_LISTEN": "127.0.0.1:0",
            "AUDIT_CONSOLE": "off",
            "AUDIT_DURABILITY": "process",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**inherited, **settings, "AUDIT_JOURNAL_MAX_BYTES": "64MiB", **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
            )

    def status(self):
        """Give the supervisor's status, of this supervisor."""
        status = read_status(self.data / "status" / "supervisor.json")
        return status if status and status["pid"] == self.process.pid else None

    def child(self, name):
        """Give a running child's process id, or None."""
        return ((self.status() or {"children": {}})["children"].get(name) or {}).get("pid")

    def ready(self):
        """Wait until ``/health`` says that everything is; give this object."""
        eventually(lambda: self.status() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        eventually(lambda: self.health() == 200)
        return self

    def connection(self):
        """Open a connection to the proxy."""
        host, _, port = self.status()["listen"].rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=60)

    def health(self):
        """Give the status of ``/health``, or None where nobody answers."""
        with contextlib.closing(self.connection()) as connection:
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return None

    def start_call(self, text="Say hello", *, stream=False):
        """Send a chat call; give its connection and the response, whose body has not been read."""
        connection = self.connection()
        body = {"model": "demo", "messages": [{"role": "user", "content": text}], "stream": stream}
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {**CALLER, "content-type": "application/json"}
        )
        return connection, connection.getresponse()

    def call(self, text="Say hello"):
        """Make a chat call; give status, request id and body."""
        connection, response = self.start_call(text)
        with contextlib.closing(connection):
            return response.status, response.headers["x-request-id"], response.read()

    def try_call(self):
        """Make a chat call; give its request id where it was answered with 200, else None."""
        try:
            status, request_id, _ = self.call()
        except (OSError, http.client.HTTPException):
            return None
        return request_id if status == 200 else None

    def documents(self):
        """Give every stored record, by request id; no id may have two."""
        found = {}
        for path in (self.data / "objects" / "logs").rglob("*.json"):
            document = json.loads(path.read_bytes())
            assert document["requestId"] not in found
            found[document["requestId"]] = document
        return found

    def items(self, request_id):
        """Give the items of one call; none while there is no index."""
        try:
            reader = SqliteReader(self.data / "index" / "audit.sqlite3")
            with contextlib.closing(reader):
                return reader.get(request_id)
        except IndexUnavailableError:
            return ()

    def end(self):
        """Kill the supervisor and whatever of it still runs."""
        status = self.status()
        self.process.kill()
        self.process.wait()
        for child in (status or {"children": {}})["children"].values():
            kill_quietly(child["pid"], signal.SIGKILL)
            eventually(lambda pid=child["pid"]: not is_alive(pid))


def sequences(documents):
    """Give the sequences of each writer's boots, as their records have them."""
    found = {}
    for document in documents.values():
        writer = document["writer"]
        found.setdefault((writer["id"], writer["boot"]), []).append(writer["sequence"])
    return {place: sorted(numbers) for place, numbers in found.items()}


def folder_mode(path: Path):
    """Give the permission bits of a path."""
    return path.stat().st_mode & 0o777
