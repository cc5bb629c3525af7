import json

import pytest

from console_kit import HASH, PASSWORD
from llm_audit.console.roles import Role
from llm_audit.console.users import (
    Passwords,
    User,
    UserFile,
    UsersError,
    check_name,
    check_password,
    new_password,
)


def user(name="anna", role=Role.AUDITOR):
    return User(name, role, HASH, enabled=True, created="2026-11-24T12:00:00.000Z")


@pytest.fixture
def file(tmp_path):
    return UserFile(tmp_path / "data" / "console-users.json")


def test_a_file_that_is_not_there_has_no_users(file):
    assert file.users() == ()


def test_what_one_writes_another_reads_at_once_and_nobody_else_may(file):
    other = UserFile(file.path)
    file.add(user())
    assert other.get("anna").role is Role.AUDITOR
    file.change("anna", enabled=False)
    assert not other.get("anna").enabled
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file.path.read_text()


def test_a_name_is_taken_once(file):
    file.add(user())
    with pytest.raises(UsersError, match="already"):
        file.add(user())


def test_the_last_admin_stays(file):
    file.add(user("adam", Role.ADMIN))
    for change in ({"enabled": False}, {"role": Role.VIEWER}):
        with pytest.raises(UsersError, match="last admin"):
            file.change("adam", **change)
    file.add(user("eva", Role.ADMIN))
    assert not file.change("adam", enabled=False).enabled


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"version": 2, "users": []}', '{"version": 1, "users": [{"name": "anna"}]}', "\x00"],
)
def test_a_broken_file_lets_nobody_in_and_says_so(file, content):
    file.path.parent.mkdir()
    file.path.write_text(content)
    with pytest.raises(UsersError):
        file.users()


def test_a_role_that_does_not_exist_is_none(file):
    file.add(user())
    document = json.loads(file.path.read_text())
    document["users"][0]["role"] = "god"
    file.path.write_text(json.dumps(document))
    with pytest.raises(UsersError, match="no file of users"):
        file.users()


def test_names_and_passwords_have_bounds():
    assert check_name("anna@example.com") == "anna@example.com"
    for name in ("", "-a", "a b", "a" * 65, "ann\u00e4", "a\n"):
        with pytest.raises(UsersError):
            check_name(name)
    for password in ("short", "x" * 1025):
        with pytest.raises(UsersError):
            check_password(password)
    assert len({new_password() for _ in range(100)}) == 100


def test_a_password_fits_its_user_who_is_enabled():
    passwords = Passwords()
    anna = user()
    assert passwords.matches(anna, PASSWORD)
    assert not passwords.matches(anna, PASSWORD + "x")
    assert not passwords.matches(None, PASSWORD)
    assert not passwords.matches(User("a", Role.VIEWER, HASH, enabled=False, created=""), PASSWORD)
    assert not passwords.matches(User("a", Role.VIEWER, "no hash", enabled=True, created=""), PASSWORD)
    assert not passwords.matches(anna, "x" * 5000)
