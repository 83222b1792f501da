# SPDX-License-Identifier: Apache-2.0
"""One visit of the demo's page with a browser: what its user presses, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testbed.servers import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage

# Producers of the demo pause for a second at most, so a ledger that rests for longer is complete.
QUIET_MS = 3000
TABS_AND_BUTTONS = 60  # more than the page has places for the focus


class DemoPage:
    """The page in a browser context of its own: no cookies, nothing stored.

    :ivar complaints: errors and warnings in the console, and uncaught exceptions.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self._context = browser.new_context()
        self.page = self._context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.goto(url)
        self.until("__demo.tabs.length && __demo.tabs.every((tab) => tab.isOpen)")

    def close(self) -> None:
        self._context.close()

    def ask(self, expression: str, argument: object = None) -> Any:
        """The value of JavaScript, or what its function returns for the argument."""
        return self.page.evaluate(expression, argument)

    def until(self, expression: str) -> None:
        """Wait until JavaScript's value is true."""
        eventually(lambda: self.ask(expression), expression)

    def focus(self, selector: str) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(TABS_AND_BUTTONS):
            self.page.keyboard.press("Tab")
            if self.ask("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    def press(self, selector: str, key: str = "Enter") -> None:
        """Press a button with the keyboard alone, as soon as it can be pressed."""
        self.until(f"document.querySelector({selector!r}).matches(':enabled')")
        self.focus(selector)
        self.page.keyboard.press(key)

    def settle(self) -> dict[str, int]:
        """Wait until all queries have ended and all tabs have what is due; returns the verdict."""
        self.ask("__demo.seen = { last: -1, since: 0 }")
        self.until(
            f"""(() => {{
              const {{ seen, ledger, verdict }} = __demo;
              if (seen.last !== ledger.last)
                Object.assign(seen, {{ last: ledger.last, since: performance.now() }});
              const {{ got, due }} = verdict();
              return got === due && performance.now() - seen.since > {QUIET_MS};
            }})()"""
        )
        verdict: dict[str, int] = self.ask("__demo.verdict()")
        return verdict

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
