"""``doctor --aws``: every check, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from llm_audit.deploy import check_chain, check_ingest, check_queue, check_storage
from llm_audit.deploy.findings import Check, Finding, looked_at
from llm_audit.deploy.target import Target

READING: tuple[Check, ...] = (
    *(check_storage.identity, check_storage.stack, check_storage.bucket, check_storage.table),
    *(check_ingest.notification, check_queue.queue, check_ingest.function, check_ingest.permissions),
    *(check_ingest.dead_letters, check_ingest.alarms, check_chain.enforcement),
)


def examine(target: Target, say: Callable[[str], None]) -> Iterator[tuple[str, Finding]]:
    """Give each finding with the name of its check; the call that is followed comes last."""
    for check in READING:
        for finding in looked_at(check, target):
            yield check.__name__, finding
    followed = partial(check_chain.chain, say=say)
    followed.__name__ = "chain"  # type: ignore[attr-defined] # what a finding says of a check that was refused
    for finding in looked_at(followed, target):
        yield "chain", finding
