"""``llm-audit receipt``: a signed statement about one call, and its check, which needs nothing but the public key."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, NoReturn

import click

from llm_audit.cli.commands.show import find
from llm_audit.cli.reading import ProblemError, open_objects, problems
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.integrity.digest_check import read_link
from llm_audit.integrity.digests import PREFIX, DigestUnreadableError, read_digest
from llm_audit.integrity.receipts import Receipt, ReceiptError, check_receipt, make_receipt, read_receipt
from llm_audit.query.lookup import FoundCall
from llm_audit.record.encoding import sha256_hex
from llm_audit.record.times import iso_from_ms, ms_from_iso
from llm_audit.ship.key_files import KeyFileError, public_keys
from llm_audit.store.keys import parse_key
from llm_audit.store.objects import ObjectStore

_DAY_MS = 86_400_000


class _ReceiptGroup(click.Group):
    """``receipt ID`` beside ``receipt verify FILE``: what is no subcommand is an id."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take ``make`` for granted."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["make", *args]
        return super().resolve_command(ctx, args)


@click.group(
    cls=_ReceiptGroup,
    subcommand_metavar="ID | verify FILE",
    epilog="""\b
Example:
  llm-audit receipt 019abcde-0000-7000-8000-000000000001 > receipt.json
  llm-audit receipt verify receipt.json --key digest-key.pem""",
    short_help="Prove one call to somebody else.",
)
def command() -> None:
    """Give a signed statement about one call, or check one.

    A receipt says that a record with this SHA-256 was stored under this key, at this place in its writer's chain: the head
    of the digest that lists it, the signature, and the Merkle inclusion proof.
    """


@command.command(
    epilog="\b\nExample:\n  llm-audit receipt 019abcde-0000-7000-8000-000000000001 > receipt.json"
)
@click.argument("request_id", metavar="ID")
@click.option(
    "--since",
    metavar="SINCE",
    default="90d",
    show_default=True,
    help="How far back an id that the index does not have is looked for, day by day.",
)
@with_settings(*READING)
def make(settings: Settings, request_id: str, since: str) -> None:
    """Print the receipt of the call with this request id, one line for each call that used it.

    The call must be listed in a digest: within AUDIT_DIGEST_INTERVAL, or when the shipper stops. Exit code 1 where it is not.
    """
    with problems():
        found = find(settings, request_id.strip().lower(), since)
        if not found:
            raise ProblemError(f"there is no call {request_id!r} since {since}; --since looks further back")
        store = open_objects(settings)
        receipts = [_receipt(store, one) for one in found]
    for receipt in receipts:
        sys.stdout.buffer.write(receipt.encode() + b"\n")
    sys.stdout.buffer.flush()


def _receipt(store: ObjectStore, found: FoundCall) -> Receipt:
    """Find the digest that lists a record: it was made no earlier than the day before the call began, clocks considered."""
    link, name = read_link(found.data), parse_key(found.key)
    if link is None or name is None:
        raise ProblemError(f"{found.key} is no record")
    day = iso_from_ms(max(0, ms_from_iso(name.day) - _DAY_MS))[:10].replace("-", "/")
    chain = f"{PREFIX}/{link.writer}"
    sought = json.dumps(found.key).encode()
    for entry in store.list(chain, after=f"{chain}/{day}"):
        data = store.get(entry.key)
        if sought not in data:
            continue
        try:
            receipt = make_receipt(read_digest(data), found.key)
        except (DigestUnreadableError, ReceiptError) as error:
            raise ProblemError(f"{entry.key}: {error}; see `llm-audit verify`") from None
        if receipt.entry.sha256 != sha256_hex(found.data):
            raise ProblemError(f"{found.key} is not what {entry.key} lists: see `llm-audit verify`")
        return receipt
    raise ProblemError(
        f"no digest of {link.writer} lists {found.key} yet: the next comes within AUDIT_DIGEST_INTERVAL, or when the "
        "shipper stops"
    )


@command.command(epilog="\b\nExample:\n  llm-audit receipt verify receipt.json --key digest-key.pem")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--key",
    "key_path",
    required=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="The public key (PEM), or a folder of such keys.",
)
@click.option(
    "--object",
    "object_file",
    type=click.File("rb"),
    metavar="FILE",
    help="The record itself (`llm-audit show ID --json`, or the object): it must be the one that the receipt is about.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what is proven as JSON.")
def verify(file: IO[bytes], key_path: Path, object_file: IO[bytes] | None, *, as_json: bool) -> None:
    """Check a receipt: needs the public key and nothing else. Exit code 1 where it proves nothing."""
    try:
        keys = {key.id: key for key in public_keys([key_path])}
    except KeyFileError as error:
        raise ProblemError(str(error)) from None
    for line in file.read().splitlines():
        try:
            receipt = read_receipt(line)
            key = keys.get(receipt.signature.key_id)
            if key is None:
                _fail(f"it is signed by key {receipt.signature.key_id}, which is not the one given")
            check_receipt(receipt, key)
        except ReceiptError as error:
            _fail(str(error))
        if object_file is not None and not _is_same(object_file.read(), receipt):
            _fail("the object is another than the one that the receipt is about")
        _say(receipt, as_json=as_json)


def _fail(reason: str) -> NoReturn:
    raise ProblemError(f"the receipt proves nothing: {reason}")


def _is_same(data: bytes, receipt: Receipt) -> bool:
    """Compare a record's bytes; a line feed at the end is the terminal's."""
    return any(sha256_hex(one) == receipt.entry.sha256 for one in (data, data.removesuffix(b"\n")))


def _say(receipt: Receipt, *, as_json: bool) -> None:
    head, entry = receipt.head, receipt.entry
    if as_json:
        proven = {
            "writer": head.writer,
            "digest": head.number,
            "to": iso_from_ms(head.to_ms),
            **entry._asdict(),
        }
        click.echo(json.dumps(proven))
        return
    click.echo(
        f"proven: {entry.key} was stored with sha256 {entry.sha256} ({entry.size} bytes), as sequence {entry.sequence} of boot "
        f"{entry.boot} of writer {head.writer}, by {iso_from_ms(head.to_ms)} (digest {head.number}, key {receipt.signature.key_id})"
    )
