"""A child that waits for SIGTERM or the supervisor's end. Named for what it does on SIGTERM otherwise."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

behaviour = sys.argv[2] if len(sys.argv) > 2 else ""
reader, writer = os.pipe()
signal.signal(signal.SIGTERM, lambda *_: os.write(writer, b"x"))
if behaviour == "talkative":
    sys.stdout.write("x" * 200_000)
    sys.stdout.flush()
if behaviour == "refusing":
    sys.stderr.write("refused: no such thing\n")
    sys.exit(2)
if behaviour == "with-child":
    sleeper = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    Path(sys.argv[1] + ".child").write_text(str(sleeper.pid))
Path(sys.argv[1] + ".ready").touch()
while True:
    ready = select.select([reader, sys.stdin], [], [])[0]
    if behaviour in ("stubborn", "unending") and sys.stdin not in ready:
        os.read(reader, 1)
        continue
    break
with Path(sys.argv[1] + ".ended").open("a") as file:
    file.write("gone\n" if sys.stdin in ready else "asked\n")
