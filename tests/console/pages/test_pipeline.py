import json

from console_kit import Stage


def test_the_page_shows_what_the_processes_say_and_what_lies_in_quarantine(recorded):
    status = recorded.data_dir / "status"
    status.mkdir()
    (status / "shipper.json").write_text(
        json.dumps({"state": "shipping", "storeError": {"message": "<b>gone</b>"}})
    )
    held = recorded.data_dir / "quarantine" / "w-1-1-1"
    held.mkdir(parents=True)
    (held / "reason.txt").write_text("a flipped bit\x1b[2J")
    page = Stage(recorded).visitor().get("/pipeline").text
    assert "&lt;b&gt;gone&lt;/b&gt;" in page
    assert "mend the store" in page
    assert "a flipped bit" in page
    assert "\x1b" not in page
    assert "w-1-1-1" in page


def test_before_anything_ran_it_says_how_to_start(stage):
    assert "llm-audit serve" in stage.visitor().get("/pipeline").text


def test_somebody_from_elsewhere_needs_a_login(stage):
    assert stage.visitor(address="10.0.0.9").get("/pipeline").status_code == 303
