"""The function's one file: made of the package's own words, alone in the world, the same wherever it is made."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile

import pytest

from llm_audit.cli import lambda_bundle
from llm_audit.cli.lambda_bundle import BundleError, archive, bundle, code_sha256
from llm_audit.index import schema
from llm_audit.ingest import documents

ALLOWED = sys.stdlib_module_names | {"botocore", "mypy_boto3_dynamodb"}


def test_it_needs_the_standard_library_and_botocore_alone():
    for node in ast.walk(ast.parse(bundle())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= ALLOWED


def test_what_it_takes_it_takes_word_for_word_with_comments_and_docstrings():
    text = bundle()
    for module, name in ((schema, "Item"), (schema, "stem_of"), (documents, "BodySkipper")):
        source = module.__spec__.loader.get_source(module.__name__)
        node = next(one for one in ast.parse(source).body if getattr(one, "name", None) == name)
        assert ast.get_source_segment(source, node) in text
    assert '"""Objects up to this size are parsed as they are."""' in text


def test_what_the_handler_does_not_reach_is_left_out():
    names = {one.name for one in ast.parse(bundle()).body if isinstance(one, ast.ClassDef | ast.FunctionDef)}
    assert "lambda_handler" in names
    assert not names & {"RequestIds", "item_from_attributes", "caller_value", "iso_from_epoch", "Record"}


def test_the_zip_is_small_and_one_file_that_anybody_may_read():
    data = archive(bundle())
    assert len(data) < 1_000_000
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        (entry,) = file.infolist()
        assert (entry.filename, entry.date_time, entry.external_attr >> 16) == (
            "handler.py",
            (1980, 1, 1, 0, 0, 0),
            0o100644,
        )
        assert file.read(entry).decode() == bundle()


def test_another_process_makes_the_same_bytes_whatever_its_hashes():
    code = "from llm_audit.cli.lambda_bundle import *; print(code_sha256(archive(bundle())))"
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "TZ": zone},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed, zone in (("1", "UTC"), ("77", "Asia/Tokyo"))
    }
    assert made == {code_sha256(archive(bundle()))}


PACKAGE = {
    "one": '"""One."""\n\nfrom os import path\n\nLIMIT = 1\n"""Said of it."""\n\n\ndef helper():\n    return LIMIT\n',
    "two": '"""Two."""\n\nfrom fake.one import helper\n\n\n# why\ndef lambda_handler():\n    return helper()\n',
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Let the bundler work on a package of a few lines."""

    def make(**modules: str) -> str:
        folder = tmp_path / "fake"
        folder.mkdir()
        for name, text in {"__init__": "", **PACKAGE, **modules}.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(lambda_bundle, "PACKAGE", "fake")
        monkeypatch.setattr(lambda_bundle, "ENTRY_MODULE", "fake.two")
        return bundle()

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "fake"]:
        del sys.modules[name]


def test_modules_follow_those_that_they_need_and_unused_imports_fall_away(package):
    text = package()
    assert text.index("# One.") < text.index("# Two.")
    assert 'LIMIT = 1\n"""Said of it."""\n' in text
    assert "# why\ndef lambda_handler" in text
    assert "from os" not in text
    assert "from fake" not in text
    space: dict = {}
    exec(compile(text, "bundle", "exec"), space)
    assert space["lambda_handler"]() == 1


def test_two_modules_with_one_name_are_refused(package):
    with pytest.raises(BundleError, match=r"both fake\.one and fake\.two make helper: rename one"):
        package(two=PACKAGE["two"] + "\n\ndef helper():\n    return 2\n")


def test_renaming_what_is_imported_is_refused(package):
    with pytest.raises(BundleError, match="import it by its own name"):
        package(two=PACKAGE["two"].replace("import helper", "import helper as h"))


def test_importing_a_module_of_the_package_is_refused(package):
    with pytest.raises(BundleError, match=r"line 3: import names with"):
        package(two=PACKAGE["two"].replace("from fake.one import helper", "import fake.one"))
