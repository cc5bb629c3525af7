import os
import subprocess
import sys

import pytest

from llm_audit.integrity.access_log import LINE_LIMIT
from llm_audit.integrity.access_log_file import AccessLog, AccessLogError

AT = "2026-11-24T12:00:00.000Z"


@pytest.fixture
def log(tmp_path):
    return AccessLog(tmp_path / "access")


def append(log, count, **details):
    for number in range(count):
        log.append(AT, "console:anna", "content.page", f"call-{number}", details)


def test_entries_are_numbered_and_chained_and_only_their_owner_can_read_them(log):
    append(log, 3)
    assert [entry.sequence for entry in log.newest(10)] == [3, 2, 1]
    assert log.faults() == []
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert log.path.parent.stat().st_mode & 0o777 == 0o700
    assert log.head().sequence == 3


def test_a_log_that_does_not_exist_is_empty_and_sound(log):
    assert log.newest(10) == []
    assert log.faults() == []


def test_pages_go_backwards_by_sequence(log):
    append(log, 7)
    assert [entry.sequence for entry in log.newest(3)] == [7, 6, 5]
    assert [entry.sequence for entry in log.newest(3, before=5)] == [4, 3, 2]
    assert [entry.sequence for entry in log.newest(3, before=2)] == [1]


def test_a_log_longer_than_a_block_is_read_from_its_end(log):
    append(log, 40, padding="x" * (LINE_LIMIT // 4))
    assert [entry.sequence for entry in log.newest(100)] == list(range(40, 0, -1))


def test_an_edit_a_removal_and_a_cut_are_found(log):
    append(log, 6)
    whole = log.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for broken in (
        whole.replace(b"call-2", b"call-9"),
        b"".join(lines[:2] + lines[3:]),
        b"".join([lines[1], lines[0], *lines[2:]]),
        b"".join(lines[:-1]),
        b"",
    ):
        log.path.write_bytes(broken)
        assert log.faults(), broken
    log.path.write_bytes(whole)
    assert log.faults() == []


def test_a_torn_last_line_was_never_acknowledged_and_the_next_append_says_that_it_was_cut_off(log):
    append(log, 2)
    with log.path.open("ab") as file:
        file.write(b'{"sequence":3,"at":"2026')
    assert [entry.sequence for entry in log.newest(10)] == [2, 1]
    append(log, 1)
    assert log.newest(1)[0].details == {"unfinishedBytesCutOff": 24}
    assert log.faults() == []


def test_a_damaged_last_line_keeps_nobody_from_writing_and_shows(log):
    append(log, 3)
    log.path.write_bytes(log.path.read_bytes()[:-20] + b"x" * 19 + b"\n")
    append(log, 1)
    assert log.newest(1)[0].sequence == 4
    assert [fault.line for fault in log.faults()] == [3]


def test_several_processes_write_one_chain(log):
    program = (
        "import sys; from pathlib import Path; from llm_audit.integrity.access_log_file import AccessLog\n"
        "log = AccessLog(Path(sys.argv[1]))\n"
        f"for number in range(25): log.append({AT!r}, 'os:' + sys.argv[2], 'content.page', None, {{}})"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, log.path.parent, str(number)]) for number in range(3)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert log.faults() == []
    assert len(log.newest(1000)) == 75


def test_what_cannot_be_written_raises(tmp_path):
    (tmp_path / "access").write_text("a file where the folder should be")
    with pytest.raises(AccessLogError, match="cannot be written"):
        append(AccessLog(tmp_path / "access"), 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")  # noqa: PTH110
def test_a_full_disk_raises(log):
    log.path.parent.mkdir()
    log.path.symlink_to("/dev/full")
    with pytest.raises(AccessLogError, match="No space left"):
        append(log, 1)


def test_an_action_is_words_joined_by_dots(log):
    with pytest.raises(ValueError, match=r"content\.page"):
        log.append(AT, "os:me", "Looked at it!", None, {})
