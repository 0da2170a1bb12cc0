# SPDX-License-Identifier: GPL-2.0-only
"""A browser for tests: Debian's Chromium, or another one that is built on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """Return the path of a browser; the test fails where there is none, for it has shown nothing.

    ``HARNESS_BROWSER`` names another one than those in ``PATH``.
    """
    named = os.environ.get("HARNESS_BROWSER")
    for name in (named,) if named else NAMES:
        if found := shutil.which(name):
            return found
    pytest.fail(
        f"no browser: none of {', '.join(NAMES)} is in PATH; `make test-browser` installs one on "
        "Debian, elsewhere name one based on Chromium with HARNESS_BROWSER",
        pytrace=False,
    )


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Run a browser in the block."""
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page in a browser, and what it did that a report must not do."""

    page: Page
    wrongs: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Take note of errors of scripts, dialogs, and of all that is loaded but the page."""
        page, wrongs = self.page, self.wrongs

        def dismiss(dialog: Dialog) -> None:
            wrongs.append("dialog")
            dialog.dismiss()

        page.on("pageerror", lambda error: wrongs.append(f"error: {error}"))
        page.on("console", lambda message: wrongs.append(f"console: {message.text}"))
        page.on("dialog", dismiss)
        page.on("request", lambda request: wrongs.append(f"request: {request.url}"))

    def open(self, path: Path) -> Page:
        """Open the page at *path*; it may load itself and nothing else."""
        self.page.goto(path.as_uri())
        self.page.get_by_role("status").wait_for()
        assert self.wrongs == [f"request: {path.as_uri()}"]
        self.wrongs.clear()
        return self.page
