"""The image's health check: asks ``/health`` of the proxy, which answers for proxy, journal and model server together.

Exit code 0 where all are ready; otherwise 1, with the reason as one line, which ``docker inspect`` shows.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Mapping

_TIMEOUT_S = 8.0
_LONGEST = 300


def check(environ: Mapping[str, str]) -> str | None:
    """Give what is wrong, or None. Raises OSError and HTTPException where nobody answers rightly."""
    host, _, port = (environ.get("AUDIT_LISTEN") or "0.0.0.0:8000").rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host).strip("[]")  # noqa: S104 - compared, never bound
    connection: http.client.HTTPConnection
    if environ.get("AUDIT_TLS_CERT"):
        # To itself, over loopback: the certificate names the host that callers use.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - see above
        connection = http.client.HTTPSConnection(host, int(port), timeout=_TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        said = answer.read(_LONGEST).decode("utf-8", "replace")
    finally:
        connection.close()
    return None if answer.status == http.client.OK else f"{answer.status}: {said}"


def main() -> int:
    """Say what is wrong, if anything; give the exit code."""
    try:
        wrong = check(os.environ)
    except (OSError, ValueError, http.client.HTTPException) as error:
        wrong = f"nobody answers: {error}"
    if wrong is not None:
        print(" ".join(wrong.split()))
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main())
