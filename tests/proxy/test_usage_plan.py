import logging
import math
import stat
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_audit.proxy import usage_plan
from llm_audit.proxy.usage_plan import NO_LIMITS, Exhausted, Limits, UsagePlan

DAY = 86_400
NOON = 20_781 * DAY + DAY // 2.0


@pytest.fixture
def plan(tmp_path):
    plan = UsagePlan(tmp_path / "usage")
    yield plan
    plan.close()


def admitted(plan, limits, times, key_id="finance"):
    """Count the calls that get through at the given (monotonic, wall) times."""
    return sum(plan.take(key_id, limits, mono, wall) is None for mono, wall in times)


# --- limits


def test_limits_are_read_from_numbers():
    assert Limits.of(2, 5, 100) == Limits(2.0, 5, 100)
    assert Limits.of(None, None, None) == NO_LIMITS
    assert Limits.of(0.5, None, None) == Limits(0.5, 1, None)
    assert Limits.of(2.5, None, None) == Limits(2.5, 3, None)


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, "1", True, 10**7])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="rate must be a number"):
        Limits.of(rate, 1, None)


# --- rate and burst


def test_a_burst_gets_through_at_once_and_then_the_rate(plan):
    limits = Limits.of(10, 5, None)
    assert admitted(plan, limits, [(50.0, NOON)] * 20) == 5
    assert admitted(plan, limits, [(50.0 + i / 1000, NOON) for i in range(1001)]) == 10
    assert admitted(plan, limits, [(1000.0, NOON)] * 20) == 5


@pytest.mark.parametrize(("rate", "wait"), [(10, 1), (1, 1), (0.1, 10), (0.3, 4)])
def test_who_waits_as_long_as_told_gets_through(plan, rate, wait):
    limits = Limits.of(rate, 1, None)
    assert plan.take("a", limits, 7.0, NOON) is None
    assert plan.take("a", limits, 7.0, NOON) == Exhausted(daily=False, retry_after=wait)
    assert plan.take("a", limits, 7.0 + wait, NOON) is None


def test_who_waits_exactly_one_period_gets_through_whatever_the_rounding(plan):
    for number in range(1, 50):
        limits = Limits.of(number / 7, 1, None)
        now = 1e6 + number / 3
        for step in range(20):
            assert plan.take(f"key-{number}", limits, now + step * 7 / number, NOON) is None


def test_keys_do_not_share_their_tokens(plan):
    limits = Limits.of(1, 1, None)
    assert plan.take("a", limits, 1.0, NOON) is None
    assert plan.take("b", limits, 1.0, NOON) is None
    assert plan.take("a", limits, 1.0, NOON) is not None


def test_a_key_without_limits_is_never_refused_and_takes_no_slot(plan):
    assert admitted(plan, NO_LIMITS, [(1.0, NOON)] * 1000) == 1000
    assert plan._slots == {}


def test_workers_whose_clocks_were_read_in_another_order_get_no_extra_tokens(plan):
    limits = Limits.of(100, 1, None)
    times = [(10.0 + i / 1000 - (0.009 if i % 2 else 0), NOON) for i in range(1000)]
    assert admitted(plan, limits, times) <= 101


def test_after_a_reboot_the_bucket_goes_on_from_what_it_held(plan):
    limits = Limits.of(1, 3, None)
    assert admitted(plan, limits, [(100_000.0, NOON)] * 3) == 3
    assert plan.take("finance", limits, 20.0, NOON) is not None
    assert plan.take("finance", limits, 21.0, NOON) is None
    assert plan.take("finance", limits, 21.0, NOON) is not None


def test_a_step_of_the_wall_clock_gives_no_tokens(plan):
    limits = Limits.of(1, 2, None)
    assert admitted(plan, limits, [(5.0, NOON + step) for step in (0, 3600, -3600, 10**7, -(10**7))]) == 2


