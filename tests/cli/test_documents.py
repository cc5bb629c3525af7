from pathlib import Path

import pytest

from llm_audit.cli.documents import PAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_document_says_what_the_code_says(name):
    assert (ROOT / name).read_text(encoding="utf-8") == PAGES[name](), f"{name} is stale: run `make docs`"
