"""launch-prod-ecr.sh: what it refuses, what it calls, and what the local EC2 makes of it."""

import base64
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from aws_command import aws_command
from local_aws import inherited
from stand_ins import StandIns

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/launch-prod-ecr.sh"
REPOSITORY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/mistral8b-vllm"
DIGEST = "sha256:" + "ab" * 32
NEEDED = {
    "--image": f"{REPOSITORY}@{DIGEST}",
    "--bucket": "central-llm-audit",
    "--subnet": "subnet-0a1b2c3d",
    "--security-group": "sg-0a1b2c3d",
    "--instance-profile": "llm-audit-node",
}


def run(*words, path=os.environ["PATH"], **changes):
    options = NEEDED | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    arguments = [word for option, value in options.items() if value is not None for word in (option, value)]
    return subprocess.run(
        [SCRIPT, *arguments, *words], capture_output=True, text=True, check=False, env={"PATH": path}
    )  # fmt: skip


def start_script(ran):
    return ran.stdout.partition("START-SCRIPT:\n")[2]


def environment(script):
    encoded = re.search(r"<<'END'\n(.*?)\nEND\n", script, re.DOTALL)[1]
    return dict(line.split("=", 1) for line in base64.b64decode(encoded).decode().splitlines())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("image", "vllm/vllm-openai:latest"),
        ("image", REPOSITORY),
        ("image", f"{REPOSITORY}:tag; reboot"),
        ("bucket", "s3://central-llm-audit"),
        ("bucket", "Bucket"),
        ("subnet", "10.0.0.0/24"),
        ("security_group", "default"),
        ("instance_profile", "a b"),
        ("prefix", "/logs"),
        ("service", "x'; reboot"),
        ("instance_type", "large"),
        ("ami", "latest"),
        ("journal_size", "0"),
        ("journal_volume", "sdj"),
        ("root_size", "many"),
        ("model", "$(reboot)"),
        ("key_name", "a\nb"),
        ("log_group", "a b"),
        ("gateway_secret", "my-secret-in-clear"),
        ("vllm_args", "--a\nAUDIT_BUCKET=elsewhere"),
    ],
)
def test_a_value_that_is_not_what_it_should_be_is_refused_before_anything_is_called(option, value, tmp_path):
    stand_ins = StandIns(tmp_path / "bin")
    stand_ins.add("aws")
    ran = run(path=stand_ins.path, **{option: value})
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"launch-prod-ecr.sh: --{option.replace('_', '-')} ")
    assert "expected" in ran.stderr
    assert stand_ins.calls() == []


@pytest.mark.parametrize("option", sorted(NEEDED))
def test_what_is_needed_is_asked_for(option):
    ran = run(**{option[2:].replace("-", "_"): None})
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"launch-prod-ecr.sh: {option} is missing; expected ")


def test_a_dry_run_calls_nothing_and_shows_commands_that_can_be_typed(tmp_path):
    stand_ins = StandIns(tmp_path / "bin")
    stand_ins.add("aws")
    ran = run("--dry-run", path=stand_ins.path, image=f"{REPOSITORY}:0.1.0-abc")
    assert (ran.returncode, ran.stderr, stand_ins.calls()) == (0, "", [])
    commands = [shlex.split(line) for line in ran.stdout.partition("\n\n")[0].splitlines()]
    assert [command[3:5] for command in commands] == [
        ["ecr", "describe-images"],
        ["ssm", "get-parameter"],
        ["ec2", "run-instances"],
    ]


def test_the_instances_start_script_is_bash_that_the_linter_accepts():
    script = start_script(
        run(
            "--dry-run",
            vllm_args="--served-model-name 'mistral 8b' --max-model-len 8192",
            gateway_secret="arn:aws:secretsmanager:eu-central-1:123456789012:secret:gateway-AbCdEf",
            log_group="/llm-audit/proxy",
            model="/models/mistral8b",
        )
    )
    linted = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (linted.stdout, linted.returncode) == ("", 0)
    assert environment(script) == {
        "AUDIT_BUCKET": "central-llm-audit",
        "AUDIT_PREFIX": "logs",
        "AUDIT_SERVICE": "llm-audit",
        "AWS_REGION": "eu-central-1",
        "MODEL": "/models/mistral8b",
        "VLLM_ARGS": "--served-model-name 'mistral 8b' --max-model-len 8192",
        "AUDIT_CLOUDWATCH_METRICS": "on",
        "AUDIT_GATEWAY_SECRET": "@/run/secrets/gateway-secret",
    }
    assert len(script) < 16384  # what EC2 takes as user data


