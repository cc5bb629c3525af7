"""Hold a model server: ``python -m llm_audit.cli.processes.model_server COMMAND…``, started by the supervisor."""

from __future__ import annotations

import signal
import sys

from llm_audit.cli.signals import STOPS, signals_as_bytes
from llm_audit.proxy.launcher import hold


def main() -> int:
    """Run the command until it ends or is ended; give its exit code, as a shell would."""
    try:
        with signals_as_bytes(signal.SIGCHLD, *STOPS) as signals:
            code = hold(sys.argv[1:], lifeline=sys.stdin.fileno(), signals=signals, say=_say)
    except OSError as error:
        _say(f"cannot start the model server: {error}")
        return 127
    return code if code >= 0 else 128 - code


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
