"""Every lesson's page in a real browser: no error, nothing fetched, nothing wider than the window, every picture drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.demo import elements
from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.elements import Shown
from remote_shell.demo.page import page
from tests.demo.browser import Browser
from tests.demo.playing import played
from tests.demo.samples import ALL

pytestmark = pytest.mark.slow

# the texts of pictures that do not lie within them
OUTSIDE = """
[...document.querySelectorAll("svg text")].filter(each => {
    const box = each.getBBox(), whole = each.ownerSVGElement.viewBox.baseVal;
    return box.x < -1 || box.x + box.width > whole.width + 1 || box.y + box.height > whole.height + 1;
}).map(each => each.textContent)
"""
PICTURES = (elements.Blocks, elements.Exchange, elements.Timeline)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def looked_at(browser: Browser, shown: Shown, path: Path) -> None:
    path.write_text(page(shown), encoding="utf-8")
    for width in (420, 1000):
        browser.open(path, width)
        faults = [
            told
            for told in browser.told
            if told[0] in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        ]
        assert faults == []
        fetched = {told[1]["request"]["url"] for told in browser.told if told[0] == "Network.requestWillBeSent"}
        assert {url for url in fetched if not url.startswith("data:")} == {path.as_uri()}
        assert browser.value("document.title") == shown.title
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.value("document.compatMode") == "CSS1Compat"
        expected = sum(isinstance(element, PICTURES) for element in shown.elements)
        assert (
            browser.value(
                "[...document.querySelectorAll('svg')].filter(each => each.getBoundingClientRect().height > 15).length"
            )
            == expected
        )
        assert browser.value(OUTSIDE) == []
    assert len(browser.picture()) > 10_000


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_is_a_page(browser: Browser, name: str, language: str, tmp_path: Path) -> None:
    looked_at(browser, played(name, language).shown, tmp_path / "a page.html")


def test_the_samples_are_a_page(browser: Browser, tmp_path: Path) -> None:
    looked_at(browser, Shown("Sample 样例", "zh", list(ALL)), tmp_path / "page.html")


def test_a_fault_is_seen(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    text = page(Shown("t", "en", [])).replace(
        "</body>", '<img src="https://127.0.0.1:1/x.png"><script>1</script></body>'
    )
    path.write_text(text, encoding="utf-8")
    browser.open(path, 1000)
    assert (
        len([told for told in browser.told if told[0] == "Log.entryAdded"]) >= 2
    )  # the page's own policy forbids both
