"""What both passes of the chain need."""

import pytest


@pytest.fixture
def signed_in(monkeypatch):
    """Give this process's own clients credentials that may do everything."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
