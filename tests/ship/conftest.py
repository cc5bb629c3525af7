from __future__ import annotations

import pytest

from local_s3 import LocalS3


@pytest.fixture(scope="session")
def s3(local_aws):
    return LocalS3(local_aws.endpoint)
