"""The ``llm-audit`` command: finds its subcommands in ``cli/commands`` and loads only the one that runs."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import click

from llm_audit import __version__
from llm_audit.cli import commands


class CommandFolder(click.Group):
    """A group whose subcommands are the modules of ``cli/commands``; ``_`` in a name reads ``-``.

    A ``_`` at the end is none of the name: Python does not let ``lambda`` be a module's.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name every command, sorted."""
        return sorted(self._modules())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command's module and give its command."""
        module = self._modules().get(cmd_name)
        if module is None:
            return None
        command = import_module(f"{commands.__name__}.{module}").command
        assert isinstance(command, click.Command)
        return command

    def _modules(self) -> dict[str, str]:
        """Give each command's module by the command's name."""
        names = (module.name for module in pkgutil.iter_modules(commands.__path__))
        return {name.rstrip("_").replace("_", "-"): name for name in names}


@click.group(cls=CommandFolder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llm-audit")
def main() -> None:
    """Record every LLM request and response a company makes, as evidence."""