def test_the_container_is_run_by_digest_on_the_volume_that_is_kept_and_is_given_time_to_drain():
    script = start_script(run("--dry-run"))
    words = shlex.split(script[script.index("docker run") :])
    assert words[-1] == f"{REPOSITORY}@{DIGEST}"
    assert words[words.index("--volume") + 1] == "/srv/llm-audit:/var/lib/llm-audit"
    assert int(words[words.index("--stop-timeout") + 1]) > 120 + 30
    assert words[words.index("--publish") + 1] == "8000:8000"
    assert "8001" not in script
    assert "gateway-secret" not in script


def run_instances(stand_ins):
    (words,) = [command for command in stand_ins.commands() if "run-instances" in command]
    return words


@pytest.fixture
def cloud(tmp_path):
    stand_ins = StandIns(tmp_path / "bin")
    region = ["--region", "eu-central-1"]
    stand_ins.add(
        "aws",
        [
            ([*region, "ecr", "describe-images"], DIGEST + "\n", 0),
            ([*region, "ssm", "get-parameter"], "ami-0a1b2c3d\n", 0),
            ([*region, "ec2", "run-instances"], "i-0123456789abcdef0\n", 0),
            ([*region, "ec2", "describe-instances"], "10.0.0.7\n", 0),
        ],
    )
    return stand_ins


def test_a_tag_is_resolved_to_the_digest_that_then_runs(cloud):
    ran = run(path=cloud.path, image=f"{REPOSITORY}:0.1.0-abc")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"launched i-0123456789abcdef0 with {REPOSITORY}@{DIGEST}" in ran.stdout
    assert [command[3:5] for command in cloud.commands()] == [
        ["ecr", "describe-images"],
        ["ssm", "get-parameter"],
        ["ec2", "run-instances"],
        ["ec2", "wait"],
        ["ec2", "describe-instances"],
    ]


def test_the_instance_gets_the_start_script_that_a_dry_run_shows(cloud):
    run(path=cloud.path, vllm_args="--max-model-len 8192")
    (call,) = [call for call in cloud.calls() if "run-instances" in call["arguments"]]
    assert call["files"] == [start_script(run("--dry-run", vllm_args="--max-model-len 8192"))]


def test_a_tag_that_ecr_does_not_know_launches_nothing(cloud):
    cloud.add("aws", [(["--region", "eu-central-1", "ecr", "describe-images"], "None\n", 0)])
    ran = run(path=cloud.path, image=f"{REPOSITORY}:0.1.0-abc")
    assert ran.returncode == 2
    assert "ECR has no image mistral8b-vllm:0.1.0-abc" in ran.stderr
    assert not any("run-instances" in command for command in cloud.commands())


def test_credentials_of_the_instance_need_a_token_and_the_disks_are_encrypted(cloud):
    run(path=cloud.path)
    words = run_instances(cloud)
    assert "HttpTokens=required,HttpPutResponseHopLimit=2,HttpEndpoint=enabled" in words
    disks = words[words.index("--block-device-mappings") + 1]
    assert disks.count('"Encrypted":true') == 2
    assert (
        '"/dev/sdj","Ebs":{"VolumeSize":50,"VolumeType":"gp3","Encrypted":true,"DeleteOnTermination":false}'
        in disks
    )
    assert "--disable-api-termination" in words


def test_the_journal_of_an_instance_that_is_gone_is_attached_to_the_new_one(cloud):
    ran = run(path=cloud.path, journal_volume="vol-0a1b2c3d")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "/dev/sdj" not in run_instances(cloud)[run_instances(cloud).index("--block-device-mappings") + 1]
    attach = ["ec2", "attach-volume", "--volume-id", "vol-0a1b2c3d", "--instance-id", "i-0123456789abcdef0"]
    assert ["aws", "--region", "eu-central-1", *attach, "--device", "/dev/sdj"] in cloud.commands()


def test_an_instance_is_launched_in_the_local_ec2(tmp_path, local_aws):
    with aws_command(tmp_path / "bin") as programs:
        ec2, iam = local_aws.client("ec2"), local_aws.client("iam")
        iam.create_instance_profile(InstanceProfileName="llm-audit-node")
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
        options = NEEDED | {"--subnet": subnet, "--security-group": group, "--ami": "ami-0c2023a1b2c3d4e5f"}
        ran = subprocess.run(
            [SCRIPT, *(word for option in options.items() for word in option)],
            env=inherited() | local_aws.environ | {"PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        instance_id = re.search(r"launched (i-[0-9a-f]+) with", ran.stdout)[1]
        (reservation,) = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        (instance,) = reservation["Instances"]
    assert instance["State"]["Name"] == "running"
    assert (instance["InstanceType"], instance["SubnetId"]) == ("g5.xlarge", subnet)
    assert instance["PrivateIpAddress"] in ran.stdout
