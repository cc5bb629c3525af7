"""What the pipeline's own words mean, and what to do about each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm_audit.query.amounts import shown_bytes, shown_ms
from llm_audit.query.pipeline import Pipeline, Quarantined

SILENCE_MS = 30_000
"""The shipper writes its status about once a second."""
WAITING_MS = 60_000
"""A record is stored within a second or two; one that waits longer has a reason."""
FULL_PERCENT = 80


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that is well or not; ``is_ok`` is None where nothing is known."""

    name: str
    is_ok: bool | None
    words: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class WriterRow:
    """One writer's journal."""

    name: str
    journal_bytes: int
    open_calls: int
    unshipped: int
    stored_to: str
    error: str | None


@dataclass(frozen=True, slots=True)
class PipelineView:
    """The page's content."""

    signs: tuple[Sign, ...]
    writers: tuple[WriterRow, ...]
    processes: tuple[tuple[str, int, int], ...]
    """Name, process id, restarts."""
    quarantined: tuple[Quarantined, ...]
    quarantined_count: int
    updated_at_ms: int | None

    @property
    def troubles(self) -> int:
        """How many signs are not well."""
        return sum(sign.is_ok is False for sign in self.signs)


def pipeline_view(pipeline: Pipeline, journal_limit_bytes: int, now_ms: int) -> PipelineView:
    """Judge what was read."""
    shipper = pipeline.shipper or {}
    return PipelineView(
        signs=tuple(_signs(pipeline, shipper, journal_limit_bytes, now_ms)),
        writers=tuple(_writers(shipper)),
        processes=tuple(_processes(pipeline.supervisor or {})),
        quarantined=pipeline.quarantined,
        quarantined_count=pipeline.quarantined_count,
        updated_at_ms=_whole(shipper.get("updatedAt")),
    )


def _signs(
    pipeline: Pipeline, shipper: Mapping[str, Any], journal_limit_bytes: int, now_ms: int
) -> Iterator[Sign]:
    yield _serving(pipeline)
    if not shipper:
        yield Sign("Shipper", None, "has said nothing yet", "start `llm-audit serve`")
        return
    yield _shipper(pipeline, shipper, now_ms)
    yield _journal(shipper, journal_limit_bytes)
    yield _lag(shipper)
    yield from _errors(shipper)
    yield _index(shipper)
    yield _quarantine(pipeline)
    yield _gaps(shipper)


def _serving(pipeline: Pipeline) -> Sign:
    if pipeline.supervisor is None:
        return Sign("Serving", False, "no supervisor says that it runs", "start `llm-audit serve`")
    where = (
        f"calls at {pipeline.supervisor.get('listen')}, model server at {pipeline.supervisor.get('upstream')}"
    )
    restarts = sum(count for _, _, count in _processes(pipeline.supervisor))
    if restarts:
        return Sign(
            "Serving",
            None,
            f"{where}; processes were started again: {restarts:,}",
            "see below which, and what `serve` printed",
        )
    return Sign("Serving", True, where)


def _shipper(pipeline: Pipeline, shipper: Mapping[str, Any], now_ms: int) -> Sign:
    silence = now_ms - (_whole(shipper.get("updatedAt")) or 0)
    if pipeline.supervisor is not None and silence > SILENCE_MS:
        return Sign(
            "Shipper", False, f"has said nothing for {shown_ms(silence)}", "look at what `serve` prints"
        )
    return Sign(
        "Shipper",
        True,
        f"{shipper.get('state')}: {_count(shipper, 'stored'):,} records stored since its start",
    )


def _journal(shipper: Mapping[str, Any], limit: int) -> Sign:
    size = _count(shipper, "backlogBytes")
    words = f"{shown_bytes(size)} of {shown_bytes(limit)}"
    if size * 100 > limit * FULL_PERCENT:
        return Sign(
            "Journal",
            False,
            words,
            "mend the store or give the journal more room (AUDIT_JOURNAL_MAX_BYTES): a full one refuses calls",
        )
    return Sign("Journal", True, words)


def _lag(shipper: Mapping[str, Any]) -> Sign:
    age, lag = _count(shipper, "backlogAgeMs"), _whole(shipper.get("lagMs"))
    latest = "" if lag is None else f"; the latest was stored {shown_ms(lag)} after its end"
    if age > WAITING_MS:
        words = f"the oldest record that waits ended {shown_ms(age)} ago{latest}"
        return Sign("Shipping lag", False, words, "see whether the store is away or too slow")
    waiting = f"the oldest that waits ended {shown_ms(age)} ago" if age else "nothing waits"
    return Sign("Shipping lag", True, f"{waiting}{latest}")


_ERRORS = (
    ("Store", "storeError", "mend the store; records wait in the journal until then"),
    ("Ledger", "ledgerError", "free room or mend the disk; records wait in the journal until then"),
)


def _errors(shipper: Mapping[str, Any]) -> Iterator[Sign]:
    for name, member, advice in _ERRORS:
        error = shipper.get(member)
        if error:
            said = error.get("message", error) if isinstance(error, dict) else error
            yield Sign(name, False, str(said), advice)
        else:
            count = _count(shipper, "storeErrors") if name == "Store" else 0
            words = "answers" if name == "Store" else "can be written"
            yield Sign(name, True, f"{words}; {count:,} errors since the start" if count else words)
    refused = _count(shipper, "refused")
    if refused:
        yield Sign(
            "Refused records",
            False,
            f"the store takes {refused:,} records for no length of waiting",
            "see the store's error; they stay in the journal",
        )


def _index(shipper: Mapping[str, Any]) -> Sign:
    error, untold = shipper.get("indexError"), _count(shipper, "untold")
    if error:
        return Sign("Index", False, str(error), "if it is damaged, run `llm-audit reindex`; it is told again")
    return Sign(
        "Index",
        True,
        f"{untold:,} stored records wait to be indexed" if untold else "has every stored record",
    )


def _quarantine(pipeline: Pipeline) -> Sign:
    count = pipeline.quarantined_count
    if not count:
        return Sign("Quarantine", True, "is empty")
    words = f"{count:,} exchanges could not become records; a stub stands in the place of each"
    return Sign("Quarantine", False, words, "read the reasons below; the frames are kept beside them")


def _gaps(shipper: Mapping[str, Any]) -> Sign:
    broken = _count(shipper, "brokenLinks")
    advice = "run `llm-audit reconcile`: it compares journal, store and index call by call"
    if broken:
        return Sign(
            "Chain", False, f"{broken:,} records do not name the digest of the one before them", advice
        )
    return Sign("Chain", True, "every record stored since the start names the one before it")


def _writers(shipper: Mapping[str, Any]) -> Iterator[WriterRow]:
    writers = shipper.get("writers")
    for name, writer in sorted(writers.items()) if isinstance(writers, dict) else ():
        if isinstance(writer, dict):
            boot, sequence = writer.get("boot"), writer.get("sequence")
            yield WriterRow(
                name=str(name),
                journal_bytes=_count(writer, "journalBytes"),
                open_calls=_count(writer, "openExchanges"),
                unshipped=_count(writer, "unshipped"),
                stored_to="nothing yet" if boot is None else f"boot {boot}, sequence {sequence}",
                error=None if writer.get("error") is None else str(writer["error"]),
            )


def _processes(supervisor: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    children = supervisor.get("children")
    for name, child in children.items() if isinstance(children, dict) else ():
        if isinstance(child, dict):
            yield str(name), _count(child, "pid"), _count(child, "restarts")


def _count(members: Mapping[str, Any], name: str) -> int:
    return _whole(members.get(name)) or 0


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
