"""One target in this process under atheris: ``python -m faults.fuzzing.child MODULE:TARGET`` and libFuzzer's arguments.

libFuzzer ends the process: 0 if nothing broke.
"""

from __future__ import annotations

import importlib
import os
import sys

import atheris


def main() -> None:
    """Instrument the product, then fuzz."""
    named, *options = sys.argv[1:]
    module, _, name = named.partition(":")
    with atheris.instrument_imports(include=["llm_audit"]):
        targets = importlib.import_module(module).TARGETS
    atheris.Setup([os.environ.get("FUZZ_AGAIN", sys.argv[0]), *options], targets[name])
    atheris.Fuzz()


main()
