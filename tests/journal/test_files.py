from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm_audit.journal import files
from llm_audit.journal.files import SegmentName, UnfitFilesystemError
from llm_audit.journal.model import JournalLockedError


def test_segments_are_named_in_reading_order_and_a_carry_over_hides_what_it_replaces(tmp_path):
    for name in ("00000002-00000000.seg", "00000001-00000010.seg", "00000001-00000009.seg"):
        (tmp_path / name).touch()
    for name in ("00000001-00000009.carry", "boot", "lock", "00000001-00000011.seg.tmp", "x-1.seg"):
        (tmp_path / name).touch()
    assert files.segment_names(tmp_path) == [
        SegmentName(1, 9, carry=True),
        SegmentName(1, 10),
        SegmentName(2, 0),
    ]
    assert str(SegmentName(1, 9, carry=True)) == "00000001-00000009.carry"


def test_a_file_is_replaced_whole_and_durably_and_leftovers_go(tmp_path):
    path = tmp_path / "boot"
    files.replace_durably(path, b"1")
    files.replace_durably(path, b"2")
    assert path.read_bytes() == b"2"
    (tmp_path / "half.tmp").touch()
    files.remove_temporaries(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["boot"]


def test_a_boot_number_is_never_given_twice(tmp_path):
    assert [files.next_boot(tmp_path) for _ in range(3)] == [1, 2, 3]
    (tmp_path / "00000009-00000000.seg").touch()
    assert files.next_boot(tmp_path) == 10


def test_the_lock_is_held_once_and_a_look_at_it_does_not_take_it_away(tmp_path):
    with files.locked(tmp_path) as free:
        assert free
        with files.locked(tmp_path) as again:
            assert not again
        with pytest.raises(JournalLockedError, match="its own AUDIT_JOURNAL_DIR"):
            files.take_lock(tmp_path, patience_s=0.02)
    os.close(files.take_lock(tmp_path, patience_s=0))


def test_preallocated_space_is_taken_at_once_and_an_unused_tail_is_given_back(tmp_path):
    fd, mapped = files.allocate(tmp_path / "00000001-00000000.seg", 1 << 20, b"head")
    assert files.used_bytes(tmp_path) >= 1 << 20
    mapped[100_000:100_003] = b"end"
    mapped.close()
    files.give_back_tail(fd, 100_003, 1 << 20)
    os.close(fd)
    data = (tmp_path / "00000001-00000000.seg").read_bytes()
    assert (len(data), data[:4], data[100_000:100_003]) == (1 << 20, b"head", b"end")
    assert files.used_bytes(tmp_path) < 1 << 18


def test_a_filesystem_that_cannot_keep_the_promise_is_refused_with_advice(tmp_path, monkeypatch):
    magic = files._filesystem_magic(tmp_path)
    monkeypatch.setitem(files._UNFIT, magic, "btrfs")
    with pytest.raises(
        UnfitFilesystemError, match=r"is on btrfs.* set AUDIT_JOURNAL_DIR to a folder on ext4"
    ):
        files.prepare_directory(tmp_path / "w-00000001")


def test_the_kernel_is_asked_what_filesystem_a_folder_is_on():
    assert files._filesystem_magic(Path("/proc")) == 0x9FA0  # PROC_SUPER_MAGIC
