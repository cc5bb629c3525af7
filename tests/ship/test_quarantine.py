from __future__ import annotations

import stat

from llm_audit.ship.quarantine import keep, quarantined
from ship_exchanges import REQUEST_BODY, RESPONSE_BODY, damaged_exchange, ended_exchange


def test_a_damaged_exchange_is_kept_with_its_frames_and_the_reason(tmp_path):
    folder = keep(tmp_path / "quarantine", quarantined(damaged_exchange(sequence=7), "checksum"))

    assert folder == tmp_path / "quarantine" / "w-0a1b2c3d-1-7"
    assert (folder / "reason.txt").read_text() == "checksum\n"
    assert (folder / "frames.bin").read_bytes() == b"\x00broken\xff"


def test_an_exchange_that_we_cannot_build_is_kept_in_its_parts(tmp_path):
    folder = keep(tmp_path, quarantined(ended_exchange(), "TypeError"))

    assert (folder / "request-body.bin").read_bytes() == REQUEST_BODY
    assert (folder / "response-body.bin").read_bytes() == RESPONSE_BODY
    assert (folder / "request-head.bin").read_bytes().startswith(b"POST /v1/chat/completions\r\nHost: x\r\n")
    assert (folder / "response-head.bin").read_bytes().startswith(b"200\r\ncontent-type")
    assert "complete" in (folder / "end.txt").read_text()


def test_where_frames_cannot_be_read_the_reason_alone_is_kept():
    kept = quarantined(ended_exchange(), "unreadable", with_frames=False)

    assert [name for name, _ in kept.files] == ["reason.txt"]


def test_only_the_owner_can_read_it(tmp_path):
    folder = keep(tmp_path / "quarantine", quarantined(ended_exchange(), "x"))

    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_keeping_it_again_changes_nothing(tmp_path):
    once = keep(tmp_path, quarantined(ended_exchange(), "x"))
    before = {path.name: path.read_bytes() for path in once.iterdir()}

    again = keep(tmp_path, quarantined(ended_exchange(), "x"))

    assert {path.name: path.read_bytes() for path in again.iterdir()} == before
    assert len(list(tmp_path.iterdir())) == 1