def test_changed_limits_hold_from_the_next_call(plan):
    assert admitted(plan, Limits.of(1, 100, None), [(5.0, NOON)] * 10) == 10
    assert admitted(plan, Limits.of(1, 3, None), [(5.0, NOON)] * 10) == 3
    assert admitted(plan, Limits.of(50, 100, None), [(6.0, NOON)] * 100) == 50


# --- daily quota


def test_a_quota_holds_for_a_utc_day_and_tells_when_the_next_begins(plan):
    limits = Limits.of(None, None, 3)
    assert admitted(plan, limits, [(1.0, NOON)] * 3) == 3
    assert plan.take("finance", limits, 2.0, NOON + 10) == Exhausted(daily=True, retry_after=DAY // 2 - 10)
    last = 20_782 * DAY - 0.25
    assert plan.take("finance", limits, 3.0, last) == Exhausted(daily=True, retry_after=1)
    assert admitted(plan, limits, [(4.0, 20_782.0 * DAY)] * 10) == 3


def test_a_quota_is_told_before_a_rate(plan):
    limits = Limits.of(1, 1, 1)
    assert plan.take("a", limits, 1.0, NOON) is None
    exhausted = plan.take("a", limits, 1.0, NOON)
    assert exhausted is not None
    assert exhausted.daily


def test_a_call_refused_for_its_rate_uses_up_no_quota(plan):
    limits = Limits.of(1, 1, 3)
    assert admitted(plan, limits, [(1.0, NOON)] * 50) == 1
    assert admitted(plan, limits, [(10.0 * i, NOON) for i in range(2, 50)]) == 2


def test_stepping_over_midnight_and_back_gives_no_second_quota(plan):
    limits = Limits.of(None, None, 5)
    today, tomorrow = [(1.0, NOON)], [(1.0, NOON + DAY)]
    assert admitted(plan, limits, today * 5) == 5
    assert admitted(plan, limits, tomorrow * 5) == 5
    assert admitted(plan, limits, (today + tomorrow) * 20) == 0


def test_a_clock_that_was_years_ahead_does_not_stop_the_days_from_turning(plan):
    limits = Limits.of(None, None, 5)
    assert admitted(plan, limits, [(1.0, NOON + 400 * DAY)] * 2) == 2
    assert admitted(plan, limits, [(1.0, NOON)] * 10) == 3  # what was used under the wrong date was used
    for day in range(1, 5):
        assert admitted(plan, limits, [(1.0, NOON + day * DAY)] * 10) == 3
    assert admitted(plan, limits, [(1.0, NOON + 401 * DAY)] * 10) == 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 1)), max_size=60),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_whatever_the_clocks_do_no_day_exceeds_its_quota_and_no_bucket_is_negative(plan, steps, burst, quota):
    limits = Limits.of(0.5, burst, quota)
    key_id = f"key-{len(plan._slots)}"  # examples share the file, not the key
    mono, forward, through = 1000.0, 0.0, [0, 0]
    plan.take(key_id, limits, mono, NOON)
    for step, day in steps:
        mono += step
        forward += max(0.0, step)
        through[day] += plan.take(key_id, limits, mono, NOON + day * DAY) is None
        tokens = usage_plan._SLOT.unpack_from(plan._map, plan._slots[key_id][1])[1]
        assert 0 <= tokens <= burst
    assert 1 + sum(through) <= burst + forward * 0.5 + 1e-3
    assert 1 + through[0] <= quota
    assert through[1] <= quota


# --- the file


def test_counts_survive_a_restart(tmp_path):
    limits = Limits.of(1, 2, 3)
    first = UsagePlan(tmp_path / "usage")
    assert admitted(first, limits, [(5.0, NOON)] * 5) == 2
    first.close()
    second = UsagePlan(tmp_path / "usage")
    assert admitted(second, limits, [(5.0, NOON)] * 5) == 0
    assert admitted(second, limits, [(100.0, NOON)] * 5) == 1
    second.close()


