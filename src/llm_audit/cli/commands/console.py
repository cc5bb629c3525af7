"""``llm-audit console``: the web console's users."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.table import Table

from llm_audit.cli.reading import ProblemError, os_actor
from llm_audit.cli.settings import Settings, with_settings
from llm_audit.cli.terminal import cell
from llm_audit.cli.terminal import console as terminal
from llm_audit.console.roles import MEANINGS, Role
from llm_audit.console.users import (
    FILE_NAME,
    Passwords,
    User,
    UserFile,
    UsersError,
    check_name,
    check_password,
    new_password,
)
from llm_audit.integrity.access_log_file import AccessLog, AccessLogError
from llm_audit.record.times import iso_from_ms

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
_ROLES = click.Choice([role.value for role in Role])


@click.group(
    short_help="Who may log in to the web console.",
    epilog="""\b
Example:
  llm-audit console users add anna --role auditor
  llm-audit console users list
  llm-audit console users disable anna""",
)
def command() -> None:
    """Keep the users of the web console, which `llm-audit serve` serves at AUDIT_CONSOLE."""


@command.group()
def users() -> None:
    """Add, list and disable users; a running console heeds it at once, and every change is in the access log.

    Roles: viewer sees metadata, auditor also content and the access log, admin also the users.
    """


@users.command(epilog="\b\nExample:\n  llm-audit console users add anna --role auditor")
@click.argument("name")
@click.option(
    "--role", type=_ROLES, default=Role.VIEWER.value, show_default=True, help="What the user may see."
)
@click.option("--prompt", is_flag=True, help="Ask for the password, instead of making one.")
@json_option
@with_settings("data_dir")
def add(*, name: str, role: str, prompt: bool, as_json: bool, settings: Settings) -> None:
    """Add a user called NAME; its password is made, and printed this once, unless you type one."""
    with _told():
        password = _typed_password() if prompt else new_password()
        at = iso_from_ms(time.time_ns() // 1_000_000)
        user = User(check_name(name), Role(role), Passwords().hash(password), enabled=True, created=at)
        file = UserFile(settings.data_dir / FILE_NAME)
        _record(settings, at, "users.add", user)
        file.add(user)
    shown = None if prompt else password
    if as_json:
        click.echo(json.dumps({**_document(user), "password": shown}))
        return
    click.echo(f"{name} may log in as {role}: {MEANINGS[user.role]}.", err=True)
    if shown:
        click.echo("The password, shown this once:", err=True)
        click.echo(shown)


@users.command("list", epilog="\b\nExample:\n  llm-audit console users list --json")
@json_option
@with_settings("data_dir")
def list_users(*, as_json: bool, settings: Settings) -> None:
    """List all users and what they may see."""
    with _told():
        found = UserFile(settings.data_dir / FILE_NAME).users()
    if as_json:
        for user in found:
            click.echo(json.dumps(_document(user)))
        return
    table = Table(box=None)
    for title in ("user", "role", "may see", "enabled", "created"):
        table.add_column(title)
    for user in found:
        words = (
            user.name,
            user.role,
            MEANINGS[user.role],
            "yes" if user.enabled else "no",
            user.created[:10],
        )
        table.add_row(*map(cell, words))
    terminal().print(table)


@users.command(epilog="\b\nExample:\n  llm-audit console users disable anna")
@click.argument("name")
@json_option
@with_settings("data_dir")
def disable(*, name: str, as_json: bool, settings: Settings) -> None:
    """Disable the user called NAME: its sessions end with their next request."""
    with _told():
        file = UserFile(settings.data_dir / FILE_NAME)
        user = file.get(name)
        if user is None:
            raise ProblemError(f"there is no user {name!r}: see `llm-audit console users list`")
        _record(settings, iso_from_ms(time.time_ns() // 1_000_000), "users.disable", user)
        user = file.change(name, enabled=False)
    click.echo(json.dumps(_document(user)) if as_json else f"{name} is disabled.")


def _typed_password() -> str:
    password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return check_password(password)


def _record(settings: Settings, at: str, action: str, user: User) -> None:
    log = AccessLog(settings.data_dir / "access")
    log.append(at, os_actor(), action, user.name, {"role": user.role.value})


@contextmanager
def _told() -> Iterator[None]:
    """Turn what can go wrong into one clear line, exit code 1."""
    try:
        yield
    except (UsersError, AccessLogError) as error:
        raise ProblemError(str(error)) from None


def _document(user: User) -> dict[str, object]:
    return {
        "name": user.name,
        "role": user.role.value,
        "enabled": user.enabled,
        "created": user.created,
    }
