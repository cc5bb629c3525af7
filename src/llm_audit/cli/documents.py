"""Documents that are written from the code: the settings table, the commands' help. A test compares them.

``python -m llm_audit.cli.documents`` (``make docs``) writes them anew, from the root of a checkout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from llm_audit.cli.lambda_bundle import HANDLER_PATH, bundle
from llm_audit.cli.main import main
from llm_audit.cli.settings_table import SETTINGS

_SETTINGS_INTRODUCTION = """\
# Settings

Written by `make docs` from `src/llm_audit/cli/settings_table.py`; a test compares them.

Every setting is an environment variable, and a flag on each command that uses it; the flag wins. An empty value
counts as not set. A wrong one is refused at start, in one line with the name, the value and what is allowed
(exit code 2). Sizes may be written as `65536`, `64MiB` or `10GiB`; durations as `30`, `30s`, `10m` or `1h`.

"""
_SETTINGS_END = """

Where the bucket is S3, credentials come from where every AWS SDK takes them (`AWS_ACCESS_KEY_ID`, a container's or
an instance's role, …).

Below the data dir: `journal` (with the shipper's ledger), `objects/<prefix>/YYYY/MM/DD/<requestId>.json`,
`index/audit.sqlite3`, `quarantine`, `status` and `usage`.

## The ingestion Lambda

Variables of the function alone; a wrong value stops it at its first start, with name, value and what is allowed.

| variable | default | meaning | allowed |
|---|---|---|---|
| `TABLE_NAME` | `CentralLLMAudit` | the table that items are written to | a name or an ARN |
| `MAX_PREVIEW_CHARS` | `2048` | characters kept of `promptPreview` and `responsePreview`; less where an item would pass 400 KB | 0 to 400000 |
| `RAW_ARCHIVE_BUCKET` | none | bucket that gets a copy of every document, under the same key | a bucket's name |
| `STATUS_SHARDS` | `1` | partitions that one status is spread over | 1 to 1000 |
| `RETENTION_DAYS` | none | days after a call's start until DynamoDB may drop its item (`expiresAt`) | 1 to 36500 |
"""
_CLI_INTRODUCTION = """\
# Commands

Written by `make docs` from the commands themselves; a test compares them. Exit codes: 0 done, 1 found a problem,
2 wrong usage. Settings are explained in [settings.md](settings.md).
"""
_README_TABLE = re.compile(
    r"(<!-- settings: written by make docs -->\n).*?(<!-- end of settings -->)", re.DOTALL
)
_WIDTH = 110


def settings_page() -> str:
    """Give ``docs/settings.md``."""
    rows = ["| variable | flag | default | meaning | allowed |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        cells = (
            f"`{setting.env}`",
            f"`{setting.flag}`",
            setting.shown_default,
            setting.meaning,
            setting.kind.allowed,
        )
        rows.append("| " + " | ".join(cells) + " |")
    return _SETTINGS_INTRODUCTION + "\n".join(rows) + _SETTINGS_END


def commands_page() -> str:
    """Give ``docs/cli.md``: the help of every command."""
    context = click.Context(main, info_name="llm-audit", terminal_width=_WIDTH, max_content_width=_WIDTH)
    sections = (f"\n## {path}\n\n```\n{text}\n```\n" for path, text in _helps(context))
    return _CLI_INTRODUCTION + "".join(sections)


def _helps(context: click.Context) -> Iterator[tuple[str, str]]:
    """Give every command's path and help text, depth first."""
    group = context.command
    if not isinstance(group, click.Group):
        yield context.command_path, group.get_help(context)
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from _helps(
            click.Context(
                command,
                parent=context,
                info_name=name,
                terminal_width=_WIDTH,
                max_content_width=_WIDTH,
                help_option_names=["-h", "--help"],
            )
        )


def readme_page(text: str) -> str:
    """Give a README whose short settings table, between its two marks, says what the code says."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [f"| `{setting.env}` | {setting.shown_default} | {setting.meaning} |" for setting in SETTINGS]
    return _README_TABLE.sub(lambda found: found[1] + "\n".join(rows) + "\n" + found[2], text)


def pages(root: Path) -> dict[str, str]:
    """Give what every generated document should say, by its path in the checkout."""
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    return {
        "docs/settings.md": settings_page(),
        "docs/cli.md": commands_page(),
        HANDLER_PATH: bundle(),
        **({"README.md": readme_page(text)} if text else {}),
    }


def write_pages(root: Path) -> None:
    """Write every generated document below a checkout's root."""
    for name, text in pages(root).items():
        (root / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path())
