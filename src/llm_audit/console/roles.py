"""Who may see what, and from where. Pure.

Metadata (who called what, when, how it ended, how long it took) is less than content (what was asked and answered,
previews and errors' words and headers among it). Content always needs a login with a role that has it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Right(StrEnum):
    """One thing that somebody may do."""

    METADATA = "metadata"
    CONTENT = "content"
    USERS = "users"


class Role(StrEnum):
    """What a user is."""

    VIEWER = "viewer"
    AUDITOR = "auditor"
    ADMIN = "admin"


RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.METADATA}),
    Role.AUDITOR: frozenset({Right.METADATA, Right.CONTENT}),
    Role.ADMIN: frozenset(Right),
}

MEANINGS: Mapping[Role, str] = {
    Role.VIEWER: "metadata: who called what, when, how it ended",
    Role.AUDITOR: "also content: prompts, replies, headers; and the access log",
    Role.ADMIN: "also the console's users",
}


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whoever a request comes from; ``name`` is None for somebody on this machine who did not log in."""

    name: str | None
    role: Role | None
    rights: frozenset[Right]
    csrf: str = ""
    """What this viewer's forms must bring along."""
    address: str = ""

    def may(self, right: Right) -> bool:
        """Tell whether the viewer has a right."""
        return right in self.rights

    @property
    def sees_content(self) -> bool:
        """Whether prompts and replies may be shown."""
        return Right.CONTENT in self.rights


def is_loopback(host: str) -> bool:
    """Tell whether a host, by name or address, is this machine and nobody else."""
    name = host.removeprefix("[").removesuffix("]").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """Give the host of a Host field, without its port, in lower case; an IPv6 address keeps its brackets."""
    host = header.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def is_served(host: str, hosts: Collection[str]) -> bool:
    """Tell whether a Host field names this console; any other may be a stranger's name that points here (DNS rebinding)."""
    return host_of(host) in hosts


def is_local(*, listens_on: str, client: str, host: str, is_forwarded: bool) -> bool:
    """Tell whether a request comes from a person on this machine, who sees metadata without a login.

    All must agree: where we listen, the connection's other end, the name that was asked for, and that no reverse proxy
    says it passes on somebody else's request.
    """
    return not is_forwarded and is_loopback(listens_on) and is_loopback(client) and is_loopback(host_of(host))
