import json
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_audit.proxy.gate import Admission, CallerHeaders, Gate, Kind
from llm_audit.proxy.keys import Key, KeyRing, KeySet, digest_of, new_key, write_keys
from llm_audit.proxy.refusals import Refusal
from llm_audit.proxy.usage_plan import NO_LIMITS, Limits, UsagePlan
from llm_audit.record.schema import IdentitySource

CHAT = b"/v1/chat/completions"
ID = "0190f3e2-1111-7aaa-8bbb-0123456789ab"
CALLERS = CallerHeaders(
    source=b"finance-app", user=b"alice", request_type=b"ask", request_id=ID.upper().encode()
)
NOW = 1_795_486_253.123
SECRET = "between gateway and proxy"
CREATED = "2026-11-24T00:00:00.000Z"


def call(gate, callers=CALLERS, method=b"POST", path=CHAT, mono=100.0, wall=NOW):
    return gate.admit(method, path, callers, "10.0.0.7", mono, wall)


def refused(answer, status, code, param=None):
    """Check a refusal's face, and that its body says the same; give its message."""
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.code, answer.param) == (status, code, param)
    error = json.loads(answer.body())["error"]
    assert (error["code"], error["param"], error["message"]) == (code, param, answer.message)
    return answer.message


@pytest.fixture
def keyed(tmp_path: Path):
    """Give a function that makes a gate over a key file with the given keys."""
    plans = []

    def make(*keys: Key, gateway_secret: str | None = None) -> Gate:
        write_keys(tmp_path / "keys.json", KeySet(keys))
        plans.append(UsagePlan(tmp_path / "usage"))
        return Gate(keys=KeyRing(tmp_path / "keys.json"), plan=plans[-1], gateway_secret=gateway_secret)

    yield make
    for plan in plans:
        plan.close()


def own_key(text, key_id="finance", sources=frozenset({"finance-app"}), limits=NO_LIMITS, *, enabled=True):
    return Key(key_id, digest_of(text), sources, limits, enabled, CREATED)


def gateway_key(key_id, sources=None, *, enabled=True):
    return Key(key_id, None, sources, NO_LIMITS, enabled, CREATED)


# --- without keys and gateway


def test_a_call_that_says_who_it_is_from_is_admitted_as_claimed():
    assert call(Gate()) == Admission(
        Kind.AUDIT,
        uuid.UUID(ID).bytes,
        ID,
        "finance-app",
        "alice",
        "ask",
        IdentitySource.CLAIMED,
        None,
        "10.0.0.7",
    )


def test_a_second_call_with_the_same_values_is_admitted_alike():
    gate = Gate()
    assert call(gate) == call(gate)


def test_a_call_without_request_id_gets_one_of_its_own_time():
    gate = Gate()
    first, second = (call(gate, CALLERS._replace(request_id=None)) for _ in range(2))
    assert first.request_id < second.request_id
    assert uuid.UUID(first.request_id_text).bytes == first.request_id
    assert uuid.UUID(first.request_id_text).version == 7


@pytest.mark.parametrize("name", ["source", "user", "request_type"])
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "missing_header"),
        (b"", "invalid_header"),
        (b"NULL", "invalid_header"),
        (b"a#b", "invalid_header"),
    ],
)
def test_an_unusable_header_is_refused_and_the_others_stay_known(name, value, code):
    header = "x-llm-" + name.replace("_", "-")
    answer = call(Gate(), CALLERS._replace(**{name: value}))
    assert refused(answer, 400, code, header).startswith(header)
    known = {"source": "finance-app", "user": "alice", "request_type": "ask", name: None}
    assert {field: getattr(answer.caller, field) for field in known} == known
    assert answer.caller.request_id_text == ID
    assert answer.caller.client_address == "10.0.0.7"


