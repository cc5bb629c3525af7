from __future__ import annotations

import pytest

from local_s3 import running_s3


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("ministack") / "log") as server:
        yield server
