from llm_audit.console.seen import MOST_REMEMBERED, Seen


def test_what_was_noted_is_seen_by_that_viewer_alone():
    seen = Seen()
    assert seen.unseen("anna", ["a", "b"]) == ["a", "b"]
    seen.note("anna", ["a"])
    assert seen.unseen("anna", ["a", "b"]) == ["b"]
    assert seen.unseen("bert", ["a"]) == ["a"]


def test_what_is_forgotten_is_recorded_once_more():
    seen = Seen()
    seen.note("anna", map(str, range(MOST_REMEMBERED + 1)))
    assert seen.unseen("anna", ["0", "1"]) == ["0"]
