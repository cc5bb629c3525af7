"""Rows of a part of what clients did: one manner, one script, or the good calls beside them."""

from __future__ import annotations

import collections

from faults.clients import Ledger
from faults.objects import Objects, differences, gaps
from faults.row import Row, sentences


def part_row(
    fault: str, ledger: Ledger, objects: Objects, found: collections.Counter[str], note: str = ""
) -> Row:
    """Make a row of some calls of a run; the gaps are those of the whole run."""
    records = [objects.records.get(call.request_id, []) for call in ledger.calls]
    return Row(
        fault,
        calls=len(ledger.calls),
        acknowledged=ledger.acknowledged,
        records=sum(map(len, records)),
        duplicates=sum(len(one) > 1 for one in records),
        gaps=gaps(objects.places).total(),
        findings=sentences((+found).items()),
        note=note,
    )


def good_row(fault: str, ledger: Ledger, objects: Objects, note: str = "") -> Row:
    """Make a row of calls of which each must have got its own answer, whole, and be recorded so.

    The scripted model server's answers name the request id that they are for.
    """
    found: collections.Counter[str] = collections.Counter()
    for call in ledger.calls:
        records = objects.records.get(call.request_id, [])
        found["not on record"] += not records
        found["recorded twice"] += len(records) > 1
        found["another call's answer"] += call.ended and call.status == 200 and not call.is_its_own
        if call.status != 200 or not call.ended:
            found[f"a good call was harmed: {call.status}, {call.code or 'cut'}"] += 1
        for record in records[:1]:
            found.update(differences(call, record))
            found[f"a good call is recorded as {record['outcome']}"] += record["outcome"] != "complete"
    said = "each answer named its own call"
    return part_row(fault, ledger, objects, found, f"{said}; {note}" if note else said)
