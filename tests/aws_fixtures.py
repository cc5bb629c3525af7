"""Fixtures of the local AWS of a test worker; every test takes names of its own. A conftest imports them."""

import itertools
import os
from pathlib import Path

import pytest

_NUMBERS = itertools.count(1)


@pytest.fixture
def aws(local_aws, monkeypatch):
    for name, value in local_aws.environ.items():
        monkeypatch.setenv(name, value)
    return local_aws.aws()


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