def test_several_unusable_headers_are_all_named():
    message = refused(call(Gate(), CallerHeaders(user=b"-")), 400, "missing_header", "x-llm-source")
    assert [part.split()[0] for part in message.split("; ")] == [
        "x-llm-source",
        "x-llm-user",
        "x-llm-request-type",
    ]


@pytest.mark.parametrize(
    "name", ["x-llm-source", "x-llm-user", "x-llm-request-type", "x-request-id", "x-api-key"]
)
@pytest.mark.parametrize("kind", [tuple, frozenset])
def test_a_header_given_twice_is_refused_even_where_its_value_is_known(name, kind):
    gate = Gate()
    call(gate)
    answer = call(gate, CALLERS._replace(repeated=kind([name.encode()])))
    assert "more than once" in refused(answer, 400, "invalid_header", name)


def test_a_header_of_the_gateway_given_twice_is_nothing_where_there_is_no_gateway():
    repeated = (b"x-llm-gateway-key-id", b"x-llm-gateway-secret", b"x-forwarded-for")
    assert call(Gate(), CALLERS._replace(repeated=repeated)) == call(Gate())


@pytest.mark.parametrize("bad", [b"", b"null", b"../../x", b"%2e%2e", b"a" * 300, b"\x00", b"\xff\xfe"])
def test_a_request_id_that_is_no_uuid_is_refused_and_ours_takes_its_place(bad):
    answer = call(Gate(), CALLERS._replace(request_id=bad))
    message = refused(answer, 400, "invalid_request_id", "x-request-id")
    assert message.isprintable()
    assert len(message) < 400
    assert uuid.UUID(answer.caller.request_id_text).bytes == answer.caller.request_id
    assert uuid.UUID(answer.caller.request_id_text).version == 7
    assert answer.caller.source == "finance-app"


def test_an_unknown_path_is_refused_before_anything_else_and_carries_who_asked():
    answer = call(Gate(), CALLERS, path=b"/sleep?level=1")
    message = refused(answer, 404, "unknown_path")
    assert "/sleep " in message
    assert "level" not in message
    assert (answer.caller.source, answer.caller.user) == ("finance-app", "alice")
    refused(call(Gate(), CallerHeaders(), path=b"/sleep"), 404, "unknown_path")


def test_a_hostile_path_is_shown_escaped_and_cut():
    message = refused(call(Gate(), path=b"/\x1b[2J\xff" + b"a" * 5000), 404, "unknown_path")
    assert message.isprintable()
    assert len(message) < 500


def test_a_wrong_method_is_refused_with_those_allowed():
    answer = call(Gate(), method=b"GET")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers == (("allow", "POST"),)


def test_the_realtime_websocket_is_refused_as_not_implemented():
    refused(call(Gate(), method=b"GET", path=b"/v1/realtime?model=x"), 501, "not_implemented")


def test_health_is_answered_to_anybody(keyed):
    gate = keyed()
    headers = CallerHeaders(request_id=b"bad", repeated=(b"x-llm-source",))
    answer = call(gate, headers, b"GET", b"/health")
    assert answer.kind is Kind.HEALTH
    assert uuid.UUID(answer.request_id_text).version == 7


def test_the_list_of_models_passes_without_caller_headers():
    answer = call(Gate(), CallerHeaders(source=b"-"), b"GET", b"/v1/models")
    assert answer.kind is Kind.PASS
    assert answer.source is None


def test_the_list_of_models_asks_for_a_usable_request_id():
    answer = call(Gate(), CallerHeaders(request_id=b"1"), b"GET", b"/v1/models")
    refused(answer, 400, "invalid_request_id", "x-request-id")


# --- keys


def test_a_key_vouches_for_the_sources_it_is_bound_to(keyed):
    key = new_key()
    gate = keyed(own_key(key))
    answer = call(gate, CALLERS._replace(api_key=key.encode() + b" "))
    assert (answer.kind, answer.identity_source, answer.key_id) == (Kind.AUDIT, IdentitySource.KEY, "finance")
    answer = call(gate, CALLERS._replace(api_key=key.encode(), source=b"hr-app"))
    message = refused(answer, 403, "source_not_allowed", "x-llm-source")
    assert "'hr-app'" in message
    assert "finance-app" in message
    assert (answer.caller.identity_source, answer.caller.key_id) == (IdentitySource.KEY, "finance")
    assert answer.caller.source == "hr-app"


