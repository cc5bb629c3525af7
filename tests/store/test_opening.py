from __future__ import annotations

import pytest

from llm_audit.store.folder import FolderStore
from llm_audit.store.objects import StoreSettingsError
from llm_audit.store.opening import open_store
from llm_audit.store.s3 import S3Objects


@pytest.mark.parametrize("form", ["file://{}", "{}", "file://localhost{}"])
def test_a_folder_is_opened_by_url_or_path(tmp_path, form):
    folder = tmp_path / "with space"

    store = open_store(form.format(str(folder).replace(" ", "%20") if "file" in form else folder))

    assert isinstance(store, FolderStore)
    assert store.root == folder
    assert not folder.exists()


@pytest.mark.parametrize("form", ["s3://central-llm-audit", "central-llm-audit", "s3://central-llm-audit/"])
def test_a_bucket_is_opened_by_url_or_name(form):
    store = open_store(form, region="eu-central-1", environ={})

    assert isinstance(store, S3Objects)
    assert store.bucket == "central-llm-audit"


@pytest.mark.parametrize(
    "bad", ["", "s3://", "s3://bucket/prefix", "UPPER", "gs://bucket", "file://host/folder", "file://", "a b"]
)
def test_anything_else_is_refused_with_what_is_allowed(bad):
    with pytest.raises(StoreSettingsError, match="expected"):
        open_store(bad, environ={})
