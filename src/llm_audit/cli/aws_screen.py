"""What the ``aws`` commands show: events as they come, changes, outputs, what stays. Lines, colours or JSON lines."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from llm_audit.cli.reading import ProblemError
from llm_audit.cli.terminal import cell, console, harmless, shown_ms
from llm_audit.deploy.changes import Change, sentence
from llm_audit.deploy.errors import DeployError, WrongUsageError, aws_errors
from llm_audit.deploy.events import StackEvent, advice_for
from llm_audit.deploy.holdings import Holding
from llm_audit.deploy.stacks import Stack


class AwsUsageError(click.ClickException):
    """Wrong usage without the usage line: what is wrong is a value, not the form of the command. Exit code 2."""

    exit_code = 2


@contextmanager
def told() -> Iterator[None]:
    """Turn what went wrong with AWS into a clear line with advice: exit code 2 for wrong usage, 1 for the rest."""
    try:
        with aws_errors():
            yield
    except DeployError as error:
        text = f"{error}\n  → {error.advice}" if error.advice else str(error)
        text = "\n".join(harmless(line) for line in text.splitlines())
        if isinstance(error, WrongUsageError):
            raise AwsUsageError(text) from None
        raise ProblemError(text) from None


class Screen:
    """Where an ``aws`` command writes: results to stdout, remarks to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out = console()
        self._err = console(stderr=True)

    def say(self, text: str) -> None:
        """Remark on what is done."""
        self._err.print(harmless(text, one_line=True), style="dim", soft_wrap=True)

    def line(self, kind: str, content: dict[str, Any]) -> None:
        """Print a JSON line, where JSON is asked for."""
        if self.as_json:
            click.echo(json.dumps({"kind": kind, **content}))

    def follow(self, events: Iterable[StackEvent], stack: str) -> list[StackEvent]:
        """Show events as they come; give them all. Ctrl-C ends the watching, not the operation, and says so."""
        seen: list[StackEvent] = []
        began = time.monotonic()
        try:
            with self._err.status("waiting for AWS") as status:
                for event in events:
                    seen.append(event)
                    self.event(event)
                    took = shown_ms(int((time.monotonic() - began) * 1000))
                    status.update(f"{_done(seen)} resources done, {took}")
        except KeyboardInterrupt:
            raise ProblemError(
                f"no longer watching; AWS goes on with the stack. See `llm-audit aws status --stack {stack} --follow`"
            ) from None
        return seen

    def event(self, event: StackEvent) -> None:
        """Show one event."""
        if self.as_json:
            self.line("event", event.as_dict())
            return
        style = _style(event.status)
        text = Text(f"{event.at[11:19]}  ")
        text.append(f"{event.status:<20}", style=style)
        text.append(f"  {harmless(event.logical_id, one_line=True)}  ")
        text.append(harmless(event.type, one_line=True), style="dim")
        if event.reason:
            text.append(
                f"  {harmless(event.reason, one_line=True)}", style="red" if event.is_failure else "dim"
            )
        self._out.print(text, soft_wrap=True)

    def changes(self, changes: Sequence[Change], title: str) -> None:
        """Show what a change set would do, the dangerous first."""
        if self.as_json:
            for change in changes:
                self.line("change", change.as_dict())
            return
        self._out.print(f"{title}: {sentence(tuple(changes))}", style="bold", soft_wrap=True)
        for change in sorted(changes, key=lambda one: (not one.is_of_data, "!-~?+".index(one.mark))):
            text = Text(f"  {change.mark} ", style=_CHANGE_STYLES.get(change.mark, ""))
            text.append(harmless(change.logical_id, one_line=True))
            text.append(f"  {harmless(change.type, one_line=True)}", style="dim")
            text.append(f"  {harmless(change.words, one_line=True)}")
            if change.is_of_data:
                text.append("  ← HOLDS AUDIT DATA", style="bold red")
            self._out.print(text, soft_wrap=True)

    def outputs(self, stack: Stack) -> None:
        """Show a stack's outputs."""
        if self.as_json:
            self.line("outputs", {"outputs": dict(stack.outputs)})
            return
        if not stack.outputs:
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        for name in sorted(stack.outputs):
            table.add_row(
                cell(name, "bold"), cell(stack.outputs[name]), cell(stack.descriptions.get(name), "dim")
            )
        self._out.print(table)

    def stack(self, stack: Stack, resources: int | None = None) -> None:
        """Show where a stack stands."""
        state = stack.state
        if self.as_json:
            content = {"stack": stack.name, "id": stack.id, "status": stack.status, "meaning": state.meaning}
            more = {"protected": stack.is_protected, "changedAt": stack.changed_at, "resources": resources}
            self.line("stack", {**content, **more, "advice": state.advice or None})
            return
        self._out.print(
            Text(f"{stack.name} {state.meaning} ", "bold").append(stack.status, _style(stack.status))
        )
        protected = "protected against deletion" if stack.is_protected else "not protected against deletion"
        counted = "" if resources is None else f", {resources} resources"
        self._out.print(f"{protected}{counted}, changed at {stack.changed_at}", style="dim", soft_wrap=True)
        if state.advice:
            self._out.print(f"  → {state.advice}", soft_wrap=True)

    def holdings(self, title: str, holdings: Sequence[Holding]) -> None:
        """Show what stays in the account, and what it costs."""
        if self.as_json:
            for holding in holdings:
                self.line("remains", holding.as_dict())
            return
        self._out.print(title, style="bold", soft_wrap=True)
        for holding in holdings:
            kind = holding.type.removeprefix("AWS::")
            amount = f": {holding.amount}" if holding.amount else ""
            lock = ", kept by Object Lock" if holding.is_locked else ""
            text = f"{kind}  {holding.name}{amount}{lock}; about USD {holding.cost}"
            self._out.print(f"  {harmless(text, one_line=True)}", soft_wrap=True)


def _done(events: Sequence[StackEvent]) -> int:
    return len({event.logical_id for event in events if event.status.endswith("_COMPLETE")})


def failure(cause: StackEvent | None, stack: Stack | None) -> ProblemError:
    """Give the error of an operation that failed: its root cause, what to do, and where the stack is now."""
    lines = []
    if cause is not None:
        lines.append(
            f"{cause.logical_id} ({cause.type}) {cause.status}: {cause.reason or 'AWS gives no reason'}"
        )
        lines.append(f"  → {advice_for(cause.reason)}")
    if stack is not None:
        lines.append(f"the stack {stack.name} {stack.state.meaning} ({stack.status})")
        if stack.state.advice:
            lines.append(f"  → {stack.state.advice}")
    return ProblemError(
        "\n".join(harmless(line) for line in lines) or "the operation failed; AWS gives no reason"
    )


_CHANGE_STYLES = {"+": "green", "~": "yellow", "!": "bold red", "-": "red"}


def _style(status: str) -> str:
    if status.endswith("_FAILED") or "ROLLBACK" in status:
        return "red"
    return "green" if status.endswith("_COMPLETE") else "yellow"
