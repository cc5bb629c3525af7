import re

import pytest

from console_kit import PASSWORD
from llm_audit.console.roles import Role


def change(visitor, path, **fields):
    return visitor.post(path, {"csrf": visitor.form_token("/users"), **fields})


def test_an_admin_adds_a_user_whose_password_is_shown_this_once(stage):
    adam = stage.visitor("adam")
    page = change(adam, "/users", name="bert", role="auditor").text
    (password,) = re.findall(r'id="password">(\w+)<', page)
    assert password not in adam.get("/users").text
    assert stage.users.get("bert").role is Role.AUDITOR
    assert stage.visitor().log_in("bert", password).status_code == 303
    assert ("console:adam", "users.add", "bert") in stage.recorded_actions()


def test_a_disabled_user_is_out_at_once_and_may_be_enabled_again(stage):
    adam, anna = stage.visitor("adam"), stage.visitor("anna")
    assert change(adam, "/users/anna", do="disable").status_code == 303
    assert anna.get("/access").status_code == 303
    change(adam, "/users/anna", do="enable")
    assert anna.get("/access").status_code == 303  # the old session is over
    assert stage.visitor().log_in("anna").status_code == 303


def test_a_role_counts_from_the_next_request_on(stage):
    adam, vera = stage.visitor("adam"), stage.visitor("vera")
    assert vera.get("/access").status_code == 403
    change(adam, "/users/vera", do="role", role="auditor")
    assert vera.get("/access").status_code == 200


def test_a_new_password_ends_the_sessions_of_the_old_one(stage):
    adam, anna = stage.visitor("adam"), stage.visitor("anna")
    change(adam, "/users/anna", do="password")
    assert anna.get("/access").status_code == 303
    assert stage.visitor().log_in("anna", PASSWORD).status_code == 401


@pytest.mark.parametrize("name", [None, "vera", "anna"])
def test_nobody_else_sees_or_changes_users(stage, name):
    visitor = stage.visitor(name)
    assert visitor.get("/users").status_code == (403 if name else 303)
    token = visitor.form_token("/calls" if name else "/login")
    for path, fields in (("/users", {"name": "eve", "role": "admin"}), ("/users/adam", {"do": "disable"})):
        assert visitor.post(path, {"csrf": token, **fields}).status_code in (303, 403)
    assert stage.users.get("eve") is None
    assert stage.users.get("adam").enabled


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/users", {"name": "anna", "role": "viewer"}),
        ("/users", {"name": "a b", "role": "viewer"}),
        ("/users", {"name": "bert", "role": "god"}),
        ("/users/nobody", {"do": "disable"}),
        ("/users/adam", {"do": "disable"}),
        ("/users/adam", {"do": "dance"}),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_told(stage, path, fields):
    assert change(stage.visitor("adam"), path, **fields).status_code == 400


def test_a_change_without_its_token_is_not_made(stage):
    adam = stage.visitor("adam")
    assert adam.post("/users/anna", {"do": "disable"}).status_code == 403
    assert stage.users.get("anna").enabled


def test_a_change_that_cannot_be_recorded_is_not_made(stage):
    adam = stage.visitor("adam")
    token = adam.form_token("/users")
    stage.access_log.path.unlink()
    stage.access_log.path.mkdir()
    assert adam.post("/users/anna", {"csrf": token, "do": "disable"}).status_code == 503
    assert stage.users.get("anna").enabled
