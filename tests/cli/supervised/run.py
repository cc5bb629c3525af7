"""Runs a supervisor over the small children of this folder; started by ``test_supervisor``."""

import os
import sys
from pathlib import Path

from llm_audit.cli.child_process import Program
from llm_audit.cli.kinds import Address
from llm_audit.cli.startup import bind_listener
from llm_audit.cli.supervision import Backoff, Child
from llm_audit.cli.supervisor import Supervisor

folder = Path(sys.argv[1])
here = Path(__file__).parent
QUICK = Backoff(first=0.01, longest=0.05, settled=60, free=1)


def child(script, name, stage, *arguments, descriptors=(), patience=20.0):
    return Program(
        Child(name, stage, patience, QUICK),
        (sys.executable, str(here / script), str(folder / name), *arguments),
        os.environ,
        descriptors=descriptors,
    )


listener = bind_listener(Address("127.0.0.1", 0), patience=0)
descriptor = listener.fileno()
programs = [
    child("answers.py", "proxy-1", 1, str(descriptor), descriptors=(descriptor,)),
    child("answers.py", "proxy-2", 1, str(descriptor), descriptors=(descriptor,)),
    child("waits.py", "shipper", 2),
    *[child("waits.py", name, 3, name, patience=60 if name == "unending" else 0.2) for name in sys.argv[2:]],
]
port = listener.getsockname()[1]
supervisor = Supervisor(programs, listener=listener, status_path=folder / "status.json", facts={"port": port})
sys.exit(supervisor.run())
