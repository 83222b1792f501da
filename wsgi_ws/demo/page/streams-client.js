// SPDX-License-Identifier: Apache-2.0
// One tab of Superset up to 6.1: how its front end opens, loses and reopens its socket.
//
// State: "connecting", "open", "waiting" (for the next attempt, or to give up), "polling" (it has
// given up: the real one polls once and does nothing more until the page is reloaded) or "stopped".
// Events: "state", "closed" with {code, reason}, and "event" with what the server has sent.

export const RETRY_MS = 2500;
export const RETRIES = 6; // without an open in between
export const STORAGE_KEY = "last_async_event_id"; // one for all tabs, and all sessions, of a browser

export class StreamsClient extends EventTarget {
  state = "stopped";
  retries = 0; // since the last open
  opens = 0;
  openedAt = null; // Date.now() of the last open
  sockets = 0; // made so far
  closes = []; // {code, reason} of the latest ones, the newest last
  lastId = null;
  fellBack = false; // whether it has ever given up

  #url;
  #storage;
  #socket = null;
  #timer = null;

  constructor({ url, storage = localStorage }) {
    super();
    this.#url = url;
    this.#storage = storage;
  }

  start() {
    try {
      this.lastId = this.#storage.getItem(STORAGE_KEY);
    } catch {
      /* a browser that keeps nothing: as a first visit */
    }
    this.#connect();
  }

  // End the connection, as the network might: what follows is the client's usual way back.
  drop() {
    this.#socket?.close(4000, "dropped by this page");
  }

  // Close the tab.
  stop() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#become("stopped");
  }

  #connect() {
    this.#become("connecting");
    const query = this.lastId ? `?last_id=${this.lastId}` : "";
    const socket = (this.#socket = new WebSocket(this.#url + query));
    this.sockets += 1;
    const current = (listener) => (event) => socket === this.#socket && listener(event);
    socket.addEventListener("open", current(() => this.#opened()));
    socket.addEventListener("message", current(({ data }) => this.#take(data)));
    socket.addEventListener("close", current((event) => this.#closed(event)));
  }

  #opened() {
    this.retries = 0;
    this.opens += 1;
    this.openedAt = Date.now();
    this.#become("open");
  }

  #take(text) {
    let event;
    try {
      event = JSON.parse(text);
    } catch {
      return; // the real one names it in the console
    }
    this.lastId = event.id;
    try {
      this.#storage.setItem(STORAGE_KEY, event.id);
    } catch {
      /* as above */
    }
    this.dispatchEvent(new CustomEvent("event", { detail: event }));
  }

  #closed({ code, reason }) {
    this.#socket = null;
    this.closes = [...this.closes.slice(-19), { code, reason }];
    this.#become("waiting");
    this.#timer = setTimeout(() => this.#retry(), RETRY_MS);
    this.dispatchEvent(new CustomEvent("closed", { detail: { code, reason } }));
  }

  // Also to give up takes its time: the real one counts when it is about to try.
  #retry() {
    this.retries += 1;
    if (this.retries <= RETRIES) {
      this.#connect();
    } else {
      this.fellBack = true;
      this.#become("polling");
    }
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
