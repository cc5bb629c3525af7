"""Folders for the owner alone."""

from __future__ import annotations

from pathlib import Path


def private_folder(folder: Path) -> Path:
    """Make the folder and whatever is missing above it, each 0700; give it back. Raises OSError.

    (``mkdir(parents=True)`` would leave the ones above to the umask.)
    """
    if not folder.is_dir():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder
