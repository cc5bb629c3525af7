from __future__ import annotations

import json
import stat

from llm_audit.ship.putters import Trouble
from llm_audit.ship.status import ShipperStatus, WriterStatus, write_status


def status(**changes) -> ShipperStatus:
    writer = WriterStatus(4096, 2, 3, 1, 17, None)
    fields = dict.fromkeys(ShipperStatus.__dataclass_fields__, 0)
    fields |= {
        "state": "shipping",
        "store_error": Trouble("away", 3, 1000),
        "writers": {"w-0a1b2c3d": writer},
    }
    return ShipperStatus(**(fields | changes))


def test_the_file_holds_everything_under_camel_case_names(tmp_path):
    path = tmp_path / "status" / "shipper.json"

    write_status(path, status(backlog_bytes=7, lag_ms=None))

    read = json.loads(path.read_text())
    assert read["backlogBytes"] == 7
    assert read["lagMs"] is None
    assert read["storeError"] == {"message": "away", "count": 3, "sinceMs": 1000}
    assert read["writers"]["w-0a1b2c3d"] == {
        "journalBytes": 4096,
        "openExchanges": 2,
        "unshipped": 3,
        "boot": 1,
        "sequence": 17,
        "error": None,
    }
    assert len(read) == len(ShipperStatus.__dataclass_fields__)


def test_the_file_is_replaced_in_one_step_and_for_the_owner_alone(tmp_path):
    path = tmp_path / "status" / "shipper.json"
    write_status(path, status())
    with path.open() as reader:
        write_status(path, status(state="stopped"))
        assert json.load(reader)["state"] == "shipping"

    assert json.loads(path.read_text())["state"] == "stopped"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["shipper.json"]
