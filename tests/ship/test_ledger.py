from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys

import pytest

from llm_audit.ship.ledger import FORMAT_VERSION, KEEP_MS, Ledger, LedgerError, Mark, StoredRecord

A, B = "w-0000000a", "w-0000000b"


def record(sequence: int, *, writer: str = A, boot: int = 1) -> StoredRecord:
    return StoredRecord(
        writer, boot, sequence, f"{sequence:064x}", f"logs/{writer}-{boot}-{sequence}.json", 100
    )


def mark(sequence: int, *, boot: int = 1) -> Mark:
    return Mark((boot, sequence), f"{sequence:064x}")


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    yield ledger
    ledger.close()


def test_what_was_committed_is_known_after_a_restart(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger(path)
    ledger.commit([record(0), record(1), record(3)], {A: mark(1)}, 1000)
    ledger.close()

    ledger = Ledger(path)

    assert ledger.mark(A) == mark(1)
    assert ledger.mark(B) is None
    assert ledger.beyond(A, (1, 1)) == {(1, 3): f"{3:064x}"}
    assert ledger.beyond(A, None).keys() == {(1, 0), (1, 1), (1, 3)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ledger.close()
    ledger.close()


def test_boots_come_before_sequences_in_the_order(ledger):
    ledger.commit([record(9), record(0, boot=2)], {A: mark(9)}, 1000)

    assert ledger.beyond(A, (1, 9)).keys() == {(2, 0)}


def test_a_row_that_is_there_already_stays_as_it_was(ledger):
    ledger.commit([record(0)], {}, 1000)
    ledger.commit([StoredRecord(A, 1, 0, "ff" * 32, "elsewhere", 1), record(1)], {}, 2000)

    assert [row for _, row in ledger.untold(10)] == [record(0), record(1)]


def test_records_are_told_once_in_the_order_of_storing(ledger):
    ledger.commit([record(2), record(0)], {}, 1000)
    ledger.commit([record(1, writer=B)], {}, 1000)

    batch = ledger.untold(2)
    assert [row for _, row in batch] == [record(2), record(0)]
    ledger.tell(batch[-1][0])
    assert [row for _, row in ledger.untold(2)] == [record(1, writer=B)]
    assert ledger.count_untold() == 1


def test_what_was_set_aside_is_late_until_it_is_told(ledger):
    ledger.commit([record(n) for n in range(3)], {}, 1000)
    batch = ledger.untold(3)

    ledger.tell(batch[-1][0], except_ids=[batch[1][0]])

    assert ledger.untold(3) == []
    assert [row for _, row in ledger.late(3)] == [record(1)]
    assert ledger.count_untold() == 1
    ledger.tell_late([batch[1][0]])
    assert ledger.late(3) == []
    assert ledger.count_untold() == 0


def test_where_nobody_is_told_nothing_is_left_to_tell(ledger):
    ledger.commit([], {}, 1000, is_told=True)
    ledger.commit([record(0)], {}, 1000, is_told=True)

    assert ledger.untold(10) == []
    assert ledger.count_untold() == 0


def test_only_old_told_rows_behind_the_mark_are_forgotten(ledger):
    ledger.commit([record(n) for n in range(5)], {A: mark(3)}, 1000)
    ledger.commit([record(5)], {}, 2000)
    batch = ledger.untold(10)
    ledger.tell(batch[3][0], except_ids=[batch[0][0]])

    assert ledger.forget(1000 + KEEP_MS) == 0
    assert ledger.forget(1001 + KEEP_MS) == 3  # 1, 2 and 3: 0 is late, 4 is untold and past the mark

    assert ledger.beyond(A, (0, 0)).keys() == {(1, 0), (1, 4), (1, 5)}


def test_forgetting_everything_loses_neither_the_mark_nor_the_order_of_telling(ledger):
    ledger.commit([record(0)], {A: mark(0)}, 1000, is_told=True)
    assert ledger.forget(2000 + KEEP_MS) == 1

    ledger.commit([record(1)], {}, 1000)

    assert ledger.mark(A) == mark(0)
    assert [row for _, row in ledger.untold(10)] == [record(1)]


def test_forgetting_is_done_in_small_pieces(ledger):
    ledger.commit([record(n) for n in range(5)], {A: mark(4)}, 1000, is_told=True)

    assert ledger.forget(2000 + KEEP_MS, limit=2) == 2
    assert ledger.forget(2000 + KEEP_MS, limit=9) == 3


def test_looking_for_old_rows_costs_nothing_where_there_are_none(ledger):
    for n in range(10):
        ledger.commit(
            [record(n * 1000 + i) for i in range(1000)], {A: mark(n * 1000 + 999)}, 1000 + n, is_told=True
        )
    steps = []
    ledger._db.set_progress_handler(lambda: steps.append(1), 100)

    assert ledger.forget(1000 + KEEP_MS) == 0
    assert len(steps) < 20
    ledger._db.set_progress_handler(None, 0)
    assert ledger.forget(1003 + KEEP_MS) == 3000
    assert ledger.forget(1003 + KEEP_MS) == 0
    assert ledger.forget(5000 + KEEP_MS) == 7000


def test_a_newer_format_is_refused_with_advice(tmp_path):
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as db:
        db.execute(f"PRAGMA user_version={FORMAT_VERSION + 1}")
    db.close()

    with pytest.raises(LedgerError, match="newer llm-audit"):
        Ledger(tmp_path / "ledger.sqlite3")


def test_a_file_that_is_no_database_says_what_to_do(tmp_path):
    (tmp_path / "ledger.sqlite3").write_bytes(b"not a database at all" * 100)

    with pytest.raises(LedgerError, match="move the file away"):
        Ledger(tmp_path / "ledger.sqlite3")


def test_a_commit_that_fails_changes_nothing_and_can_be_repeated(tmp_path):
    """A file size limit stands in for the full disk."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from llm_audit.ship.ledger import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "rows = [StoredRecord('w-0000000a', 1, n, '00' * 32, 'k' * 100, 1) for n in range(5000)]\n"
        "marks = {'w-0000000a': Mark((1, 4999), '00' * 32)}\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try: ledger.commit(rows, marks, 1)\n"
        "except LedgerError as error: print(error)\n"
        "assert ledger.mark('w-0000000a') is None\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "ledger.commit(rows, marks, 1)\n"
        "assert ledger.count_untold() == 5000\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "ledger.sqlite3")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "free space" in ran.stdout


def test_a_killed_process_loses_nothing_that_was_committed(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from llm_audit.ship.ledger import *\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "begin = len(ledger.beyond('w-0000000a', None))\n"
        "for n in range(begin, 1_000_000):\n"
        "    ledger.commit([StoredRecord('w-0000000a', 1, n, '00' * 32, f'k{n}', 1)],"
        " {'w-0000000a': Mark((1, n), '00' * 32)}, 1)\n"
        "    print(n, flush=True)\n"
    )
    path = tmp_path / "ledger.sqlite3"
    last = -1
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            for count, line in enumerate(child.stdout):
                last = int(line)
                if count == 20:
                    break
            child.send_signal(signal.SIGKILL)

        ledger = Ledger(path)
        known = ledger.mark(A)
        assert known is not None
        assert known.place[1] >= last
        assert len(ledger.beyond(A, None)) == known.place[1] + 1
        ledger.close()
