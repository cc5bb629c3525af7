"""People before the running pipeline: a real browser, real calls, through the real processes."""

import json

import pytest

from cli.served import Served, free_port, serve_command
from cli.waiting import eventually
from console.browsing import CHROMIUM, SCHEMES, chromium, log_in, looked_at, window
from console_kit import HASH, PASSWORD
from llm_audit.console.roles import Role
from llm_audit.console.users import FILE_NAME, User, UserFile

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="there is no Chromium here: `make test` installs Debian's as root, where apt can",
    ),
    pytest.mark.timeout(300),  # a browser and five processes, on a machine that may be busy
]

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\x1b[31m \u202egnp.exe =HYPERLINK(1)"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The pipeline with its console, one user of each role, and a handful of calls."""
    served = Served(
        tmp_path_factory.mktemp("served"), serve_command(free_port()), AUDIT_CONSOLE="127.0.0.1:0"
    )
    try:
        served.ready()
        users = UserFile(served.data / FILE_NAME)
        for name, role in (("vera", Role.VIEWER), ("anna", Role.AUDITOR), ("adam", Role.ADMIN)):
            users.add(User(name, role, HASH, enabled=True, created="2026-11-24T12:00:00.000Z"))
        ids = [served.call(text)[1] for text in ("What is the capital of France?", HOSTILE)]
        connection, response = served.start_call("Count to 20", stream=True)
        response.read()
        connection.close()
        ids.append(response.headers["x-request-id"])
        eventually(lambda: all(served.items(one) for one in ids))
        served.ids = ids
        served.url = served.status()["console"]
        yield served
    finally:
        served.end()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def test_the_keyboard_leads_from_the_list_into_a_call_and_back(served, browser):
    with window(browser, served.url) as page:
        log_in(page, "anna", PASSWORD)
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.name") == "text"
        page.keyboard.type("France")
        page.keyboard.press("Enter")
        page.wait_for_url("**/calls?text=France")
        assert page.locator("[data-row]").count() == 1
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/calls/{served.ids[0]}")
        assert "The capital of France is Paris." in page.inner_text(".turn.assistant")
        page.keyboard.press("Escape")
        page.wait_for_url("**/calls?text=France")
        page.keyboard.press("k")
        assert page.evaluate("document.activeElement.dataset.row") == ""


def test_a_hostile_prompt_does_nothing_in_a_browser(served, browser):
    with window(browser, served.url) as page:
        log_in(page, "anna", PASSWORD)
        page.goto(f"/calls/{served.ids[1]}")
        shown = page.inner_text(".turn.user .text")
        assert shown.startswith("<img src=x onerror=alert(1)><script>alert(2)</script>")
        assert r"\x1b" in shown
        assert r"\u202e" in shown
        page.goto("/calls?previews=1")
        assert page.locator("main img, main script").count() == 0


def test_a_live_list_shows_a_call_that_was_made_just_now(served, browser):
    with window(browser, served.url) as page:
        page.goto("/calls?live=1")
        before = page.locator("[data-row]").count()
        page.locator("[data-row]").first.focus()
        focused = page.evaluate("document.activeElement.id")
        _, request_id, _ = served.call("One more")
        page.wait_for_selector(f"#c-{request_id}")
        assert page.locator("[data-row]").count() == before + 1
        assert page.evaluate("document.activeElement.id") == focused


def test_the_overview_draws_its_charts_and_refreshes_them(served, browser):
    with window(browser, served.url) as page:
        page.goto("/?since=15m")
        page.wait_for_selector(".plot canvas")
        calls = int(page.inner_text(".tiles dd >> nth=0"))
        served.call("One more for the count")
        eventually(lambda: int(page.inner_text(".tiles dd >> nth=0")) > calls)
        assert page.locator(".plot canvas").count() == 3


def test_an_admin_makes_a_user_who_then_logs_in(served, browser):
    with window(browser, served.url) as page:
        log_in(page, "adam", PASSWORD)
        page.goto("/users")
        page.fill("[name=name]", "bert")
        page.click("text=Add")
        password = page.inner_text("#password")
        page.click("text=Log out")
        log_in(page, "bert", password)
        assert "bert" in page.inner_text(".who")


def test_an_export_is_a_file(served, browser):
    with window(browser, served.url) as page:
        log_in(page, "anna", PASSWORD)
        with page.expect_download() as download:
            page.click("text=JSON lines")
        with open(download.value.path()) as file:  # noqa: PTH123 - a path of the browser's
            lines = [json.loads(line) for line in file]
        assert {line["requestId"] for line in lines} >= set(served.ids)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_fits_reads_well_and_is_accessible(served, browser, scheme):
    with window(browser, served.url, scheme=scheme) as page:
        page.goto("/login")
        looked_at(page, "login", scheme)
        page.goto("/calls")
        looked_at(page, "calls-without-login", scheme)
        log_in(page, "adam", PASSWORD)
        page.goto("/?since=1h")
        page.wait_for_selector(".plot canvas")
        looked_at(page, "overview", scheme)
        for name in ("pipeline", "access", "users"):
            page.goto(f"/{name}")
            looked_at(page, name, scheme)
        page.goto("/calls?previews=1")
        looked_at(page, "calls", scheme)
        page.goto(f"/calls/{served.ids[2]}")
        page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        looked_at(page, "call", scheme)
