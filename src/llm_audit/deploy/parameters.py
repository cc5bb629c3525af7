"""A stack's parameters and tags from the command line and from files. Pure but for reading the file.

Later wins: the template's default, what the stack has, the file, ``--parameter``. What is not given keeps the value
that the stack has, so that an update never resets what somebody once chose.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from llm_audit.deploy.errors import WrongUsageError

_FORMS = (
    'a JSON object such as {"AlarmEmail": "ops@example.com"}, one with it under "Parameters", or a list of '
    '{"ParameterKey": …, "ParameterValue": …}'
)


def assignments(texts: Iterable[str], what: str = "--parameter") -> dict[str, str]:
    """Read ``Name=Value`` texts; the value may hold ``=`` or be empty. Raises WrongUsageError, also for a name given twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise WrongUsageError(f"{what} {text!r} is no assignment", f"write {what} Name=Value")
        if name.strip() in found:
            raise WrongUsageError(f"{what} {name.strip()} is given twice", "give it once")
        found[name.strip()] = value
    return found


def read_file(path: Path) -> dict[str, str]:
    """Read a file of parameters, in any of the forms AWS's tools know. Raises WrongUsageError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongUsageError(f"{path} cannot be read: {error.strerror}", "check the path") from None
    except ValueError as error:
        raise WrongUsageError(f"{path} is no JSON: {error}", f"write {_FORMS}") from None
    if isinstance(content, dict) and isinstance(content.get("Parameters"), dict | list):
        content = content["Parameters"]
    if isinstance(content, list):
        content = dict(_pair(entry, path) for entry in content)
    if not isinstance(content, dict):
        raise WrongUsageError(f"{path} holds a {type(content).__name__}", f"write {_FORMS}")
    return {str(name): _value(name, value, path) for name, value in content.items()}


def _pair(entry: Any, path: Path) -> tuple[str, Any]:
    try:
        return entry["ParameterKey"], entry["ParameterValue"]
    except (TypeError, KeyError):
        raise WrongUsageError(f"{path} holds an entry {json.dumps(entry)}", f"write {_FORMS}") from None


def _value(name: Any, value: Any, path: Path) -> str:
    """Give a value as CloudFormation takes it: lists joined by commas, booleans as ``true`` and ``false``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return ",".join(map(str, value))
    if isinstance(value, str | int | float):
        return str(value)
    raise WrongUsageError(
        f"{path}: {name} is {json.dumps(value)}", "write a string, a number, a boolean or a list of them"
    )


def check_known(given: Mapping[str, str], known: Collection[str]) -> None:
    """Raise WrongUsageError for a parameter that the template does not have, with the nearest that it has."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = (
                f"did you mean {near[0]}?"
                if near
                else f"the template has {', '.join(sorted(known)) or 'none'}"
            )
            raise WrongUsageError(f"the template has no parameter {name}", advice)


def for_cloudformation(
    given: Mapping[str, str], known: Collection[str], existing: Collection[str]
) -> list[dict[str, Any]]:
    """Give ``Parameters`` of a change set: what is given, and what the stack has where nothing is given."""
    told = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
    kept = [
        {"ParameterKey": name, "UsePreviousValue": True}
        for name in existing
        if name in known and name not in given
    ]
    return [*told, *kept]
