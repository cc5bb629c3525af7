"""``aws deploy|status|outputs|destroy``, run as a user runs them, against a local CloudFormation."""

import json
import os
import select
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from llm_audit.cli.main import main
from llm_audit.deploy.stacks import Stacks


@pytest.fixture
def run(aws, name, template):
    """Run ``aws COMMAND`` on this test's own stack and template."""

    def call(command, *arguments, answers=None):
        own = ["--template", str(template), "--parameter", "Needed=told"] if command == "deploy" else []
        line = ["aws", command, "--stack", name, *own, *arguments]
        return CliRunner().invoke(main, line, env={"COLUMNS": "200"}, input=answers)

    return call


@pytest.fixture
def stacks(aws):
    return Stacks(aws.cloudformation)


def lines(result, kind):
    return [found for found in map(json.loads, result.stdout.splitlines()) if found["kind"] == kind]


def test_a_dry_run_shows_the_changes_and_leaves_nothing(run, stacks, name):
    result = run("deploy", "--dry-run")
    assert result.exit_code == 0
    assert f"{name}: 3 added" in result.stdout
    assert "+ Bucket  AWS::S3::Bucket  is made" in result.stdout
    assert "nothing was changed" in result.stderr
    assert stacks.find(name) is None


def test_a_deployment_shows_events_as_they_come_and_then_the_outputs(run, stacks, name):
    result = run("deploy", "--tag", "team=platform")
    assert result.exit_code == 0
    assert result.stdout.index("CREATE_IN_PROGRESS    Queue") < result.stdout.index(
        "CREATE_COMPLETE       Queue"
    )
    assert f"{name} stands CREATE_COMPLETE" in result.stdout
    assert "where messages go" in result.stdout
    stack = stacks.find(name)
    assert (stack.is_protected, stack.tags) == (True, {"team": "platform"})


def test_what_is_not_given_again_keeps_its_value_and_tags_stay(run, stacks, name):
    run("deploy", "--tag", "team=platform", "--parameter", "Delay=7")
    result = run("deploy", "--no-protect")
    assert "nothing changes" in result.stdout
    stack = stacks.find(name)
    assert stack.parameters["Delay"] == "7"
    assert (stack.is_protected, stack.tags) == (False, {"team": "platform"})


def test_json_lines_say_what_changes_what_happens_and_what_comes_out(run, name):
    result = run("deploy", "--json")
    assert {change["resource"] for change in lines(result, "change")} == {"Bucket", "Table", "Queue"}
    assert lines(result, "event")[-1]["status"] == "CREATE_COMPLETE"
    (stack,) = lines(result, "stack")
    assert (stack["stack"], stack["status"], stack["protected"]) == (name, "CREATE_COMPLETE", True)
    assert lines(result, "outputs")[0]["outputs"]["Told"] == "told"
    (stands,) = lines(run("status", "--json"), "stack")
    assert stands["resources"] == 3
    assert lines(run("outputs", "--json"), "outputs")[0]["outputs"]["Told"] == "told"


def test_parameters_come_from_a_file_and_the_command_line_wins(run, stacks, name, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"Needed": "file", "Delay": 5}))
    run("deploy", "--parameters-file", str(tmp_path / "p.json"))
    found = stacks.find(name).parameters
    assert (found["Needed"], found["Delay"]) == ("told", "5")


def test_wrong_usage_is_said_before_anything_happens_and_exits_with_2(run, stacks, name, template):
    near = run("deploy", "--parameter", "Neded=x")
    assert (near.exit_code, "did you mean Needed?" in near.stderr) == (2, True)
    missing = CliRunner().invoke(main, ["aws", "deploy", "--stack", name, "--template", str(template)])
    assert (missing.exit_code, "Needed" in missing.stderr) == (2, True)
    assert run("deploy", "--parameter", "nothing").exit_code == 2
    assert run("deploy", "--template", "/none.yaml").exit_code == 2
    assert run("deploy", "--parameters-file", "/none.json").exit_code == 2
    assert stacks.find(name) is None


def test_a_stack_that_is_not_there_is_a_problem(run, name):
    for command in ("status", "outputs", "destroy"):
        result = run(command)
        assert (result.exit_code, f"there is no stack {name}" in result.stderr) == (1, True)


def test_one_output_is_printed_bare_and_an_unknown_one_is_wrong_usage(run):
    run("deploy")
    assert run("outputs", "Told").stdout == "told\n"
    unknown = run("outputs", "Tld")
    assert (unknown.exit_code, "it has QueueUrl, Told" in unknown.stderr) == (2, True)


def test_a_creation_that_fails_names_its_cause_and_the_next_deploy_begins_anew(run, stacks, aws, name):
    aws.s3.create_bucket(
        Bucket=f"{name}-bucket", CreateBucketConfiguration={"LocationConstraint": aws.region}
    )
    failed = run("deploy")
    assert failed.exit_code == 1
    assert "Bucket (AWS::S3::Bucket) VALIDATION_FAILED" in failed.stderr
    assert "Choose another name" in failed.stderr
    assert "nothing of it exists (ROLLBACK_COMPLETE)" in failed.stderr
    stands = run("status")
    assert (stands.exit_code, "VALIDATION_FAILED" in stands.stderr) == (1, True)
    assert run("deploy", "--dry-run").exit_code == 1
    aws.s3.delete_bucket(Bucket=f"{name}-bucket")
    again = run("deploy")
    assert again.exit_code == 0, again.output
    assert "it is removed and made anew" in again.stderr
    assert stacks.find(name).is_protected


