"""A real headless Chromium, and the checks that every page must pass in it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, expect, sync_playwright

from tests.console.urls import find_private_part
from tests.servers import ROOT

SCREENSHOTS = ROOT / ".screenshots"
SKIP_REASON = "no Chromium: apt-get install chromium, or .venv/bin/playwright install chromium"
PIPELINE_TIMEOUT_MS = 240_000  # for the pipeline on a slow machine
SERIOUS_IMPACTS = {"serious", "critical"}
# Console errors of refused requests and of cut connections, which tests cause on purpose.
EXPECTED_ERRORS = re.compile(r"status of (409|403|422)|net::ERR_(FAILED|CONNECTION|INTERNET)")


@contextmanager
def launch_browser() -> Iterator[Browser]:
    """Launch a Chromium on the PATH, or else Playwright's own. Skip the test if neither is installed."""
    expect.set_options(timeout=60_000)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=_find_executable(playwright)) as launched,
    ):
        yield launched


def _find_executable(playwright: Playwright) -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None) or playwright.chromium.executable_path
    if not Path(found).exists():
        pytest.skip(SKIP_REASON)
    return found


@dataclass
class Window:
    """A page that records the errors of its scripts and its console."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._record)
        self.page.on("request", self._check_url)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _record(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED_ERRORS.search(message.text):
            self.errors.append(message.text)

    def _check_url(self, request: Request) -> None:
        is_own = urlsplit(request.url).netloc == urlsplit(self.page.url).netloc
        if is_own and (part := find_private_part(request.url)):
            self.errors.append(f"{part!r} in a URL that Cloud Run logs")

    def check_page(self, name: str) -> None:
        """Do as `check_width`, and require accessibility. The latter takes a second of processor time."""
        self.check_width(name)
        serious = [found for found in run_axe(self.page) if found["impact"] in SERIOUS_IMPACTS]
        assert not serious, [
            (found["id"], [node["html"][:200] for node in found["nodes"]]) for found in serious
        ]

    def check_width(self, name: str) -> None:
        """Take a screenshot, and require a page as wide as the window, and no error."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        inner, whole = self.page.evaluate("() => [innerWidth, document.documentElement.scrollWidth]")
        assert whole <= inner, f"{name} is {whole} pixels wide in a window of {inner}"
        assert self.errors == []


def run_axe(page: Page) -> list[dict[str, Any]]:
    """Return the violations that axe-core finds."""
    violations: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return violations
