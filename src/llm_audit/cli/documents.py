"""Documents that are written from the code: the settings table. A test compares them with what stands in ``docs``.

``python -m llm_audit.cli.documents`` (``make docs``) writes them anew, from the root of a checkout.
"""

from __future__ import annotations

from pathlib import Path

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
an instance's role, …). The variables of the ingestion Lambda are documented with it.

Below the data dir: `journal` (with the shipper's ledger), `objects/<prefix>/YYYY/MM/DD/<requestId>.json`,
`index/audit.sqlite3`, `quarantine`, `status` and `usage`.
"""


def settings_table() -> str:
    """Give the table of all settings, as Markdown."""
    rows = ["| variable | flag | default | meaning | allowed |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default is not None else setting.default_text
        cells = (f"`{setting.env}`", f"`{setting.flag}`", default, setting.meaning, setting.kind.allowed)
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(rows)


def settings_page() -> str:
    """Give ``docs/settings.md``."""
    return _SETTINGS_INTRODUCTION + settings_table() + _SETTINGS_END


PAGES = {"docs/settings.md": settings_page}
"""Every generated document, by its path in the checkout."""


def write_pages(root: Path) -> None:
    """Write every generated document below a checkout's root."""
    for name, page in PAGES.items():
        (root / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path())
