"""The ``llm-audit`` command: finds its subcommands in ``cli/commands`` and loads only the one that runs."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import click

from llm_audit import __version__
from llm_audit.cli import commands


class CommandFolder(click.Group):
    """A group whose subcommands are the modules of ``cli/commands``; ``_`` in a name reads ``-``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name every command, sorted."""
        return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command's module and give its command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=CommandFolder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llm-audit")
def main() -> None:
    """Record every LLM request and response a company makes, as evidence."""
