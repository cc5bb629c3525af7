"""A template and those it nests: their references become addresses of uploaded objects. Pure.

``TemplateURL: storage.yaml`` names a file beside the template, as ``aws cloudformation package`` reads it. The text is
changed in that one place and nowhere else: a template that CloudFormation shows is the one in the repository.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_REFERENCE = re.compile(
    rb"""^(?P<before>[ \t]*"?TemplateURL"?[ \t]*:[ \t]*)(?P<quote>["']?)(?P<name>[\w./-]+\.(?:ya?ml|json))(?P=quote)""",
    re.MULTILINE | re.ASCII,
)


def nested(template: bytes) -> tuple[str, ...]:
    """Name the files that a template nests, each once, in the order in which they stand."""
    return tuple(dict.fromkeys(match["name"].decode() for match in _REFERENCE.finditer(template)))


def with_addresses(template: bytes, addresses: Mapping[str, str]) -> bytes:
    """Give the template with each nested file's name replaced by its address."""
    return _REFERENCE.sub(
        lambda found: found["before"] + b'"' + addresses[found["name"].decode()].encode() + b'"', template
    )


def pack(name: str, read: Callable[[str], bytes], place: Callable[[bytes], str]) -> bytes:
    """Give a template whose nested ones, and theirs, lie where ``place`` put them.

    ``read`` gives a file by its name, ``place`` takes a template's final text and gives its address.
    """
    template = read(name)
    addresses = {child: place(pack(child, read, place)) for child in nested(template)}
    return with_addresses(template, addresses)
