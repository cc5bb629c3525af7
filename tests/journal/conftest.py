from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """Give a folder on tmpfs where there is one: for tests that open a journal hundreds of times."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="journal-test-", dir=memory if memory.is_dir() else None))
    yield path
    shutil.rmtree(path)
