from __future__ import annotations

import threading

from llm_audit.ship.retry import RetryPolicy, Waiting


def test_the_limit_doubles_up_to_its_cap():
    policy = RetryPolicy(base_s=0.1, cap_s=15)

    assert [policy.limit_s(n) for n in (0, 1, 2, 7, 8, 10_000)] == [0.1, 0.2, 0.4, 12.8, 15, 15]


def test_waits_are_spread_over_the_whole_limit():
    policy = RetryPolicy(base_s=1, cap_s=8)

    waits = [policy.delay_s(3) for _ in range(400)]

    assert all(0 <= wait <= 8 for wait in waits)
    assert min(waits) < 2
    assert max(waits) > 6


def sleepers(waiting: Waiting, count: int):
    done = threading.Semaphore(0)

    def sleep():
        waiting.sleep(0)
        done.release()

    threads = [threading.Thread(target=sleep, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    while waiting._sleepers < count:
        assert not done.acquire(timeout=0.001)
    return done


class CertainWait(RetryPolicy):
    """Waits as long as the limit is, so that a test never wakes by luck."""

    def delay_s(self, attempt: int) -> float:
        return self.limit_s(attempt)


def test_a_wait_ends_by_itself():
    Waiting(CertainWait(base_s=0.01, cap_s=0.01)).sleep(0)


def test_a_success_wakes_one_sleeper_and_not_all():
    waiting = Waiting(CertainWait(base_s=3600, cap_s=3600))
    done = sleepers(waiting, 3)

    waiting.succeeded()
    assert done.acquire(timeout=30)
    assert waiting._sleepers == 2

    waiting.stop()
    assert done.acquire(timeout=30)
    assert done.acquire(timeout=30)


def test_a_success_with_nobody_asleep_wakes_nobody_later():
    waiting = Waiting(CertainWait(base_s=3600, cap_s=3600))
    waiting.succeeded()

    done = sleepers(waiting, 1)

    waiting.stop()
    assert done.acquire(timeout=30)


def test_once_stopped_nobody_sleeps():
    waiting = Waiting(CertainWait(base_s=3600, cap_s=3600))
    waiting.stop()

    waiting.sleep(0)

    assert waiting.is_stopped
