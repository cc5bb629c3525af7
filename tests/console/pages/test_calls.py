import csv
import io
import json

import pytest

from calls import NOON_MS, record
from console_kit import Stage, path_of
from llm_audit.record.schema import Outcome

ROW = "data-row"


def test_somebody_on_this_machine_sees_metadata_without_a_login_and_no_content(stage):
    answer = stage.visitor().get("/calls")
    assert answer.status_code == 200
    assert answer.text.count(ROW) == 3
    assert "Text in previews" not in answer.text
    assert stage.recorded_actions() == []


@pytest.mark.parametrize(
    "visit",
    [{"address": "10.0.0.9"}, {"x_forwarded_for": "10.0.0.9"}, {"forwarded": "for=10.0.0.9"}],
    ids=str,
)
def test_somebody_from_elsewhere_needs_a_login_for_everything(stage, visit):
    visitor = stage.visitor(**visit)
    for path in ("/calls", "/calls/export.csv", "/calls/019abcde-0000-7000-8000-000000000001"):
        assert visitor.get(path).headers["location"].startswith("/login?next=/calls")


@pytest.mark.parametrize("query", ["previews=1", "text=Hello"])
def test_previews_and_what_is_found_by_them_need_the_right_to_content(stage, query):
    assert stage.visitor().get(f"/calls?{query}").headers["location"].startswith("/login?next=/calls")
    assert stage.visitor("vera").get(f"/calls?{query}").status_code == 403
    assert stage.visitor("anna").get(f"/calls?{query}").status_code == 200


def test_previews_are_recorded_with_the_calls_before_they_are_shown_and_a_refresh_only_with_what_is_new(
    stage,
):
    visitor = stage.visitor("anna")
    assert "user: Hi" in visitor.get("/calls?previews=1").text
    visitor.get("/calls?previews=1")
    stage.recorded.keep([record(4)])
    visitor.get("/calls?previews=1")
    shown = [
        entry.details["calls"] for entry in stage.access_log.newest(9) if entry.action == "content.previews"
    ]
    assert [len(calls) for calls in shown] == [1, 3]


def test_a_search_is_recorded_once_though_the_form_had_empty_fields(stage):
    visitor = stage.visitor("anna")
    answer = visitor.get("/calls?text=Hi&user=&source=")
    assert "user: Hi" not in visitor.get(answer.headers["location"]).text
    assert [entry for entry in stage.recorded_actions() if entry[1] == "content.search"] == [
        ("console:anna", "content.search", "Hi")
    ]


def test_what_cannot_be_recorded_is_not_shown(stage):
    visitor = stage.visitor("anna")
    stage.access_log.path.unlink()
    stage.access_log.path.mkdir()
    for path in ("/calls?previews=1", "/calls/export.jsonl", "/calls?text=Hi"):
        answer = visitor.get(path)
        assert answer.status_code == 503
        assert "Hello" not in answer.text
    assert visitor.get("/calls").status_code == 200


def test_a_filter_stands_in_the_address_and_fields_left_empty_do_not(stage):
    visitor = stage.visitor()
    answer = visitor.get("/calls?source=billing&user=&status=&since=2026-11-24")
    assert answer.headers["location"] == "/calls?source=billing&since=2026-11-24"
    page = visitor.get(answer.headers["location"]).text
    assert "calls of source billing, since 2026-11-24T00:00:00.000Z, newest first" in page
    assert page.count(ROW) == 3
    assert visitor.get("/calls?source=other").text.count(ROW) == 0


@pytest.mark.parametrize("query", ["status=abc", "since=yesterday", "colour=red", "order=best", "cursor=x"])
def test_a_wrong_filter_says_what_came_and_what_was_expected(stage, query):
    answer = stage.visitor().get(f"/calls?{query}")
    assert answer.status_code == 400
    assert "expected" in answer.text or "only" in answer.text or "no cursor" in answer.text


def test_pages_go_on_where_the_one_before_ended(recorded):
    recorded.keep([record(number) for number in range(4, 121)])
    visitor = Stage(recorded).visitor()
    path, seen = "/calls", []
    while path:
        page = visitor.get(path).text
        seen += [part.split('"')[0] for part in page.split('href="/calls/0')[1:]]
        path = next(
            (part.rpartition('href="')[2].replace("&amp;", "&") for part in page.split('">Next page')[:-1]),
            None,
        )
    assert len(seen) == len(set(seen)) == 120
    assert seen == sorted(seen, reverse=True)


def test_a_live_list_asks_again_by_itself_and_a_later_page_does_not(stage):
    visitor = stage.visitor()
    assert 'hx-trigger="every 2s"' in visitor.get("/calls?live=1").text
    assert "hx-trigger" not in visitor.get("/calls").text


def test_before_the_first_call_the_list_is_empty_and_says_what_comes(tmp_path, recorded):
    recorded.index_path.unlink()
    answer = Stage(recorded).visitor().get("/calls")
    assert answer.status_code == 200
    assert "The first call through the proxy appears" in answer.text


HOSTILE = '=cmd|"/c calc"!A1'


def exported(recorded, name, path):
    answer = Stage(recorded).visitor(name).get(path)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    return answer.text


def test_no_cell_of_an_export_begins_a_formula(recorded):
    cells = [HOSTILE, "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "＝1"]  # noqa: RUF001 - full-width
    recorded.keep([record(10 + number, user="u", prompt_preview=cell) for number, cell in enumerate(cells)])
    text = exported(recorded, "anna", "/calls/export.csv?user=u")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert [row["promptPreview"] for row in rows] == [f"'{cell}" for cell in reversed(cells)]
    assert rows[0]["latencyMs"] == "120"


def test_an_export_holds_the_current_filter_whole_and_previews_only_for_those_who_may_see_them(recorded):
    recorded.keep([record(number, outcome=Outcome.INTERRUPTED) for number in range(10, 650)])
    stage = Stage(recorded)
    path = "/calls/export.jsonl?outcome=interrupted"
    for name, has_previews in ((None, False), ("vera", False), ("anna", True)):
        lines = [json.loads(line) for line in stage.visitor(name).get(path).text.splitlines()]
        assert len(lines) == 640
        assert {"promptPreview" in line for line in lines} == {has_previews}
        assert lines[0]["latencyMs"] == 120
    assert [who for who, action, _ in stage.recorded_actions() if action == "content.export"] == [
        "console:anna"
    ]


def test_hostile_metadata_is_text_on_the_page(recorded):
    recorded.keep(
        [record(9, source="<script>alert(1)</script>", user="\u202eevil\x1b[2J", started_at_ms=NOON_MS)]
    )
    page = Stage(recorded).visitor().get("/calls?source=%3Cscript%3Ealert(1)%3C/script%3E").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "\x1b" not in page


def test_an_expired_session_sends_a_live_page_as_a_whole_to_the_login(stage):
    answer = stage.visitor(address="10.0.0.9").get("/calls?live=1", **{"hx-request": "true"})
    assert path_of(answer.headers["hx-redirect"]) == "/login?next=/calls%3Flive%3D1"