def test_a_key_of_many_sources_names_some_of_them(keyed):
    key = new_key()
    gate = keyed(own_key(key, sources=frozenset(f"app-{number:02}" for number in range(40))))
    answer = call(gate, CALLERS._replace(api_key=key.encode()))
    message = refused(answer, 403, "source_not_allowed", "x-llm-source")
    assert message.endswith("app-08, app-09 and 30 more")


def test_a_key_without_sources_speaks_for_any(keyed):
    key = new_key()
    answer = call(keyed(own_key(key, sources=None)), CALLERS._replace(api_key=key.encode()))
    assert answer.key_id == "finance"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (None, "missing_api_key"),
        (b"", "missing_api_key"),
        (b" \t", "missing_api_key"),
        (b"llma_wrong", "invalid_api_key"),
        (b"\x00\xff", "invalid_api_key"),
    ],
)
def test_a_missing_or_unknown_key_is_refused_without_naming_it(keyed, sent, code):
    answer = call(keyed(own_key(new_key())), CALLERS._replace(api_key=sent))
    message = refused(answer, 403, code, "x-api-key")
    assert "llma_" not in message
    assert (answer.caller.identity_source, answer.caller.key_id) == (IdentitySource.CLAIMED, None)


def test_a_change_of_the_key_file_holds_within_a_second(keyed, tmp_path):
    first, second = new_key(), new_key()
    gate = keyed(own_key(first))
    assert call(gate, CALLERS._replace(api_key=first.encode()), mono=100.0).key_id == "finance"
    changed = (own_key(first, enabled=False), own_key(second, "hr", frozenset({"finance-app"})))
    write_keys(tmp_path / "keys.json", KeySet(changed))
    answer = call(gate, CALLERS._replace(api_key=first.encode()), mono=101.0)
    refused(answer, 403, "disabled_api_key", "x-api-key")
    assert call(gate, CALLERS._replace(api_key=second.encode()), mono=101.0).key_id == "hr"


def test_a_digest_is_no_key(keyed):
    key = new_key()
    answer = call(keyed(own_key(key)), CALLERS._replace(api_key=digest_of(key).encode()))
    refused(answer, 403, "invalid_api_key", "x-api-key")


def test_a_disabled_key_is_refused_by_its_id(keyed):
    key = new_key()
    answer = call(keyed(own_key(key, enabled=False)), CALLERS._replace(api_key=key.encode()))
    assert "'finance'" in refused(answer, 403, "disabled_api_key", "x-api-key")
    assert answer.caller.key_id == "finance"


def test_the_list_of_models_needs_a_key_where_keys_are_configured_but_no_source(keyed):
    key = new_key()
    gate = keyed(own_key(key))
    refused(call(gate, CallerHeaders(), b"GET", b"/v1/models"), 403, "missing_api_key", "x-api-key")
    assert call(gate, CallerHeaders(api_key=key.encode()), b"GET", b"/v1/models").kind is Kind.PASS


def test_header_faults_are_told_before_key_faults(keyed):
    refused(call(keyed(), CALLERS._replace(user=None)), 400, "missing_header", "x-llm-user")


def test_a_passed_rate_is_refused_with_the_time_to_wait(keyed):
    key = new_key()
    gate = keyed(own_key(key, limits=Limits.of(0.1, 2, None)))
    callers = CALLERS._replace(api_key=key.encode())
    assert isinstance(call(gate, callers), Admission)
    assert isinstance(call(gate, callers), Admission)
    answer = call(gate, callers)
    refused(answer, 429, "rate_limit_exceeded")
    assert answer.headers == (("retry-after", "10"),)
    assert answer.caller.key_id == "finance"
    assert isinstance(call(gate, callers, mono=110.0), Admission)


