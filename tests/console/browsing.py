"""A real browser before the running pipeline: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
"""What CI keeps to look at."""

CHROMIUM = shutil.which("chromium")
WIDTHS = (1280, 375)
SCHEMES = ("light", "dark")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


@contextmanager
def chromium():
    """Give a browser; it ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser, url, *, scheme="light", width=1280):
    """Give a page in a window of its own, which must hear no error, no violated policy and no dialog until it closes."""
    context = browser.new_context(
        base_url=url, color_scheme=scheme, viewport={"width": width, "height": 900}, accept_downloads=True
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    heard = []
    page.on("console", lambda said: heard.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on(
        "request", lambda asked: None if asked.url.startswith(url) else heard.append(f"asks for {asked.url}")
    )
    try:
        yield page
        assert heard == []
    finally:
        context.close()


def log_in(page, name, password):
    page.goto("/login?next=/calls")
    page.fill("[name=name]", name)
    page.fill("[name=password]", password)
    page.press("[name=password]", "Enter")
    page.wait_for_url("**/calls")


def looked_at(page, name, scheme):
    """Keep a picture in both widths; the page must fit, and axe must find nothing."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=SHOTS / f"{name}-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than {width}"
        if scheme == "dark" and width < 1000:
            continue  # the same elements in the same colours as at the other width and in the other scheme
        found = Axe().run(page, options=RULES).response["violations"]
        nodes = [(one["id"], node["html"][:200]) for one in found for node in one["nodes"]]
        assert nodes == [], f"{name}, {scheme}, {width}"
