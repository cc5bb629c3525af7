"""One writer's digests, one after another: do they link, and do the records that they list? Pure.

Digests come in the order of their keys. What is left at the end is what no digest lists yet: records that were stored after
the last digest, or were on their way when it was made. ``Chain.judge_unlisted`` says of an object whether it can be one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from llm_audit.integrity.digest_check import Checked, Link, Linked, affected, link_finding
from llm_audit.integrity.digests import Head, Place
from llm_audit.integrity.findings import Finding, Kind, Range

GRACE_MS = 3_600_000
"""A record that a digest counted and did not list may come so much later: the store was away, or refused it for a while."""


@dataclass(slots=True)
class _Hole:
    boot: int
    first: int
    last: int
    key: str
    """The digest that counts them."""
    to_ms: int


class Chain:
    """One writer's chain. ``add`` its digests, ``finish``, then ask about unlisted objects, then ``finish_unlisted``."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.start: Place | None = None
        """Where the first digest begins; None before there is one with a range."""
        self.repeated: dict[str, Place] = {}
        """Listed again in a later digest: by key."""
        self.open_records = 0
        """Counted and not listed yet, within the time that they may take."""
        self._number = -1
        self._sha256: str | None = None
        self._previous: Head | None = None
        self._to_ms = 0
        self._place: Place | None = None
        self._is_broken = False
        self._spans: list[tuple[Place, Place]] = []
        self._boot_last: dict[int, int] = {}
        self._holes: list[_Hole] = []
        self._key_id: str | None = None
        self._replaced: set[str] = set()
        self._heads: dict[Place, Link] = {}
        self._tails: dict[Place, str] = {}
        self._awaited: dict[Place, Link] = {}
        self._open_ends: list[tuple[Place, Place, Link]] = []
        self._unlisted: dict[Place, tuple[str, str, str | None]] = {}

    def took(self, checked: Checked) -> bool:
        """Tell whether this digest is the one that was added last, and counts."""
        return (checked.name.number, checked.sha256) == (self._number, self._sha256)

    @property
    def head(self) -> tuple[int, str | None]:
        """Number and sha256 of the last digest: what to pin outside."""
        return self._number, self._sha256

    def add(self, checked: Checked) -> Iterator[Finding]:
        """Take the next digest; give what is wrong with it and between it and the one before."""
        yield from checked.findings
        number = checked.name.number
        if number <= self._number:
            if checked.head is not None:
                kind = Kind.DUPLICATED if number == self._number else Kind.REORDERED
                yield self._about(kind, checked, f"there is another digest {number} of {self.writer}")
            return
        if number > self._number + 1:
            missing = (
                f"digest {number - 1}"
                if number == self._number + 2
                else f"digests {self._number + 1} to {number - 1}"
            )
            yield Finding(
                Kind.CHAIN_GAP, checked.key, f"{missing} of {self.writer} missing", self._lost(checked.head)
            )
            self._is_broken, self._previous, self._sha256 = True, None, None
        if checked.head is None:
            self._is_broken, self._previous = True, None
        else:
            yield from self._follow(checked, checked.head)
            self._previous = checked.head
            self._to_ms = max(self._to_ms, checked.head.to_ms)
        self._number, self._sha256 = number, checked.sha256
        for link in checked.heads:  # where a place is listed twice, the first stands
            self._heads.setdefault(link.place, link)
        for place, digest in checked.tails:
            self._tails.setdefault(place, digest)

    def _about(self, kind: Kind, checked: Checked, detail: str) -> Finding:
        whose = Range(self.writer) if checked.head is None else affected(checked.head)
        return Finding(kind, checked.key, detail, whose)

    def _lost(self, head: Head | None) -> Range:
        """Say between which known records those lie that the missing digests listed."""
        if head is None or head.boot is None or head.first is None:
            return Range(self.writer, self._place)
        return Range(self.writer, self._place, (head.boot, head.first))

    def _follow(self, checked: Checked, head: Head) -> Iterator[Finding]:
        is_linked = self._sha256 is not None or head.number == 0
        if is_linked and head.previous_sha256 != self._sha256:
            yield self._about(
                Kind.CHAIN_GAP,
                checked,
                f"it follows a digest with sha256 {head.previous_sha256}; the one before has {self._sha256}",
            )
        if head.to_ms < head.from_ms or head.from_ms < self._to_ms:
            yield self._about(
                Kind.CLOCK_BACKWARDS,
                checked,
                "its period ends before it begins, or begins before the one before ended",
            )
        elif self._previous is not None and head.from_ms > self._to_ms:
            yield self._about(Kind.CHAIN_GAP, checked, "its period does not begin where the one before ended")
        yield from self._succeed(checked)
        yield from self._cover(checked, head)
        self._late(checked)

    def _succeed(self, checked: Checked) -> Iterator[Finding]:
        """Follow the keys: one that was replaced signs nothing any more."""
        if checked.key_id is None or checked.key_id == self._key_id:
            return
        if checked.key_id in self._replaced:
            yield self._about(
                Kind.UNKNOWN_KEY,
                checked,
                f"it is signed by key {checked.key_id}, which had been replaced before",
            )
            return
        if self._key_id is not None:
            self._replaced.add(self._key_id)
        self._key_id = checked.key_id

    def _cover(self, checked: Checked, head: Head) -> Iterator[Finding]:
        """Go on with the range of places."""
        if head.boot is None or head.first is None or head.last is None:
            return
        begins = (head.boot, head.first)
        if self._place is None:
            if self._is_broken:
                self._spans.append(((-1, -1), begins))
            else:
                self.start = begins
        else:
            yield from self._go_on(checked, begins, self._place)
        self._is_broken = False
        self._place = max(self._place or begins, (head.boot, head.last))
        self._boot_last[head.boot] = max(self._boot_last.get(head.boot, -1), head.last)
        self._holes += (
            _Hole(head.boot, first, last, checked.key, head.to_ms) for first, last in checked.holes
        )

    def _go_on(self, checked: Checked, begins: Place, place: Place) -> Iterator[Finding]:
        if begins <= place:
            yield self._about(Kind.DUPLICATED, checked, "it claims places that a digest before has claimed")
        elif self._is_broken:
            self._spans.append((place, begins))
        elif begins != (place[0], place[1] + 1) and (begins[0] == place[0] or begins[1] != 0):
            self._spans.append((place, begins))
            yield self._about(Kind.CHAIN_GAP, checked, "its range does not begin where the one before ended")

    def _late(self, checked: Checked) -> None:
        """Take late entries: they fill what was counted, or add to an old boot; else they are listed again."""
        assert checked.head is not None
        for entry in sorted(checked.late, key=lambda entry: entry.place):
            boot, sequence = entry.place
            if self._fill(entry.place) or (self.start is not None and entry.place < self.start):
                continue
            if any(low < entry.place < high for low, high in self._spans):
                continue
            last = self._boot_last.get(boot, -1)
            if sequence <= last:
                self.repeated[entry.key] = entry.place
                continue
            if sequence > last + 1:
                self._holes.append(_Hole(boot, last + 1, sequence - 1, checked.key, checked.head.to_ms))
            self._boot_last[boot] = sequence

    def _fill(self, place: Place) -> bool:
        boot, sequence = place
        for number, hole in enumerate(self._holes):
            if hole.boot == boot and hole.first <= sequence <= hole.last:
                rest = [
                    _Hole(boot, hole.first, sequence - 1, hole.key, hole.to_ms),
                    _Hole(boot, sequence + 1, hole.last, hole.key, hole.to_ms),
                ]
                self._holes[number : number + 1] = [one for one in rest if one.first <= one.last]
                return True
        return False

    def _is_recent(self, to_ms: int) -> bool:
        return to_ms > self._to_ms - GRACE_MS

    def finish(self) -> Iterator[Finding]:
        """Say what is wrong with the links between digests, and what was counted and never listed."""
        for hole in self._holes:
            if self._is_recent(hole.to_ms):
                self.open_records += hole.last - hole.first + 1
            else:
                yield Finding(
                    Kind.MISSING,
                    hole.key,
                    "it counts records that were not stored when it was made, and no digest lists them since",
                    Range(self.writer, (hole.boot, hole.first), (hole.boot, hole.last)),
                )
        places = sorted(self._tails)
        for place in sorted(self._heads):
            yield from self._join(self._heads[place], places)

    def _join(self, link: Link, places: list[Place]) -> Iterator[Finding]:
        boot, sequence = link.place
        if sequence:
            before = (boot, sequence - 1)
            if before not in self._tails:
                self._awaited[before] = link
                return
        else:
            position = bisect_left(places, link.place)
            if position == 0:
                return  # the writer's first record, or the first that digests speak of
            before = places[position - 1]
        is_unknown = any(before <= low and high <= link.place for low, high in self._spans)
        if is_unknown or link.previous_sha256 == self._tails[before]:
            return
        if not sequence and self._is_recent(link.to_ms):
            self._open_ends.append((before, link.place, link))
            return
        yield link_finding(self.writer, link.key, before, link.place, link.previous_sha256)

    def judge_unlisted(self, key: str, sha256: str, linked: Linked) -> Finding | bool:
        """Say what an object is that no digest lists: a finding; True for one not listed yet; False for one from before.

        False: it was stored before digests began, and nothing here speaks for it.
        """
        place = linked.place
        whose = Range(self.writer, place, place)
        if self.start is not None and place < self.start:
            return False
        if any(low < place < high for low, high in self._spans):
            return Finding(
                Kind.UNLISTED, key, "the digest that listed it is missing or cannot be read", whose
            )
        hole = next((h for h in self._holes if h.boot == place[0] and h.first <= place[1] <= h.last), None)
        may_come = (
            self._is_recent(hole.to_ms)
            if hole is not None
            else self._place is None
            or place > self._place
            or any(low < place < high for low, high, _ in self._open_ends)
        )
        if may_come:
            if place in self._unlisted:
                return Finding(
                    Kind.DUPLICATED, key, f"{self._unlisted[place][0]} claims the same place", whose
                )
            self._unlisted[place] = (key, sha256, linked.previous_sha256)
            return True
        if hole is None and place[1] <= self._boot_last.get(place[0], -1):
            return Finding(
                Kind.DUPLICATED, key, "another object is listed for the place that it claims", whose
            )
        return Finding(Kind.UNLISTED, key, "no digest lists it, and its time to be listed is over", whose)

    def finish_unlisted(self) -> Iterator[Finding]:
        """Say what is wrong with the links of those that no digest lists yet."""
        for place, (key, sha256, previous) in sorted(self._unlisted.items()):
            before = (place[0], place[1] - 1)
            earlier = self._unlisted.get(before)
            known = earlier[1] if earlier is not None else self._tails.get(before)
            if known is not None and previous != known:
                yield link_finding(self.writer, key, before, place, previous)
            after = self._awaited.get(place)
            if after is not None and after.previous_sha256 != sha256:
                yield link_finding(self.writer, after.key, place, after.place, after.previous_sha256)
