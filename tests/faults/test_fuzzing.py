"""What fuzzing has found, on every machine: kept inputs and past crashes go through their targets."""

import pytest

from faults.fuzzing import by_the_book, kept, running, segment
from faults.fuzzing.__main__ import main
from faults.fuzzing.targets import TARGETS

CRASHES = [(target, path) for target in TARGETS for path in kept.crashes(target)]


@pytest.mark.parametrize("target", TARGETS)
def test_every_kept_input_goes_through_its_target(target):
    inputs = kept.inputs(target)
    assert len(inputs) > 10
    for data in inputs:
        TARGETS[target](data)


@pytest.mark.parametrize(("target", "path"), CRASHES, ids=[f"{name}-{path.name}" for name, path in CRASHES])
def test_what_once_broke_something_breaks_nothing_now(target, path):
    TARGETS[target](path.read_bytes())


def test_no_input_is_kept_for_a_target_that_is_not_there():
    named = {path.stem for path in kept.CORPUS.iterdir()} | {path.name for path in kept.CRASHES.iterdir()}
    assert named <= TARGETS.keys()


def test_inputs_come_back_as_they_were_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "CORPUS", tmp_path / "corpus")
    inputs = [b"", bytes(range(256)), b"data: \r\n\xe2\x80\xa8'\"\\"]
    kept.keep("journal", [*inputs, b""])
    assert kept.inputs("journal") == sorted(inputs, key=len)


@pytest.mark.skipif(not running.is_possible(), reason="atheris is not here")
def test_what_breaks_a_target_is_found_named_and_kept(tmp_path, monkeypatch):
    code = "def picky(data):\n    assert data[:3] != b'odd', 'it is odd'\nTARGETS = {'picky': picky}\n"
    (tmp_path / "picky_targets.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(kept, "CRASHES", tmp_path / "crashes")
    monkeypatch.setattr(kept, "CORPUS", tmp_path / "corpus")
    kept.keep("picky", [b"odd, but kept by mistake"])
    done = running.fuzz("picky", 20, 1, "picky_targets")
    [crash] = kept.crashes("picky")
    assert done.broken == f"picky breaks on {crash}: AssertionError: it is odd"
    assert crash.read_bytes().startswith(b"odd")


def test_a_target_that_is_not_there_is_wrong_usage():
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "nothing_of_the_kind"])


def test_the_segment_is_whole_before_it_is_damaged_and_a_forged_call_would_show(monkeypatch):
    found = segment.read(segment.WHOLE)
    for ended in found:
        segment.check(ended)
    assert [one.damage for one in found] == [None] * len(segment.NAMES)
    name = segment.NAMES[1]
    body = segment.TRUTH[name][0]
    other = {**segment.TRUTH, name: (body[:-1] + b"?", segment.TRUTH[name][1])}
    monkeypatch.setattr(segment, "TRUTH", other)
    with pytest.raises(AssertionError, match="a request that nobody made"):
        segment.check(found[1])


def test_one_damaged_byte_costs_one_call_at_most():
    for at in range(0, 4400, 61):
        step = bytes((0, at & 255, at >> 8, 0, 0, 0xA5, 0))
        found = segment.read(segment.damaged(step))
        assert [one.sequence for one in found] == list(range(len(segment.NAMES)))
        assert sum(one.damage is not None for one in found) <= 1


def test_the_standards_own_example_reads_as_it_says():
    said = b"data: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
    assert by_the_book.events(said) == [
        ("message", b"first event"), ("message", b"second event"), ("message", b" third event"),
    ]  # fmt: skip
