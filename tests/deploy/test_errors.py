"""AWS's errors as ours, with advice."""

import socket
import sys

import pytest

from llm_audit.deploy.clients import Aws, open_aws
from llm_audit.deploy.errors import AwsMissingError, DeployError, WrongUsageError, aws_errors


def test_an_error_of_aws_says_what_was_asked_what_came_and_what_to_do(aws):
    with (
        pytest.raises(DeployError, match=r"DescribeStackEvents: ValidationError: .*does not exist"),
        aws_errors(),
    ):
        aws.cloudformation.describe_stack_events(StackName="none")


def test_an_aws_that_does_not_answer_is_said_so(aws):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        silent = Aws("eu-central-1", f"http://127.0.0.1:{unused.getsockname()[1]}", attempts=1)
        with pytest.raises(DeployError, match="cannot be reached") as said, aws_errors():
            silent.sts.get_caller_identity()
    assert "AWS_ENDPOINT_URL" in said.value.advice


def test_without_credentials_it_says_how_to_sign_in(aws, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(DeployError, match="credentials") as said, aws_errors():
        aws.sts.get_caller_identity()
    assert "AWS_PROFILE" in said.value.advice


def test_without_a_region_it_says_how_to_set_one(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(WrongUsageError) as said:
        open_aws(None, None)
    assert "AWS_REGION" in said.value.advice


def test_without_boto3_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(AwsMissingError) as said:
        open_aws("eu-central-1", None)
    assert said.value.advice == "pip install 'central-llm-audit[aws]'"
