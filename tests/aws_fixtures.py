"""Fixtures of a local AWS, one for each test worker; every test takes names of its own. A conftest imports them."""

import itertools
import os
from pathlib import Path

import pytest

from local_aws import running_aws

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    with running_aws(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture
def aws(local, monkeypatch):
    for name, value in local.environ.items():
        monkeypatch.setenv(name, value)
    return local.aws()


@pytest.fixture
def name():
    """A name that no other test has."""
    return f"test-{os.getpid()}-{next(_NUMBERS)}"


@pytest.fixture
def template(tmp_path, name):
    """A small template that is retained as ours is: bucket and table stay, a queue goes."""
    path = tmp_path / "small.yaml"
    text = (Path(__file__).parent / "deploy" / "small.yaml").read_text()
    path.write_text(text.replace("NAME", name))
    return path
