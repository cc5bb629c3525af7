"""One local AWS for the tests of a worker."""

from __future__ import annotations

import pytest

from local_lambda import running_aws


@pytest.fixture(scope="session")
def aws(tmp_path_factory):
    with running_aws(tmp_path_factory.mktemp("aws") / "log") as server:
        yield server
