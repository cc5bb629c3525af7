"""ecs-host-logs.sh, with stand-ins for ``aws`` and ``ssh`` that note how they were called."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from stand_ins import StandIns

SCRIPT = Path(__file__).parents[2] / "scripts/ecs-host-logs.sh"
INSTANCE = "i-0123456789abcdef0"
REGION = ["--region", "eu-central-1"]
TAIL = "sudo tail -n 100 -F /var/log/ecs/ecs-agent.log"


def programs(
    folder, instances=INSTANCE, address="10.0.0.7", arns="arn:aws:ecs:eu-central-1:1:container-instance/a"
):
    stand_ins = StandIns(folder / "bin")
    stand_ins.add(
        "aws",
        [
            ([*REGION, "ecs", "list-container-instances"], arns + "\n", 0),
            ([*REGION, "ecs", "describe-container-instances"], instances + "\n", 0),
            ([*REGION, "ec2", "describe-instances"], address + "\n", 0),
        ],
    )
    stand_ins.add("ssh", [([], "what the agent says\n", 0)])
    return stand_ins


def run(*words, path=os.environ["PATH"]):
    return subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False, env={"PATH": path})


def test_the_clusters_host_is_found_and_its_agents_log_followed_over_ssh(tmp_path):
    stand_ins = programs(tmp_path)
    ran = run("--cluster", "llm-audit", path=stand_ins.path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "what the agent says\n", "")
    assert [command[0] for command in stand_ins.commands()] == ["aws", "aws", "aws", "ssh"]
    assert stand_ins.commands()[-1][-2:] == ["ec2-user@10.0.0.7", TAIL]
    assert "StrictHostKeyChecking" not in str(stand_ins.commands())


def test_a_key_a_user_and_fewer_lines_that_end(tmp_path):
    key = tmp_path / "prod.pem"
    key.touch()
    stand_ins = programs(tmp_path)
    run(
        "--host",
        "10.1.1.1",
        "--key",
        str(key),
        "--user",
        "admin",
        "--lines",
        "5",
        "--no-follow",
        path=stand_ins.path,
    )
    (command,) = stand_ins.commands()
    assert command[-2:] == ["admin@10.1.1.1", "sudo tail -n 5 /var/log/ecs/ecs-agent.log"]
    assert command[command.index("-i") + 1] == str(key)


def test_the_public_address_where_that_is_asked_for(tmp_path):
    stand_ins = programs(tmp_path)
    run("--instance", INSTANCE, "--public", path=stand_ins.path)
    assert "Reservations[0].Instances[0].PublicIpAddress" in stand_ins.commands()[0]


def test_a_session_needs_neither_port_nor_key(tmp_path):
    stand_ins = programs(tmp_path)
    run("--cluster", "llm-audit", "--ssm", "--file", "/var/log/ecs/ecs-init.log", path=stand_ins.path)
    tail = "sudo tail -n 100 -F /var/log/ecs/ecs-init.log"
    assert stand_ins.commands()[-1] == [
        *("aws", *REGION, "ssm", "start-session", "--target", INSTANCE),
        *("--document-name", "AWS-StartInteractiveCommand", "--parameters", f'{{"command":["{tail}"]}}'),
    ]
    assert not any(command[0] == "ssh" for command in stand_ins.commands())


def test_of_several_hosts_one_has_to_be_chosen(tmp_path):
    stand_ins = programs(tmp_path, instances="i-0aaaaaaaa\ti-0bbbbbbbb")
    ran = run("--cluster", "llm-audit", path=stand_ins.path)
    assert ran.returncode == 2
    assert "several hosts; choose one with --instance: i-0aaaaaaaa i-0bbbbbbbb" in ran.stderr
    assert not any(command[0] == "ssh" for command in stand_ins.commands())


@pytest.mark.parametrize(
    ("cloud", "words", "said"),
    [
        ({"arns": ""}, ["--cluster", "llm-audit"], "has no host in eu-central-1"),
        ({"address": "None"}, ["--instance", INSTANCE, "--public"], "has no PublicIpAddress; try --ssm"),
    ],
)
def test_a_host_that_is_not_there_is_said(tmp_path, cloud, words, said):
    stand_ins = programs(tmp_path, **cloud)
    ran = run(*words, path=stand_ins.path)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert said in ran.stderr


def test_what_aws_refuses_ends_it(tmp_path):
    stand_ins = programs(tmp_path)
    stand_ins.add("aws", [(REGION, "", 254)])
    ran = run("--cluster", "llm-audit", path=stand_ins.path)
    assert ran.returncode == 254
    assert not any(command[0] == "ssh" for command in stand_ins.commands())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected one of --cluster"),
        (["--cluster", "a", "--host", "b"], "expected one of --cluster"),
        (["--host", "b", "--ssm"], "--ssm needs"),
        (["--cluster", "a b"], "--cluster is 'a b'"),
        (["--instance", "web-1"], "--instance is 'web-1'"),
        (["--host", "-oProxyCommand=reboot"], "--host is"),
        (["--host", "a", "--user", "-x"], "--user is"),
        (["--host", "a", "--lines", "all"], "--lines is"),
        (["--host", "a", "--file", "/etc/shadow"], "--file is"),
        (["--host", "a", "--file", "/var/log/../../etc/shadow"], "--file is"),
        (["--host", "a", "--file", "/var/log/a;reboot"], "--file is"),
        (["--host", "a", "--key", "/nowhere"], "--key is"),
        (["--host", "a", "--region", "EU Central"], "--region is"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(words, said, tmp_path):
    stand_ins = programs(tmp_path)
    ran = run(*words, path=stand_ins.path)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert said in ran.stderr
    assert stand_ins.calls() == []


@pytest.mark.parametrize("words", [["--cluster", "a"], ["--cluster", "a", "--ssm"], ["--host", "a"]])
def test_a_dry_run_shows_the_last_command_and_calls_nothing(words, tmp_path):
    stand_ins = programs(tmp_path)
    ran = run(*words, "--dry-run", path=stand_ins.path)
    assert (ran.returncode, stand_ins.calls()) == (0, [])
    assert shlex.split(ran.stdout)[0] == ("aws" if "--ssm" in words else "ssh")
    assert TAIL in str(shlex.split(ran.stdout))
