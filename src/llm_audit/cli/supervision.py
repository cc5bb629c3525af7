"""What a supervisor decides: events in (a child ended, stop, time passed), effects out. Pure; ``supervisor`` acts.

Rules
1. All children start together. One that ends is started again after its back-off: at once the first time, later and
   later only while it keeps dying young. One without a back-off runs once.
2. A child that may refuse and ends with exit code 2 in its first seconds refuses the settings or the machine: nothing
   restarted would change that, so everything stops and the supervisor's exit code is 2 as well.
3. Stopping goes stage by stage: every child of a stage is asked (SIGTERM) and has that stage's patience; what is left
   then is killed; only then comes the next stage. Children of later stages are still restarted meanwhile, since those
   before them need them: the last exchanges of draining proxies are stored by a shipper that lives.
4. A second stop shortens every patience to ``HURRIED``; a third kills what is left of every stage at once.

A child that waits for its restart when its stage is stopped is not started any more, except one whose work is needed
to stop (the shipper's): it is started, and asked to end like the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM, Signals

HURRIED = 3.0
"""Seconds that each stage has after a second stop."""

REFUSED = 2
"""Exit code of a child (and of the supervisor) where settings or machine do not serve."""

_REFUSING_TIME = 15.0
"""Seconds after the start within which that exit code counts as a refusal."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a child starts again: ``first`` seconds, doubled by each further young death.

    The first ``free`` young deaths in a row cost no wait. A child that lived ``settled`` seconds starts afresh.
    """

    first: float
    longest: float
    settled: float
    free: int = 0

    def delay(self, deaths: int) -> float:
        """Seconds to wait after the given number of deaths in a row (1: this one only)."""
        doublings = deaths - 1 - self.free
        return 0.0 if doublings < 0 else min(self.longest, self.first * 2.0 ** min(doublings, 30))


AT_ONCE = Backoff(first=0.25, longest=10.0, settled=5.0, free=1)
"""For our own processes: without them calls fail, or nothing is stored."""

PATIENT = Backoff(first=1.0, longest=30.0, settled=60.0)
"""For the model server, which takes long to load and holds a GPU meanwhile."""


@dataclass(frozen=True, slots=True)
class Child:
    """One child process, as far as decisions go. ``stage`` orders the stopping; ``patience`` is in seconds."""

    name: str
    stage: int
    patience: float
    backoff: Backoff | None = AT_ONCE
    may_refuse: bool = True
    is_needed_to_stop: bool = False
    """Its work is what a clean end waits for."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start the child; it is running from now on."""

    name: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send a signal: SIGTERM to the process, SIGKILL to its whole group."""

    name: str
    signal: Signals


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the operator."""

    text: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Everything has ended: exit."""

    code: int


Effect = Start | Send | Say | Leave


@dataclass(slots=True)
class Life:
    """What is known of one child; ``due`` is when it starts again."""

    child: Child
    is_running: bool = False
    started: float = 0.0
    due: float | None = None
    deaths: int = 0
    """Young deaths in a row."""
    restarts: int = 0


class Supervision:
    """Decides for a set of children. Clock values are seconds of one monotonic clock, given by the caller."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.lives = {child.name: Life(child) for child in children}
        self._stage: int | None = None
        self._deadline: float | None = None
        self._stops = 0
        self._code = 0

    @property
    def is_stopping(self) -> bool:
        """True once a stop was asked for, or a child refused."""
        return self._stops > 0

    def start(self, now: float) -> list[Effect]:
        """Start every child."""
        return [self._begin(life, now) for life in self.lives.values()]

    def ended(self, name: str, code: int, now: float) -> list[Effect]:
        """Take note that a child has ended, with an exit code or minus a signal's number."""
        life = self.lives[name]
        life.is_running = False
        lived = now - life.started
        if self._is_over(life):
            return self._advance(now)
        if code == REFUSED and life.child.may_refuse and not life.restarts and lived < _REFUSING_TIME:
            self._code = REFUSED
            return [*self.stop(now), *self._hurry(now)]
        if life.child.backoff is None:
            return []
        life.deaths = 1 if lived >= life.child.backoff.settled else life.deaths + 1
        delay = life.child.backoff.delay(life.deaths)
        life.due = now + delay
        said = Say(
            f"{name} {describe_end(code)} after {lived:.1f} s; {_describe_restart(delay, life.deaths)}"
        )
        return [*([said] if _is_worth_saying(life.deaths) else []), *self.tick(now)]

    def stop(self, now: float) -> list[Effect]:
        """Stop everything in order; asked again, quicker; asked a third time, at once."""
        self._stops += 1
        if self._stops == 1:
            return self._advance(now)
        if self._stops == 2:
            return self._hurry(now)
        self._stage = max(life.child.stage for life in self.lives.values())
        return [Send(life.child.name, SIGKILL) for life in self._left_in_stage()]

    def tick(self, now: float) -> list[Effect]:
        """Do what has become due."""
        effects: list[Effect] = []
        for life in self.lives.values():
            if life.due is not None and life.due <= now and not self._is_over(life):
                life.restarts += 1
                effects.append(self._begin(life, now))
        if self._deadline is not None and self._deadline <= now:
            self._deadline = None
            for life in self._left_in_stage():
                effects += [
                    Say(f"{life.child.name} did not end in time: killed"),
                    Send(life.child.name, SIGKILL),
                ]
        return effects

    def next_due(self) -> float | None:
        """When ``tick`` should be called next, or None."""
        times = [life.due for life in self.lives.values() if life.due is not None]
        return min([*times, *([self._deadline] if self._deadline is not None else [])], default=None)

    def _begin(self, life: Life, now: float) -> Start:
        life.due, life.is_running, life.started = None, True, now
        return Start(life.child.name)

    def _is_over(self, life: Life) -> bool:
        return self._stage is not None and life.child.stage <= self._stage

    def _left_in_stage(self) -> list[Life]:
        """Give what still runs of the current stage and, after a third stop, of those before it."""
        return [life for life in self.lives.values() if life.is_running and self._is_over(life)]

    def _advance(self, now: float) -> list[Effect]:
        """Go on to the first stage, from the current one, in which a child still runs."""
        if self._stage is not None and self._left_in_stage():
            return []
        later = [life for life in self.lives.values() if not self._is_over(life)]
        if not later:
            self._deadline = None
            return [Leave(self._code)]
        self._stage = min(life.child.stage for life in later)
        started: list[Effect] = []
        for life in filter(self._is_over, later):
            if life.due is not None and life.child.is_needed_to_stop:
                life.restarts += 1
                started.append(self._begin(life, now))
            life.due = None
        running = self._left_in_stage()
        if not running:
            return self._advance(now)
        patience = max(life.child.patience for life in running)
        self._deadline = now + (min(patience, HURRIED) if self._stops > 1 else patience)
        return [*started, *(Send(life.child.name, SIGTERM) for life in running)]

    def _hurry(self, now: float) -> list[Effect]:
        self._stops = max(self._stops, 2)
        if self._deadline is not None:
            self._deadline = min(self._deadline, now + HURRIED)
        return [Send(life.child.name, SIGTERM) for life in self._left_in_stage()]


def describe_end(code: int) -> str:
    """Say how a process ended, from its exit code or minus a signal's number."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _describe_restart(delay: float, deaths: int) -> str:
    when = "starting it again" if delay == 0 else f"starting it again in {delay:g} s"
    return when if deaths == 1 else f"{when} ({deaths} times in a row)"


def _is_worth_saying(deaths: int) -> bool:
    """Three times, then at each power of two: a child that cannot start must not fill the log."""
    return deaths <= 3 or deaths & (deaths - 1) == 0