def test_the_file_is_private_and_its_space_is_taken_at_once(tmp_path):
    plan = UsagePlan(tmp_path / "usage")
    status = (tmp_path / "usage").stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_blocks * 512 >= status.st_size == usage_plan._FILE_SIZE
    plan.close()


@pytest.mark.parametrize(
    "content", [b"x", b"LLMUSE\x00\x02" + bytes(usage_plan._FILE_SIZE - 8), usage_plan._MAGIC]
)
def test_a_file_of_another_kind_is_begun_anew_and_that_is_logged(tmp_path, caplog, content):
    (tmp_path / "usage").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        plan = UsagePlan(tmp_path / "usage")
    assert "begun anew" in caplog.text
    assert admitted(plan, Limits.of(1, 2, None), [(5.0, NOON)] * 5) == 2
    plan.close()


@pytest.mark.parametrize("tokens", [math.nan, math.inf, -math.inf, -5.0, 1e300])
@pytest.mark.parametrize("refilled", [math.nan, math.inf, -1e9])
def test_a_damaged_slot_lets_no_more_through_than_a_burst(plan, tokens, refilled):
    limits = Limits.of(1, 3, None)
    plan.take("finance", limits, 5.0, NOON)
    digest, offset = plan._slots["finance"]
    usage_plan._SLOT.pack_into(plan._map, offset, digest, tokens, refilled, -7, -9, 2**62, -1)
    assert admitted(plan, limits, [(6.0, NOON)] * 9) <= 3
    assert admitted(plan, limits, [(20.0, NOON)] * 9) == 3


def test_where_all_slots_are_taken_the_key_silent_longest_gives_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(usage_plan, "SLOTS", 4)
    plan = UsagePlan(tmp_path / "usage")
    limits = Limits.of(None, None, 1)
    for number in range(4):
        assert plan.take(f"key-{number}", limits, 1.0, NOON + number * DAY) is None
    now = NOON + 3 * DAY
    assert plan.take("key-4", limits, 1.0, now) is None
    assert plan.take("key-4", limits, 1.0, now) is not None
    assert plan.take("key-3", limits, 1.0, now) is not None
    assert plan.take("key-0", limits, 1.0, now) is None
    plan.close()


# --- several processes

WORKER = """
import sys, time
from pathlib import Path
from llm_audit.proxy.usage_plan import Limits, UsagePlan
plan = UsagePlan(Path(sys.argv[1]))
limits = Limits.of(*eval(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
let_in = 0
for call in range(5000):
    let_in += plan.take(f"key-{call % 3}", limits, 50.0 + call / 1000, 1_795_521_600.0) is None
print(let_in, flush=True)
"""


@pytest.mark.parametrize(("limits", "exact"), [((None, None, 1234), 3 * 1234), ((10, 700, None), None)])
def test_four_processes_together_let_through_exactly_what_is_allowed(tmp_path, limits, exact):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path / "usage", repr(limits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    through = sum(int(worker.stdout.readline()) for worker in workers)
    for worker in workers:
        worker.stdin.close()
        worker.stdout.close()
        assert worker.wait() == 0
    if exact is not None:
        assert through == exact
    else:  # the burst of each key, and what 5 seconds at 10 a second refill
        assert 3 * 700 <= through <= 3 * (700 + 50)


FORKING = """
import fcntl, os, sys
from pathlib import Path
from llm_audit.proxy.usage_plan import Limits, UsagePlan
plan = UsagePlan(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    fcntl.flock(plan._fd, fcntl.LOCK_EX)
    os.kill(os.getpid(), 19)
    os._exit(0)
os.waitpid(child, os.WUNTRACED)
try:
    fcntl.flock(plan._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("both hold the lock")
except BlockingIOError:
    print("only one holds the lock")
os.kill(child, 9)
os.waitpid(child, 0)
print(plan.take("a", Limits.of(1, 1, 1), 1.0, 1e9))
"""


def test_a_forked_process_has_a_lock_of_its_own_and_its_death_frees_it(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", FORKING, tmp_path / "usage"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.splitlines() == ["only one holds the lock", "None"]
