"""Debian's headless Chromium, restricted to loopback."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium import webdriver

__all__ = ["a_browser", "console"]


@contextmanager
def a_browser() -> Iterator[webdriver.Chrome]:
    """A fresh profile; what the page's console says is kept."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("there is no Chromium: 'tools/debian.sh chromedriver' installs it where it may")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless=new",
        "no-sandbox",  # CI is root in a container
        "disable-dev-shm-usage",
        "disable-gpu",
        "disable-background-networking",
        "disable-component-update",
        "no-first-run",
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "force-color-profile=srgb",
        "window-size=1360,980",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def console(browser: webdriver.Chrome) -> list[str]:
    """What the console has said since the last time, requests that failed included."""
    return [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]
