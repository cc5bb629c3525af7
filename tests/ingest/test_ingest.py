"""The pipeline: every notification is worked through, whatever happens to single ones."""

from __future__ import annotations

import logging
import threading

import pytest

from calls import key_of, record, request_id
from llm_audit.index.index import IndexUnavailableError
from llm_audit.index.schema import ItemSettings
from llm_audit.index.selection import Selection
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.ingest.ingest import IngestResult, Notification, ingest
from llm_audit.record.encoding import encode_record, sha256_hex


@pytest.fixture
def index(tmp_path):
    one = SqliteIndex(tmp_path / "audit.sqlite3")
    yield one
    one.close()


@pytest.fixture
def folder(tmp_path):
    """Objects as real files; keys are paths below it."""
    return tmp_path / "objects"


def stored(folder, key: str, data: bytes) -> Notification:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Notification("audit", key)


def opener(folder):
    def open_object(notification):
        with (folder / notification.key).open("rb") as file:
            while piece := file.read(1000):
                yield piece

    return open_object


def call(folder, number: int) -> Notification:
    one = record(number)
    return stored(folder, key_of(one), encode_record(one))


def test_new_objects_become_items_that_name_their_object_and_its_digest(folder, index):
    notification = call(folder, 1)
    result = ingest([notification], opener(folder), index)
    assert result.as_dict() == {"processed": 1, "written": 1, "skipped": 0, "errors": 0}
    (only,) = index.get(request_id(1))
    assert (only.audit_bucket, only.audit_object_key) == ("audit", notification.key)
    assert only.audit_object_sha256 == sha256_hex((folder / notification.key).read_bytes())
    assert (only.source, only.user, only.latency_ms) == ("billing", "ada", 120)
    assert only.response_bytes == record(1).response.byte_count


def test_the_same_objects_again_change_nothing(folder, index):
    notifications = [call(folder, number) for number in range(5)]
    for _ in range(2):
        ingest([*notifications, *notifications], opener(folder), index)
    assert len(index.query(Selection()).items) == 5


def test_what_is_no_document_is_skipped_and_said_by_name_without_its_content(folder, index, caplog):
    others = [
        stored(folder, "logs/readme.txt", b"secret words"),
        stored(folder, "logs/2026/11/24/x.json", b'{"secret": "words"}'),
        stored(folder, f"logs/copy/{request_id(9)}.json", encode_record(record(1))),
    ]
    with caplog.at_level(logging.WARNING):
        result = ingest([*others, call(folder, 1)], opener(folder), index)
    assert result.as_dict() == {"processed": 4, "written": 1, "skipped": 3, "errors": 0}
    assert "logs/readme.txt" in caplog.text
    assert "secret" not in caplog.text


def test_a_hostile_name_or_value_does_not_reach_the_log_as_it_is(folder, index, caplog):
    value = '{"schemaVersion": "\\u001b[2J%s"}' % ("x" * 5000)
    with caplog.at_level(logging.WARNING):
        ingest([stored(folder, "logs/a\x1b[2J.json", value.encode())], opener(folder), index)
    (entry,) = caplog.messages
    assert "\x1b" not in entry
    assert len(entry) < 300


def test_an_object_that_cannot_be_read_fails_alone(folder, index, caplog):
    missing = Notification("audit", "logs/none.json")
    result = ingest([call(folder, 1), missing, call(folder, 2)], opener(folder), index)
    assert result == IngestResult(written=2, failed=(missing,))
    assert len(index.query(Selection()).items) == 2
    assert "failed 'logs/none.json' in audit: it cannot be read" in caplog.text


def test_a_document_of_a_later_version_is_an_error_so_that_it_comes_again(folder, index):
    data = encode_record(record(1)).replace(b'"schemaVersion":1', b'"schemaVersion":7')
    newer = stored(folder, key_of(record(1)), data)
    assert ingest([newer], opener(folder), index).failed == (newer,)


class RefusingTwo:
    """An index that does not take batches of two, as a throttled table may."""

    def __init__(self, index):
        self.index = index

    def put(self, items):
        if len(items) == 2:
            raise IndexUnavailableError("throttled")
        self.index.put(items)


def test_a_batch_that_the_index_refuses_fails_whole_and_the_next_goes_on(folder, index):
    notifications = [call(folder, number) for number in range(3)]
    result = ingest(notifications, opener(folder), RefusingTwo(index), batch_size=2)
    assert result == IngestResult(written=1, failed=tuple(notifications[:2]))
    assert result.processed == 3
    assert len(index.query(Selection()).items) == 1


def test_several_readers_read_at_once_and_the_result_is_the_same(folder, index):
    notifications = [call(folder, number) for number in range(8)]
    together = threading.Barrier(4, timeout=30)
    read = opener(folder)

    def open_together(notification):
        together.wait()
        return read(notification)

    result = ingest(notifications, open_together, index, batch_size=4, readers=4)
    assert result == IngestResult(written=8)
    assert len(index.query(Selection()).items) == 8


def test_settings_shape_the_items(folder, index):
    ingest([call(folder, 1)], opener(folder), index, ItemSettings(preview_characters=3, retention_days=1))
    (only,) = index.get(request_id(1))
    assert only.prompt_preview == "use"
    assert only.expires_at is not None


def test_nothing_to_do_is_done(index):
    assert ingest([], opener(None), index).processed == 0
