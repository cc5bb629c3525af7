"""The gate: who may call, what, and how often. One decision per request, without I/O but for counters and keys.

Checks run in this order; the first that fails answers, and its refusal carries what is known of the caller.

| # | check                                                        | status and code                            |
|---|--------------------------------------------------------------|--------------------------------------------|
| 1 | the path is on the allow-list (``paths``)                    | 404 ``unknown_path``, 501 ``not_implemented`` |
| 2 | with this method                                             | 405 ``method_not_allowed``, with ``allow`` |
| 3 | ``x-llm-source``, ``x-llm-user``, ``x-llm-request-type`` are usable, no caller header came twice | 400 ``missing_header``, ``invalid_header`` |
| 4 | ``x-request-id``, if it came, is a UUID                      | 400 ``invalid_request_id``                 |
| 5 | where keys are configured: the key is there, known, enabled  | 403 ``missing_api_key``, ``invalid_api_key``, ``disabled_api_key`` |
| 6 | the key may speak for this source                            | 403 ``source_not_allowed``                 |
| 7 | the key's daily quota is not used up                         | 429 ``quota_exceeded``, with ``retry-after`` |
| 8 | the key's rate and burst are kept                            | 429 ``rate_limit_exceeded``, with ``retry-after`` |

``/health`` skips everything after 2; ``/v1/models`` skips the three headers of 3, and 6. Only a call that
passes all checks uses up rate and quota. Where several headers are at fault, the message names them all.

**Who says so.** With the right ``AUDIT_GATEWAY_SECRET`` in ``x-llm-gateway-secret`` the gateway vouches: its key
id is the identity (bound to sources where the key file lists it), its own usage plan holds, and the client is
the *last* address in ``x-forwarded-for``, since the gateway appends the address that it saw and whatever stands
before it is the caller's own claim (so with a regional endpoint and a network load balancer; CloudFront before
the gateway or an application load balancer behind it would append an address of its own). If it names no key
id (its method demands no key) and we have a key file, our own key is asked for. With a wrong secret or none,
these headers count as not sent: a key vouches, or nobody does and the identity is as claimed.
"""

from __future__ import annotations

from enum import Enum, auto
from hmac import compare_digest
from ipaddress import ip_address
from typing import NamedTuple

from llm_audit.proxy.keys import Key, KeyRing, KeySet
from llm_audit.proxy.paths import Handling, PathTable, WrongMethod
from llm_audit.proxy.refusals import Caller, Refusal
from llm_audit.proxy.usage_plan import Exhausted, UsagePlan
from llm_audit.record.identity import (
    Problem,
    bad_request_id,
    caller_value,
    escaped,
    format_request_id,
    new_request_id,
    parse_request_id,
    repeated_header,
)
from llm_audit.record.schema import IdentitySource

REMEMBERED_VALUES = 4096
"""Accepted header values and addresses that are remembered, so that a second call costs a look-up."""

SHOWN_SOURCES = 10
"""Sources that a refusal names as allowed."""

_REQUIRED = ("x-llm-source", "x-llm-user", "x-llm-request-type")
_OPTIONAL = ("x-request-id", "x-api-key")
_GATEWAY_KEY_ID = "x-llm-gateway-key-id"


class CallerHeaders(NamedTuple):
    """What one pass over the request's headers collected: field values as received, None where none came.

    ``repeated`` holds the lower-case names of those of them that came more than once (the value is then any
    one of theirs; of ``x-forwarded-for`` the last line's).
    """

    source: bytes | None = None
    user: bytes | None = None
    request_type: bytes | None = None
    request_id: bytes | None = None
    api_key: bytes | None = None
    gateway_key_id: bytes | None = None
    gateway_secret: bytes | None = None
    forwarded_for: bytes | None = None
    repeated: frozenset[bytes] | tuple[bytes, ...] = ()


class Kind(Enum):
    """What an admitted call is."""

    AUDIT = auto()
    """To be journaled and forwarded."""
    PASS = auto()
    """To be forwarded only."""
    HEALTH = auto()
    """To be answered by the proxy."""


