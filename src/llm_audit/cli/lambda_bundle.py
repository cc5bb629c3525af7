"""The ingestion Lambda as one file: the handler's module, and what it needs of the package's others, word for word.

There is one source, the package. From each module only those top-level statements are taken that the handler
reaches by name; imports between modules fall away, those of the standard library and botocore are gathered on top. So
names must be unique among what is taken together, and ``bundle`` refuses where they are not.

The zip is the same bytes wherever it is made: it holds one file, uncompressed (compression differs between versions
of zlib), with a fixed time and mode.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import symtable
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "llm_audit"
ENTRY_MODULE = "llm_audit.ingest.handler"
ENTRY_NAME = "lambda_handler"
HANDLER_PATH = "infra/lambda/llm-audit-ingest/handler.py"
"""Where a checkout has the bundle, and where the requirement document looks for it."""

_HEADER = '''"""The ingestion Lambda of Central LLM Audit: S3 notifications in, DynamoDB items out. One file, handler.lambda_handler.

Written by `make docs` from src/llm_audit (each part names its module there); a test compares them. Change the
sources, never this file. It needs Python 3.11 or newer and botocore, which every Python runtime of Lambda has, and
nothing else: zip it alone, or run `llm-audit lambda build`. Settings are environment variables; see lambda_settings.
"""
'''


class BundleError(Exception):
    """The sources cannot be put into one file: the message names what is in the way."""


@dataclass(frozen=True, slots=True)
class _Statement:
    """A top-level statement with the comment above it and the docstring below: text, names made, names used."""

    module: str
    text: str
    makes: frozenset[str]
    uses: frozenset[str]
    is_block: bool


@dataclass(frozen=True, slots=True)
class _Module:
    """A module, taken apart. ``imports`` has the statement for each name that comes from outside the package."""

    name: str
    title: str
    statements: tuple[_Statement, ...]
    imports: dict[str, str]
    type_imports: dict[str, str]
    needs: tuple[str, ...]


def bundle() -> str:
    """Give the text of ``handler.py``. Raises BundleError."""
    modules = _modules(ENTRY_MODULE)
    taken = _reached([statement for module in modules for statement in module.statements])
    used = frozenset(name for statement in taken for name in statement.uses)
    parts = [_HEADER, "\nfrom __future__ import annotations\n\n", _imports(modules, used)]
    for module in modules:
        own = [statement for statement in taken if statement.module == module.name]
        if own:
            parts.append(f"\n\n# ---- {module.name.replace('.', '/')}.py\n# {module.title}\n")
            parts.append(_laid_out(own))
    return "".join(parts)


def archive(text: str) -> bytes:
    """Give the zip for Lambda, the same bytes on every machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        entry = zipfile.ZipInfo("handler.py", (1980, 1, 1, 0, 0, 0))
        entry.create_system = 3  # Unix, also where this runs on Windows
        entry.external_attr = 0o100644 << 16
        file.writestr(entry, text.encode())
    return buffer.getvalue()


def code_sha256(data: bytes) -> str:
    """Give a zip's digest as Lambda shows it (``CodeSha256``): base64."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")


def _modules(entry: str) -> list[_Module]:
    """Give the module and all that it needs of the package, each after those that it needs itself."""
    found: dict[str, _Module] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        module = _take_apart(name)
        for needed in module.needs:
            visit(needed)
        found[name] = module

    visit(entry)
    return list(found.values())


def _take_apart(name: str) -> _Module:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise BundleError(f"{name} has no source file")
    source = Path(spec.origin).read_text(encoding="utf-8")
    tree = ast.parse(source)
    statements: list[_Statement] = []
    imports: dict[str, str] = {}
    type_imports: dict[str, str] = {}
    needs: list[str] = []
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    for group in _with_docstrings(body):
        node = group[0]
        if isinstance(node, ast.Import | ast.ImportFrom):
            _note_import(node, name, imports, needs)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for inner in node.body:
                _note_import(inner, name, type_imports, needs)
        else:
            statements.append(_statement(name, source.splitlines(), group))
    title = (ast.get_docstring(tree) or name).splitlines()[0]
    return _Module(name, title, tuple(statements), imports, type_imports, tuple(needs))


def _with_docstrings(body: Iterable[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Give each statement together with the text below that describes it."""
    group: list[ast.stmt] = []
    for node in body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if group and not is_text:
            yield group
            group = []
        group.append(node)
    if group:
        yield group


