// SPDX-License-Identifier: Apache-2.0
// One column: a tab with a socket of its own, what it has got, and whether that is the truth.

import { now } from "./clock.js";
import { element, milliseconds, write, grouped } from "./element.js";
import { RealtimeClient } from "./realtime-client.js";
import { STORAGE_KEY, StreamsClient } from "./streams-client.js";
import { Truth } from "./truth.js";

const LINES = 7;
const STATES = {
  connecting: ["opening", "idle"],
  open: ["open", "good"],
  waiting: ["retrying", "warn"],
  unhealthy: ["unhealthy", "bad"],
  polling: ["gave up", "bad"],
  stopped: ["closed", "idle"],
};
const TONES = { pending: "idle", running: "busy", done: "good", success: "good" };
// What RFC 6455 and its registry call the codes.
const CODES = {
  1000: "normal",
  1001: "going away",
  1006: "cut",
  1008: "policy",
  1011: "server error",
  1012: "service restart",
  1013: "try again later",
  4000: "dropped here",
};

export const codeText = (code) => `${code} ${CODES[code] ?? ""}`.trim();

// What both transports' columns have in common; a subclass has the client.
class Tab extends EventTarget {
  transport;
  user;
  client = null;
  truth = null;
  closes = 0;
  ledger;

  #node;
  #lines;

  constructor({ transport, user, number, node, ledger }) {
    super();
    this.ledger = ledger;
    this.transport = transport;
    this.user = user;
    this.name = `${user[0].toUpperCase()}${user.slice(1)}, tab ${number}`;
    this.#node = node;
    this.#lines = Array.from({ length: LINES }, () => element("li", ""));
    this.part("events").append(...this.#lines);
    write(this.part("user"), this.name.split(",")[0]);
    write(this.part("number"), `tab ${number}`);
    node.setAttribute("aria-label", `${this.name}, ${transport}`);
    this.part("drop").addEventListener("click", () => this.client.drop());
    this.part("reload").addEventListener("click", () => this.reload());
  }

  get isOpen() {
    return this.client.state === "open";
  }

  get hasGivenUp() {
    return this.client.state === "polling" || this.client.state === "unhealthy";
  }

  part(name) {
    return this.#node.querySelector(`[data-part=${name}]`);
  }

  // As a reload of a browser's tab: a new page, which knows nothing but what the browser keeps.
  reload() {
    this.client?.stop();
    [this.client, this.truth] = this.make();
    // What it has missed before is due to it too.
    for (const entry of this.ledger.entries) this.truth.published(entry);
    this.client.addEventListener("state", () => this.#showState());
    this.client.addEventListener("closed", ({ detail }) => this.#closed(detail));
    this.client.start();
  }

  lost(at, upSince) {
    const since = this.isOpen && upSince !== null ? Math.max(upSince, this.client.openedAt) : null;
    return this.truth.lost(at, since, this.hasGivenUp);
  }

  render(at, upSince) {
    const lost = this.lost(at, upSince);
    write(this.part("got"), grouped(this.truth.got));
    write(this.part("behind"), grouped(this.truth.missing - lost));
    write(this.part("lost"), grouped(lost));
    this.part("behind").className = this.truth.missing - lost ? "warn" : "";
    this.part("lost").className = lost ? "bad" : "";
  }

  // Something has come through the socket. key: what the ledger calls it, null if it has no entry.
  delivered(id, status, key) {
    const at = now();
    const line = this.line(id, status, "");
    const { openedAt, sockets } = this.client;
    this.dispatchEvent(new CustomEvent("delivered", { detail: at }));
    if (key === null) return;
    this.truth.arrived(key, sockets, at, (entry) => {
      const live = entry.at >= openedAt;
      if (live) this.dispatchEvent(new CustomEvent("took", { detail: { at, ms: at - entry.at } }));
      if (line.dataset.key === `${id} ${status}`)
        write(line.lastChild, live ? milliseconds(Math.max(0, at - entry.at)) : "caught up");
    });
  }

  line(id, status, note) {
    const line = this.part("events").lastElementChild;
    line.dataset.key = `${id} ${status}`;
    line.className = TONES[status] ?? (status === "changed" ? "idle" : "bad");
    line.replaceChildren(
      element("code", "", id.slice(0, 8)),
      element("span", "status", status),
      element("span", "note", note),
    );
    this.part("events").prepend(line);
    return line;
  }

  #closed({ code, reason }) {
    this.closes += 1;
    write(this.part("close"), codeText(code));
    this.part("close").title = `${codeText(code)} ${reason}`.trim();
    this.dispatchEvent(new CustomEvent("closed", { detail: { code, reason } }));
  }

  #showState() {
    const [text, tone] = STATES[this.client.state];
    write(this.part("state"), text);
    this.part("state").className = `state ${tone}`;
    this.part("drop").disabled = !this.isOpen;
  }
}

export class StreamsTab extends Tab {
  #url;

  constructor({ url, ...rest }) {
    super({ transport: "streams", ...rest });
    this.#url = url;
  }

  make() {
    const client = new StreamsClient({ url: this.#url });
    const begunAt = Date.now();
    let since = null;
    try {
      since = localStorage.getItem(STORAGE_KEY);
    } catch {
      /* as a first visit */
    }
    const truth = new Truth(this.ledger, {
      isMine: (entry) => entry.transport === "streams" && entry.user === this.user,
      isDue: (entry) => (since === null ? entry.at >= begunAt : isAfter(entry.id, since)),
      orderedPerSocket: false,
    });
    client.addEventListener("event", ({ detail }) => {
      if (client === this.client)
        this.delivered(detail.job_id, detail.status, `${detail.job_id} ${detail.status}`);
    });
    return [client, truth];
  }
}

export class RealtimeTab extends Tab {
  #url;
  #number;
  #ask;
  #waitedFor = new Set();

  constructor({ url, ask, ...rest }) {
    super({ transport: "realtime", ...rest });
    this.#url = url;
    this.#number = rest.number;
    this.#ask = ask;
  }

  // A chart of this tab is being computed.
  waitFor(taskId) {
    this.#waitedFor.add(taskId);
    this.client.waitFor(taskId);
  }

  make() {
    const waitedFor = (this.#waitedFor = new Set());
    const ask = this.#ask;
    const client = new RealtimeClient({ url: this.#url, tabId: this.#number, ask, renew: ask });
    const truth = new Truth(this.ledger, {
      isMine: (entry) => entry.transport === "realtime" && entry.user === this.user,
      isDue: (entry) => waitedFor.has(entry.key.split(" ")[0]),
      orderedPerSocket: true,
    });
    client.addEventListener("message", ({ detail: { topic, payload } }) => {
      if (client !== this.client) return;
      if (topic === "task.status")
        this.delivered(payload.task_id, payload.status, `${payload.task_id} ${payload.status}`);
      else this.delivered(`${payload.entity_type} ${payload.id}`, "changed", null);
    });
    client.addEventListener("told", ({ detail: { taskId, status } }) => {
      truth.learnt(`${taskId} ${status}`);
      this.line(taskId, status, "by REST");
    });
    return [client, truth];
  }
}

// Whether a stream's ID is behind another one.
function isAfter(id, other) {
  const [ms, sequence] = id.split("-").map(Number);
  const [otherMs, otherSequence] = other.split("-").map(Number);
  return ms > otherMs || (ms === otherMs && sequence > otherSequence);
}
