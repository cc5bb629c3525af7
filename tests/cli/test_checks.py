"""Each check of ``doctor``, against real folders, sockets and servers, good and bad."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from calls import item
from llm_audit.cli import checks
from llm_audit.cli.settings import load_settings
from llm_audit.cli.startup import lock_journal
from llm_audit.index.sqlite import SqliteIndex

FUTURE_MS = 4_000_000_000_000


@pytest.fixture
def settings(tmp_path):
    def make(**environ):
        return load_settings({"AUDIT_DATA_DIR": str(tmp_path / "data"), **environ})

    return make


def problems(findings):
    return [(finding.what, finding.advice) for finding in findings if not finding.is_ok]


def test_a_fresh_machine_has_no_problems_of_its_own(settings):
    fresh = settings(AUDIT_LISTEN="127.0.0.1:0", AUDIT_JOURNAL_MAX_BYTES="1MiB")
    own = (
        checks.versions,
        checks.clock,
        checks.folders,
        checks.store,
        checks.index,
        checks.files,
        checks.ports,
    )
    for check in own:
        found = list(check(fresh))
        assert problems(found) == []
    assert not fresh.data_dir.exists()


def test_a_file_in_the_place_of_a_folder_is_a_problem(settings):
    some = settings()
    some.data_dir.write_text("a file")
    assert problems(checks.folders(some))[0] == (
        f"{some.data_dir} is no folder",
        "move the file, or set another folder",
    )


def test_a_folder_open_to_others_is_a_problem(settings):
    some = settings()
    some.data_dir.mkdir(mode=0o755)
    assert problems(checks.folders(some)) == [
        (f"{some.data_dir} is open to other users", f"chmod 700 {some.data_dir}")
    ]


MOUNTS = (
    "22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
    "23 22 0:5 / /data rw shared:2 - nfs4 server:/x rw\n"
    "24 22 0:6 / /data/with\\040space rw - xfs /dev/vdb rw\n"
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var", "ext4"), ("/data/journal", "nfs4"), ("/data/with space/j", "xfs"), ("/database", "ext4")],
)
def test_the_filesystem_is_that_of_the_nearest_mount(tmp_path, path, kind):
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(MOUNTS)
    assert checks.filesystem_of(tmp_path.__class__(path), mountinfo) == kind


def test_a_system_without_mountinfo_is_no_problem(tmp_path):
    assert checks.filesystem_of(tmp_path, tmp_path / "none") is None


def test_a_journal_larger_than_its_disk_is_a_problem(settings):
    ((what, advice),) = problems(checks.journal_disk(settings(AUDIT_JOURNAL_MAX_BYTES="900TiB")))[-1:]
    assert "900.0 TiB" in what
    assert "AUDIT_JOURNAL_MAX_BYTES" in advice


def test_a_store_that_does_not_answer_is_a_problem(settings):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        some = settings(AUDIT_BUCKET="s3://bucket", AWS_ENDPOINT_URL=endpoint, AUDIT_INDEX="sqlite")
        ((what, _),) = problems(checks.store(some))
    assert "s3://bucket" in what


def test_a_store_that_answers_is_none(settings):
    some = settings()
    assert some.objects_dir is not None
    some.objects_dir.mkdir(parents=True)
    assert problems(checks.store(some)) == []


def test_a_damaged_index_is_a_problem_with_its_cure(settings):
    some = settings()
    some.index_path.parent.mkdir(parents=True)
    some.index_path.write_bytes(b"rubbish" * 1000)
    ((_, advice),) = problems(checks.index(some))
    assert advice == "run `llm-audit reindex`"


def test_a_record_from_the_future_shows_a_clock_that_is_behind(settings):
    some = settings()
    index = SqliteIndex(some.index_path)
    index.put([item(1, started_at_ms=FUTURE_MS)])
    index.close()
    ((what, _),) = problems(checks.index(some))
    assert "the clock is behind" in what


def test_a_port_that_somebody_else_has_is_a_problem_and_our_own_is_none(settings):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        some = settings(AUDIT_LISTEN=f"127.0.0.1:{taken.getsockname()[1]}")
        assert len(problems(checks.ports(some))) == 1
        some.journal_dir.mkdir(parents=True)
        lock = lock_journal(some.journal_dir)
        assert problems(checks.ports(some)) == []
        lock.release()


def test_secrets_open_to_others_and_missing_files_are_problems(settings, tmp_path):
    keys = tmp_path / "keys.json"
    keys.write_text("{}")
    keys.chmod(0o644)
    ((what, advice),) = problems(checks.files(settings(AUDIT_API_KEYS=str(keys))))
    assert (what, advice) == (f"{keys} is open to other users", f"chmod 600 {keys}")
    keys.unlink()
    ((what, _),) = problems(checks.files(settings(AUDIT_API_KEYS=str(keys))))
    assert what == f"{keys} cannot be read"


def said(settings, **members):
    settings.status_dir.mkdir(parents=True, exist_ok=True)
    (settings.status_dir / "shipper.json").write_text(json.dumps({"stored": 5, **members}))
    return problems(checks.shipper(settings))


def test_a_shipper_that_is_well_is_no_problem_and_one_that_never_ran_neither(settings):
    assert list(checks.shipper(settings())) == []
    assert said(settings(), updatedAt=1, backlogAgeMs=900, storeError=None) == []


def test_what_troubles_the_shipper_is_a_problem_with_its_message(settings):
    some = settings()
    assert "bucket is gone" in said(some, storeError={"message": "the bucket is gone"})[0][0]
    assert "ledger" in said(some, ledgerError="disk full")[0][0]
    assert "reindex" in said(some, indexError="damaged")[0][1]
    assert "is 2 min 0 s old" in said(some, backlogAgeMs=120_000)[0][0]


def test_a_shipper_that_fell_silent_while_serving_is_a_problem(settings):
    some = settings()
    some.journal_dir.mkdir(parents=True)
    lock = lock_journal(some.journal_dir)
    assert "says nothing since" in said(some, updatedAt=1_000_000)[0][0]
    lock.release()


def test_a_status_file_of_another_shape_is_no_reason_to_fail(settings):
    some = settings()
    some.status_dir.mkdir(parents=True)
    for text in ("", "[1]", '{"updatedAt": "x", "backlogAgeMs": null, "stored": {}}'):
        (some.status_dir / "shipper.json").write_text(text)
        assert list(checks.shipper(some)) == []


def test_exchanges_in_quarantine_are_a_problem(settings):
    some = settings()
    (some.quarantine_dir / "w-0000000a-1-5").mkdir(parents=True)
    ((what, advice),) = problems(checks.shipper(some))
    assert "w-0000000a-1-5" in what
    assert str(some.quarantine_dir) in advice


class Health(BaseHTTPRequestHandler):
    status = 200
    date = "Tue, 24 Nov 2020 12:00:00 GMT"

    def do_GET(self):
        self.send_response_only(self.status if self.path == "/health" else 404)
        self.send_header("date", self.date)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Health) as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()
        thread.join()


def test_a_model_server_that_answers_is_fine_but_a_clock_years_apart_is_not(settings, server):
    found = list(checks.upstream(settings(AUDIT_UPSTREAM=server)))
    assert [finding.is_ok for finding in found] == [True, False]
    assert "differ by" in found[1].what


def test_a_model_server_that_is_not_there_is_a_problem(settings):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{unused.getsockname()[1]}"
        ((what, advice),) = problems(checks.upstream(settings(AUDIT_UPSTREAM=origin)))
    assert "does not answer" in what
    assert "AUDIT_UPSTREAM" in advice
