import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures_loader import FOLDER
from llm_audit.proxy.paths import ROUTES, Handling, PathTable, Route, WrongMethod, extra_route

TABLE = PathTable()


def routes_of_vllm() -> list[tuple[str, str, bool]]:
    """Every HTTP route that the capture notes name: method, path, whether it is to be audited."""
    routes = []
    for line in (FOLDER / "ROUTES.txt").read_text(encoding="utf-8").splitlines():
        match = re.match(r"(GET|HEAD|POST|DELETE|PUT)\s+(/[^\s,]+(?:, /[^\s,]+)*)\s", line + " ")
        if match:
            routes += [(match[1], path, "AUDIT" in line) for path in match[2].split(", ")]
    return routes


def test_the_table_holds_exactly_the_audited_routes_of_vllm():
    audited = {(method, path) for method, path, audit in routes_of_vllm() if audit}
    assert len(audited) > 30
    assert {(r.method, r.path) for r in ROUTES if r.handling is Handling.AUDIT} == audited


@pytest.mark.parametrize(("method", "path", "audit"), routes_of_vllm())
def test_a_route_of_vllm_is_audited_or_does_not_get_through(method, path, audit):
    found = TABLE.find(method.encode(), re.sub(r"\{\w+\}", "resp_0-aZ", path).encode())
    if audit:
        assert found is Handling.AUDIT
    elif (method, path) == ("GET", "/v1/models"):
        assert found is Handling.PASS
    elif (method, path) == ("GET", "/health"):
        assert found is Handling.HEALTH
    else:
        assert found is None


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/chat/completions/",
        b"/v1//chat/completions",
        b"//v1/chat/completions",
        b"/v1/chat%2fcompletions",
        b"/v1/chat/completions%3Fx",
        b"/v1/chat/./completions",
        b"/v1/x/../chat/completions",
        b"/v1/chat\\completions",
        b"/v1/chat/completions;x=1",
        b"/V1/chat/completions",
        b"/v1/responses/",
        b"/v1/responses/..",
        b"/v1/responses/a.b",
        b"/v1/responses/a%20b",
        b"/v1/responses/resp_1\n",
        b"/v1/responses/" + b"a" * 129,
        b"/v1/responses/{response_id}",
        b"/v1/responses/resp_1/",
        b"/v1/responses/resp_1/input_items",
        b"/v1/responses//cancel",
        b"/health/../metrics",
        b"/healthz",
        b"/metrics",
        b"/sleep",
        b"/",
        b"",
        b"*",
        b"?/v1/chat/completions",
        b"http://elsewhere/v1/chat/completions",
        b"/v1/chat/completions#x",
    ],
)
def test_no_second_spelling_of_a_path_gets_through(path):
    assert TABLE.find(b"GET", path) is None
    assert TABLE.find(b"POST", path) is None


@pytest.mark.parametrize("query", [b"?", b"?x=y", b"?path=/sleep&x=%2e%2e", b"?a?b"])
def test_a_query_is_no_part_of_the_match(query):
    assert TABLE.find(b"POST", b"/v1/chat/completions" + query) is Handling.AUDIT
    assert TABLE.find(b"GET", b"/v1/responses/resp_1" + query) is Handling.AUDIT
    assert TABLE.find(b"GET", b"/v1/models" + query) is Handling.PASS


def test_parameters_have_1_to_128_safe_characters():
    assert TABLE.find(b"GET", b"/v1/responses/" + b"a" * 128) is Handling.AUDIT
    assert TABLE.find(b"POST", b"/v1/responses/resp_A-9/cancel") is Handling.AUDIT


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        (b"GET", b"/v1/chat/completions", "POST"),
        (b"post", b"/v1/chat/completions", "POST"),
        (b"OPTIONS", b"/v1/chat/completions?x", "POST"),
        (b"POST", b"/v1/models", "GET"),
        (b"DELETE", b"/health", "GET, HEAD"),
        (b"POST", b"/v1/responses/resp_1", "GET"),
        (b"GET", b"/v1/responses/resp_1/cancel", "POST"),
    ],
)
def test_another_method_on_a_known_path_learns_which_are_allowed(method, path, allow):
    assert TABLE.find(method, path) == WrongMethod(allow)


@pytest.mark.parametrize("method", [b"GET", b"POST", b"CONNECT"])
def test_the_realtime_websocket_is_not_implemented_whatever_the_method(method):
    assert TABLE.find(method, b"/v1/realtime?model=x") is Handling.NOT_IMPLEMENTED


@given(st.binary(max_size=40), st.binary(max_size=200))
def test_any_bytes_find_something_or_nothing_and_never_raise(method, path):
    assert not isinstance(TABLE.find(method, path), Handling) or path.startswith(b"/")


def test_extra_paths_are_audited_too():
    table = PathTable(["/v1/custom", "GET /v1/things/{id}", "PUT /v1/custom", "/v1/models:ask"])
    assert table.find(b"POST", b"/v1/custom") is Handling.AUDIT
    assert table.find(b"PUT", b"/v1/custom") is Handling.AUDIT
    assert table.find(b"GET", b"/v1/custom") == WrongMethod("POST, PUT")
    assert table.find(b"POST", b"/v1/models:ask") is Handling.AUDIT
    assert table.find(b"GET", b"/v1/things/a-1?x") is Handling.AUDIT
    assert table.find(b"GET", b"/v1/things/a.1") is None
    assert table.find(b"POST", b"/v1/chat/completions") is Handling.AUDIT


def test_a_dot_in_an_extra_path_is_a_dot():
    table = PathTable(["/v1.1/{id}/x"])
    assert table.find(b"POST", b"/v1.1/a/x") is Handling.AUDIT
    assert table.find(b"POST", b"/v1x1/a/x") is None


def test_an_extra_path_without_method_is_a_post():
    assert extra_route("/a") == Route("POST", "/a")
    assert extra_route("PATCH /a") == Route("PATCH", "/a")


@pytest.mark.parametrize(
    "entry",
    [
        "v1/custom",
        "/v1/custom/",
        "/v1//custom",
        "/v1/../custom",
        "/./x",
        "/v1/cus%20tom",
        "/v1/custom?x=y",
        "/v1/custom;x",
        "/v1/cus\\tom",
        "/v1/cus tom",
        "get /v1/custom",
        "FETCH /v1/custom",
        "GET  /v1/custom",
        "",
        "/v1/x{id}",
        "/v1/{id",
        "/",
        "/v1/models",
        "GET /health",
        "/v1/realtime",
    ],
)
def test_an_extra_path_that_could_not_be_matched_exactly_is_refused(entry):
    with pytest.raises(ValueError, match=re.escape(repr(entry))):
        PathTable(["/v1/good", entry])
