"""Our templates, as they lie in the checkout and in an installed package alike (the folder is linked into the package)."""

from __future__ import annotations

from pathlib import Path

from llm_audit.deploy.errors import WrongUsageError

TEMPLATE = Path(__file__).parent / "cloudformation" / "main.yaml"
"""``infra/cloudformation/main.yaml`` of the checkout; those that it nests lie beside it."""


def read_template(path: Path) -> bytes:
    """Give a template's text. Raises WrongUsageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUsageError(
            f"the template {path} cannot be read: {error.strerror}",
            "check --template, or install the package again",
        ) from None


def read_nested(root: Path) -> dict[str, bytes]:
    """Give the templates that lie beside a root template, by name. Raises WrongUsageError."""
    return {
        path.name: read_template(path)
        for path in sorted(root.parent.glob("*.yaml"))
        if path.name != root.name
    }
