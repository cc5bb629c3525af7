import html
import json
import re
import threading

import pytest

from calls import record
from cli.waiting import eventually
from console_kit import Stage
from llm_audit.index.sqlite import SqliteReader

DAY = "since=2026-11-24&until=2026-11-25"


def counted(stage, query=DAY):
    """Give the page once its count is made."""
    visitor = stage.visitor()

    def page():
        text = visitor.get(f"/?{query}").text
        return text if "Slowest calls" in text else None

    return eventually(page)


def test_the_overview_counts_the_range_and_the_source_of_its_address(recorded):
    recorded.keep([record(9, source="search", user="bert", latency_ms=9000)])
    stage = Stage(recorded)
    page = counted(stage)
    assert "4 calls from" in page
    assert "9.00 s" in page
    series = [json.loads(html.unescape(one)) for one in re.findall(r'data-series="([^"]+)"', page)]
    assert sum(series[0][1]) == 4
    assert {len(column) for column in series[0]} == {144}
    page = counted(stage, f"{DAY}&source=search")
    assert "1 call of source" in page
    assert "ada" not in page


@pytest.mark.parametrize("query", ["since=tomorrow", "since=1h&until=2h", "model=x"])
def test_a_wrong_range_is_told(stage, query):
    assert stage.visitor().get(f"/?{query}").status_code == 400


def test_fields_left_empty_leave_the_address(stage):
    assert stage.visitor().get("/?since=7d&until=&source=").headers["location"] == "/?since=7d"


def test_before_the_first_call_it_says_what_comes(recorded):
    recorded.index_path.unlink()
    assert "No call was made yet" in Stage(recorded).visitor().get("/").text


def test_somebody_from_elsewhere_needs_a_login(stage):
    assert stage.visitor(address="10.0.0.9").get("/").status_code == 303


def test_a_count_that_takes_long_is_not_waited_for_and_shows_when_it_is_made(recorded):
    go = threading.Event()

    class Slow(SqliteReader):
        def activity(self, selection, slot_characters):
            go.wait(30)
            return super().activity(selection, slot_characters)

    stage = Stage(recorded, open_index=lambda: Slow(recorded.index_path))
    assert "Counting" in stage.visitor().get(f"/?{DAY}").text
    go.set()
    assert "3 calls from" in counted(stage)


def test_an_index_that_counts_in_part_is_told(recorded):
    class Part(SqliteReader):
        def activity(self, selection, slot_characters):
            whole = super().activity(selection, slot_characters)
            return type(whole)(whole.slots, whole.models, whole.users, partial=True)

    page = counted(Stage(recorded, open_index=lambda: Part(recorded.index_path)))
    assert "This is a part." in page
