import os
import subprocess
import sys

import click
import hypothesis
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.cli import kinds
from llm_audit.cli.kinds import Address, Origin
from llm_audit.cli.settings import ALL, SettingError, Settings, load_settings, with_settings
from llm_audit.cli.settings_table import SETTINGS

FIELDS = {setting.field: setting for setting in SETTINGS}


def test_without_any_variable_everything_has_the_contracts_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    assert settings.bucket == (tmp_path / "data" / "objects").as_uri()
    assert settings.objects_dir == tmp_path / "data" / "objects"
    assert settings.prefix == "logs"
    assert settings.body_preview == 2048
    assert settings.content == "full"
    assert settings.journal_dir == tmp_path / "data" / "journal"
    assert settings.journal_max_bytes == 10 * 2**30
    assert settings.when_full == "reject"
    assert settings.durability == "host"
    assert settings.index == "sqlite"
    assert settings.index_writer == "shipper"
    assert settings.listen == Address("0.0.0.0", 8000)
    assert settings.upstream == Origin("http", "127.0.0.1", 8001)
    assert settings.console == settings.console_address == Address("127.0.0.1", 8080)
    assert settings.workers == 1
    assert settings.max_body_bytes == 64 * 2**20
    assert (settings.upstream_timeout, settings.client_timeout) == (600, 30)
    assert (settings.max_duration, settings.drain_timeout) == (3600, 120)
    assert settings.extra_paths == ()
    assert settings.gateway_secret is None


def test_the_console_can_be_off_and_its_names_are_read_without_brackets():
    settings = load_settings({"AUDIT_CONSOLE": "off", "AUDIT_CONSOLE_HOSTS": "Audit.example.com,[::1]"})
    assert settings.console_address is None
    assert settings.console_hosts == ("audit.example.com", "::1")
    assert load_settings(settings.environment()) == settings


def test_with_an_s3_bucket_the_index_is_dynamodb_and_a_lambda_fills_it():
    settings = load_settings({"AUDIT_BUCKET": "central-llm-audit"})
    assert settings.bucket == "s3://central-llm-audit"
    assert settings.objects_dir is None
    assert settings.index == "dynamodb://CentralLLMAudit"
    assert settings.index_writer == "lambda"


def test_an_s3_bucket_may_go_with_the_embedded_index():
    settings = load_settings({"AUDIT_BUCKET": "s3://central-llm-audit", "AUDIT_INDEX": "sqlite"})
    assert settings.index_writer == "shipper"
    assert load_settings({"AUDIT_BUCKET": "bucket", "AUDIT_INDEX_WRITER": "shipper"}).index == "sqlite"


def test_a_flag_overrides_the_environment_and_the_environment_the_default():
    environ = {"AUDIT_WORKERS": "3"}
    assert load_settings(environ).workers == 3
    assert load_settings(environ, {"workers": "5"}).workers == 5
    assert load_settings(environ, {}, {"workers": "2"}).workers == 3
    assert load_settings({}, {}, {"workers": "2"}).workers == 2


def test_an_empty_value_counts_as_not_set():
    assert load_settings({"AUDIT_PREFIX": "", "AUDIT_BUCKET": "", "AUDIT_TLS_CERT": ""}) == load_settings({})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1048576", 2**20), ("64MiB", 2**26), ("10 GiB", 10 * 2**30), ("5mb", 5_000_000), ("1.5gib", 3 * 2**29)],
)
def test_sizes_may_carry_a_unit(text, expected):
    assert load_settings({"AUDIT_JOURNAL_MAX_BYTES": text}).journal_max_bytes == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("30", 30), ("30s", 30), ("10m", 600), ("1h", 3600), ("500ms", 0.5), ("2.5", 2.5)]
)
def test_durations_may_carry_a_unit(text, expected):
    assert load_settings({"AUDIT_CLIENT_TIMEOUT": text}).client_timeout == expected


WRONG = [
    ("bucket", ["Upper", "a", "s3://bucket/prefix", "file://host/x", "file:///", "ftp://x", "my_bucket"]),
    ("prefix", ["/logs", "logs/", "a//b", "../x", "a/./b", "lögs", "x" * 257]),
    ("digest_key", ["kms:", "kms:with space", "a\0b"]),
    ("service", ["with space", "ü", "x" * 129]),
    ("cloudwatch_metrics", ["yes", "1"]),
    ("aws_region", ["EU Central", "x" * 40]),
    ("aws_endpoint_url", ["localhost:9000", "http://host/path"]),
    ("body_preview", ["-1", "two", "1e3", "65537", "٣"]),
    ("content", ["Full", "some"]),
    ("journal_max_bytes", ["10GiBs", "1", "-5MiB", "MiB", "1,000,000"]),
    ("when_full", ["block"]),
    ("durability", ["disk"]),
    ("index", ["postgres", "dynamodb://", "dynamodb://a b"]),
    ("index_writer", ["nobody"]),
    ("listen", ["8000", "host:", "host:65536", "host:-1", "::1:80", "a b:80", "host:80/x"]),
    ("console", ["8080", "on", "host:65536"]),
    ("console_hosts", ["a b", "audit.example.com:8080", "a,,b", "::1", "https://audit.example.com"]),
    (
        "upstream",
        ["127.0.0.1:8001", "ftp://x", "http://", "http://h/v1", "http://u:p@h:1", "http://h:0", "http://h?x"],
    ),
    ("workers", ["0", "65", "many", "1.0"]),
    ("max_body_bytes", ["0", "big"]),
    ("upstream_timeout", ["0", "1y", "forever", "-1"]),
    ("extra_paths", ["v1/x", "/v1/../x", "/a,,/b", "FETCH /x", "/a%20b", "/a//b", "/x?y"]),
    ("gateway_secret", ["short", "x" * 257, "with a space in it", "ünicode-ünicode-ünicode"]),
    ("data_dir", ["a\0b"]),
]


