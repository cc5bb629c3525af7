"""The CloudFormation templates as data: read with their short-form tags, resolved with parameters, walked."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "infra" / "cloudformation"

ACCOUNT = "123456789012"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": "eu-central-1",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": None,
}


class _Loader(yaml.SafeLoader):
    """Understands ``!Ref`` and its kin."""


def _short_form(loader: yaml.Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def template_names() -> list[str]:
    return sorted(path.name for path in FOLDER.glob("*.yaml"))


@functools.cache
def load(name: str) -> dict[str, Any]:
    """Read one template."""
    loader = _Loader((FOLDER / name).read_text())
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def resources(kind: str | None = None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give (template, logical id, resource) of every resource, or of every one of a type."""
    for name in template_names():
        for logical_id, resource in load(name)["Resources"].items():
            if kind is None or resource["Type"] == kind:
                yield name, logical_id, resource


def resolved(value: Any, parameters: dict[str, Any], conditions: dict[str, bool]) -> Any:
    """Resolve references, joins and choices; what only AWS knows becomes ``<Name.Attribute>``."""
    known = {**PSEUDO, **parameters}
    match value:
        case list():
            items = [resolved(item, parameters, conditions) for item in value]
            value = [item for item in items if item is not None]
        case {"Ref": name, **rest} if not rest:
            value = known.get(name, f"<{name}>")
        case {"Fn::GetAtt": path, **rest} if not rest:
            value = f"<{'.'.join(path)}>"
        case {"Fn::Sub": str(text), **rest} if not rest:
            filled = re.sub(
                r"\$\{([^!}][^}]*)\}", lambda found: str(known.get(found[1], f"<{found[1]}>")), text
            )
            value = filled.replace("${!", "${")
        case {"Fn::If": [condition, yes, no], **rest} if not rest:
            value = resolved(yes if conditions[condition] else no, parameters, conditions)
        case dict():
            members = {key: resolved(member, parameters, conditions) for key, member in value.items()}
            value = {key: member for key, member in members.items() if member is not None}
    return value


def main_defaults() -> dict[str, Any]:
    """Give the defaults of the whole system's parameters: the document's own names."""
    return {
        name: parameter["Default"]
        for name, parameter in load("main.yaml")["Parameters"].items()
        if "Default" in parameter
    }


def digest_of_api() -> str:
    """Give eight digits that change with whatever a deployment of the gateway takes a snapshot of."""
    taken = {
        logical_id: resource
        for logical_id, resource in load("gateway.yaml")["Resources"].items()
        if resource["Type"].removeprefix("AWS::ApiGateway::")
        in {"RestApi", "Resource", "RequestValidator", "Method", "GatewayResponse"}
    }
    return hashlib.sha256(json.dumps(taken, sort_keys=True).encode()).hexdigest()[:8]
