"""Records, documents and items for tests of index, ingestion and queries: real records, really encoded."""

from __future__ import annotations

import random
from typing import Any

from llm_audit.index.schema import Item, item_from_document
from llm_audit.record.encoding import document, encode_record, sha256_hex
from llm_audit.record.schema import (
    Client,
    Identity,
    IdentitySource,
    ModelNames,
    Outcome,
    Record,
    RequestPart,
    ResponsePart,
    Usage,
    WriterPosition,
)

NOON_MS = 1_795_521_600_000
"""2026-11-24T12:00:00.000Z"""


def request_id(number: int) -> str:
    return f"019abcde-0000-7000-8000-{number:012x}"


def key_of(record: Record, name: str | None = None) -> str:
    return f"logs/2026/11/24/{name or record.request_id}.json"


def record(number: int = 1, **changes: Any) -> Record:
    """Give a small complete call; ``changes`` are fields of ``Record``."""
    body = b'{"model":"demo","messages":[{"role":"user","content":"Hi"}]}'
    reply = b'{"choices":[{"message":{"role":"assistant","content":"Hello"}}]}'
    plain = Record(
        request_id=request_id(number),
        source="billing",
        user="ada",
        request_type="ask",
        identity=Identity(IdentitySource.KEY, "k1"),
        started_at_ms=NOON_MS + number,
        latency_ms=120,
        time_to_first_chunk_ms=40,
        chunk_times_ms=(40, 119),
        outcome=Outcome.COMPLETE,
        status_code=200,
        error=None,
        operation="chat",
        model=ModelNames("demo", "demo-1"),
        usage=Usage(12, 30, 42),
        finish_reasons=("stop",),
        stream=False,
        prompt_preview="user: Hi",
        response_preview="Hello",
        client=Client("10.0.0.7", "openai-python/2"),
        writer=WriterPosition("w-1", 3, number, None),
        proxy_version="0.1.0",
        request=RequestPart(
            "POST", "/v1/chat/completions", None, (), "application/json", len(body), sha256_hex(body), body
        ),
        response=ResponsePart((), "application/json", len(reply), len(reply), sha256_hex(reply), None, reply),
    )
    return plain._replace(**changes)


def item(number: int = 1, **changes: Any) -> Item:
    """Give the item of ``record(number, **changes)``."""
    one = record(number, **changes)
    return item_from_document(document(one), "audit", key_of(one), sha256_hex(encode_record(one)))


def mixed_records(count: int, dice: random.Random) -> list[Record]:
    """Give many different calls of three sources and five users."""
    return [
        record(
            number,
            source=dice.choice(("billing", "search", "chat")),
            user=f"user-{dice.randrange(5)}",
            request_type=dice.choice(("ask", "summarise")),
            status_code=dice.choice((200, 200, 200, 429, 500, None)),
            outcome=dice.choice((Outcome.COMPLETE, Outcome.COMPLETE, Outcome.INTERRUPTED)),
            latency_ms=dice.randrange(20_000),
            time_to_first_chunk_ms=dice.choice((None, dice.randrange(900))),
            model=ModelNames("asked", dice.choice(("small", "large"))),
            usage=Usage(dice.randrange(99), None, dice.randrange(99)),
            prompt_preview=f"question {dice.randrange(40)}",
        )
        for number in range(count)
    ]


def mixed_items(count: int, seed: int = 7) -> list[Item]:
    """Give their items, in no particular order."""
    dice = random.Random(seed)
    items = [
        item_from_document(document(one), "audit", key_of(one), "0" * 64)
        for one in mixed_records(count, dice)
    ]
    dice.shuffle(items)
    return items
