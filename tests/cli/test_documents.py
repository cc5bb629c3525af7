from pathlib import Path

import pytest

from llm_audit.cli.documents import commands_page, pages, readme_page, settings_page
from llm_audit.cli.lambda_bundle import HANDLER_PATH
from llm_audit.cli.settings_table import SETTINGS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["README.md", "docs/settings.md", "docs/cli.md", HANDLER_PATH])
def test_a_generated_document_says_what_the_code_says(name):
    wanted = pages(ROOT).get(name)
    if wanted is not None:
        assert (ROOT / name).read_text(encoding="utf-8") == wanted, f"{name} is stale: run `make docs`"


def test_every_setting_is_documented_with_variable_flag_default_and_meaning():
    page = settings_page()
    for setting in SETTINGS:
        for words in (f"| `{setting.env}` | `{setting.flag}` | {setting.shown_default} |", setting.meaning):
            assert words in page


def test_every_commands_help_is_documented_and_gives_an_example():
    sections = commands_page().split("\n## ")[1:]
    assert any(section.startswith("llm-audit serve\n") for section in sections)
    for section in sections:
        assert "xample" in section, section.partition("\n")[0]


def test_only_the_table_between_the_marks_of_a_readme_is_replaced():
    before = "a\n<!-- settings: written by make docs -->\nstale words\n<!-- end of settings -->\nb\n"
    after = readme_page(before)
    assert after.startswith("a\n<!-- settings: written by make docs -->\n| variable |")
    assert after.endswith("|\n<!-- end of settings -->\nb\n")
    assert "stale words" not in after
    assert readme_page(after) == after
    assert readme_page("no marks") == "no marks"
