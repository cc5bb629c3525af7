"""Programs that stand in for ``aws``, ``docker``, ``ssh``: note how they were called, print what they are told to."""

import json
import os
import sys
from pathlib import Path

_PROGRAM = """#!{python} -IS
import json, sys
from pathlib import Path
folder = Path({folder!r})
name, arguments = {name!r}, sys.argv[1:]
takes_input = {takes_input!r} and {takes_input!r} in arguments
files = [Path(word[7:]).read_text() for word in arguments if word.startswith("file://") and Path(word[7:]).exists()]
call = {{"files": files, "program": name, "arguments": arguments, "input": sys.stdin.read() if takes_input else None}}
with (folder / "calls.jsonl").open("a") as log:
    log.write(json.dumps(call) + "\\n")
for words, output, code in json.loads((folder / (name + ".answers")).read_text()):
    if arguments[: len(words)] == words:
        sys.stdout.write(output)
        sys.exit(code)
"""


class StandIns:
    """A folder for ``PATH`` with stand-ins, and what they were called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def add(self, name, answers=(), *, takes_input=None):
        """Add a program. ``answers``: (its first arguments, what it prints, its exit code); else it says nothing."""
        (self.folder / f"{name}.answers").write_text(json.dumps([list(answer) for answer in answers]))
        program = self.folder / name
        program.write_text(
            _PROGRAM.format(
                python=sys.executable, folder=str(self.folder), name=name, takes_input=takes_input
            )
        )
        program.chmod(0o755)

    @property
    def path(self):
        """``PATH`` with the stand-ins first."""
        return f"{self.folder}:{os.environ['PATH']}"

    def calls(self):
        """Every call so far: program, arguments, input, and the content of each ``file://`` argument."""
        log = self.folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def commands(self):
        """Every call as program and arguments, in order."""
        return [[call["program"], *call["arguments"]] for call in self.calls()]
