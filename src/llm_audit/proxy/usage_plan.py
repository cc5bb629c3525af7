"""The usage plan: how often each key may call, counted together by all workers of a node.

One small file is mapped by every worker. It has a slot of 64 bytes for each key: a token bucket (rate and
burst) and counts of the two last UTC days (daily quota). Every update happens under ``flock``, which the kernel
frees if its holder dies; the mapping survives the process, so counts survive restarts.

Clocks. The bucket runs on the monotonic clock, which all processes of a boot share and nobody sets: stepping
the wall clock gives no tokens. After a reboot, when that clock starts anew, a bucket goes on from what it held.
The day comes from the wall clock, which may step either way: counts belong to a day, two days are remembered,
and a day that was never seen starts with the count of any later day on file. So stepping over midnight and
back, however often, gives no second quota.
"""

from __future__ import annotations

import hashlib
import logging
import math
import mmap
import os
import struct
import weakref
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from typing import Any, NamedTuple

DAY_SECONDS = 86_400

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may do; None means no such limit. ``rate`` and ``burst`` come together."""

    rate: float | None = None
    """Calls a second, in the long run."""
    burst: int | None = None
    """Calls at once, after a pause."""
    daily_quota: int | None = None
    """Calls a UTC day."""

    @classmethod
    def of(cls, rate: Any, burst: Any, daily_quota: Any) -> Limits:
        """Check values of any kind; raises ValueError with what came and what is allowed.

        A rate without a burst gets the calls of one second as its burst, at least one.
        """
        if rate is None and burst is not None:
            raise ValueError(f"a burst ({burst}) needs a rate: how fast it is refilled")
        if rate is not None and not (_is_number(rate) and 0 < rate <= 1_000_000):
            raise ValueError(f"rate must be a number of calls a second above 0, at most 1,000,000: {rate!r}")
        if burst is not None and not (_is_whole(burst) and 1 <= burst <= 1_000_000):
            raise ValueError(f"burst must be a whole number of calls, 1 to 1,000,000: {burst!r}")
        if daily_quota is not None and not (_is_whole(daily_quota) and 1 <= daily_quota < 2**53):
            raise ValueError(f"daily quota must be a whole number of calls, at least 1: {daily_quota!r}")
        if rate is None:
            return cls(None, None, daily_quota)
        return cls(float(rate), burst or max(1, math.ceil(rate)), daily_quota)


NO_LIMITS = Limits()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class Exhausted(NamedTuple):
    """Why a call may not be made now."""

    daily: bool
    """True: the daily quota is used up; False: rate and burst are passed."""
    retry_after: int
    """Whole seconds, at least 1, after which a call may succeed."""


_MAGIC = b"LLMUSE\x00\x01"
"""Names the file's kind and version; a file that does not begin with it is begun anew."""
_SLOT = struct.Struct("=16sddqqqq")
"""Key (first half of the SHA-256 of its id), tokens, time of refill, then day and count, twice."""
_NOBODY = bytes(16)
_HEADER_SIZE = 64
SLOTS = 16_384
"""Keys that the file has room for; past that, the key that has been silent longest loses its counts."""
_FILE_SIZE = _HEADER_SIZE + SLOTS * _SLOT.size
_SAME_BOOT_SECONDS = 5.0
"""Workers read the clock a little before they take the lock, so a time may lie so far before the last one;
anything earlier is of a later boot."""
_NO_DAY = -1
_FULL = 1e18
"""Tokens of a new key: cut to its burst at the first call."""
_ALMOST_ONE = 1 - 1e-6
"""What counts as a token, so that rounding does not refuse who waited exactly long enough."""


