"""The crash points are listed where people look for them."""

import re
from pathlib import Path

import llm_audit
from llm_audit.journal.crash import POINTS


def test_every_point_that_the_code_passes_is_listed_and_no_other():
    source = "".join(path.read_text() for path in Path(llm_audit.__file__).parent.rglob("*.py"))
    passed = set(re.findall(r'crash\.point\("([^"]+)"\)', source))
    for around in re.findall(r"crash\.around\((.*)\)", source):
        passed |= set(re.findall(r'(?:before|after)="([^"]+)"', around))
    assert passed == set(POINTS)
