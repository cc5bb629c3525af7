import json

import pytest

from llm_audit.query.pipeline import PipelineFolders, read_pipeline


@pytest.fixture
def folders(tmp_path):
    return PipelineFolders(tmp_path / "status", tmp_path / "journal", tmp_path / "quarantine")


def test_of_a_pipeline_that_never_ran_nothing_is_known(folders):
    pipeline = read_pipeline(folders)
    assert (pipeline.supervisor, pipeline.shipper, pipeline.quarantined_count) == (None, None, 0)


@pytest.mark.parametrize("content", ["", "[1]", "{", "\x00"])
def test_a_status_that_is_half_written_is_unknown(folders, content):
    folders.status.mkdir()
    (folders.status / "shipper.json").write_text(content)
    assert read_pipeline(folders).shipper is None


def test_what_the_processes_say_and_what_lies_in_quarantine_is_found_with_its_reason(folders):
    folders.status.mkdir()
    (folders.status / "shipper.json").write_text(json.dumps({"stored": 3}))
    for number in range(3):
        (folders.quarantine / f"w-1-1-{number}").mkdir(parents=True)
    (folders.quarantine / "w-1-1-0" / "reason.txt").write_text("a flipped bit\n")
    pipeline = read_pipeline(folders)
    assert pipeline.shipper == {"stored": 3}
    assert pipeline.quarantined_count == 3
    assert pipeline.quarantined[0].reason == "a flipped bit"
    assert "cannot be read" in pipeline.quarantined[1].reason
