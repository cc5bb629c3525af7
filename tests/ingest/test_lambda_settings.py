"""The function's environment: defaults, and wrong values refused by name."""

from __future__ import annotations

import pytest

from llm_audit.index.schema import ItemSettings
from llm_audit.ingest.lambda_settings import LambdaSettings, LambdaSettingsError, lambda_settings


@pytest.mark.parametrize(
    "environment", [{}, dict.fromkeys(("TABLE_NAME", "MAX_PREVIEW_CHARS", "STATUS_SHARDS"), "")]
)
def test_without_variables_the_contracts_defaults_hold(environment):
    assert lambda_settings(environment) == LambdaSettings(
        "CentralLLMAudit", None, ItemSettings(preview_characters=2048, status_shards=1, retention_days=None)
    )


def test_every_variable_is_taken():
    environment = {
        "TABLE_NAME": "arn:aws:dynamodb:eu-central-1:123456789012:table/Audit",
        "MAX_PREVIEW_CHARS": "0",
        "RAW_ARCHIVE_BUCKET": "central-llm-audit-raw",
        "STATUS_SHARDS": "8",
        "RETENTION_DAYS": "365",
    }
    assert lambda_settings(environment) == LambdaSettings(
        environment["TABLE_NAME"], "central-llm-audit-raw", ItemSettings(0, 8, 365)
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TABLE_NAME", "a b"),
        ("MAX_PREVIEW_CHARS", "-1"),
        ("MAX_PREVIEW_CHARS", "two"),
        ("MAX_PREVIEW_CHARS", "400001"),
        ("MAX_PREVIEW_CHARS", "9" * 5000),
        ("MAX_PREVIEW_CHARS", "\N{SUPERSCRIPT TWO}"),
        ("STATUS_SHARDS", "0"),
        ("RETENTION_DAYS", "0"),
        ("RETENTION_DAYS", "1.5"),
        ("RAW_ARCHIVE_BUCKET", "s3://raw"),
    ],
)
def test_a_wrong_value_is_refused_with_name_value_and_what_is_allowed(name, value):
    with pytest.raises(LambdaSettingsError, match=f"{name} is '.*', expected ") as caught:
        lambda_settings({name: value})
    assert len(str(caught.value)) < 250