@pytest.mark.parametrize(("field", "text"), [(field, text) for field, texts in WRONG for text in texts])
def test_a_wrong_value_is_refused_with_its_name_the_value_and_what_is_allowed(field, text):
    setting = FIELDS[field]
    for environ, flags in (({setting.env: text}, {}), ({}, {field: text})):
        with pytest.raises(SettingError) as caught:
            load_settings(environ, flags)
        message = caught.value.format_message()
        assert setting.env in message
        assert setting.flag in message
        assert setting.kind.allowed in message
        assert (text in message or repr(text) in message) is not setting.is_secret
        assert "\n" not in message


def test_every_kind_of_setting_has_a_wrong_value_among_these_tests():
    assert {FIELDS[field].kind.name for field, _ in WRONG} == {setting.kind.name for setting in SETTINGS}


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"AUDIT_TLS_CERT": "c.pem"}, "AUDIT_TLS_KEY"),
        ({"AUDIT_TLS_KEY": "k.pem"}, "AUDIT_TLS_CERT"),
        ({"AUDIT_INDEX": "sqlite", "AUDIT_INDEX_WRITER": "lambda"}, "AUDIT_INDEX_WRITER"),
        ({"AUDIT_INDEX": "dynamodb://Table"}, "AUDIT_INDEX"),
        (
            {"AUDIT_BUCKET": "bucket", "AUDIT_INDEX": "dynamodb://Table", "AUDIT_INDEX_WRITER": "shipper"},
            "AUDIT_INDEX_WRITER",
        ),
    ],
)
def test_settings_that_cannot_go_together_are_refused(environ, named):
    with pytest.raises(SettingError, match=named):
        load_settings(environ)


def test_a_secret_may_stand_in_a_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    assert load_settings({"AUDIT_GATEWAY_SECRET": f"@{secret}"}).gateway_secret == "0123456789abcdef"
    with pytest.raises(SettingError, match="cannot read the file"):
        load_settings({"AUDIT_GATEWAY_SECRET": f"@{secret}.missing"})


TEXTS = {
    "bucket": st.sampled_from(["bucket-name", "s3://abc", "file:///a%20b/c", "/tmp/folder with space"]),
    "index": st.just("sqlite"),
    "index_writer": st.just("shipper"),
    "listen": st.sampled_from(["0.0.0.0:0", "[::1]:80", "example.org:8000"]),
    "upstream": st.sampled_from(["http://h", "https://h:8443/", "http://[::1]:9"]),
    "upstream_timeout": st.floats(0.1, 86400).map(lambda x: f"{x:.3f}"),
    "journal_max_bytes": st.integers(2**20, 2**50).map(str),
    "data_dir": st.sampled_from(["/x", "relative/dir", "~/home"]),
    "extra_paths": st.sampled_from(["/v1/a", "/v1/a, GET  /b/{id}"]),
    "gateway_secret": st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=256
    ).filter(lambda text: text[0] != "@"),
}


@given(st.fixed_dictionaries({}, optional=TEXTS))
def test_a_child_process_reads_the_same_settings_from_the_environment_it_is_given(texts):
    settings = load_settings({FIELDS[field].env: text for field, text in texts.items()})
    assert load_settings(settings.environment()) == settings


@hypothesis.settings(max_examples=30)
@hypothesis.example("/")
@given(st.text())
def test_no_text_makes_a_parser_raise_anything_but_a_refusal(text):
    for setting in SETTINGS:
        if setting.is_secret:
            continue
        try:
            value = setting.kind.parse(text)
        except ValueError:
            continue
        assert setting.kind.parse(setting.kind.render(value)) == value


def test_an_ipv6_address_is_written_in_brackets():
    assert str(kinds.parse_address("[::1]:80")) == "[::1]:80"
    assert str(kinds.parse_origin("http://[::1]:80/")) == "http://[::1]:80"


@click.command()
@with_settings("workers", "listen", listen="127.0.0.1:9000")
def example(settings: Settings) -> None:
    """Show two settings."""
    click.echo(f"{settings.workers} {settings.listen}")


def test_the_decorator_adds_flags_passes_settings_and_may_change_a_default(monkeypatch):
    monkeypatch.delenv("AUDIT_WORKERS", raising=False)
    assert CliRunner().invoke(example, ["--workers", "4"]).output == "4 127.0.0.1:9000\n"
    shown = CliRunner().invoke(example, ["--help"]).output
    assert "--listen ADDRESS" in shown
    assert "AUDIT_LISTEN" in shown
    assert "127.0.0.1:9000" in shown


def test_a_wrong_flag_ends_the_command_with_exit_code_2_and_one_line():
    result = CliRunner().invoke(example, ["--workers", "none"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_every_setting_can_become_a_flag():
    @click.command()
    @with_settings(*ALL)
    def everything(settings: Settings) -> None:
        click.echo(str(settings.workers))

    assert CliRunner().invoke(everything, []).exit_code == 0


def test_the_settings_module_starts_quickly():
    """``keys list`` and every other short command pay for this import: it must not pull in the system."""
    code = "import sys, llm_audit.cli.settings; print(*sorted(m for m in sys.modules if m in ('asyncio', 'obstore')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == ""
