import json

import pytest
from click.testing import CliRunner

from llm_audit.cli.main import main
from llm_audit.proxy.keys import read_keys
from llm_audit.proxy.usage_plan import Limits


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def keys(file):
    """Give a function that runs ``llm-audit keys …`` on a file of its own."""

    def run(*arguments, code=0, path=file):
        environment = {"AUDIT_API_KEYS": None if path is None else str(path)}
        result = CliRunner().invoke(main, ["keys", *arguments], env=environment)
        assert result.exit_code == code, result.output
        return result

    return run


def test_an_added_key_is_shown_once_and_is_the_one_in_the_file(keys, file):
    result = keys(
        "add",
        "finance",
        "--source",
        "finance-app",
        "--source",
        "audit",
        "--rate",
        "10",
        "--burst",
        "20",
        "--quota",
        "1000",
    )
    secret = result.stdout.removesuffix("\n")
    key = read_keys(file).find(secret.encode())
    assert key.id == "finance"
    assert key.sources == {"finance-app", "audit"}
    assert key.limits == Limits(10.0, 20, 1000)
    assert key.enabled
    assert "finance-app" in result.stderr
    assert secret not in result.stderr
    assert secret not in keys("list").output
    assert secret not in keys("list", "--json").output


def test_json_gives_the_key_with_what_it_may_do(keys, file):
    document = json.loads(keys("add", "finance", "--json").stdout)
    assert read_keys(file).find(document["key"].encode()).id == "finance"
    assert document["sources"] is None
    assert document["file"] == str(file)


def test_keys_are_listed_for_people_and_for_programs(keys):
    keys("add", "finance", "--source", "finance-app", "--rate", "2.5", "--quota", "100000")
    keys("add", "a1b2c3d4e5", "--gateway", "--source", "hr-app")
    text = keys("list").stdout
    assert text.splitlines()[1].split()[:7] == ["finance", "key", "finance-app", "2.5", "3", "100,000", "yes"]
    assert text.splitlines()[2].split()[:3] == ["a1b2c3d4e5", "gateway", "hr-app"]
    documents = [json.loads(line) for line in keys("list", "--json").stdout.splitlines()]
    assert [document["id"] for document in documents] == ["finance", "a1b2c3d4e5"]
    assert [document["rate"] for document in documents] == [2.5, None]
    assert not any("sha256" in document for document in documents)


def test_a_gateway_s_key_id_is_bound_to_sources_and_has_no_key(keys, file):
    result = keys("add", "a1b2c3d4e5", "--gateway", "--source", "hr-app")
    assert result.stdout == ""
    assert read_keys(file).find_gateway_key("a1b2c3d4e5").sources == {"hr-app"}
    assert not file.read_text().count("sha256")


def test_a_disabled_key_stays_in_the_file_as_disabled(keys, file):
    keys("add", "finance")
    keys("add", "hr")
    keys("disable", "finance")
    assert json.loads(keys("disable", "finance", "--json").stdout)["enabled"] is False
    assert [key.enabled for key in read_keys(file).keys] == [False, True]
    assert "no" in keys("list").stdout.splitlines()[1].split()


def test_a_name_that_is_taken_is_refused_and_the_file_stays(keys, file):
    keys("add", "finance")
    before = file.read_bytes()
    assert "already" in keys("add", "finance", code=1).stderr
    assert file.read_bytes() == before


def test_a_name_that_nobody_has_can_t_be_disabled(keys, file):
    keys("add", "finance")
    assert "no key 'hr'" in keys("disable", "hr", code=1).stderr


@pytest.mark.parametrize("arguments", [("list",), ("disable", "finance")])
def test_a_missing_file_is_told_in_one_line_and_not_made(keys, file, arguments):
    assert "can't be read" in keys(*arguments, code=1).stderr
    assert not file.exists()


def test_a_broken_file_is_told_and_kept(keys, file):
    file.write_text("{")
    assert "not JSON" in keys("add", "finance", code=1).stderr
    assert file.read_text() == "{"


def test_a_folder_that_is_not_there_is_told(keys, tmp_path):
    assert "No such file" in keys("add", "finance", code=1, path=tmp_path / "no" / "keys.json").stderr


def test_without_a_file_to_work_on_the_setting_is_named(keys):
    assert "AUDIT_API_KEYS" in keys("list", code=2, path=None).stderr


def test_the_file_can_be_named_by_flag(keys, tmp_path):
    keys("add", "finance", "--api-keys", str(tmp_path / "other.json"), path=None)
    assert read_keys(tmp_path / "other.json").get("finance")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("fin ance",), "can't name a key"),
        (("finance", "--source", "a#b"), "'#'"),
        (("finance", "--source", "-"), "placeholder"),
        (("finance", "--rate", "0"), "rate must be"),
        (("finance", "--rate", "nan"), "rate must be"),
        (("finance", "--burst", "3"), "needs a rate"),
        (("finance", "--quota", "0"), "quota must be"),
        (("a1b2c3d4e5", "--gateway", "--quota", "5"), "usage plan"),
    ],
)
def test_wrong_usage_is_refused_with_what_is_allowed(keys, file, arguments, reason):
    assert reason in keys("add", *arguments, code=2).stderr
    assert not file.exists()


@pytest.mark.parametrize("arguments", [(), ("add",), ("list",), ("disable",)])
def test_every_help_has_an_example(keys, arguments):
    assert "Example:\n  " in keys(*arguments, "--help").stdout
