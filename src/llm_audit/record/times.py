"""Times as the record writes them: ISO 8601, UTC, always milliseconds, always ``Z``."""

from __future__ import annotations

from datetime import UTC, datetime

_EPOCH_DAYS: dict[int, str] = {}
_EPOCH_SECONDS: dict[int, str] = {}
_REMEMBERED = 1000


def iso_from_ms(ms: int) -> str:
    """``1795486253123`` as ``2026-11-24T02:10:53.123Z``; ``ms`` counts from the epoch, UTC."""
    seconds = ms // 1000
    # A record has three times, and its neighbours the same seconds.
    text = _EPOCH_SECONDS.get(seconds)
    if text is None:
        if len(_EPOCH_SECONDS) > _REMEMBERED:
            _EPOCH_SECONDS.clear()
        text = _EPOCH_SECONDS[seconds] = _second_from_epoch(seconds)
    return f"{text}.{ms - seconds * 1000:03d}Z"


def _second_from_epoch(seconds: int) -> str:
    day, second_of_day = divmod(seconds, 86_400)
    minutes, second = divmod(second_of_day, 60)
    hour, minute = divmod(minutes, 60)
    return f"{day_from_epoch(day)}T{hour:02d}:{minute:02d}:{second:02d}"


def day_from_epoch(day: int) -> str:
    """``YYYY-MM-DD`` of the given count of days since the epoch; remembered, since most calls are today's."""
    text = _EPOCH_DAYS.get(day)
    if text is None:
        if len(_EPOCH_DAYS) > _REMEMBERED:
            _EPOCH_DAYS.clear()
        text = _EPOCH_DAYS[day] = datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
    return text


def ms_from_iso(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 time; a time without offset is taken as UTC.

    Raises ValueError with the text that came and the form that is expected.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no ISO 8601 time such as 2026-11-24T02:10:11.123Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
