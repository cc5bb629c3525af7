import socket

import pytest

from llm_audit.cli.console_port import has_tls, open_console_port, served_hosts
from llm_audit.cli.settings import load_settings


def test_a_console_that_is_off_has_no_port():
    assert open_console_port(load_settings({"AUDIT_CONSOLE": "off"}), 0, print) is None


def test_the_port_is_bound_and_its_address_can_be_typed():
    port = open_console_port(load_settings({"AUDIT_CONSOLE": "0.0.0.0:0"}), 0, print)
    with port.listener:
        assert port.url == f"http://127.0.0.1:{port.listener.getsockname()[1]}"


def test_a_port_that_is_taken_costs_the_console_alone_and_is_said():
    said = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert open_console_port(load_settings({"AUDIT_CONSOLE": address}), 0, said.append) is None
    assert "AUDIT_CONSOLE" in said[0]
    assert address in said[0]


@pytest.mark.parametrize(
    ("environ", "more"),
    [
        ({}, set()),
        ({"AUDIT_CONSOLE": "[::1]:8080"}, set()),
        ({"AUDIT_CONSOLE": "10.0.0.5:8080"}, {"10.0.0.5"}),
        ({"AUDIT_CONSOLE_HOSTS": "Audit.Example.com, [2001:db8::1]"}, {"audit.example.com", "[2001:db8::1]"}),
    ],
)
def test_this_machines_names_are_always_served_and_others_when_they_are_set(environ, more):
    assert served_hosts(load_settings(environ)) == {"localhost", "127.0.0.1", "[::1]", *more}


def test_tls_is_spoken_off_this_machine_where_there_is_a_certificate():
    files = {"AUDIT_TLS_CERT": "/c.pem", "AUDIT_TLS_KEY": "/k.pem"}
    assert has_tls(load_settings({**files, "AUDIT_CONSOLE": "0.0.0.0:8080"}))
    assert not has_tls(load_settings(files))
    assert not has_tls(load_settings({"AUDIT_CONSOLE": "0.0.0.0:8080"}))
