"""Templates and Lambda are there in an installed wheel too, the same as in the checkout."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llm_audit.cli.lambda_bundle import archive, bundle, code_sha256
from llm_audit.deploy.errors import WrongUsageError
from llm_audit.deploy.package import BUCKET_PARAMETER, CODE_NAME, PREFIX_PARAMETER
from llm_audit.deploy.sources import TEMPLATE, read_nested, read_template

ROOT = Path(__file__).parents[2]

ASKED = """
import hashlib, json
import llm_audit
from llm_audit.cli.lambda_bundle import archive, bundle, code_sha256
from llm_audit.deploy.sources import TEMPLATE, read_nested, read_template
files = {TEMPLATE.name: read_template(TEMPLATE), **read_nested(TEMPLATE)}
digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
print(json.dumps([llm_audit.__file__, digests, code_sha256(archive(bundle()))]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Build the wheel, without a network, from a copy of what git has; unpack it where nothing else is."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", symlinks=True, ignore=left_out)
    shutil.copytree(ROOT / "infra", folder / "infra")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "-w", "dist", "."], cwd=folder, check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    shutil.unpack_archive(wheel, folder / "installed", "zip")
    return folder / "installed"


def test_an_installed_wheel_has_the_checkouts_templates_and_makes_the_same_lambda(installed):
    environ = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", ASKED]
    said = subprocess.run(command, cwd=installed, env=environ, check=True, stdout=subprocess.PIPE).stdout
    where, digests, code = json.loads(said)
    assert Path(where).is_relative_to(installed)
    infra = ROOT / "infra" / "cloudformation"
    assert digests == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in infra.glob("*.yaml")
    }
    assert code == code_sha256(archive(bundle()))


def test_the_root_template_asks_for_bucket_and_prefix_and_names_what_lies_beside_it():
    text = read_template(TEMPLATE).decode()
    for name in (BUCKET_PARAMETER, PREFIX_PARAMETER):
        assert f"  {name}:\n" in text
    assert f"${{{PREFIX_PARAMETER}}}/{CODE_NAME}" in text
    for name in ("keys.yaml", "storage.yaml", "ingest.yaml", "gateway.yaml"):
        assert f"${{{PREFIX_PARAMETER}}}/{name}" in text
        assert name in read_nested(TEMPLATE)


def test_a_template_that_is_not_there_is_wrong_usage(tmp_path):
    with pytest.raises(WrongUsageError, match="cannot be read"):
        read_template(tmp_path / "none.yaml")
