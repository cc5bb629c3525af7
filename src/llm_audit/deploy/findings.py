"""One line of ``doctor --aws``, and how a check that may not look at something says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_audit.deploy.errors import DeployError, aws_errors, error_code, from_client_error

if TYPE_CHECKING:
    from llm_audit.deploy.target import Target


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. ``is_ok`` is None where nothing could be said; ``advice`` says what to do about a problem."""

    is_ok: bool | None
    what: str
    advice: str = ""


Check = Callable[["Target"], Iterator[Finding]]

_NOT_ALLOWED = ("AccessDenied", "AccessDeniedException", "403", "UnauthorizedOperation", "Forbidden")


def looked_at(check: Check, target: Target) -> Iterator[Finding]:
    """Run a check; where AWS refuses or fails it, that is a finding too, and the rest goes on."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    try:
        with aws_errors():
            try:
                yield from check(target)
            except ClientError as error:
                if error_code(error) not in _NOT_ALLOWED:
                    raise from_client_error(error) from None
                words = f"not looked at ({check.__name__}): {error.operation_name} is not allowed"
                yield Finding(None, words, "give whoever runs doctor that permission")
    except DeployError as error:
        yield Finding(False, str(error), error.advice or "see the message")