def test_a_used_up_quota_is_refused_until_the_next_utc_day(keyed):
    key = new_key()
    gate = keyed(own_key(key, limits=Limits.of(None, None, 1)))
    callers = CALLERS._replace(api_key=key.encode())
    midnight = 20_782 * 86_400
    assert isinstance(call(gate, callers, wall=midnight - 90.5), Admission)
    answer = call(gate, callers, wall=midnight - 90.5)
    refused(answer, 429, "quota_exceeded")
    assert answer.headers == (("retry-after", "91"), ("x-should-retry", "false"))
    assert isinstance(call(gate, callers, wall=midnight), Admission)


def test_a_refused_call_uses_up_nothing(keyed):
    key = new_key()
    gate = keyed(own_key(key, limits=Limits.of(1, 1, 1)))
    callers = CALLERS._replace(api_key=key.encode())
    for bad in (
        callers._replace(user=None),
        callers._replace(source=b"hr-app"),
        callers._replace(request_id=b"1"),
    ):
        assert isinstance(call(gate, bad), Refusal)
    assert isinstance(call(gate, callers), Admission)


def test_keys_need_something_that_counts_their_calls(tmp_path):
    write_keys(tmp_path / "keys.json", KeySet())
    with pytest.raises(ValueError, match="usage plan"):
        Gate(keys=KeyRing(tmp_path / "keys.json"))


# --- the gateway

BEHIND = CALLERS._replace(
    gateway_secret=SECRET.encode(), gateway_key_id=b"a1b2c3d4e5", forwarded_for=b"6.6.6.6, 203.0.113.9"
)


def test_the_gateway_vouches_with_the_right_secret_for_key_and_address():
    answer = call(Gate(gateway_secret=SECRET), BEHIND)
    assert (answer.identity_source, answer.key_id) == (IdentitySource.GATEWAY, "a1b2c3d4e5")
    assert answer.client_address == "203.0.113.9"


@pytest.mark.parametrize(
    "callers",
    [
        BEHIND._replace(gateway_secret=None),
        BEHIND._replace(gateway_secret=b""),
        BEHIND._replace(gateway_secret=b"a guess"),
        BEHIND._replace(gateway_secret=SECRET.encode()[:-1]),
        BEHIND._replace(repeated=(b"x-llm-gateway-secret",)),
    ],
)
def test_without_the_right_secret_what_the_gateway_says_counts_as_not_said(callers):
    answer = call(Gate(gateway_secret=SECRET), callers)
    assert (answer.identity_source, answer.key_id) == (IdentitySource.CLAIMED, None)
    assert answer.client_address == "10.0.0.7"


def test_where_no_gateway_is_configured_none_is_believed():
    answer = call(Gate(), BEHIND)
    assert (answer.identity_source, answer.client_address) == (IdentitySource.CLAIMED, "10.0.0.7")


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        (None, "10.0.0.7"),
        (b"", "10.0.0.7"),
        (b"203.0.113.9", "203.0.113.9"),
        (b"203.0.113.9,\t2001:DB8::1 ", "2001:db8::1"),
        (b"203.0.113.9, ", "10.0.0.7"),
        (b"1.2.3.4, nonsense", "10.0.0.7"),
        (b"\xff", "10.0.0.7"),
    ],
)
def test_the_client_is_the_last_address_that_was_forwarded(forwarded_for, address):
    gate = Gate(gateway_secret=SECRET)
    for _ in range(2):
        assert call(gate, BEHIND._replace(forwarded_for=forwarded_for)).client_address == address


@pytest.mark.parametrize("key_id", [None, b"", b"-"])
def test_a_gateway_that_checks_no_key_vouches_without_one(key_id):
    answer = call(Gate(gateway_secret=SECRET), BEHIND._replace(gateway_key_id=key_id))
    assert (answer.identity_source, answer.key_id) == (IdentitySource.GATEWAY, None)


