"""Compiles the data path with mypyc where ``LLM_AUDIT_COMPILE=1`` says so (a C compiler is needed); else nothing.

Everything else stands in pyproject.toml. The modules stay what they are, tested as Python; compiled, the proxy's own
part of a call costs half (docs/benchmarks.md).
"""

from __future__ import annotations

import os

from setuptools import setup

COMPILED = [
    "src/llm_audit/record/schema.py",
    "src/llm_audit/record/times.py",
    "src/llm_audit/record/encoding.py",
    "src/llm_audit/journal/model.py",
    "src/llm_audit/journal/frames.py",
    "src/llm_audit/journal/exchange.py",
    "src/llm_audit/journal/writer.py",
    "src/llm_audit/journal/scan.py",
    "src/llm_audit/journal/assemble.py",
    "src/llm_audit/journal/pieces.py",
    "src/llm_audit/proxy/exchange.py",
    "src/llm_audit/proxy/fields.py",
    "src/llm_audit/proxy/framing.py",
    "src/llm_audit/proxy/gate.py",
    "src/llm_audit/proxy/outflow.py",
    "src/llm_audit/proxy/paths.py",
    "src/llm_audit/proxy/request_head.py",
    "src/llm_audit/proxy/response_head.py",
    "src/llm_audit/proxy/server.py",
    "src/llm_audit/proxy/service.py",
    "src/llm_audit/proxy/upstream.py",
]


def extensions() -> list[object]:
    """Give the compiled modules, none without the variable."""
    if os.environ.get("LLM_AUDIT_COMPILE") != "1":
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - needed for compiling alone

    modules: list[object] = mypycify(COMPILED, opt_level="3", debug_level="0")
    return modules


setup(ext_modules=extensions())
