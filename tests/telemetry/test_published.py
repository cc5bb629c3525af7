import pytest

from llm_audit.telemetry.published import publish, read_published
from telemetry.metrics_kit import snapshot


def test_what_was_published_last_is_read(tmp_path):
    path = tmp_path / "metrics.json"
    publish(path, snapshot([]))
    publish(path, snapshot())
    assert read_published(path) == snapshot()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b'{"version": 1}', b'{"version": 1, "calls": 7}', b"\xff"]
)
def test_a_file_that_is_missing_or_rubbish_is_nothing(tmp_path, content):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_bytes(content)
    assert read_published(path) is None
