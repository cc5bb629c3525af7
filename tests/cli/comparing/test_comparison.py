"""Whatever is deleted, wherever, in whatever combination: each call is named once, and the count is right."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reconciled import Row, System

WRITERS = {"w-0000000a": (3, 4), "w-0000000b": (5,)}
"""Calls of each boot."""
CALLS = 12

Gone = frozenset[str]
GONE = st.frozensets(st.sampled_from(["object", "item", "row"])) | st.just(
    frozenset({"object", "item", "row"})
)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A sound system, and a copy to make it sound again: in its place, for items name the folder."""
    folder = tmp_path_factory.mktemp("compared")
    system = System(folder / "data")
    for writer, boots in WRITERS.items():
        for calls in boots:
            system.write(writer, calls)
    system.ship()
    shutil.copytree(system.data_dir, folder / "saved")
    return system


def restore(system: System) -> None:
    shutil.rmtree(system.data_dir)
    shutil.copytree(system.data_dir.parent / "saved", system.data_dir)


def delete(system: System, rows: list[Row], gone: list[Gone]) -> None:
    both = list(zip(rows, gone, strict=True))
    for row, lost in both:
        if "object" in lost:
            system.object_file(row).unlink()
    system.drop_items(*(row for row, lost in both if "item" in lost))
    system.drop_rows(*(row for row, lost in both if "row" in lost))


def expected(rows: list[Row], gone: list[Gone], *, is_deep: bool) -> Counter[tuple[str, str]]:
    """Say what must be found, by the place and by nothing that the command uses."""
    wanted: Counter[tuple[str, str]] = Counter()
    for row, lost in zip(rows, gone, strict=True):
        match "object" in lost, "item" in lost, "row" in lost:
            case True, _, False:
                wanted["object-missing", row.key] += 1
            case False, True, _:
                wanted["item-missing", row.key] += 1
            case True, False, True:
                wanted["item-without-object", row.key] += 1
            case True, True, True if is_noticed(row, rows, gone, is_deep=is_deep):
                wanted["sequence-gap", f"{row.writer} {row.sequence}"] += 1
    return wanted


def is_noticed(row: Row, rows: list[Row], gone: list[Gone], *, is_deep: bool) -> bool:
    """Tell whether anything is left to show that a record is missing of which nothing is left."""
    of_boot = [
        (other.sequence, lost)
        for other, lost in zip(rows, gone, strict=True)
        if other.place[:2] == row.place[:2]
    ]
    known = [n for n, lost in of_boot if "row" not in lost or (is_deep and "object" not in lost)]
    is_last_boot = row.boot == len(WRITERS[row.writer])
    ends_below = is_last_boot or any(n > row.sequence for n in known)  # the ledger's mark, or a neighbour
    begins_above = is_deep or "row" not in gone[first_stored(rows)] or any(n < row.sequence for n in known)
    return bool(known) and ends_below and begins_above


def is_told_apart(rows: list[Row], gone: list[Gone]) -> bool:
    """Tell whether no item stands alone whose number another boot lost too: items do not say their boot.

    Such an item may be taken for the other's, whose gap then goes unnoticed (docs/decisions, 15).
    """
    alone = {
        (row.writer, row.sequence) for row, lost in zip(rows, gone, strict=True) if lost == {"object", "row"}
    }
    lost_whole = {
        (row.writer, row.sequence)
        for row, lost in zip(rows, gone, strict=True)
        if lost == {"object", "item", "row"}
    }
    return not alone & lost_whole


def first_stored(rows: list[Row]) -> int:
    return next(number for number, row in enumerate(rows) if row.id == 1)


def named(findings: list[dict]) -> Counter[tuple[str, str]]:
    """Give what was found; of a gap, its writer and each sequence, for an item does not say its boot."""
    found: Counter[tuple[str, str]] = Counter()
    for one in findings:
        if one["finding"] != "sequence-gap":
            found[one["finding"], one["subject"]] += 1
            continue
        writer, _, first = one["subject"].rsplit("-", 2)
        for number in range(int(first), int(first) + one["calls"]):
            found["sequence-gap", f"{writer} {number}"] += 1
    return found


@settings(max_examples=40)
@given(gone=st.lists(GONE, min_size=CALLS, max_size=CALLS), is_deep=st.booleans())
def test_random_deletions_are_exactly_found(template, gone, is_deep):
    restore(template)
    rows = template.rows()
    assume(is_told_apart(rows, gone))
    delete(template, rows, gone)

    said = template.reconcile(*(["--deep"] if is_deep else []))

    wanted = expected(rows, gone, is_deep=is_deep)
    assert named(said.findings) == wanted
    unnoticed = sum(
        lost == {"object", "item", "row"} and not is_noticed(row, rows, gone, is_deep=is_deep)
        for row, lost in zip(rows, gone, strict=True)
    )
    objects = sum("object" not in lost for lost in gone)
    good = sum(not {"object", "item"} & lost for lost in gone)
    assert said.counts() == (CALLS - unnoticed, objects, good, 0, wanted.total())
    assert said.exit_code == (1 if wanted else 0)


@settings(max_examples=10)
@given(gone=st.lists(st.frozensets(st.sampled_from(["item", "row"])), min_size=CALLS, max_size=CALLS))
def test_whatever_the_index_lacks_is_repaired_from_the_objects(template, gone):
    restore(template)
    delete(template, template.rows(), gone)

    said = template.reconcile("--repair")

    assert (said.exit_code, said.counts()) == (0, (CALLS, CALLS, CALLS, 0, 0))
    assert said.figures["repaired"] == sum("item" in lost for lost in gone)
    assert template.reconcile("--deep").findings == []
