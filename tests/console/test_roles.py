import pytest

from llm_audit.console.roles import RIGHTS, Right, Role, host_of, is_local, is_loopback, is_served

LOCAL = {"listens_on": "127.0.0.1", "client": "127.0.0.1", "host": "localhost:8080", "is_forwarded": False}


def test_each_role_has_what_the_one_before_has_and_more():
    assert RIGHTS[Role.VIEWER] < RIGHTS[Role.AUDITOR] < RIGHTS[Role.ADMIN] == frozenset(Right)
    assert Right.CONTENT not in RIGHTS[Role.VIEWER]


def test_somebody_on_this_machine_is_local():
    assert is_local(**LOCAL)
    assert is_local(**{**LOCAL, "listens_on": "::1", "client": "::1", "host": "[::1]:8080"})


@pytest.mark.parametrize(
    "changed",
    [
        {"listens_on": "0.0.0.0"},
        {"listens_on": "10.0.0.5"},
        {"client": "10.0.0.5"},
        {"client": ""},
        {"host": "audit.example.com"},
        {"host": ""},
        {"is_forwarded": True},
    ],
    ids=str,
)
def test_whoever_comes_from_elsewhere_in_any_way_is_not_local(changed):
    assert not is_local(**{**LOCAL, **changed})


def test_loopback_is_told_by_name_and_address():
    assert all(
        map(is_loopback, ("localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"))
    )
    assert not any(map(is_loopback, ("localhost.evil.com", "127.0.0.1.evil.com", "0.0.0.0", "10.0.0.1", "")))


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("LocalHost:8080", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("", ""),
    ],
)
def test_a_host_field_is_read_without_its_port(header, host):
    assert host_of(header) == host


def test_only_names_of_ours_are_served():
    ours = {"localhost", "127.0.0.1", "[::1]"}
    assert is_served("localhost:8080", ours)
    assert not any(
        is_served(name, ours) for name in ("evil.com", "localhost.evil.com", "127.0.0.1@evil.com", "")
    )
