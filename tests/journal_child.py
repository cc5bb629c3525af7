"""A process of its own for the journal's tests: ``python journal_child.py write|collect|recover DIRECTORY``.

``write`` makes calls for ever, several at a time, and prints a line after each step: ``begun N``, ``ended N``. What it
printed happened. The parent kills it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from journal_kit import Call, begin, drain, finish, open_writer, respond, roll
from llm_audit.journal.reader import WriterReader
from llm_audit.journal.recovery import try_recover


def call(boot: int, number: int) -> Call:
    """Give the N-th call of a boot: its content follows from its number, so anyone can check it."""
    name = f"{boot}-{number}"
    sizes = [1 + (number * 7919 + index * 104729) % 4000 for index in range(number % 6)]
    return Call(
        name, (name.encode() * (1 + number % 50), b"tail"), tuple(name.encode() * size for size in sizes)
    )


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def write(directory: Path) -> None:
    writer = open_writer(directory)
    boot = writer.opening.boot
    say("boot", boot)
    pending = []
    number = 0
    while True:
        one = call(boot, number)
        if not writer.has_room(100_000):
            continue
        exchange = begin(writer, one)
        say("begun", one.name)
        pending.append((one, exchange))
        number += 1
        if number % 40 == 0:
            roll(writer)
        if len(pending) == 5:
            for done, open_exchange in (pending.pop(number % 4), pending.pop(0)):
                respond(open_exchange, done)
                finish(open_exchange, done)
                say("ended", done.name)


def collect(directory: Path) -> None:
    reader = WriterReader(directory)
    for ended in drain(reader):
        reader.stored(ended)
    reader.collect()
    say("collected")


if __name__ == "__main__":
    command, folder = sys.argv[1], Path(sys.argv[2])
    if command == "write":
        write(folder)
    elif command == "collect":
        collect(folder)
    else:
        say("recovered", try_recover(folder))