def test_two_key_ids_from_the_gateway_are_none():
    answer = call(Gate(gateway_secret=SECRET), BEHIND._replace(repeated=(b"x-llm-gateway-key-id",)))
    refused(answer, 403, "invalid_api_key", "x-llm-gateway-key-id")


def test_the_gateway_s_keys_need_no_key_of_ours(keyed):
    answer = call(keyed(own_key(new_key()), gateway_secret=SECRET), BEHIND._replace(source=b"any-app"))
    assert (answer.identity_source, answer.key_id) == (IdentitySource.GATEWAY, "a1b2c3d4e5")


def test_where_the_gateway_names_no_key_ours_is_asked_for(keyed):
    key = new_key()
    gate = keyed(own_key(key), gateway_secret=SECRET)
    without = BEHIND._replace(gateway_key_id=None)
    refused(call(gate, without), 403, "missing_api_key", "x-api-key")
    answer = call(gate, without._replace(api_key=key.encode()))
    assert (answer.identity_source, answer.key_id) == (IdentitySource.KEY, "finance")
    assert answer.client_address == "203.0.113.9"


def test_the_gateway_s_key_ids_are_bound_to_sources_where_the_file_lists_any(keyed):
    gate = keyed(
        gateway_key("a1b2c3d4e5", frozenset({"finance-app"})),
        gateway_key("off", enabled=False),
        gateway_secret=SECRET,
    )
    assert call(gate, BEHIND).key_id == "a1b2c3d4e5"
    refused(call(gate, BEHIND._replace(source=b"hr-app")), 403, "source_not_allowed", "x-llm-source")
    refused(call(gate, BEHIND._replace(gateway_key_id=b"off")), 403, "disabled_api_key")
    answer = call(gate, BEHIND._replace(gateway_key_id=b"other"))
    refused(answer, 403, "invalid_api_key")
    assert answer.caller.key_id == "other"


def test_a_gateway_key_id_is_no_key_that_a_caller_could_send(keyed):
    gate = keyed(gateway_key("a1b2c3d4e5"), gateway_secret=SECRET)
    refused(call(gate, CALLERS._replace(api_key=b"a1b2c3d4e5")), 403, "invalid_api_key", "x-api-key")


@pytest.mark.parametrize("secret", ["", " \t"])
def test_an_empty_secret_is_none_that_could_be_kept(secret):
    with pytest.raises(ValueError, match="AUDIT_GATEWAY_SECRET"):
        Gate(gateway_secret=secret)


# --- anything


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(
        CallerHeaders,
        *[st.none() | st.binary(max_size=300) | st.sampled_from([b"a", b"-", ID.encode(), SECRET.encode()])]
        * 8,
        st.frozensets(st.sampled_from([b"x-llm-source", b"x-request-id", b"x-llm-gateway-secret"])),
    ),
    st.sampled_from([CHAT, b"/v1/models", b"/health", b"/sleep"]) | st.binary(max_size=50),
    st.sampled_from([b"GET", b"POST"]) | st.binary(max_size=10),
    st.sampled_from([None, SECRET]),
)
def test_any_bytes_are_admitted_or_refused_and_never_raise(callers, path, method, secret):
    answer = Gate(gateway_secret=secret).admit(method, path, callers, "10.0.0.7", 1.0, NOW)
    if isinstance(answer, Refusal):
        assert json.loads(answer.body())["error"]["message"]
        assert 400 <= answer.status < 600
        who = answer.caller
    else:
        who = answer
        if answer.kind is Kind.AUDIT:
            assert None not in (answer.source, answer.user, answer.request_type)
    assert uuid.UUID(who.request_id_text).bytes == who.request_id
    for value in (who.source, who.user, who.request_type, who.key_id):
        assert value is None or ("#" not in value and 1 <= len(value) <= 256)
