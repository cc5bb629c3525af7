from __future__ import annotations

import stat

import pytest

from llm_audit.ship.folders import private_folder


def test_every_folder_that_was_missing_is_for_the_owner_alone(tmp_path):
    before = stat.S_IMODE(tmp_path.stat().st_mode)

    assert private_folder(tmp_path / "a" / "b" / "c") == tmp_path / "a" / "b" / "c"

    assert {stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b", "a/b/c")} == {0o700}
    assert stat.S_IMODE(tmp_path.stat().st_mode) == before


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path):
    (tmp_path / "a").mkdir(mode=0o750)

    private_folder(tmp_path / "a")

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "a").write_bytes(b"")

    with pytest.raises(OSError, match="a"):
        private_folder(tmp_path / "a" / "b")
