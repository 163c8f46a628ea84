"""A real headless Chromium for tests of pages, from Debian's packages; it gets a profile of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

WORDS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)
PAINTED = "return performance.getEntriesByName('first-contentful-paint').map((one) => one.startTime)"


def is_there() -> bool:
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def opened(*, prefers: str = "light") -> Iterator[webdriver.Chrome]:
    """Give a browser whose console and network are logged. prefers: light or dark, as the system would say."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for word in (*WORDS, f"--user-data-dir={profile}"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            media = {"features": [{"name": "prefers-color-scheme", "value": prefers}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            yield browser
        finally:
            browser.quit()


def first_paint_milliseconds(browser: webdriver.Chrome) -> float:
    found: Any = WebDriverWait(browser, 30).until(lambda one: one.execute_script(PAINTED))
    return float(found[0])
