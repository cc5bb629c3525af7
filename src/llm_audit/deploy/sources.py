"""The template, as it lies in the checkout and in an installed package alike (the folder is linked into the package)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llm_audit.deploy.errors import WrongUsageError

TEMPLATE = Path(__file__).parent / "cloudformation" / "central-llm-audit.yaml"
"""``infra/cloudformation`` of the checkout."""


@dataclass(frozen=True, slots=True)
class CodePlace:
    """How a template is told where the Lambda's zip lies: the names of its two parameters."""

    bucket: str
    key: str


CODE_PLACE = CodePlace("IngestCodeBucket", "IngestCodeKey")


def read_template(path: Path) -> bytes:
    """Give a template's text. Raises WrongUsageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUsageError(
            f"the template {path} cannot be read: {error.strerror}",
            "check --template, or install the package again",
        ) from None


def build_code() -> bytes:
    """Give the Lambda's zip."""
    raise WrongUsageError("x")
