from __future__ import annotations

import pytest

from llm_audit.store.aws import find_settings
from llm_audit.store.objects import StoreSettingsError


@pytest.fixture
def home(tmp_path):
    (tmp_path / ".aws").mkdir()
    return tmp_path


def test_an_argument_wins_over_the_environment_and_that_over_the_files(home):
    (home / ".aws" / "config").write_text(
        "[default]\nregion = eu-west-3\nendpoint_url = https://three.example\n"
    )
    environ = {"HOME": str(home)}

    from_files = find_settings(environ)
    environ |= {"AWS_REGION": "eu-west-2", "AWS_ENDPOINT_URL": "https://two.example"}
    from_environ = find_settings(environ)
    given = find_settings(environ, region="eu-west-1", endpoint_url="https://one.example")

    assert (from_files.region, from_files.endpoint_url) == ("eu-west-3", "https://three.example")
    assert (from_environ.region, from_environ.endpoint_url) == ("eu-west-2", "https://two.example")
    assert (given.region, given.endpoint_url) == ("eu-west-1", "https://one.example")


def test_the_endpoint_for_s3_alone_wins_over_the_general_one():
    environ = {"AWS_ENDPOINT_URL": "https://all.example", "AWS_ENDPOINT_URL_S3": "https://s3.example"}

    assert find_settings(environ).endpoint_url == "https://s3.example"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "s3.localhost"])
def test_plain_http_is_fine_on_this_machine(host):
    assert find_settings({}, endpoint_url=f"http://{host}:9000").allow_http


def test_plain_http_to_another_machine_is_refused_unless_said(home):
    with pytest.raises(StoreSettingsError, match="AWS_ALLOW_HTTP"):
        find_settings({}, endpoint_url="http://minio.example:9000")

    assert find_settings({"AWS_ALLOW_HTTP": "true"}, endpoint_url="http://minio.example:9000").allow_http


@pytest.mark.parametrize("endpoint", ["minio:9000", "ftp://x", "http://"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint):
    with pytest.raises(StoreSettingsError, match="no http"):
        find_settings({}, endpoint_url=endpoint)


def test_static_keys_come_from_the_profile_and_are_never_shown(home):
    (home / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = hidden\n"
        "[other]\naws_access_key_id = B\naws_secret_access_key = hidden2\naws_session_token = hidden3\n"
    )

    default = find_settings({"HOME": str(home)})
    other = find_settings({"HOME": str(home), "AWS_PROFILE": "other", "AWS_ACCESS_KEY_ID": "E"})

    assert default.static_keys == {"access_key_id": "A", "secret_access_key": "hidden"}
    assert other.static_keys["session_token"] == "hidden3"
    assert "hidden" not in repr(default) + repr(other)


@pytest.mark.parametrize(
    "variable", ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]
)
def test_credentials_in_the_environment_leave_the_default_profile_alone(home, variable):
    (home / ".aws" / "credentials").write_text("[default]\naws_access_key_id=A\naws_secret_access_key=b\n")

    assert find_settings({"HOME": str(home), variable: "x"}).static_keys == {}


def test_a_profile_that_only_an_sdk_can_sign_in_says_what_to_do(home):
    (home / ".aws" / "config").write_text("[profile team]\nsso_session = x\n")

    with pytest.raises(StoreSettingsError, match="export-credentials --profile team"):
        find_settings({"HOME": str(home), "AWS_PROFILE": "team"})


def test_an_unreadable_file_is_named_without_quoting_it(home):
    (home / ".aws" / "credentials").write_text("aws_secret_access_key = hidden\n")

    with pytest.raises(StoreSettingsError, match="credentials cannot be read") as raised:
        find_settings({"HOME": str(home)})
    assert "hidden" not in str(raised.value)