class UsagePlan:
    """Counts the calls of each key in a file shared by all workers of a node.

    One update costs two system calls (``flock``, 1.5 µs) and a copy of 64 bytes; nothing is synced: a power
    cut may lose the last seconds' counts, the end of a process loses none.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file, mode 0600, its space allocated. Raises OSError."""
        self._path = path
        self._slots: dict[str, tuple[bytes, int]] = {}
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        flock(self._fd, LOCK_EX)
        try:
            head = os.pread(self._fd, len(_MAGIC), 0)
            if head != _MAGIC or os.fstat(self._fd).st_size != _FILE_SIZE:
                if head:
                    logger.warning("usage counters %s are damaged or of another version: begun anew", path)
                os.ftruncate(self._fd, 0)
                os.posix_fallocate(self._fd, 0, _FILE_SIZE)  # a full disk shows here, not as SIGBUS later
                os.pwrite(self._fd, _MAGIC, 0)
            self._map = mmap.mmap(self._fd, _FILE_SIZE)
        finally:
            flock(self._fd, LOCK_UN)
        _OPEN_PLANS.add(self)

    def close(self) -> None:
        """Give the file back; the counts stay in it."""
        _OPEN_PLANS.discard(self)
        self._map.close()
        os.close(self._fd)

    def take(self, key_id: str, limits: Limits, now_mono: float, now_wall: float) -> Exhausted | None:
        """Count one call of this key if its limits allow it, else say which limit does not.

        ``now_mono`` is in seconds of CLOCK_MONOTONIC, which is one clock for all processes of a boot;
        ``now_wall`` in seconds since the epoch. A refused call uses nothing up.
        """
        if limits is NO_LIMITS or (limits.rate is None and limits.daily_quota is None):
            return None
        digest, offset = self._slots.get(key_id) or self._find(key_id)
        flock(self._fd, LOCK_EX)
        try:
            slot = _SLOT.unpack_from(self._map, offset)
            if slot[0] != digest:  # not yet a slot of this key, or no longer
                offset = self._take_slot(key_id, digest)
                slot = _SLOT.unpack_from(self._map, offset)
            slot, refused = _charge(slot, limits, now_mono, now_wall)
            # One copy: a process killed here leaves the old slot or the new one.
            self._map[offset : offset + 64] = _SLOT.pack(*slot)
        finally:
            flock(self._fd, LOCK_UN)
        return refused

    def _find(self, key_id: str) -> tuple[bytes, int]:
        """Give the key's digest and where its slot may be: at the place that the digest names, to begin with."""
        digest = hashlib.sha256(key_id.encode()).digest()[:16]
        return digest, _HEADER_SIZE + int.from_bytes(digest[:8], "big") % SLOTS * _SLOT.size

    def _take_slot(self, key_id: str, digest: bytes) -> int:
        """Find the key's slot, or take one for it, and remember where; the lock is held."""
        if len(self._slots) >= SLOTS:
            self._slots.clear()
        offset = self._probe(digest)
        self._slots[key_id] = digest, offset
        return offset

    def _probe(self, digest: bytes) -> int:
        """Search from the slot that the digest names, onwards; take the first free one, else the stalest."""
        first = int.from_bytes(digest[:8], "big") % SLOTS
        stalest, stalest_day = _HEADER_SIZE, math.inf
        for step in range(SLOTS):
            offset = _HEADER_SIZE + (first + step) % SLOTS * _SLOT.size
            holder, _, _, day, _, other_day, _ = _SLOT.unpack_from(self._map, offset)
            if holder == digest:
                return offset
            if holder == _NOBODY:
                stalest = offset
                break
            if max(day, other_day) < stalest_day:
                stalest, stalest_day = offset, max(day, other_day)
        fresh = _SLOT.pack(digest, _FULL, 0.0, _NO_DAY, 0, _NO_DAY, 0)
        self._map[stalest : stalest + _SLOT.size] = fresh
        return stalest

    def _reopen(self) -> None:
        """Get a lock of our own after a fork: a file opened before it shares its lock with the parent."""
        os.close(self._fd)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)


_Slot = tuple[bytes, float, float, int, int, int, int]


def _charge(slot: _Slot, limits: Limits, now_mono: float, now_wall: float) -> tuple[_Slot, Exhausted | None]:
    """Charge a key's slot with one call, or say why that can't be; gives the slot as it is afterwards."""
    holder, tokens, refilled, day, used, other_day, other_used = slot
    today = int(now_wall // DAY_SECONDS)
    if day != today:
        day, used, other_day, other_used = _turn_to_day(today, (day, used), (other_day, other_used))
    refused = None
    rate = limits.rate
    if rate is not None:
        tokens, refilled = _refill(tokens, refilled, rate, limits.burst or 1, now_mono)
        if tokens < _ALMOST_ONE:
            refused = Exhausted(daily=False, retry_after=max(1, math.ceil((1 - tokens) / rate)))
    if limits.daily_quota is not None and used >= limits.daily_quota:
        refused = Exhausted(daily=True, retry_after=max(1, math.ceil((day + 1) * DAY_SECONDS - now_wall)))
    if refused is None:
        used += 1
        tokens = tokens - 1.0 if tokens > 1.0 else 0.0
    return (holder, tokens, refilled, day, used, other_day, other_used), refused


def _refill(tokens: float, refilled: float, rate: float, burst: float, now: float) -> tuple[float, float]:
    """Give tokens and time of refill at ``now``; anything that can't be (a damaged slot) is cut to what can."""
    if not 0 <= tokens <= burst:  # a new slot, a burst made smaller, or no number at all
        tokens = burst if tokens > burst else 0.0
    elapsed = now - refilled
    if elapsed >= 0:
        tokens += elapsed * rate
        return (min(burst, tokens)), now
    if elapsed >= -_SAME_BOOT_SECONDS:
        return tokens, refilled
    return tokens, now


def _turn_to_day(today: int, first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int, int, int]:
    """Give today and its count, and another day and its count, from the two days on file.

    A day that is not on file begins with the largest count of any later day on file: it is later only because
    the clock was wrong once, and what was used then was used. It takes the place of the earlier of the two.
    """
    if today == second[0]:
        return *second, *first
    used = max([max(0, count) for day, count in (first, second) if day > today], default=0)
    return today, used, *max(first, second)


_OPEN_PLANS: weakref.WeakSet[UsagePlan] = weakref.WeakSet()


def _reopen_all() -> None:
    for plan in _OPEN_PLANS:
        plan._reopen()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_reopen_all)
