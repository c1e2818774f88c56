"""A real headless Chromium, and what every page is held to in it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect, sync_playwright

from tests.servers import ROOT

SCREENSHOTS = ROOT / ".screenshots"
HOW_TO_GET = "no Chromium: apt-get install chromium, or .venv/bin/playwright install chromium"
PATIENCE_MS = 240_000  # for what the pipeline does on a slow machine
GRAVE = {"serious", "critical"}
# What a page has to bear: a call that was refused, and a line that was cut.
EXPECTED = re.compile(r"status of (409|403|422)|net::ERR_(FAILED|CONNECTION|INTERNET)")


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's, or another one on the PATH, or else Playwright's own; skips the test without any."""
    expect.set_options(timeout=60_000)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=_executable(playwright)) as launched,
    ):
        yield launched


def _executable(playwright: Playwright) -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None) or playwright.chromium.executable_path
    if not Path(found).exists():
        pytest.skip(HOW_TO_GET)
    return found


@dataclass
class Window:
    """A page, with everything that went wrong in it."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED.search(message.text):
            self.faults.append(message.text)

    def look(self, name: str) -> None:
        """Keep a picture of the page, and hold it to what people who can't see or use a mouse need."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        grave = [fault for fault in axe(self.page) if fault["impact"] in GRAVE]
        assert not grave, [(fault["id"], [node["html"][:200] for node in fault["nodes"]]) for fault in grave]
        inner, whole = self.page.evaluate("() => [innerWidth, document.documentElement.scrollWidth]")
        assert whole <= inner, f"{name} is {whole} pixels wide in a window of {inner}"
        assert self.faults == []


def axe(page: Page) -> list[dict[str, Any]]:
    """What axe-core finds wrong."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return found
