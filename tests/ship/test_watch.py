import logging

from calls import record
from llm_audit.ship.watch import Watched


class Noting:
    def __init__(self, *, fails_at=None):
        self.seen = []
        self._fails_at = fails_at

    def note(self, a_record):
        if self._fails_at == "note":
            raise RuntimeError(a_record.prompt_preview)
        return a_record.request_id

    def stored(self, notes):
        self.seen.append(list(notes))
        if self._fails_at == "stored":
            raise RuntimeError("the prompt")


def noted(watched, *numbers):
    for number in numbers:
        watched.add(watched.note(record(number)) if watched.note else None)


def test_notes_are_told_together_and_once():
    watch = Noting()
    watched = Watched(watch)
    noted(watched, 1, 2)
    watched.tell()
    watched.tell()
    noted(watched, 3)
    watched.tell()
    assert watch.seen == [[record(1).request_id, record(2).request_id], [record(3).request_id]]


def test_without_a_watch_nothing_is_noted():
    watched = Watched(None)
    assert watched.note is None
    watched.add(None)
    watched.tell()


def test_a_watch_that_fails_is_left_out_and_its_error_quotes_nobody(caplog):
    for fails_at in ("note", "stored"):
        watch = Noting(fails_at=fails_at)
        watched = Watched(watch)
        with caplog.at_level(logging.ERROR):
            noted(watched, 1)
            watched.tell()
        assert watched.note is None
        noted(watched, 2)
        watched.tell()
        assert len(watch.seen) <= 1
    assert "RuntimeError in test_watch.py" in caplog.text
    assert "prompt" not in caplog.text
    assert "Hi" not in caplog.text
