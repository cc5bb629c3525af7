"""``doctor --aws``: which system is meant, from flags and stack, and its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llm_audit.cli.lambda_bundle import archive, bundle, code_sha256
from llm_audit.cli.settings import Settings
from llm_audit.deploy.clients import open_aws
from llm_audit.deploy.doctor import examine
from llm_audit.deploy.findings import Finding
from llm_audit.deploy.target import Named, find_target


@dataclass(frozen=True, slots=True)
class AwsOptions:
    """What the command line says of the system on AWS; None where it says nothing."""

    stack: str | None
    api_url: str | None
    api_key: str | None
    table: str | None
    function: str | None
    dead_letters: str | None
    wait_seconds: float


def aws_findings(
    settings: Settings, options: AwsOptions, say: Callable[[str], None]
) -> Iterator[tuple[str, Finding]]:
    """Give every finding with its check's name; raises what ``told`` turns into a message."""
    aws = open_aws(settings.aws_region, settings.aws_endpoint_url)
    named = Named(
        stack=options.stack,
        api_url=options.api_url,
        api_key=options.api_key,
        bucket=settings.bucket if settings.is_s3 else None,
        prefix=settings.prefix,
        table=options.table,
        function=options.function,
        dead_letters=options.dead_letters,
    )
    expected = code_sha256(archive(bundle()))
    yield from examine(find_target(aws, named, expected, options.wait_seconds), say)
