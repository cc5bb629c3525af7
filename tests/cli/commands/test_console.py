import json

import pytest
from click.testing import CliRunner

from llm_audit.cli.main import main
from llm_audit.console.roles import Role
from llm_audit.console.users import FILE_NAME, Passwords, UserFile
from llm_audit.integrity.access_log_file import AccessLog


@pytest.fixture
def users(tmp_path):
    """Give a function that runs ``llm-audit console users …`` on a data folder of its own."""

    def run(*arguments, code=0, typed=None):
        environment = {"AUDIT_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "200"}
        result = CliRunner().invoke(main, ["console", "users", *arguments], env=environment, input=typed)
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def file(tmp_path):
    return UserFile(tmp_path / "data" / FILE_NAME)


def actions(tmp_path):
    return [(entry.action, entry.subject) for entry in AccessLog(tmp_path / "data" / "access").newest(9)]


def test_an_added_user_has_a_password_that_is_printed_this_once(users, file, tmp_path):
    password = users("add", "anna", "--role", "auditor").stdout.strip()
    assert len(password) == 20
    assert file.get("anna").role is Role.AUDITOR
    assert Passwords().matches(file.get("anna"), password)
    assert password not in file.path.read_text()
    assert actions(tmp_path) == [("users.add", "anna")]


def test_a_password_may_be_typed_and_then_none_is_printed(users, file):
    result = users("add", "anna", "--prompt", typed="correct horse battery\ncorrect horse battery\n")
    assert "battery" not in result.output
    assert Passwords().matches(file.get("anna"), "correct horse battery")
    assert "expected 12 to" in users("add", "bert", "--prompt", typed="short\nshort\n", code=1).output


def test_users_are_listed_and_disabled(users, file, tmp_path):
    users("add", "anna")
    users("disable", "anna")
    assert not file.get("anna").enabled
    assert [json.loads(line)["name"] for line in users("list", "--json").stdout.splitlines()] == ["anna"]
    assert "viewer" in users("list").stdout
    assert actions(tmp_path) == [("users.disable", "anna"), ("users.add", "anna")]


def test_what_cannot_be_done_is_one_clear_line(users):
    users("add", "anna")
    assert "already" in users("add", "anna", code=1).output
    assert "there is no user 'bert'" in users("disable", "bert", code=1).output
    assert "expected 1 to 64" in users("add", "a b", code=1).output


def test_a_change_that_cannot_be_recorded_is_not_made(users, file, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "access").write_text("no folder")
    users("add", "anna", code=1)
    assert file.users() == ()
