"""A call through the gateway, as a caller makes it. Standard library only."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from llm_audit.deploy.errors import DeployError, WrongUsageError

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """Give the body's value; None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def said(self) -> str:
        """What the body says, in a line."""
        return self.body[:300].decode("utf-8", "replace").strip()


def call(url: str, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> Answer:
    """Make one call to ``url`` + ``path``; ``body`` goes as JSON. Raises DeployError where nobody answers."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WrongUsageError(
            f"--api-url {url!r} is no http(s) URL", "give the gateway's address with its stage"
        )
    factory = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = factory(parts.hostname, parts.port, timeout=SECONDS)
    sent = {"content-type": "application/json", **headers} if body is not None else dict(headers)
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, parts.path.rstrip("/") + path, content, sent)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    except (OSError, ssl.SSLError, http.client.HTTPException) as error:
        raise DeployError(
            f"{parts.hostname} does not answer: {error}",
            "check --api-url, the network and the stage's deployment",
        ) from None
    finally:
        connection.close()
