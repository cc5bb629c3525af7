import pytest

from console_kit import Stage

PATHS = ["/", "/calls", "/login", "/calls/019abcde-0000-7000-8000-000000000001", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_forbids_inline_script_frames_and_other_hosts(stage, path):
    headers = stage.visitor().get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert (
        policy["script-src"]
        == policy["style-src"]
        == policy["connect-src"]
        == policy["form-action"]
        == "'self'"
    )
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.com", "localhost.evil.com", "10.0.0.5:8080", "127.0.0.1.nip.io"])
@pytest.mark.parametrize("path", ["/calls", "/login", "/static/x/console.css"])
def test_a_name_that_is_not_ours_is_not_served(stage, host, path):
    answer = stage.visitor().get(path, host=host)
    assert answer.status_code == 421
    assert "AUDIT_CONSOLE_HOSTS" in answer.text


def test_a_configured_name_is_served_and_needs_a_login(recorded):
    stage = Stage(recorded, hosts=frozenset({"audit.example.com"}))
    answer = stage.visitor(base="http://audit.example.com").get("/calls")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/calls")


def test_a_form_that_is_too_large_is_not_read(stage):
    assert stage.visitor().post("/login", {"name": "x" * 70_000}).status_code == 413


def test_static_files_are_kept_for_ever_and_nothing_else_is_reachable(stage):
    visitor = stage.visitor()
    page = visitor.get("/login").text
    (style,) = [part for part in page.split('"') if part.endswith("console.css")]
    assert "immutable" in visitor.get(style).headers["cache-control"]
    for path in (
        "/static/x/../app.py",
        "/static/x/%2e%2e/app.py",
        "/static/x/vendor/htmx/LICENSE",
        "/static/x/",
    ):
        assert visitor.get(path).status_code == 404


def test_no_page_has_inline_script_style_or_handlers(stage):
    visitor = stage.visitor("adam")
    for path in ("/login", "/calls?previews=1", "/calls/019abcde-0000-7000-8000-000000000001"):
        page = visitor.get(path).text
        assert visitor.get(path).status_code == 200
        assert "<style" not in page
        assert " style=" not in page
        assert "javascript:" not in page
        assert not [tag for tag in page.split("<script")[1:] if 'src="/static/' not in tag.partition(">")[0]]