class Admission(NamedTuple):
    """A call that may go on, and who makes it. For AUDIT, source, user and request type are never None."""

    kind: Kind
    request_id: bytes
    """16 bytes of the UUID: the caller's, or a new one."""
    request_id_text: str
    source: str | None
    user: str | None
    request_type: str | None
    identity_source: IdentitySource
    key_id: str | None
    client_address: str


class _Fault(NamedTuple):
    """A refusal before it is known whose: its members mean what those of ``Refusal`` mean."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


class _Voucher(NamedTuple):
    """Who vouches for a call, or why nobody may."""

    identity_source: IdentitySource
    key_id: str | None = None
    key: Key | None = None
    """The entry of the key file, own or the gateway's; None: any source, no limits of ours."""
    fault: _Fault | None = None


_CLAIMED = _Voucher(IdentitySource.CLAIMED)
_NO_KEY = _Voucher(
    IdentitySource.CLAIMED,
    fault=_Fault(
        403, "missing_api_key", "x-api-key is missing: send the key that you were given", "x-api-key"
    ),
)
_UNKNOWN_KEY = _Voucher(
    IdentitySource.CLAIMED,
    fault=_Fault(
        403,
        "invalid_api_key",
        "x-api-key is not a key that this proxy knows: check it, or ask its operators for one",
        "x-api-key",
    ),
)
_TWO_GATEWAY_KEYS = _Voucher(
    IdentitySource.GATEWAY,
    fault=_Fault(403, "invalid_api_key", repeated_header(_GATEWAY_KEY_ID).sentence, _GATEWAY_KEY_ID),
)
_KINDS = {Handling.AUDIT: Kind.AUDIT, Handling.PASS: Kind.PASS, Handling.HEALTH: Kind.HEALTH}


