import json
import time
from datetime import UTC, datetime

import pytest

from calls import key_of, record, request_id
from console_kit import Stage
from llm_audit.index.sqlite import SqliteReader
from llm_audit.record.encoding import encode_record, sha256_hex
from llm_audit.record.schema import WriterPosition

CALL = f"/calls/{request_id(1)}"


def hostile(number, prompt, **changes):
    body = json.dumps({"messages": [{"role": "user", "content": prompt}]}, ensure_ascii=False).encode()
    plain = record(number)
    request = plain.request._replace(body=body, byte_count=len(body), sha256=sha256_hex(body))
    return record(number, request=request, **changes)


def test_without_a_login_the_facts_are_shown_and_nothing_that_was_said(stage):
    page = stage.visitor().get(CALL).text
    assert request_id(1) in page
    assert "verified" in page
    assert "Hello" not in page
    assert "needs a login with the role auditor" in page
    assert stage.recorded_actions() == []


def test_a_viewer_sees_no_content_either(stage):
    page = stage.visitor("vera").get(CALL)
    assert page.status_code == 200
    assert "Hello" not in page.text
    for part in ("request.bin", "response.bin", "record.json"):
        assert stage.visitor("vera").get(f"{CALL}/{part}").status_code == 403


def test_an_auditor_sees_the_conversation_once_that_is_on_record(stage):
    page = stage.visitor("anna").get(CALL).text
    assert "Hello" in page
    assert page.count("✓") == 3
    assert stage.recorded_actions()[-1] == ("console:anna", "content.page", request_id(1))


@pytest.mark.parametrize(
    ("part", "action"),
    [("request.bin", "content.raw"), ("response.bin", "content.raw"), ("record.json", "content.record")],
)
def test_raw_bytes_come_exactly_as_files_that_no_browser_shows_and_are_recorded(stage, part, action):
    answer = stage.visitor("anna").get(f"{CALL}/{part}")
    expected = {
        "request.bin": record(1).request.body,
        "response.bin": record(1).response.body,
        "record.json": stage.recorded.store.get(key_of(record(1))),
    }
    assert answer.content == expected[part]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert stage.recorded_actions()[-1] == ("console:anna", action, request_id(1))


def test_what_cannot_be_recorded_is_not_shown(stage):
    visitor = stage.visitor("anna")
    stage.access_log.path.unlink()
    stage.access_log.path.mkdir()
    for path in (CALL, f"{CALL}/request.bin", f"{CALL}/record.json"):
        answer = visitor.get(path)
        assert answer.status_code == 503
        assert "Hello" not in answer.text
        assert "could not be recorded" in answer.text


def test_a_changed_object_is_told_and_not_given_a_check_mark(stage):
    path = stage.recorded.data_dir / "objects" / key_of(record(1))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"Hello", b"Hallo"))
    page = stage.visitor("anna").get(CALL).text
    assert "IS NOT the one that was indexed" in page
    assert "DOES NOT FIT" in page
    assert page.count("✓") == 1


def test_an_object_that_is_gone_is_told(stage):
    (stage.recorded.data_dir / "objects" / key_of(record(1))).unlink()
    answer = stage.visitor("anna").get(CALL)
    assert answer.status_code == 503
    assert key_of(record(1)) in answer.text


@pytest.mark.parametrize("stem", [request_id(99), "nonsense", "%2e%2e%2fetc", "x" * 3000])
def test_a_call_that_does_not_exist_is_not_found(stage, stem):
    assert stage.visitor("anna").get(f"/calls/{stem}").status_code == 404


def test_a_hostile_prompt_is_text_and_its_controls_are_named(recorded):
    prompt = "<script>alert(1)</script>\x1b[2J\u202egnp.exe</div>{{ 7*7 }}"
    recorded.keep([hostile(9, prompt, prompt_preview=prompt)])
    page = Stage(recorded).visitor("anna").get(f"/calls/{request_id(9)}").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert r"\u202e</span>gnp.exe" in page
    assert "{{ 7*7 }}" in page


def test_a_line_of_five_megabytes_is_cut_on_the_page_and_whole_in_the_download(recorded):
    recorded.keep([hostile(9, "x" * 5_000_000)])
    visitor = Stage(recorded).visitor("anna")
    page = visitor.get(f"/calls/{request_id(9)}").text
    assert len(page) < 200_000
    assert "4,980,000 characters more" in page
    assert len(visitor.get(f"/calls/{request_id(9)}/request.bin").content) > 5_000_000


def test_a_command_that_a_terminal_would_obey_is_not_offered_for_pasting(recorded):
    recorded.keep([hostile(9, "\u202eevil"), hostile(8, "it's $(me)")])
    visitor = Stage(recorded).visitor("anna")
    assert "--data-binary @request.bin" in visitor.get(f"/calls/{request_id(9)}").text
    assert "it&#39;&#34;&#39;&#34;&#39;s $(me)" in visitor.get(f"/calls/{request_id(8)}").text


def test_two_calls_with_one_id_lead_to_each_other(recorded):
    twin = f"{request_id(1)}~w-1-3-77"
    recorded.keep([record(1, started_at_ms=record(1).started_at_ms + 5)], name=twin)
    visitor = Stage(recorded).visitor()
    assert f"/calls/{twin}" in visitor.get(CALL).text
    assert CALL in visitor.get(f"/calls/{twin}").text


def test_a_call_that_no_index_has_is_found_by_its_objects_name(recorded):
    recorded.keep([record(50)], is_indexed=False)
    page = Stage(recorded).visitor("anna").get(f"/calls/{request_id(50)}").text
    assert "Hello" in page
    assert "no index has a digest of this object" in page


def test_the_record_before_is_read_again_and_held_against_the_digest_that_this_one_names(recorded):
    first, key = record(60), key_of(record(60))
    digest = sha256_hex(encode_record(first))
    recorded.keep([first, record(61, writer=WriterPosition("w-1", 3, 61, digest))])
    path = f"/calls/{request_id(61)}"
    stage = Stage(
        recorded,
        key_before=lambda writer, boot, sequence: key if (writer, boot, sequence) == ("w-1", 3, 61) else None,
    )
    visitor = stage.visitor("anna")
    assert "has the digest that this record names" in visitor.get(path).text
    file = recorded.data_dir / "objects" / key
    file.chmod(0o600)
    file.write_bytes(file.read_bytes().replace(b"Hello", b"Hallo"))
    assert "DOES NOT HAVE the digest" in visitor.get(path).text
    file.unlink()
    assert "is not at hand" in visitor.get(path).text


class KnowsNoIds(SqliteReader):
    """An index that finds calls as DynamoDB does: by what the object itself says."""

    def get(self, _request_id):
        return None


def test_a_call_in_a_table_that_knows_no_ids_is_found_by_its_object_and_checked_against_its_item(recorded):
    now = time.time_ns() // 1_000_000
    today = record(
        1, started_at_ms=now, request_id=f"{now >> 16:08x}-{now & 0xFFFF:04x}-7000-8000-000000000001"
    )
    day = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y/%m/%d")
    recorded.store.put_new(f"logs/{day}/{today.request_id}.json", encode_record(today))
    stage = Stage(recorded, open_index=lambda: KnowsNoIds(recorded.index_path), is_whole=False)
    assert today.request_id in stage.visitor().get(f"/calls/{today.request_id}").text
    assert "no index has a digest" in stage.visitor("anna").get(f"/calls/{today.request_id}").text
