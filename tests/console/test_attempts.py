from llm_audit.console.attempts import PER_ADDRESS, PER_USER, WINDOW_SECONDS, Attempts


def test_a_user_may_fail_ten_times_and_then_waits_until_the_first_is_old():
    attempts = Attempts()
    for number in range(PER_USER):
        assert attempts.wait_seconds("anna", f"10.0.0.{number}", now=number) == 0
        attempts.failed("anna", f"10.0.0.{number}", now=number)
    assert attempts.wait_seconds("Anna", "10.0.0.99", now=20.0) == WINDOW_SECONDS - 20
    assert attempts.wait_seconds("bert", "10.0.0.99", now=20.0) == 0
    assert attempts.wait_seconds("anna", "10.0.0.99", now=WINDOW_SECONDS + 1) == 0


def test_an_address_that_tries_many_names_waits():
    attempts = Attempts()
    for number in range(PER_ADDRESS):
        attempts.failed(f"name-{number}", "10.0.0.1", now=0.0)
    assert attempts.wait_seconds("another", "10.0.0.1", now=1.0) > 0
    assert attempts.wait_seconds("another", "10.0.0.2", now=1.0) == 0


def test_a_success_forgets_the_users_failures_and_its_own_try():
    attempts = Attempts()
    for _ in range(PER_USER - 1):
        attempts.failed("anna", "10.0.0.1", now=0.0)
    attempts.failed("anna", "10.0.0.1", now=1.0)
    attempts.succeeded("anna", "10.0.0.1")
    assert attempts.wait_seconds("anna", "10.0.0.1", now=2.0) == 0
    for _ in range(PER_ADDRESS - PER_USER + 1):
        attempts.failed("bert", "10.0.0.1", now=2.0)
    assert attempts.wait_seconds("chen", "10.0.0.1", now=3.0) > 0


def test_invented_names_do_not_fill_the_memory():
    attempts = Attempts()
    for number in range(30_000):
        attempts.failed(f"name-{number}", f"10.{number}", now=0.0)
    assert len(attempts._failures) <= 10_001
