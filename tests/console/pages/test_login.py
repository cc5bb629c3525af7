import pytest

from console_kit import PASSWORD, Stage
from llm_audit.console.attempts import PER_USER
from llm_audit.console.pages.login import local_path


def test_a_login_gives_a_cookie_that_no_script_and_no_other_site_can_use(stage):
    answer = stage.visitor().log_in("anna", then="/calls?source=billing")
    assert (answer.status_code, answer.headers["location"]) == (303, "/calls?source=billing")
    (cookie,) = [
        value for value in answer.headers.get_list("set-cookie") if value.startswith("audit_session=")
    ]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


@pytest.mark.parametrize("changes", [{"listens_on": "0.0.0.0"}, {"is_tls": True}], ids=str)
def test_off_this_machine_cookies_are_for_tls_only(recorded, changes):
    stage = Stage(recorded, hosts=frozenset({"audit.example.com"}), **changes)
    visitor = stage.visitor(base="https://audit.example.com", address="10.0.0.1")
    cookies = visitor.log_in("anna").headers.get_list("set-cookie")
    assert cookies
    assert all("Secure" in cookie and cookie.startswith("__Host-") for cookie in cookies)
    assert visitor.get("/calls").status_code == 200


@pytest.mark.parametrize(("name", "password"), [("anna", "wrong password"), ("nobody", PASSWORD), ("", "")])
def test_a_wrong_login_says_the_same_whether_the_name_exists(stage, name, password):
    answer = stage.visitor().log_in(name, password)
    assert answer.status_code == 401
    assert "Name and password do not fit together." in answer.text
    assert ("console", "session.refused", name or None) in stage.recorded_actions()


def test_after_too_many_failures_even_the_right_password_waits(stage):
    visitor = stage.visitor()
    for _ in range(PER_USER):
        assert visitor.log_in("anna", "wrong password").status_code == 401
    answer = visitor.log_in("anna")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert stage.visitor().log_in("vera").status_code == 303


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_a_form_of_another_site_does_nothing(stage, token):
    visitor = stage.visitor()
    visitor.get("/login")
    answer = visitor.post("/login", {"csrf": token, "name": "anna", "password": PASSWORD})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.com"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}], ids=str
)
def test_a_form_that_another_site_sends_is_refused_even_with_a_token(stage, headers):
    visitor = stage.visitor()
    fields = {"csrf": visitor.form_token(), "name": "anna", "password": PASSWORD}
    assert visitor.post("/login", fields, **headers).status_code == 403


def test_a_logout_ends_the_session_and_not_only_its_cookie(stage):
    visitor = stage.visitor("anna")
    kept = dict(visitor.cookies)
    assert visitor.post("/logout", {"csrf": visitor.form_token("/calls")}).status_code == 303
    again = stage.visitor()
    again.cookies.update(kept)
    assert "Log out" not in again.get("/calls").text
    assert [action for _, action, _ in stage.recorded_actions()] == ["session.begin", "session.end"]


def test_a_login_ends_the_session_that_the_browser_had(stage):
    visitor = stage.visitor("anna")
    old = visitor.cookies["audit_session"]
    visitor.log_in("vera")
    other = stage.visitor()
    other.cookies["audit_session"] = old
    assert "Log out" not in other.get("/calls").text


def test_a_user_who_is_disabled_is_out_with_the_next_request(stage):
    visitor = stage.visitor("anna")
    stage.users.change("anna", enabled=False)
    assert "Log out" not in visitor.get("/calls").text
    assert visitor.log_in("anna").status_code == 401


@pytest.mark.parametrize(
    "path",
    ["//evil.com", "/\\evil.com", "https://evil.com", "javascript:alert(1)", "", "/a\r\nset-cookie: x"],
)
def test_a_login_leads_nowhere_but_here(path):
    assert local_path(path) == "/"
    assert local_path("/calls?user=a") == "/calls?user=a"


def test_a_session_cannot_be_begun_that_cannot_be_recorded(stage):
    (stage.recorded.data_dir / "access").write_text("no folder")
    answer = stage.visitor().log_in("anna")
    assert answer.status_code == 503
    assert "audit_session" not in answer.headers.get("set-cookie", "")
