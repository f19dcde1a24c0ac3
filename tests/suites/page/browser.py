"""Chromium without a screen, at the sizes and in the colours that the page is looked at."""

import base64
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

Json = dict[str, Any]

AXE = Path(sys.prefix) / "axe/axe_playwright_python/axe.min.js"
"""Brought by ``packaging/setup page``."""
SIZES = {"phone": (360, 740), "desk": (1280, 900)}
SCHEMES = ("light", "dark")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


class Browser:
    """One Chromium."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(self, size: str, scheme: str) -> None:
        """Take a size of ``SIZES`` and a colour scheme."""
        width, height = SIZES[size]
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"},
        )
        self._devtools(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )

    def open(self, address: str) -> None:
        """Load a page."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")  # what was said before
        self.driver.get(address)

    def run(self, script: str) -> Any:
        """Return what a script returns."""
        return self.driver.execute_script(script)

    def picture(self, file: Path) -> bytes:
        """Keep a picture of the whole page, and return it."""
        shot = self._devtools("Page.captureScreenshot", {"captureBeyondViewport": True})
        data = base64.b64decode(shot["data"])
        file.write_bytes(data)
        return data

    def complaints(self) -> list[str]:
        """Return what axe finds, and what the browser itself has complained of."""
        script = AXE.read_text("utf-8") + "; window.axe = axe;"
        self._devtools("Runtime.evaluate", {"expression": script})  # not bound by the page's own policy
        answer = self._devtools(
            "Runtime.evaluate",
            {"expression": "axe.run().then(found => JSON.stringify(found.violations.map("
                           "each => each.id + ': ' + each.help + ' ' + each.nodes[0].html.slice(0, 200))))",
             "awaitPromise": True},
        )  # fmt: skip
        log = self.driver.get_log("browser")
        found = str(answer["result"]["value"])
        return ([] if found == "[]" else [found]) + [str(entry["message"]) for entry in log]

    def _devtools(self, command: str, arguments: Json) -> Json:
        return dict(self.driver.execute_cdp_cmd(command, arguments))


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the distribution's Chromium; it is gone at the end."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
