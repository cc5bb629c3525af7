import contextlib
import fcntl
import os
import socket
import stat

import pytest

from llm_audit.cli.kinds import Address
from llm_audit.cli.settings import SettingError, load_settings
from llm_audit.cli.startup import (
    bind_listener,
    check_files,
    check_journal_size,
    check_port_is_free,
    choose_writers,
    is_locked,
    lock_journal,
    prepare_folders,
)


def has_ipv6():
    with socket.socket(socket.AF_INET6) if socket.has_ipv6 else contextlib.nullcontext() as probe:
        try:
            return probe is not None and probe.bind(("::1", 0)) is None
        except OSError:
            return False


def settings_in(folder, **more):
    return load_settings({"AUDIT_DATA_DIR": str(folder)}, more)


def locked(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_every_folder_is_made_for_its_owner_alone(tmp_path):
    prepare_folders(settings_in(tmp_path / "a" / "data"))
    made = [path for path in (tmp_path / "a").rglob("*") if path.is_dir()]
    assert {path.name for path in made} == {
        "data",
        "journal",
        "objects",
        "index",
        "quarantine",
        "status",
        "usage",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("field", ["data_dir", "journal_dir", "bucket"])
def test_a_folder_that_cannot_be_made_is_refused_by_its_settings_name(tmp_path, field):
    (tmp_path / "file").touch()
    settings = load_settings(
        {}, {"data_dir": str(tmp_path / "data"), field: str(tmp_path / "file" / "folder")}
    )
    with pytest.raises(SettingError, match=f"AUDIT_{field.upper()}.*file/folder.*Not a directory"):
        prepare_folders(settings)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"AUDIT_DATA_DIR.*'/proc/1'"):
        prepare_folders(settings_in("/proc/1"))


def test_a_second_supervisor_on_the_same_journal_is_refused_and_told_who_holds_it(tmp_path):
    holder = lock_journal(tmp_path)
    with pytest.raises(SettingError, match=f"AUDIT_JOURNAL_DIR.*process {os.getpid()}"):
        lock_journal(tmp_path)
    holder.release()
    lock_journal(tmp_path).release()


def test_a_supervisor_knows_whether_the_last_one_died(tmp_path):
    first = lock_journal(tmp_path)
    assert not first.last_one_died
    os.close(first.descriptor)  # as the kernel does when a process is killed
    second = lock_journal(tmp_path)
    assert second.last_one_died
    second.release()
    third = lock_journal(tmp_path)
    assert not third.last_one_died
    third.release()


def test_workers_adopt_writers_that_nobody_holds_before_new_ones_are_made(tmp_path):
    for name in ("w-00000001", "w-00000002", "w-00000003"):
        (tmp_path / name).mkdir()
    holder = locked(tmp_path / "w-00000001" / "lock")
    (tmp_path / "w-00000002" / "lock").touch()
    assert choose_writers(tmp_path, 1) == [tmp_path / "w-00000002"]
    chosen = choose_writers(tmp_path, 4)
    assert chosen[:2] == [tmp_path / "w-00000002", tmp_path / "w-00000003"]
    assert len(set(chosen)) == 4
    assert all(path.name.startswith("w-") and len(path.name) == 10 for path in chosen)
    os.close(holder)


def test_looking_at_a_lock_does_not_take_it(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    assert not is_locked(path)
    assert not is_locked(path)
    assert not is_locked(tmp_path / "missing")


def test_a_port_that_is_taken_is_refused_with_address_and_reason():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingError, match=rf"AUDIT_LISTEN.*'127.0.0.1:{port}'.*in use"):
            bind_listener(Address("127.0.0.1", port), patience=0)
        with pytest.raises(SettingError, match=rf"127.0.0.1:{port} cannot be taken.*--port"):
            check_port_is_free(Address("127.0.0.1", port), patience=0)
    check_port_is_free(Address("127.0.0.1", port), patience=0)


def test_a_port_that_stragglers_still_hold_is_waited_for():
    other = socket.create_server(("127.0.0.1", 0))
    address = Address("127.0.0.1", other.getsockname()[1])
    with socket.create_connection(("127.0.0.1", address.port)) as connection:
        accepted = other.accept()[0]
        other.close()
        with bind_listener(address, patience=5) as listener:
            assert listener.getsockname() == ("127.0.0.1", address.port)
        accepted.close()
        assert connection.recv(1) == b""


def test_an_address_that_is_not_this_machines_is_refused():
    with pytest.raises(SettingError, match=r"AUDIT_LISTEN.*192\.0\.2\.1:0"):
        bind_listener(Address("192.0.2.1", 0), patience=0)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_an_ipv6_address_can_be_listened_on():
    with bind_listener(Address("::1", 0), patience=0) as listener:
        assert listener.family == socket.AF_INET6


def test_files_that_cannot_be_used_are_refused(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text("no certificate")
    key.write_text("no key")
    with pytest.raises(SettingError, match=r"AUDIT_TLS_CERT.*cert\.pem.*key\.pem"):
        check_files(settings_in(tmp_path, tls_cert=str(certificate), tls_key=str(key)))
    with pytest.raises(SettingError, match=r"AUDIT_TLS_CERT.*No such file"):
        check_files(settings_in(tmp_path, tls_cert=str(tmp_path / "none"), tls_key=str(key)))
    with pytest.raises(SettingError, match=r"AUDIT_API_KEYS.*keys add.*No such file"):
        check_files(settings_in(tmp_path, api_keys=str(tmp_path / "none")))
    with pytest.raises(SettingError, match=r"AUDIT_API_KEYS.*keys add.*cert\.pem"):
        check_files(settings_in(tmp_path, api_keys=str(certificate)))


def test_a_journal_too_small_for_its_workers_is_refused(tmp_path):
    check_journal_size(settings_in(tmp_path, workers="4"))
    with pytest.raises(
        SettingError, match=r"AUDIT_JOURNAL_MAX_BYTES.*'4194304'.*at least \d+ bytes for 4 workers"
    ):
        check_journal_size(settings_in(tmp_path, workers="4", journal_max_bytes="4MiB"))