class Gate:
    """Decides over every request; one for each worker process."""

    def __init__(
        self,
        paths: PathTable | None = None,
        *,
        keys: KeyRing | None = None,
        plan: UsagePlan | None = None,
        gateway_secret: str | None = None,
    ) -> None:
        """``keys`` None: no keys are configured. ``plan`` is needed with ``keys``: it keeps their limits.

        ``gateway_secret`` None: no gateway is believed. Raises ValueError for a secret or a pair that can't work.
        """
        if keys is not None and plan is None:
            raise ValueError("keys need a usage plan that counts their calls")
        if gateway_secret is not None and not gateway_secret.strip():
            raise ValueError("AUDIT_GATEWAY_SECRET is empty: leave it out, or set what the gateway sends")
        self._paths = paths or PathTable()
        self._keys = keys
        self._plan = plan
        self._secret = None if gateway_secret is None else gateway_secret.strip().encode()
        self._values: dict[bytes | None, str] = {}
        self._asks = keys is not None or gateway_secret is not None
        self._addresses: dict[bytes, str] = {}
        self._vouchers: dict[str, _Voucher] = {}
        self._vouchers_of: KeySet | None = None

    def admit(
        self, method: bytes, path: bytes, callers: CallerHeaders, peer: str, now_mono: float, now_wall: float
    ) -> Admission | Refusal:
        """Let a call in, or refuse it. Never raises, whatever the bytes.

        ``path`` is the request target in origin-form, undecoded, with or without query; ``peer`` the address of
        the connection's other end; ``now_mono`` seconds of CLOCK_MONOTONIC; ``now_wall`` seconds since the epoch.
        """
        handling = self._paths.find(method, path)
        voucher, address = self._vouch(callers, peer, now_mono) if self._asks else (_CLAIMED, peer)
        known = self._values
        source, user = known.get(callers.source), known.get(callers.user)
        request_type = known.get(callers.request_type)
        problems: list[Problem] = []
        if source is None or user is None or request_type is None or callers.repeated:
            source, user, request_type = self._read_values(callers, problems)
        raw_id = callers.request_id
        given_id = None if raw_id is None else parse_request_id(raw_id.strip(b" \t"))
        if raw_id is not None and given_id is None:
            problems.append(bad_request_id(raw_id))
        request_id = given_id or new_request_id(int(now_wall * 1000))
        id_text = format_request_id(request_id)
        vouched, key_id = voucher.identity_source, voucher.key_id

        if handling is Handling.AUDIT or handling is Handling.PASS:
            fault = _header_fault(handling, problems) or self._key_fault(
                handling, voucher, source, now_mono, now_wall
            )
        else:
            fault = None if handling is Handling.HEALTH else _path_fault(handling, method, path)
        if fault is None:
            assert isinstance(handling, Handling)
            kind = _KINDS[handling]
            return Admission(kind, request_id, id_text, source, user, request_type, vouched, key_id, address)
        caller = Caller(request_id, id_text, source, user, request_type, vouched, key_id, address)
        return Refusal(fault.status, fault.code, fault.message, caller, fault.param, fault.headers)

    def _is_gateway(self, callers: CallerHeaders) -> bool:
        """Tell whether the shared secret came, once and right; the comparison takes constant time."""
        sent = callers.gateway_secret
        if sent is None or self._secret is None or b"x-llm-gateway-secret" in callers.repeated:
            return False
        return compare_digest(sent.strip(b" \t"), self._secret)

    def _vouch(self, callers: CallerHeaders, peer: str, now_mono: float) -> tuple[_Voucher, str]:
        """Ask gateway or key who this is and where it calls from; at least one of them is configured."""
        keys = None if self._keys is None else self._keys.refresh(now_mono)
        address = peer
        if self._is_gateway(callers):
            address = self._address(callers.forwarded_for) or peer
            key_id = caller_value(_GATEWAY_KEY_ID, callers.gateway_key_id)
            if _GATEWAY_KEY_ID.encode() in callers.repeated:
                return _TWO_GATEWAY_KEYS, address
            if isinstance(key_id, str):
                return _vouch_gateway(key_id, keys), address
            if keys is None:
                return _Voucher(IdentitySource.GATEWAY), address
        return (_CLAIMED if keys is None else self._vouch_key(callers.api_key, keys)), address

    def _vouch_key(self, api_key: bytes | None, keys: KeySet) -> _Voucher:
        """Let the key in ``x-api-key`` vouch; what each key of the set in force vouches for is made once."""
        presented = b"" if api_key is None else api_key.strip(b" \t")
        if not presented:
            return _NO_KEY
        key = keys.find(presented)
        if key is None:
            return _UNKNOWN_KEY
        if keys is not self._vouchers_of:
            self._vouchers_of = keys
            self._vouchers = {entry.id: _enabled(IdentitySource.KEY, entry) for entry in keys.keys}
        return self._vouchers[key.id]

    def _address(self, forwarded_for: bytes | None) -> str | None:
        """Give the last address of ``x-forwarded-for``, or None where there is none that reads as one."""
        if forwarded_for is None:
            return None
        address = self._addresses.get(forwarded_for)
        if address is None:
            try:
                address = str(ip_address(forwarded_for.rpartition(b",")[2].strip().decode("ascii")))
            except ValueError:
                return None
            if len(self._addresses) >= REMEMBERED_VALUES:
                self._addresses.clear()
            self._addresses[forwarded_for] = address
        return address

    def _read_values(
        self, callers: CallerHeaders, problems: list[Problem]
    ) -> tuple[str | None, str | None, str | None]:
        """Read the three required headers, remember what is accepted and add what is wrong to ``problems``."""
        values: list[str | None] = []
        for name, raw in zip(_REQUIRED, (callers.source, callers.user, callers.request_type), strict=True):
            value = repeated_header(name) if name.encode() in callers.repeated else caller_value(name, raw)
            if isinstance(value, Problem):
                problems.append(value)
                values.append(None)
                continue
            if len(self._values) >= REMEMBERED_VALUES:
                self._values.clear()
            self._values[raw] = value
            values.append(value)
        problems += [repeated_header(name) for name in _OPTIONAL if name.encode() in callers.repeated]
        return values[0], values[1], values[2]

    def _key_fault(
        self, handling: Handling, voucher: _Voucher, source: str | None, now_mono: float, now_wall: float
    ) -> _Fault | None:
        """Run checks 5 to 8."""
        if voucher.fault is not None:
            return voucher.fault
        key = voucher.key
        if key is None:
            return None
        if key.sources is not None and source not in key.sources and handling is Handling.AUDIT:
            allowed = ", ".join(sorted(key.sources)[:SHOWN_SOURCES])
            if len(key.sources) > SHOWN_SOURCES:
                allowed += f" and {len(key.sources) - SHOWN_SOURCES} more"
            message = f"key {key.id!r} may not speak for x-llm-source {source!r}, only for: {allowed}"
            return _Fault(403, "source_not_allowed", message, "x-llm-source")
        assert self._plan is not None
        exhausted = self._plan.take(key.id, key.limits, now_mono, now_wall)
        return None if exhausted is None else _usage_fault(key, exhausted)