def test_an_update_that_fails_names_its_cause_and_what_runs_now(run, stacks, aws, name):
    run("deploy")
    aws.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": aws.region})
    failed = run("deploy", "--parameter", f"BucketName={name}", "--yes")
    assert failed.exit_code == 1
    assert "Bucket (AWS::S3::Bucket) VALIDATION_FAILED" in failed.stderr
    assert "stands as it was before an update that failed" in failed.stderr
    assert stacks.find(name).parameters["BucketName"] == f"{name}-bucket"


def test_audit_data_is_not_replaced_unless_told(run, stacks, name):
    run("deploy")
    refused = run("deploy", "--parameter", f"TableName={name}-other")
    assert refused.exit_code == 1
    assert "HOLDS AUDIT DATA" in refused.stdout
    assert "--yes" in refused.stderr
    assert stacks.find(name).parameters["TableName"] == f"{name}-table"


def test_a_protected_stack_is_not_taken_down(run, stacks, name):
    run("deploy")
    result = run("destroy", "--yes")
    assert (result.exit_code, "--unprotect" in result.stderr) == (1, True)
    assert stacks.find(name).status == "CREATE_COMPLETE"


def test_nothing_is_taken_down_without_the_word_and_no_data_without_the_second(run, stacks, name):
    run("deploy", "--no-protect")
    for arguments, wanted in (
        ((), "--yes"),
        (("--yes", "--delete-data", f"{name}-table"), "--yes-delete-audit-data"),
        (("--yes", "--yes-delete-audit-data", "--delete-data", "other"), f"{name}-bucket, {name}-table"),
    ):
        result = run("destroy", *arguments)
        assert result.exit_code > 0
        assert wanted in result.stderr
        assert stacks.find(name).status == "CREATE_COMPLETE"


def test_what_is_taken_down_leaves_audit_data_and_says_what_that_costs(run, stacks, aws, name):
    run("deploy")
    aws.s3.put_object(Bucket=f"{name}-bucket", Key="logs/a.json", Body=b"{}")
    result = run("destroy", "--yes", "--unprotect")
    assert result.exit_code == 0
    assert "These remain in the account" in result.stdout
    assert f"{name}-bucket: 1 versions of objects" in result.stdout
    assert f"{name}-table: 0 items" in result.stdout
    assert "about USD" in result.stdout
    assert stacks.find(name) is None
    assert aws.s3.get_object(Bucket=f"{name}-bucket", Key="logs/a.json")["Body"].read() == b"{}"


def test_data_that_is_named_and_confirmed_is_deleted_with_every_version(run, aws, name):
    run("deploy", "--no-protect")
    for body in (b"1", b"2"):
        aws.s3.put_object(Bucket=f"{name}-bucket", Key="logs/a.json", Body=body)
    aws.s3.delete_object(Bucket=f"{name}-bucket", Key="logs/a.json")
    doomed = ["--delete-data", f"{name}-bucket", "--delete-data", f"{name}-table"]
    result = run("destroy", "--yes", *doomed, "--yes-delete-audit-data")
    assert result.exit_code == 0, result.output
    assert "3 versions deleted" in result.stderr
    assert "nothing of the stack remains" in result.stderr
    assert f"{name}-bucket" not in [bucket["Name"] for bucket in aws.s3.list_buckets()["Buckets"]]
    assert f"{name}-table" not in aws.dynamodb.list_tables()["TableNames"]


WAITING = """\
Resources:
  Handle: {Type: AWS::CloudFormation::WaitConditionHandle}
  Wait:
    Type: AWS::CloudFormation::WaitCondition
    Properties: {Handle: !Ref Handle, Timeout: "600"}
"""


def test_ctrl_c_leaves_the_stack_running_and_says_so(aws, stacks, name, tmp_path):
    (tmp_path / "waiting.yaml").write_text(WAITING)
    command = [sys.executable, "-m", "llm_audit", "aws", "deploy", "--stack", name]
    with subprocess.Popen(
        [*command, "--template", "waiting.yaml"],
        cwd=tmp_path,
        env=os.environ.copy(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        seen = b""
        while b"IN_PROGRESS    Wait" not in seen:
            assert select.select([process.stdout], [], [], 60)[0]
            seen += os.read(process.stdout.fileno(), 65536)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"AWS goes on with the stack" in said
    assert b"aws status --stack" in said
    assert stacks.find(name).status == "CREATE_IN_PROGRESS"
    running = CliRunner().invoke(main, ["aws", "status", "--stack", name, "--events"])
    assert (running.exit_code, "is being created" in running.stdout) == (0, True)
    refused = CliRunner().invoke(
        main, ["aws", "deploy", "--stack", name, "--template", str(tmp_path / "waiting.yaml")]
    )
    assert (refused.exit_code, "wait:" in refused.stderr) == (1, True)
