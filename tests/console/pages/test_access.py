import pytest

from calls import request_id


def test_an_auditor_sees_who_read_which_call_and_that_the_log_is_whole(stage):
    anna, adam = stage.visitor("anna"), stage.visitor("adam")
    adam.get(f"/calls/{request_id(1)}")
    anna.get(f"/calls/{request_id(2)}")
    page = anna.get("/access").text
    assert "chain verified" in page
    assert page.count("content.page") == 2
    mine = anna.get(f"/access?subject={request_id(1)}").text
    assert mine.count("content.page") == 1
    assert "console:adam" in mine
    assert anna.get("/access?actor=anna&action=session").text.count("session.begin") == 1


def test_whose_preview_was_seen_is_found_by_the_call_as_well(stage):
    anna = stage.visitor("anna")
    anna.get("/calls?previews=1")
    assert "content.previews" in anna.get(f"/access?subject={request_id(3)}").text
    assert "content.previews" not in anna.get(f"/access?subject={request_id(77)}").text


def test_a_log_that_was_changed_says_so(stage):
    anna = stage.visitor("anna")
    stage.visitor("adam")
    log = stage.access_log.path
    log.write_bytes(log.read_bytes().replace(b"console:anna", b"console:eve!"))
    page = anna.get("/access").text
    assert "not as it was written" in page
    assert "chain verified" not in page


@pytest.mark.parametrize("name", [None, "vera"])
def test_whoever_may_not_see_content_may_not_see_who_did(stage, name):
    assert stage.visitor(name).get("/access").status_code == (403 if name else 303)


def test_older_entries_are_on_further_pages(stage):
    anna = stage.visitor("anna")
    for number in range(60):
        stage.access_log.append("2026-11-24T12:00:00.000Z", "os:me", "content.show", f"call-{number}", {})
    page = anna.get("/access").text
    assert "call-59" in page
    assert "call-5<" not in page
    older = page.rpartition('">Older')[0].rpartition('href="')[2].replace("&amp;", "&")
    assert "call-5<" in anna.get(older).text
    assert anna.get("/access?before=x").status_code == 400
