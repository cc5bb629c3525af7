from __future__ import annotations

import os
import stat
import subprocess
import sys
import time

import pytest

from llm_audit.store.folder import LEFTOVER_AGE_S, FolderStore, open_folder
from llm_audit.store.objects import Put, StoreDeniedError, StoreSettingsError, StoreUnavailableError

KEY = "logs/2026/11/24/0192b3c4-0000-7000-8000-000000000001.json"


def test_only_the_owner_can_read_what_is_stored(tmp_path):
    store = FolderStore(tmp_path / "objects")
    store.put_new(KEY, b"x")

    file = store.root / KEY
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    folders = [parent for parent in file.parents if parent.is_relative_to(store.root)]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_nothing_but_the_object_is_left_after_a_put(tmp_path):
    store = FolderStore(tmp_path / "objects")
    store.put_new(KEY, b"x")
    store.put_new(KEY, b"y")

    assert list((store.root / ".tmp").iterdir()) == []


def test_an_old_leftover_is_swept_and_a_young_one_left_to_its_writer(tmp_path):
    temporary = tmp_path / "objects" / ".tmp"
    temporary.mkdir(parents=True)
    (temporary / "old").write_bytes(b"half")
    (temporary / "young").write_bytes(b"half")
    long_ago = time.time() - LEFTOVER_AGE_S - 60
    os.utime(temporary / "old", (long_ago, long_ago))

    FolderStore(tmp_path / "objects").put_new(KEY, b"x")

    assert [path.name for path in temporary.iterdir()] == ["young"]


def test_a_folder_removed_under_a_running_store_is_made_again_on_the_next_try(tmp_path):
    store = FolderStore(tmp_path / "objects")
    store.put_new(KEY, b"x")
    subprocess.run(["rm", "-rf", str(store.root)], check=True)

    with pytest.raises(StoreUnavailableError, match="went away"):
        store.put_new(KEY, b"x")
    assert store.put_new(KEY, b"x") is Put.CREATED


def test_a_file_in_the_folders_place_is_refused_at_opening(tmp_path):
    (tmp_path / "objects").write_bytes(b"")

    with pytest.raises(StoreSettingsError, match="is a file"):
        open_folder(tmp_path / "objects")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_says_so(tmp_path):
    (tmp_path / "objects").mkdir(mode=0o500)

    with pytest.raises(StoreDeniedError, match="own the folder"):
        FolderStore(tmp_path / "objects").put_new(KEY, b"x")


def test_a_full_disk_is_the_stores_fault_and_leaves_nothing_half_visible(tmp_path):
    """A file size limit stands in for the full disk: the kernel fails the write in the same way, in the middle."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from llm_audit.store.folder import FolderStore\n"
        "from llm_audit.store.objects import StoreUnavailableError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "store = FolderStore(Path(sys.argv[1]))\n"
        "try: store.put_new(sys.argv[2], b'x' * 10000)\n"
        "except StoreUnavailableError: print('unavailable')\n"
        "assert store.put_new(sys.argv[2], b'small') == 'created'\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "objects"), KEY],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "unavailable\n", "")
    assert (tmp_path / "objects" / KEY).read_bytes() == b"small"
    assert list((tmp_path / "objects" / ".tmp").iterdir()) == []


def test_a_writer_killed_at_any_instant_leaves_whole_objects_only(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from llm_audit.store.folder import FolderStore\n"
        "store = FolderStore(Path(sys.argv[1]))\n"
        "for n in range(1_000_000):\n"
        "    store.put_new(f'logs/{sys.argv[2]}-{n}.json', b'y' * 300_000)\n"
        "    print(n, flush=True)\n"
    )
    store = FolderStore(tmp_path / "objects")
    for life in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(store.root), str(life)], stdout=subprocess.PIPE, text=True
        ) as writer:
            for line in writer.stdout:
                if int(line) >= life * 3:
                    break
            writer.kill()

    entries = list(store.list("logs"))
    assert len(entries) >= sum(life * 3 + 1 for life in range(6))
    assert {entry.size for entry in entries} == {300_000}
