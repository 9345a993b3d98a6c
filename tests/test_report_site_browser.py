"""The site in a browser: no errors, nothing beyond the edge, everything in reach of a keyboard, fit for paper."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import site_material as material

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="no Chromium with its driver: apt-get install chromium chromium-driver"
)

WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
EXAMPLES = ("index.html", "claims/c2.html", f"runs/{material.RUNS[0]}.html", "method.html")
NO_BACKGROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "site"
    for name, raw in material.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser that may open files and nothing else: every host name is refused."""
    from selenium import webdriver  # noqa: PLC0415 - what is skipped needs none
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    quiet = ("--headless=new", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run")
    for word in (*quiet, "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"):  # root has no sandbox
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def opened(browser: Any, site: Path, page: str, width: int = 1280, scheme: str = "light") -> Any:
    look(browser, width, scheme)
    browser.get((site / page).as_uri())
    return browser


def look(browser: Any, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def pressed(browser: Any, key: str = "Tab") -> str:
    """What has the focus after a key, as its class or tag and its words."""
    for kind in ("keyDown", "keyUp"):
        code = {"Tab": 9, "Enter": 13}[key]
        more = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
        browser.execute_cdp_cmd(
            "Input.dispatchKeyEvent", {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, **more}
        )
    return str(browser.execute_script("const e = document.activeElement; return e.className || e.id || e.tagName"))


def test_no_page_logs_an_error_or_reaches_beyond_its_edge(browser: Any, site: Path) -> None:
    """Every page at a telephone's width and at a desk's, in both schemes."""
    pages = [name for name in material.files() if name.endswith(".html")]
    assert len(pages) > 25
    browser.get_log("browser")
    for page in pages:
        opened(browser, site, page)
        for width in WIDTHS:
            look(browser, width, "light" if width > 500 else "dark")
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, f"{page} is {wide} wide at {width}"
        errors = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        assert not errors, page


def test_pages_fetch_their_style_and_nothing_else(browser: Any, site: Path) -> None:
    browser.get_log("performance")
    for page in EXAMPLES:
        opened(browser, site, page)
    told = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in told if m["method"] == "Network.requestWillBeSent"}
    assert asked == {(site / name).as_uri() for name in (*EXAMPLES, "style.css")}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_follows_the_readers_colour_scheme(scheme: str, browser: Any, site: Path) -> None:
    opened(browser, site, "index.html", scheme=scheme)
    seen = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert seen == NO_BACKGROUND[scheme]


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_first_tab_reaches_the_skip_link_and_it_leads_to_the_content(page: str, browser: Any, site: Path) -> None:
    opened(browser, site, page)
    assert pressed(browser) == "skip"
    left = browser.execute_script("return document.activeElement.getBoundingClientRect().left")
    assert left >= 0, "the link is not on the screen while it has the focus"
    assert pressed(browser, "Enter") == "content"


def test_the_focus_is_always_to_be_seen(browser: Any, site: Path) -> None:
    opened(browser, site, "claims/index.html")
    for _ in range(12):
        pressed(browser)
        shown = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert shown != "none"


def test_a_wide_table_scrolls_by_keyboard_in_its_own_region(browser: Any, site: Path) -> None:
    opened(browser, site, f"runs/{material.RUNS[0]}.html", width=390)
    wide = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
        ".map(e => [e.tabIndex, e.getAttribute('role'), getComputedStyle(e).overflowX])"
    )
    assert wide
    assert all(found == [0, "region", "auto"] for found in wide)


@pytest.mark.parametrize("page", EXAMPLES)
def test_a_page_prints_on_white_paper(page: str, browser: Any, site: Path) -> None:
    opened(browser, site, page, scheme="dark")
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    style = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    assert browser.execute_script(style) == ["rgb(255, 255, 255)", "rgb(27, 31, 36)"]
    assert browser.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"
    raw = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert raw.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", raw)) > 0