def _usage_fault(key: Key, exhausted: Exhausted) -> _Fault:
    seconds, limits = exhausted.retry_after, key.limits
    after = ("retry-after", str(seconds))
    if exhausted.daily:
        message = (
            f"key {key.id!r} has used up its {limits.daily_quota:,} calls of this UTC day:"
            f" the next day begins in {seconds:,} seconds"
        )
        # The OpenAI and Anthropic clients ask the second header before they retry by themselves.
        return _Fault(429, "quota_exceeded", message, headers=(after, ("x-should-retry", "false")))
    message = (
        f"key {key.id!r} may make {limits.rate:g} calls a second and {limits.burst:,} at once:"
        f" try again in {seconds} s"
    )
    return _Fault(429, "rate_limit_exceeded", message, headers=(after,))


def _vouch_gateway(key_id: str, keys: KeySet | None) -> _Voucher:
    """Let the gateway vouch by its key id, within what the key file says of it, if it lists any."""
    if keys is None or not keys.binds_gateway_keys:
        return _Voucher(IdentitySource.GATEWAY, key_id)
    key = keys.find_gateway_key(key_id)
    if key is None:
        message = f"the gateway's key id {key_id!r} is not in the key file: have it added with its sources"
        return _Voucher(IdentitySource.GATEWAY, key_id, fault=_Fault(403, "invalid_api_key", message))
    return _enabled(IdentitySource.GATEWAY, key)


def _enabled(source: IdentitySource, key: Key) -> _Voucher:
    if key.enabled:
        return _Voucher(source, key.id, key)
    message = f"key {key.id!r} is disabled: ask the proxy's operators"
    param = "x-api-key" if source is IdentitySource.KEY else None
    return _Voucher(source, key.id, key, _Fault(403, "disabled_api_key", message, param))


def _path_fault(handling: Handling | WrongMethod | None, method: bytes, path: bytes) -> _Fault:
    shown = escaped(path.partition(b"?")[0])
    if handling is Handling.NOT_IMPLEMENTED:
        message = f"{shown} is not offered: calls over a websocket can't be recorded"
        return _Fault(501, "not_implemented", message)
    if isinstance(handling, WrongMethod):
        message = f"{shown} does not take {escaped(method, 32)}: send {handling.allow}"
        return _Fault(405, "method_not_allowed", message, headers=(("allow", handling.allow),))
    message = (
        f"{shown} is not a path that this proxy forwards: paths must match exactly, undecoded;"
        " operators add more with AUDIT_EXTRA_PATHS"
    )
    return _Fault(404, "unknown_path", message)


def _header_fault(handling: Handling, problems: list[Problem]) -> _Fault | None:
    if handling is Handling.PASS:
        problems = [problem for problem in problems if problem.header not in _REQUIRED]
    if not problems:
        return None
    message = "; ".join(problem.sentence for problem in problems)
    return _Fault(400, problems[0].code, message, problems[0].header)
