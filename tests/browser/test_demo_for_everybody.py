# SPDX-License-Identifier: Apache-2.0
"""The page of `make run` serves those who have no mouse or a narrow window, need contrast, or can't
bear motion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

from testbed.demo_page import DemoPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BUTTONS = ("run-one", "run-many", "steady", "drop-all", "redis", "kill", "reload")
CONTRAST = 4.5  # WCAG 2.2, 1.4.3, level AA
NARROW = 320  # CSS pixels: WCAG 2.2, 1.4.10
TONES = ("good", "warn", "bad", "busy", "idle")

# All texts that can be read, with the contrast of their colours as they are computed, in each tone
# that the page can take; buttons that can't be pressed are left out, as WCAG does.
CONTRASTS = """(tones) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  function rgba(colour) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  }
  const over = ([r, g, b, a], under) =>
    [r, g, b].map((value, i) => value * a + under[i] * (1 - a)).concat(1);
  function luminance(colour) {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function background(node) {
    const under = node.parentElement ? background(node.parentElement) : [255, 255, 255, 1];
    return over(rgba(getComputedStyle(node).backgroundColor), under);
  }
  function opacity(node) {
    return node ? Number(getComputedStyle(node).opacity) * opacity(node.parentElement) : 1;
  }
  function contrast(node) {
    const style = getComputedStyle(node);
    const colour = rgba(node instanceof SVGElement ? style.fill : style.color);
    colour[3] *= opacity(node);
    const behind = background(node);
    const [one, other] = [luminance(over(colour, behind)), luminance(behind)];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  }
  function texts() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = new Set();
    while (walker.nextNode()) {
      const node = walker.currentNode.parentElement;
      if (walker.currentNode.data.trim() && node.checkVisibility() && !node.closest(":disabled"))
        found.add(node);
    }
    return [...found];
  }
  const result = [];
  for (const tone of tones) {
    document.querySelector("#truth").dataset.tone = tone;
    for (const node of document.querySelectorAll(".state")) node.className = `state ${tone}`;
    for (const node of document.querySelectorAll("dd, .tab li, .activity li"))
      node.className = tone;
    for (const node of texts())
      result.push([contrast(node), `${tone}: ${node.tagName} ${node.textContent.slice(0, 40)}`]);
  }
  return result;
}"""

# What is wider than the window, unless something that scrolls or cuts has it.
OVERFLOWING = """() => {
  const clips = (node) =>
    node && (getComputedStyle(node).overflowX !== "visible" || clips(node.parentElement));
  const places = [...document.body.querySelectorAll("*")]
    .filter((node) => node.checkVisibility() && !clips(node.parentElement))
    .filter((node) => node.scrollWidth > node.clientWidth + 1 && node.clientWidth
                      && getComputedStyle(node).overflowX === "visible"
                   || node.getBoundingClientRect().right > innerWidth + 0.5
                   || node.getBoundingClientRect().left < -0.5);
  const page = document.documentElement;
  if (page.scrollWidth > innerWidth) places.push(page);
  return places.map((node) => `${node.tagName} ${node.id} ${node.textContent.slice(0, 40)}`);
}"""


@pytest.fixture(scope="module")
def shared_page(chromium: Browser, demo_url: str) -> Iterator[DemoPage]:
    """A page that has something in each place."""
    page = DemoPage(chromium, demo_url)
    page.ask("__demo.run(2)")
    page.ask("__demo.tabs.forEach((tab) => tab.client.drop())")
    page.until("__demo.tabs.every((tab) => tab.isOpen && tab.truth.got && tab.closes)")
    yield page
    page.close()


@pytest.fixture
def page(shared_page: DemoPage) -> DemoPage:
    """The same as most people see it, unless the test wants it otherwise."""
    shared_page.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    shared_page.page.set_viewport_size({"width": 1240, "height": 800})
    return shared_page


def test_tab_reaches_each_button_and_shows_it(page: DemoPage) -> None:
    for name in BUTTONS:
        page.focus(f"#{name}")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.ask(outline) == "solid", name


def test_enter_presses_the_buttons_of_a_tab(page: DemoPage) -> None:
    closes = page.ask("__demo.tabs[0].closes")
    page.press("[data-part=drop]")
    page.until(f"__demo.tabs[0].closes === {closes + 1} && __demo.tabs[0].isOpen")
    page.ask("__demo.tabs[0].client.isOld = true")
    page.press("[data-part=reload]")
    page.until("!__demo.tabs[0].client.isOld && __demo.tabs[0].isOpen")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(page: DemoPage, scheme: Literal["light", "dark"]) -> None:
    page.page.emulate_media(color_scheme=scheme)
    contrasts: list[tuple[float, str]] = page.ask(CONTRASTS, TONES)
    assert len(contrasts) > 60 * len(TONES)
    assert sorted(each for each in contrasts if each[0] < CONTRAST) == []


def test_nothing_overflows_a_narrow_window(page: DemoPage) -> None:
    page.page.set_viewport_size({"width": NARROW, "height": 640})
    page.until("document.querySelector('#rate').viewBox.baseVal.width < innerWidth")
    assert page.ask(OVERFLOWING) == []


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_those_who_want_no_motion(
    page: DemoPage, motion: Literal["reduce", "no-preference"], moves: bool
) -> None:
    page.page.emulate_media(reduced_motion=motion)
    page.until("!document.getAnimations().length")
    begin = """() => {
      const { dataset } = document.querySelector("#truth");
      dataset.tone = dataset.tone === "bad" ? "good" : "bad";
      return document.getAnimations().length > 0;
    }"""
    assert page.ask(begin) is moves
