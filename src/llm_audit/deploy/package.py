"""What a deployment uploads: the nested templates and the Lambda's zip, together under the digest of all of them. Pure.

The root template is told the bucket and the prefix in two parameters. A prefix never changes its content, so a stack
that is told the same prefix has nothing to change, and one that goes back to an older release finds it still there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

BUCKET_PARAMETER = "ArtifactsBucket"
PREFIX_PARAMETER = "ArtifactsPrefix"
CODE_NAME = "llm-audit-ingest.zip"


@dataclass(frozen=True, slots=True)
class Package:
    """Files by name, as the root template refers to them."""

    files: Mapping[str, bytes]

    @property
    def prefix(self) -> str:
        """Where it lies in the artifacts bucket: ``packages/<SHA-256 over names and contents>``."""
        digest = hashlib.sha256()
        for name in sorted(self.files):
            for part in (name.encode(), self.files[name]):
                digest.update(hashlib.sha256(part).digest())
        return f"packages/{digest.hexdigest()}"

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Give each object's key and content."""
        for name in sorted(self.files):
            yield f"{self.prefix}/{name}", self.files[name]


def template_key(content: bytes) -> str:
    """Give the key of a template that is uploaded because it is large."""
    return f"templates/{hashlib.sha256(content).hexdigest()}.yaml"
