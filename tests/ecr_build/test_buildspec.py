"""The build's commands, run by bash as CodeBuild runs them, with stand-ins for ``aws`` and ``docker``."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from llm_audit import __version__
from stand_ins import StandIns

ROOT = Path(__file__).parents[2]
SPEC = yaml.safe_load((ROOT / "buildspec.yml").read_text())
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "sha256:" + "ab" * 32
REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
TAG = f"{__version__}-0123456789ab"
IMAGE = f"{REGISTRY}/mistral8b-vllm:{TAG}"

RUNNER = """
run_phase() {
  local command
  for command in "$@"; do
    eval "$command" || { echo "FAILED: $command" >&2; return 1; }
  done
}
"""


@pytest.fixture
def checkout(tmp_path):
    """The few files of the repository that the build reads, and a model that the stand-in has "synchronised"."""
    folder = tmp_path / "checkout"
    (folder / "src/llm_audit").mkdir(parents=True)
    shutil.copy(ROOT / "src/llm_audit/__init__.py", folder / "src/llm_audit")
    model = folder / "docker/ecr-build/models/mistral8b"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    return folder


@pytest.fixture
def programs(tmp_path):
    stand_ins = StandIns(tmp_path / "bin")
    stand_ins.add(
        "aws",
        [
            (["sts", "get-caller-identity"], "123456789012\n", 0),
            (["ecr", "get-login-password"], "the-password\n", 0),
            (["ecr", "describe-images"], DIGEST + "\n", 0),
        ],
    )
    stand_ins.add("docker", takes_input="--password-stdin")
    return stand_ins


def build(checkout, programs, **changes):
    """Run all phases as CodeBuild does; give the process and the image definitions, if written."""
    environ = {
        **SPEC["env"]["variables"],
        "PATH": programs.path,
        "AWS_REGION": "eu-central-1",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": COMMIT,
        "MODEL_S3_URI": "s3://my-models/mistral8b/",
        **changes,
    }
    phases = {name: SPEC["phases"][name]["commands"] for name in ("pre_build", "build", "post_build")}
    lines = [RUNNER, "export CODEBUILD_BUILD_SUCCEEDING=1 code=0"]
    for name, commands in phases.items():
        words = " ".join("'" + command.replace("'", "'\\''") + "'" for command in commands)
        ran = f"run_phase {words} || {{ CODEBUILD_BUILD_SUCCEEDING=0; code=1; }}"
        # post_build runs after a failed build phase, not after a failed pre_build: its failure aborts.
        lines.append(f"[ $code = 1 ] || {ran}" if name == "build" else ran)
        if name == "pre_build":
            lines.append("[ $code = 0 ] || exit 1")
    ran = subprocess.run(
        ["bash"], input="\n".join([*lines, "exit $code"]), env=environ, cwd=checkout, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    definitions = checkout / "imagedefinitions.json"
    return ran, json.loads(definitions.read_text()) if definitions.exists() else None


def test_the_build_stages_the_model_builds_and_pushes_and_names_the_image_by_digest(checkout, programs):
    ran, definitions = build(checkout, programs)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert definitions == [{"name": "audit-proxy", "imageUri": f"{REGISTRY}/mistral8b-vllm@{DIGEST}"}]
    models = "docker/ecr-build/models/mistral8b"
    describe = [
        "--image-ids",
        f"imageTag={TAG}",
        "--query",
        "imageDetails[0].imageDigest",
        "--output",
        "text",
    ]
    assert programs.commands() == [
        ["aws", "sts", "get-caller-identity", "--query", "Account", "--output", "text"],
        ["aws", "s3", "sync", "s3://my-models/mistral8b/", models, "--delete", "--only-show-errors"],
        ["aws", "ecr", "get-login-password"],
        ["docker", "login", "--username", "AWS", "--password-stdin", REGISTRY],
        [
            *(
                "docker",
                "build",
                "--pull",
                "--platform",
                "linux/amd64",
                "--file",
                "docker/ecr-build/Dockerfile",
            ),
            *(
                "--build-arg",
                f"COMMIT={COMMIT}",
                "--build-arg",
                f"VERSION={__version__}",
                "--tag",
                IMAGE,
                ".",
            ),
        ],
        ["docker", "push", IMAGE],
        ["aws", "ecr", "describe-images", "--repository-name", "mistral8b-vllm", *describe],
    ]
    assert programs.calls()[3]["input"] == "the-password\n"


def test_a_login_that_fails_stops_the_build(checkout, programs):
    programs.add("docker", [(["login"], "", 1)], takes_input="--password-stdin")
    ran, definitions = build(checkout, programs)
    assert (ran.returncode, definitions) == (1, None)
    assert not any(command[:2] == ["docker", "build"] for command in programs.commands())


def test_an_image_that_was_not_built_is_not_pushed(checkout, programs):
    programs.add("docker", [(["build"], "", 1)], takes_input="--password-stdin")
    ran, definitions = build(checkout, programs)
    assert (ran.returncode, definitions) == (1, None)
    assert not any(command[:2] == ["docker", "push"] for command in programs.commands())


def test_a_folder_without_a_model_stops_the_build_and_says_so(checkout, programs):
    (checkout / "docker/ecr-build/models/mistral8b/config.json").unlink()
    ran, definitions = build(checkout, programs)
    assert (ran.returncode, definitions) == (1, None)
    assert "no model lies in s3://my-models/mistral8b/: expected config.json" in ran.stderr


@pytest.mark.parametrize(("content", "code"), [(b"weights", 0), (b"wrong", 1)])
def test_a_model_that_brings_digests_is_checked_against_them(checkout, programs, content, code):
    folder = checkout / "docker/ecr-build/models/mistral8b"
    (folder / "model.safetensors").write_bytes(content)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(b'weights').hexdigest()}  model.safetensors\n")
    ran, _ = build(checkout, programs)
    assert ran.returncode == code, ran.stderr
    assert ("model.safetensors: FAILED" in ran.stdout) == bool(code)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MODEL_S3_URI": ""}, "MODEL_S3_URI: set it in the project"),
        ({"CODEBUILD_RESOLVED_SOURCE_VERSION": ""}, "IMAGE_TAG"),
    ],
)
def test_what_the_project_did_not_set_stops_the_build_before_anything_is_done(
    checkout, programs, change, said
):
    ran, definitions = build(checkout, programs, **change)
    assert ran.returncode != 0
    assert said in ran.stderr
    assert definitions is None
    assert all(command[:2] == ["aws", "sts"] for command in programs.commands())


def test_an_image_that_ecr_does_not_know_is_not_announced(checkout, programs):
    answers = [
        (["sts", "get-caller-identity"], "123456789012\n", 0),
        (["ecr", "get-login-password"], "the-password\n", 0),
        (["ecr", "describe-images"], "None\n", 0),
    ]
    programs.add("aws", answers)
    ran, definitions = build(checkout, programs)
    assert (ran.returncode, definitions) == (1, None)


def test_the_project_can_hand_over_what_the_build_made():
    assert SPEC["version"] == 0.2
    assert SPEC["artifacts"]["files"] == ["imagedefinitions.json"]
    assert set(SPEC["env"]["exported-variables"]) == {"IMAGE_TAG", "IMAGE_URI"}
