"""Documents that lie where records lie, and are none."""

from __future__ import annotations

DOCUMENTS: dict[str, bytes] = {
    "empty": b"",
    "text": b"this is no JSON",
    "cut": b'{"schemaVersion":"1","requestId":"6f9a1c1e-6a0f-4d56-9f5b-0b7c1a6d2e54","source":"a","us',
    "list": b"[1,2,3]",
    "other": b'{"schemaVersion":"1","hello":"world"}',
    "deep": b'{"schemaVersion":"1","request":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "wide": b'{"schemaVersion":"1","requestId":"' + b"x" * (1 << 20) + b'"}',
    "latin": b'{"schemaVersion":"1","requestId":"\xff\xfe","source":"\xe9"}',
    "zeros": bytes(4096),
}
"""Name to content."""
