"""The command line of the faults, and what it says of a finding."""

import subprocess
import sys

import pytest

from faults import command, report, runner
from faults.row import Result, Row, Scale


def test_a_finding_ends_with_the_command_that_makes_it_again_and_keeps_its_folder(
    tmp_path, monkeypatch, capsys
):
    class Broken:
        @staticmethod
        def run(stage):
            (stage.folder / "evidence").write_text("it was here")
            yield Row("a fault", calls=2, findings=("one call is gone",))

    monkeypatch.setattr(runner, "names", lambda: ["broken"])
    monkeypatch.setitem(sys.modules, "faults.cases.broken", Broken)
    code = command.main(["--seed", "5", "--scale", "short", "--folder", str(tmp_path)])
    said = capsys.readouterr().out
    assert code == 1
    assert "python -m faults --only broken --seed 5 --scale short" in said
    assert "one call is gone" in said
    assert (tmp_path / "broken" / "evidence").exists()


def test_a_fault_that_breaks_down_is_a_finding_and_one_that_holds_leaves_nothing(tmp_path, monkeypatch):
    class BreaksDown:
        @staticmethod
        def run(stage):
            raise OSError(f"no such thing in {stage.folder}")

    class Holds:
        @staticmethod
        def run(stage):
            (stage.folder / "scratch").touch()
            yield Row(f"dice {stage.rng.random()}")

    monkeypatch.setitem(sys.modules, "faults.cases.breaks_down", BreaksDown)
    monkeypatch.setitem(sys.modules, "faults.cases.holds", Holds)
    down = runner.run_one("breaks_down", 1, Scale.SHORT, tmp_path / "a")
    assert down.is_broken
    assert "no such thing" in down.rows[0].findings[0]
    first, second = (runner.run_one("holds", 1, Scale.SHORT, tmp_path / "b") for _ in range(2))
    assert first.rows == second.rows, "the same seed throws the same dice"
    assert not (tmp_path / "b").exists()


def test_an_unknown_fault_is_wrong_usage(tmp_path):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--only", "nothing_of_the_kind", "--folder", str(tmp_path)])


def test_the_document_keeps_the_rows_of_faults_that_did_not_run(tmp_path, monkeypatch):
    document = tmp_path / "reliability.md"
    document.write_text(f"before\n{report._BEGIN}\n{report._END}\nafter\n")
    monkeypatch.setattr(report, "DOCUMENT", document)
    report.write_docs([Result("b", 1, Scale.FULL, 1.0, (Row("first b", calls=1234),))])
    report.write_docs([Result("a", 2, Scale.FULL, 1.0, (Row("a | b", skipped="no\ntmpfs"),))])
    report.write_docs([Result("b", 3, Scale.SHORT, 1.0, (Row("second b"), Row("third b")))])
    rows = [
        line for line in document.read_text().splitlines() if line.startswith("| `") and "--only" not in line
    ]
    assert [row.split(" | ")[1] for row in rows] == ["a \\| b", "second b", "third b"]
    assert "no tmpfs (seed 2, full)" in rows[0]
    assert document.read_text().startswith("before\n")
    assert document.read_text().endswith("after\n")


def test_it_runs_as_a_module():
    said = subprocess.run(
        [sys.executable, "-m", "faults", "--help"], capture_output=True, text=True, check=True
    )
    assert "kill" in said.stdout
