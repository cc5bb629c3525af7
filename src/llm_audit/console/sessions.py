"""Logged-in sessions, kept here and not in the cookie: what is ended is over, whoever still has the cookie.

They live in this process's memory, by their token's digest alone; a console that starts again asks for new logins.
Used by several threads.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass, replace

IDLE_SECONDS = 30 * 60.0
LONGEST_SECONDS = 12 * 3600.0
MOST_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """One login."""

    user: str
    began: float
    """Seconds of a monotonic clock, as is ``seen``."""
    seen: float


class Sessions:
    """All sessions; ``now`` is seconds of one monotonic clock, given by the caller."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Session] = {}
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)

    def begin(self, user: str, now: float) -> str:
        """Begin a session; give its token, which only the cookie holds from now on."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._drop_old(now)
            self._sessions[_digest(token)] = Session(user, now, now)
        return token

    def user_of(self, token: str, now: float) -> str | None:
        """Give whose session a token is, and note that it was used; None where there is none (any more)."""
        with self._lock:
            session = self._sessions.get(_digest(token))
            if session is None:
                return None
            if _is_over(session, now):
                del self._sessions[_digest(token)]
                return None
            self._sessions[_digest(token)] = replace(session, seen=now)
            return session.user

    def end(self, token: str) -> None:
        """End one session."""
        with self._lock:
            self._sessions.pop(_digest(token), None)

    def end_all_of(self, user: str) -> None:
        """End every session of a user."""
        with self._lock:
            for key in [key for key, session in self._sessions.items() if session.user == user]:
                del self._sessions[key]

    def form_token(self, seed: str) -> str:
        """Give what a form must bring along (against CSRF): it follows from a cookie that other sites cannot read."""
        return hmac.new(self._key, seed.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, seed: str, token: str) -> bool:
        """Tell whether a form brought the token of its cookie."""
        return bool(seed) and hmac.compare_digest(self.form_token(seed).encode(), token.encode())

    def _drop_old(self, now: float) -> None:
        for key in [key for key, session in self._sessions.items() if _is_over(session, now)]:
            del self._sessions[key]
        if len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda key: self._sessions[key].seen)]


def _is_over(session: Session, now: float) -> bool:
    return now - session.seen > IDLE_SECONDS or now - session.began > LONGEST_SECONDS


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
