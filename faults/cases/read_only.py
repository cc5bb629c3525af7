"""The kernel makes the filesystem read-only in the middle of everything, as ext4 does after an error of its disk.

Nothing can be written to it any more, not even the pages that were stored into; an operator stops everything, lets
``fsck`` mend it, mounts it and starts again. In ``host`` durability nothing that was acknowledged may be missing then.
"""

from __future__ import annotations

import collections
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from faults import outage
from faults.clients import Ledger
from faults.load import Load
from faults.objects import differences, gaps, read_objects
from faults.row import Row, Stage, sentences
from faults.system import System, model_server

LOGGED_S = 2.5
"""Time for the proxy to say once a second how many calls it let through."""
_SAID = re.compile(r"[\d,]+ calls? went through unrecorded")
MISSING = "needs root, mkfs.ext4 and loop devices"


def run(stage: Stage) -> Iterator[Row]:
    """Make an ext4 filesystem in a file, and let the kernel find an error in it; one row for each policy."""
    policies = ("reject", "pass") if stage.choose(0, 1) else [stage.rng.choice(("reject", "pass"))]
    with model_server() as upstream:
        for policy in policies:
            if not outage.is_root() or shutil.which("mkfs.ext4") is None:
                yield Row(f"read-only filesystem, {policy}", skipped=MISSING)
                continue
            try:
                with _Ext4(stage.folder / policy) as disk:
                    yield _row(stage, disk, upstream, policy)
            except _NotHereError as error:
                yield Row(f"read-only filesystem, {policy}", skipped=f"{MISSING}: {error.__cause__}")


def _row(stage: Stage, disk: _Ext4, upstream: int, policy: str) -> Row:
    settings = {
        "AUDIT_JOURNAL_DIR": str(disk.folder / "journal"),
        "AUDIT_WHEN_FULL": policy,
        "AUDIT_JOURNAL_MAX_BYTES": "16MiB",
    }
    passes = policy == "pass"
    system = System(stage.folder / policy, durability="host", settings=settings, upstream=upstream)
    findings = collections.Counter[str]()
    with system:
        system.wait_until_ready()
        with Load(system.port, stage.rng, stage.choose(16, 64)) as load:
            load.wait_for_answers(50)
            before = load.ledger.copy()
            disk.break_down()
            expected = 200 if passes else 503
            findings[f"not answered {expected} on a read-only filesystem"] += not load.wait_for_answers(
                20, 30.0, status=expected
            )
            time.sleep(LOGGED_S)
            system.end_all()
            said = _SAID.findall(system.log)
            disk.mend()
            begun = len(load.ledger.calls)
            system.start()
            findings["no recovery when the filesystem is mended"] += not load.wait_for_answers(20, 60.0)
        system.stop()
        objects = read_objects(system.objects)
    strict = Ledger([*(call for call in before.calls if call.ended), *load.ledger.calls[begun:]])
    meanwhile = load.ledger.calls[len(before.calls) : begun]
    if not passes:
        strict.calls += [call for call in meanwhile if call.ended and call.status == 200]
    for call in strict.calls:
        records = objects.records.get(call.request_id, [])
        findings["acknowledged and gone"] += call.ended and not records and call.code is None
        if records and call.ended:
            findings.update(differences(call, records[0]))
    findings += gaps(objects.places)
    twice = sum(len(records) > 1 for records in objects.records.values())
    findings["recorded twice"] += twice
    findings["calls pass, and nobody says so"] += passes and not said
    unrecorded = sum(call.ended and call.request_id not in objects.records for call in meanwhile)
    what = "passed" if passes else "refused"
    note = f"{unrecorded:,} calls {what} while nothing could be written, their count is in the log only"
    return Row(
        f"ext4 becomes read-only, {policy}, durability host", len(load.ledger.calls), load.ledger.acknowledged,
        objects.count, twice, gaps(objects.places).total(), sentences((+findings).items()), note,
    )  # fmt: skip


class _NotHereError(Exception):
    """No such filesystem can be made on this machine."""


class _Ext4:
    """A filesystem in a file, mounted inside ``with``."""

    def __init__(self, beside: Path) -> None:
        self._image = beside.with_suffix(".img")
        self.folder = beside / "ext4"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(128 << 20)
        try:
            subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
            self._mount()
        except subprocess.CalledProcessError as error:
            raise _NotHereError from error
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
        self._image.unlink()

    def _mount(self) -> None:
        subprocess.run(
            ["mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder)], check=True
        )

    def _take_off(self) -> None:
        for _ in range(100):  # processes that were just killed may still hold it
            if subprocess.run(["umount", str(self.folder)], check=False, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.folder} stays busy")

    def break_down(self) -> None:
        """Have the kernel find an error: it lets nothing more be written."""
        source = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", str(self.folder)], check=True, capture_output=True, text=True
        )
        Path("/sys/fs/ext4", Path(source.stdout.strip()).name, "trigger_fs_error").write_text("1")

    def mend(self) -> None:
        """Take it off, check it, mount it again; nobody may use it."""
        self._take_off()
        checked = subprocess.run(["fsck.ext4", "-y", str(self._image)], check=False, capture_output=True)
        if checked.returncode > 1:
            raise RuntimeError(f"fsck says {checked.returncode}: {checked.stdout!r}")
        self._mount()
