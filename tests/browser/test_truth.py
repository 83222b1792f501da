# SPDX-License-Identifier: Apache-2.0
"""What the page of `make run` makes of arrivals and of its ledger: the verdict without a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from testbed.servers import ROOT, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

FILES = ROOT / "wsgi_ws" / "demo" / "page"
URL = "http://page.test/"  # no such host is asked: the test answers
KEEPALIVE_MS = 540_000  # 0.6 of a token's life
AT = 20_000  # ms since 1970: after the page's beginning

# A page with one tab, whose sockets do what the test says.
BEGIN = """async ({ kind, lastId }) => {
  window.sockets = [];
  window.WebSocket = class extends EventTarget {
    static OPEN = 1;
    readyState = 1;
    constructor() {
      super();
      sockets.push(this);
    }
    close() {}
  };
  const tabs = await import("/page/tab.js");
  const { Ledger } = await import("/page/ledger.js");
  if (lastId) localStorage.setItem("last_async_event_id", lastId);
  const node = document.getElementById("tab").content.firstElementChild.cloneNode(true);
  const ask = async () => ({});
  window.ledger = new Ledger();
  const url = "ws://page.test/";
  window.tab = new tabs[kind]({ user: "ana", number: 1, node, url, ledger, ask });
  window.publish = (...entries) => {
    ledger.add(entries);
    for (const entry of entries) tab.truth.published(entry);
  };
  window.bring = (socket, message) =>
    sockets[socket].dispatchEvent(new MessageEvent("message", { data: JSON.stringify(message) }));
  tab.reload();
  sockets[0].dispatchEvent(new Event("open"));
}"""


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page with the demo's files, whose time stands still."""

    def answer(route: Route) -> None:
        file = FILES / (route.request.url.rpartition("/")[2] or "index.html")
        if file.name in ("main.js", "page.css"):
            route.fulfill(status=404)
        else:
            route.fulfill(path=file)

    with chromium.new_context() as context:
        page = context.new_page()
        page.route(f"{URL}**", answer)
        page.clock.install(time=0)
        page.goto(URL)
        page.clock.pause_at(10)
        yield page


def begin(page: Page, kind: str, last_id: str = "") -> None:
    page.evaluate(BEGIN, {"kind": kind, "lastId": last_id})


def entry(number: int, **members: Any) -> dict[str, Any]:
    """An entry of the ledger, of the streams' tabs of Ana."""
    usual = {"number": number, "transport": "streams", "user": "ana", "at": AT, "confirmed": True}
    return usual | {"key": f"job-{number} done", "id": f"{number}-0"} | members


def publish(page: Page, *entries: dict[str, Any]) -> None:
    page.evaluate("(entries) => publish(...entries)", list(entries))


def bring(page: Page, number: int, socket: int = 0) -> None:
    """The event of an entry comes through a socket."""
    event = {"id": f"{number}-0", "job_id": f"job-{number}", "status": "done"}
    page.evaluate("([socket, event]) => bring(socket, event)", [socket, event])


def truth(page: Page, *names: str) -> list[int]:
    """Figures of the tab, after everything that has come was placed."""
    page.evaluate("tab.truth.settle(Date.now())")
    figures: list[int] = page.evaluate("(names) => names.map((n) => tab.truth[n])", list(names))
    return figures


def test_what_comes_again_on_a_renewed_socket_is_no_repeat(page: Page) -> None:
    """The server's memory sends it: nothing has proven that the old socket's end was heard."""
    begin(page, "RealtimeTab")
    message = {"topic": "task.status", "payload": {"task_id": "t", "status": "success"}}
    page.evaluate("(message) => bring(0, message)", message)
    page.clock.run_for(KEEPALIVE_MS)
    eventually(lambda: page.evaluate("sockets.length") == 2, "the next socket")
    page.evaluate("sockets[1].dispatchEvent(new Event('open'))")
    page.evaluate("(message) => bring(1, message)", message)
    assert truth(page, "repeated", "again") == [0, 1]
    page.evaluate("(message) => bring(1, message)", message)
    assert truth(page, "repeated", "again") == [1, 1]


def test_an_event_that_this_page_has_not_run_is_misdelivered(page: Page) -> None:
    """It is of another page, whose ledger this one doesn't see."""
    begin(page, "StreamsTab")
    bring(page, 1)
    assert truth(page, "foreign") == [0]  # the ledger may tell of it soon
    page.clock.run_for(60_000)
    assert truth(page, "foreign") == [1]


def test_what_redis_has_not_confirmed_is_neither_due_nor_misdelivered(page: Page) -> None:
    begin(page, "StreamsTab")
    publish(page, entry(1, confirmed=False), entry(2), entry(3, confirmed=False))
    for number in (2, 1):
        bring(page, number)
    page.clock.run_for(60_000)
    assert truth(page, "due", "got", "foreign", "outOfOrder") == [1, 1, 0, 0]
    assert page.evaluate("[ledger.published, ledger.last]") == [1, 3]


def test_what_a_reloaded_tab_has_missed_is_due_to_it(page: Page) -> None:
    begin(page, "StreamsTab", last_id="1-0")
    publish(page, entry(1), entry(2), entry(3), entry(4, user="ben"))
    page.evaluate("tab.reload()")
    assert truth(page, "due", "missing") == [2, 2]
    page.evaluate("sockets[1].dispatchEvent(new Event('open'))")
    bring(page, 2, socket=1)
    page.clock.run_for(60_000)
    assert truth(page, "due", "missing") == [2, 1]
    assert page.evaluate("tab.lost(Date.now(), 0)") == 1


def test_a_browser_that_has_kept_nothing_is_due_what_comes_from_now_on(page: Page) -> None:
    begin(page, "StreamsTab")
    publish(page, entry(1))
    page.clock.run_for(60_000)
    page.evaluate("tab.reload()")
    publish(page, entry(2, at=AT + 60_000))
    assert truth(page, "due") == [1]
