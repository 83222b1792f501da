// SPDX-License-Identifier: Apache-2.0
// One tab of Superset 7: how its front end keeps its socket, and what its waiting charts do.
//
// State: "connecting", "open", "waiting" (for the next attempt), "unhealthy" (it tries on, but its
// charts have failed) or "stopped".
// Events: "state", "closed" with {code, reason}, "message" with {topic, payload}, and "told" with
// {taskId, status}: an answer of Superset's REST interface, which is asked after each (re)connect.

export const RETRY_MAX_MS = 30_000;
export const CHANCE_MAX_MS = 1000;
export const UNHEALTHY_FROM = 3; // closes since the last open
export const TOKEN_LIFETIME_MS = 900_000;
const KEEPALIVE_AT = 0.6; // of the token's life
export const PATIENCE_MS = 600_000; // a chart waits for so long, and up to
const PATIENCE_CHANCE_MS = 5000; // so much longer

export class RealtimeClient extends EventTarget {
  state = "stopped";
  closesSinceOpen = 0;
  opens = { initial: 0, reconnect: 0, keepalive: 0 };
  openedAt = null; // Date.now() of the last open
  sockets = 0; // made so far
  closes = []; // {code, reason} of the latest ones, the newest last
  waiting = new Set(); // the tasks that charts of this tab wait for
  failed = []; // the tasks whose charts have shown an error
  asked = 0; // how often Superset was asked
  wasUnhealthy = false; // whether it has ever been

  #url;
  #ask;
  #renew;
  #lifetimeMs;
  #socket = null;
  #opening = "initial";
  #retryTimer = null;
  #keepaliveTimer = null;
  #asking = null;

  // ask() resolves to {task id: status} of the tasks that have ended; renew() renews the cookie.
  constructor({ url, tabId, ask, renew, lifetimeMs = TOKEN_LIFETIME_MS }) {
    super();
    this.#url = new URL(url);
    this.#url.searchParams.set("tab_id", tabId);
    this.#ask = ask;
    this.#renew = renew;
    this.#lifetimeMs = lifetimeMs;
  }

  start() {
    this.#connect();
  }

  waitFor(taskId) {
    this.waiting.add(taskId);
    setTimeout(() => this.#giveUp(taskId), PATIENCE_MS + Math.random() * PATIENCE_CHANCE_MS);
  }

  // End the connection, as the network might: what follows is the client's usual way back.
  drop() {
    this.#socket?.close(4000, "dropped by this page");
  }

  // Close the tab.
  stop() {
    this.#detach()?.close(1000);
    this.waiting.clear();
    this.#become("stopped");
  }

  #connect() {
    if (this.state !== "unhealthy") this.#become("connecting");
    const socket = (this.#socket = new WebSocket(this.#url));
    this.sockets += 1;
    const current = (listener) => (event) => socket === this.#socket && listener(event);
    socket.addEventListener("open", current(() => this.#opened()));
    socket.addEventListener("message", current(({ data }) => this.#take(data)));
    socket.addEventListener("close", current((event) => this.#closed(event)));
    this.#keepaliveTimer = setTimeout(() => this.#keepalive(), KEEPALIVE_AT * this.#lifetimeMs);
  }

  // The real one closes the old socket first and then opens the next: a gap of one handshake. A
  // socket that ends by itself comes back by itself, and as a "reconnect".
  async #keepalive() {
    const socket = this.#socket;
    const isOpen = () => socket === this.#socket && socket.readyState === WebSocket.OPEN;
    if (!isOpen()) return;
    await this.#renew().catch(() => {});
    if (!isOpen()) return;
    this.#detach().close();
    this.#opening = "keepalive";
    this.#connect();
  }

  // Let go of the socket, so that its end means nothing.
  #detach() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#keepaliveTimer);
    const socket = this.#socket;
    this.#socket = null;
    return socket;
  }

  #opened() {
    this.closesSinceOpen = 0;
    this.opens[this.#opening] += 1;
    this.openedAt = Date.now();
    this.#become("open");
    this.#catchUp();
  }

  #closed({ code, reason }) {
    this.#detach();
    this.closes = [...this.closes.slice(-19), { code, reason }];
    this.closesSinceOpen += 1;
    this.#opening = "reconnect";
    const delay = Math.min(1000 * 2 ** (this.closesSinceOpen - 1), RETRY_MAX_MS);
    const chance = Math.random() * Math.min(delay, CHANCE_MAX_MS);
    this.#retryTimer = setTimeout(() => this.#connect(), delay + chance);
    if (this.closesSinceOpen < UNHEALTHY_FROM) {
      this.#become("waiting");
      this.#catchUp();
    } else {
      this.wasUnhealthy = true;
      this.failed.push(...this.waiting);
      this.waiting.clear();
      this.#become("unhealthy");
    }
    this.dispatchEvent(new CustomEvent("closed", { detail: { code, reason } }));
  }

  #take(text) {
    const message = readMessage(text);
    if (!message) return;
    if (message.topic === "task.status") this.waiting.delete(message.payload?.task_id);
    this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }

  // Ask Superset once for all charts that wait; whoever comes meanwhile shares the answer.
  #catchUp() {
    if (this.waiting.size) this.#asking ??= this.#askOnce();
  }

  async #askOnce() {
    this.asked += 1;
    try {
      for (const [taskId, status] of Object.entries(await this.#ask()))
        if (this.waiting.delete(taskId))
          this.dispatchEvent(new CustomEvent("told", { detail: { taskId, status } }));
    } catch {
      /* the next open asks again */
    } finally {
      this.#asking = null;
    }
  }

  // One last question, for a chart that nobody has told of its task.
  async #giveUp(taskId) {
    if (!this.waiting.has(taskId)) return;
    this.#catchUp();
    await this.#asking;
    if (this.waiting.delete(taskId)) this.failed.push(taskId);
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}

// Whatever is no message with a topic is ignored.
function readMessage(text) {
  try {
    const message = JSON.parse(text);
    return typeof message?.topic === "string" ? message : null;
  } catch {
    return null;
  }
}
