"""Gaps in what is gapless: each writer numbers the records of each of its boots from 0. Pure.

A gap is first a suspicion: the record may lie where nobody has looked, and be named by nothing that says its
boot (an index item does not). ``Suspects`` says which records are worth opening to find out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple


class Place(NamedTuple):
    """Where a record stands in its chain."""

    writer: str
    boot: int
    sequence: int


class PlaceRow(NamedTuple):
    """A place as a row that sorts as places do by its first member alone."""

    sorted_by: str
    writer: str
    boot: int
    sequence: int


def place_row(place: Place) -> PlaceRow:
    """Give the row of a place."""
    return PlaceRow(f"{place.writer}/{place.boot:020d}/{place.sequence:020d}", *place)


class Gap(NamedTuple):
    """Sequences of one boot, first to last, of which nothing is known."""

    writer: str
    boot: int
    first: int
    last: int

    @property
    def records(self) -> int:
        """How many records that are."""
        return self.last - self.first + 1


Boot = tuple[str, int]
"""Writer and boot."""


def gaps(
    rows: Iterable[PlaceRow], through: Mapping[Boot, int] | None = None, *, from_zero: bool
) -> Iterator[Gap]:
    """Give what is missing between the known places of each boot; rows come sorted, the same one may come twice.

    ``through``: up to which sequence a boot is known to have records, that one included. ``from_zero``: a boot's
    first records must be known as well; else those may lie before the range. A boot of which nothing at all is
    known is no gap: numbers of boots may be left out.
    """
    ends = through or {}
    for (writer, boot), places in groupby(rows, key=lambda row: (row.writer, row.boot)):
        expected = 0 if from_zero else None
        for place in places:
            if expected is not None and place.sequence > expected:
                yield Gap(writer, boot, expected, place.sequence - 1)
            expected = place.sequence + 1
        end = ends.get((writer, boot), -1)
        if expected is not None and end >= expected:
            yield Gap(writer, boot, expected, end)


class Suspects:
    """Gaps, and what was found of them after all."""

    def __init__(self, found: Iterable[Gap]) -> None:
        self._by_writer: dict[str, list[Gap]] = {}
        for gap in found:
            self._by_writer.setdefault(gap.writer, []).append(gap)

    def __bool__(self) -> bool:
        """Tell whether anything is still missing."""
        return any(self._by_writer.values())

    def may_hold(self, writer: str | None, sequence: int | None) -> bool:
        """Tell whether a record of this writer and sequence, in whatever boot, may be a missing one.

        None where nothing is known of the record: then it may.
        """
        if writer is None or sequence is None:
            return bool(self)
        return any(gap.first <= sequence <= gap.last for gap in self._by_writer.get(writer, ()))

    def found(self, place: Place) -> None:
        """Take note that this record is there."""
        kept: list[Gap] = []
        for gap in self._by_writer.get(place.writer, ()):
            if gap.boot != place.boot or not gap.first <= place.sequence <= gap.last:
                kept.append(gap)
                continue
            if gap.first < place.sequence:
                kept.append(gap._replace(last=place.sequence - 1))
            if place.sequence < gap.last:
                kept.append(gap._replace(first=place.sequence + 1))
        self._by_writer[place.writer] = kept

    def told_of(self, writer: str, sequence: int) -> None:
        """Take note that something speaks of a record of one of the boots: of the first that lacks it."""
        for gap in self._by_writer.get(writer, ()):
            if gap.first <= sequence <= gap.last:
                self.found(Place(writer, gap.boot, sequence))
                return

    def left(self) -> Iterator[Gap]:
        """Give what is missing still, in order of writer, boot and sequence."""
        for writer in sorted(self._by_writer):
            yield from sorted(self._by_writer[writer])
