# SPDX-License-Identifier: Apache-2.0
"""The page of `make run` in a browser: its tabs get everything through every fault that its buttons
cause, and its verdict would say so if they didn't."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from testbed.demo_page import DemoPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Visit = Callable[[], DemoPage]


@pytest.fixture
def visit(chromium: Browser, demo_url: str) -> Iterator[Visit]:
    """Open the page; it is closed after the test."""
    opened: list[DemoPage] = []

    def open_page() -> DemoPage:
        opened.append(DemoPage(chromium, demo_url))
        return opened[-1]

    yield open_page
    for page in opened:
        page.close()


# --- nothing is lost ------------------------------------------------------------------------------


def opens_again(page: DemoPage, cause: Callable[[], None]) -> None:
    """Do what closes every socket, and wait until each tab has a new one."""
    closes: list[int] = page.ask("__demo.tabs.map((tab) => tab.closes)")
    cause()
    page.until(f"__demo.tabs.every((tab, i) => tab.isOpen && tab.closes > {closes}[i])")


def test_tabs_get_everything_through_every_fault_that_buttons_cause(visit: Visit) -> None:
    page = visit()
    page.press("#steady", "Space")
    page.press("#run-many")
    opens_again(page, lambda: page.press("#drop-all"))
    opens_again(page, lambda: page.press("#kill"))
    opens_again(page, lambda: page.press("#reload"))
    page.press("#redis")
    page.until("document.querySelector('#refused').textContent")
    page.press("#redis")
    page.until("__demo.redis === 'running'")
    page.press("#run-many")
    page.press("#steady", "Space")
    verdict = page.settle()
    assert verdict["got"] == verdict["due"] > 600
    wrong = ("lost", "behind", "repeated", "out-of-order", "foreign")
    assert {name: verdict[name] for name in wrong} == dict.fromkeys(wrong, 0)
    page.until("document.querySelector('#truth').dataset.tone === 'good'")
    for transport in ("streams", "realtime"):
        got = f"__demo.tabs.filter((t) => t.transport === '{transport}').map((t) => t.truth.got)"
        assert all(page.ask(got)), transport
    assert not page.ask("__demo.tabs.some((t) => t.client.fellBack || t.client.wasUnhealthy)")
    # Chromium writes a line for each socket that can't be opened. Here there is none: gunicorn's
    # master keeps the port while workers come and go, and without Redis sockets are held.
    assert page.complaints == []


# --- the verdict can fail -------------------------------------------------------------------------

# What a tab of each transport makes of what its socket brings: `pass` hands an arrival on to the
# page, `other` to the tab of another user.
FAULTS = {
    "lost": "() => {}",
    "repeated": "(arrival, pass) => { pass(arrival); pass(arrival); }",
    "out-of-order": """(arrival, pass, other, held) => {
      if (held.push(arrival) === 2) held.splice(0).reverse().forEach(pass);
    }""",
    "foreign": "(arrival, pass, other) => { pass(arrival); other(arrival); }",
}
FIGURES = {
    "lost": "missing",
    "repeated": "repeated",
    "out-of-order": "outOfOrder",
    "foreign": "foreign",
}
TAMPER = """(() => {
  const fault = FAULT;
  for (const transport of ["streams", "realtime"]) {
    const tabs = __demo.tabs.filter((tab) => tab.transport === transport);
    const [mine, theirs] = [tabs[0], tabs.at(-1)];
    const dispatch = (client) => (event) => EventTarget.prototype.dispatchEvent.call(client, event);
    const copy = ({ type, detail }) => new CustomEvent(type, { detail });
    const pass = (event) => dispatch(mine.client)(copy(event));
    const other = (event) => dispatch(theirs.client)(copy(event));
    const held = [];
    mine.client.dispatchEvent = (event) =>
      event.type === "event" || event.detail?.topic === "task.status"
        ? fault(event, pass, other, held)
        : pass(event);
  }
})()"""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_verdict_turns_red(visit: Visit, fault: str) -> None:
    page = visit()
    page.ask(TAMPER.replace("FAULT", FAULTS[fault]))
    page.ask("__demo.run(4)")
    for transport in ("streams", "realtime"):
        tabs = f"__demo.tabs.filter((tab) => tab.transport === '{transport}')"
        page.until(f"{tabs}.some((tab) => tab.truth.{FIGURES[fault]})")
    page.until("document.querySelector('#truth').dataset.tone === 'bad'")
    page.until(f"document.querySelector('#figure-{fault}').matches('.bad')")
    assert page.ask(f"__demo.verdict()['{fault}']") >= 2
