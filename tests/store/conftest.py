from __future__ import annotations

import uuid

import pytest

from llm_audit.store.folder import FolderStore
from llm_audit.store.s3 import S3Objects
from local_s3 import LocalS3


@pytest.fixture(scope="session")
def s3(local_aws):
    return LocalS3(local_aws.endpoint)


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """Each contract test runs over both stores."""
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    server = request.getfixturevalue("s3")
    return S3Objects(server.new_bucket(f"audit-{uuid.uuid4().hex}"), server.settings())