def _note_import(node: ast.stmt, module: str, imports: dict[str, str], needs: list[str]) -> None:
    """Remember what an import brings; of the package's own, only which module it names."""
    match node:
        case ast.ImportFrom(module="__future__"):
            return
        case ast.ImportFrom(module=str(origin), names=aliases, level=0):
            if origin.partition(".")[0] == PACKAGE:
                if any(alias.asname for alias in aliases):
                    raise BundleError(
                        f"{module} renames what it imports of {origin}: import it by its own name"
                    )
                needs.append(origin)
                return
            for alias in aliases:
                renamed = f" as {alias.asname}" if alias.asname else ""
                imports[alias.asname or alias.name] = f"from {origin} import {alias.name}{renamed}"
        case ast.Import(names=aliases) if not any(
            alias.name.partition(".")[0] == PACKAGE for alias in aliases
        ):
            for alias in aliases:
                renamed = f" as {alias.asname}" if alias.asname else ""
                imports[alias.asname or alias.name] = f"import {alias.name}{renamed}"
        case _:
            raise BundleError(f"{module}, line {node.lineno}: import names with `from {PACKAGE}.… import …`")


def _statement(module: str, lines: list[str], group: list[ast.stmt]) -> _Statement:
    node = group[0]
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(one.lineno for one in decorators)])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    last = max(one.end_lineno or one.lineno for one in group)
    text = "\n".join(lines[first - 1 : last]) + "\n"
    is_block = isinstance(node, ast.ClassDef | ast.FunctionDef)
    return _Statement(module, text, frozenset(_made(node)), frozenset(_used(node, text)), is_block)


def _made(node: ast.stmt) -> Iterator[str]:
    """Give the names that a top-level statement makes."""
    match node:
        case ast.ClassDef() | ast.FunctionDef():
            yield node.name
        case ast.Assign() | ast.AnnAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))


def _used(node: ast.stmt, text: str) -> Iterator[str]:
    """Give every name that a statement takes from outside itself, and the dotted ones that an import may bring."""
    waiting = [symtable.symtable(text, "bundle", "exec")]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        yield from (one.get_name() for one in table.get_symbols() if one.is_referenced() and one.is_global())
    yield from (ast.unparse(one) for one in ast.walk(node) if isinstance(one, ast.Attribute))


def _reached(statements: list[_Statement]) -> list[_Statement]:
    """Keep what the handler reaches: by name, or a statement without a name that speaks of what is kept."""
    by_name: dict[str, _Statement] = {}
    for statement in statements:
        for name in statement.makes:
            other = by_name.setdefault(name, statement)
            if other.module != statement.module:
                raise BundleError(f"both {other.module} and {statement.module} make {name}: rename one")
    kept: set[_Statement] = set()
    waiting = deque([by_name[ENTRY_NAME]])
    while waiting:
        statement = waiting.popleft()
        if statement in kept:
            continue
        kept.add(statement)
        waiting.extend(by_name[name] for name in statement.uses if name in by_name)
    names = {name for statement in kept for name in statement.makes}
    for statement in statements:
        own = statement.uses & by_name.keys()
        if not statement.makes and own and own <= names:
            kept.add(statement)
    return [statement for statement in statements if statement in kept]


def _imports(modules: list[_Module], used: frozenset[str]) -> str:
    """Give the imports that what is taken uses, as ruff sorts them: standard library, then others."""
    needed = {text for module in modules for name, text in module.imports.items() if name in used}
    types = {text for module in modules for name, text in module.type_imports.items() if name in used}
    if types:
        needed.add("from typing import TYPE_CHECKING")
    blocks = [_sorted_imports(one for one in needed if _is_botocore(one) is third) for third in (False, True)]
    if types:
        inner = _sorted_imports(types).replace("\n", "\n    ").rstrip()
        blocks.append(f"if TYPE_CHECKING:\n    {inner}\n")
    return "\n".join(block for block in blocks if block)


def _is_botocore(text: str) -> bool:
    return text.split()[1].partition(".")[0] in ("boto3", "botocore")


def _sorted_imports(texts: Iterable[str]) -> str:
    plain: list[str] = []
    names: dict[str, list[str]] = {}
    for text in texts:
        if text.startswith("import "):
            plain.append(text)
        else:
            _, origin, _, name = text.split(" ", 3)
            names.setdefault(origin, []).append(name)
    froms = [
        f"from {origin} import {', '.join(sorted(names[origin], key=_import_order))}"
        for origin in sorted(names)
    ]
    return "".join(f"{line}\n" for line in (*sorted(plain), *froms))


def _import_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: as ruff has it."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _laid_out(statements: list[_Statement]) -> str:
    """Put statements one below the other: two empty lines around functions and classes, one between others."""
    text = "\n" if not statements[0].is_block else "\n\n"
    for before, statement in zip([None, *statements], statements, strict=False):
        if before is not None:
            text += "\n\n" if before.is_block or statement.is_block else "\n"
        text += statement.text
    return text
