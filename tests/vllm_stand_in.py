"""A ``vllm`` for ``PATH`` that becomes the demo model server: a real process, as the image's entry point launches it."""

import sys


def stand_in_vllm(folder):
    """Put a program called ``vllm`` into a folder: notes how it was called and becomes the demo model server."""
    folder.mkdir()
    (folder / "vllm").write_text(
        f"""#!{sys.executable}
import json, os, sys
with open({str(folder / "called.json")!r}, "w") as file:
    json.dump({{"argv": sys.argv[1:], "environ": dict(os.environ), "pid": os.getpid()}}, file)
port = sys.argv[sys.argv.index("--port") + 1]
os.execv({sys.executable!r}, [{sys.executable!r}, "-m", "llm_audit.demo.server", "--port", port, "--pace-ms", "0"])
"""
    )
    (folder / "vllm").chmod(0o755)
    return folder / "called.json"
