// SPDX-License-Identifier: Apache-2.0
// What one tab has got, against the ledger: nothing lost, repeated, out of order or somebody else's.
//
// A delivery may be seen before the ledger tells of it, so arrivals wait in a queue for their entry.

const LATE_MS = 10_000; // missing for so long, with everything up: lost
const UNKNOWN_MS = 20_000; // longer than the demo waits for Redis: the ledger will never have it
const REMEMBERED = 50_000;

export class Truth {
  due = 0; // published for this tab
  repeated = 0;
  again = 0; // realtime: sent once more on a later socket, as the server's memory does on purpose
  outOfOrder = 0;
  foreign = 0;

  #ledger;
  #isMine;
  #isDue;
  #orderedPerSocket;
  #missing = new Map(); // key → entry
  #known = new Set(); // keys, by a message or an answer of Superset
  #sockets = new Map(); // key → the number of the socket that has brought it
  #arrivals = [];
  #newest = { socket: 0, number: 0 };

  // isMine(entry): it is for this tab's user. isDue(entry): and after this tab has begun to wait.
  constructor(ledger, { isMine, isDue, orderedPerSocket }) {
    this.#ledger = ledger;
    this.#isMine = isMine;
    this.#isDue = isDue;
    this.#orderedPerSocket = orderedPerSocket;
  }

  get missing() {
    return this.#missing.size;
  }

  get got() {
    return this.due - this.#missing.size;
  }

  // The ledger has a new entry.
  published(entry) {
    if (!entry.confirmed || !this.#isMine(entry) || !this.#isDue(entry)) return;
    this.due += 1;
    if (!this.#known.has(entry.key)) this.#missing.set(entry.key, entry);
  }

  // A socket has brought something. placed(entry) is called when the ledger has told what it is.
  arrived(key, socket, at, placed) {
    const before = this.#sockets.get(key);
    if (before === undefined) this.#arrivals.push({ key, socket, at, placed });
    else if (before === socket || !this.#orderedPerSocket) this.repeated += 1;
    else this.again += 1;
    this.#sockets.set(key, socket);
    this.learnt(key);
    forgetOldest(this.#sockets);
  }

  // The tab knows it, from wherever.
  learnt(key) {
    this.#known.add(key);
    this.#missing.delete(key);
    forgetOldest(this.#known);
  }

  // Place what has arrived since, as far as the ledger tells.
  settle(at) {
    while (this.#arrivals.length) {
      const arrival = this.#arrivals[0];
      const entry = this.#ledger.find(arrival.key);
      if (!entry && at - arrival.at < UNKNOWN_MS) return;
      this.#arrivals.shift();
      if (entry) this.#place(entry, arrival);
      else this.foreign += 1; // this page's users have run no such query
    }
  }

  // How many are missing although there was time enough since `upSince`; all if it has given up.
  lost(at, upSince, givenUp) {
    if (givenUp) return this.#missing.size;
    let count = 0;
    if (upSince !== null)
      for (const entry of this.#missing.values())
        if (at - Math.max(entry.at, upSince) > LATE_MS) count += 1;
    return count;
  }

  #place(entry, { socket, placed }) {
    if (!this.#isMine(entry)) {
      this.foreign += 1;
      return;
    }
    if (entry.confirmed) this.#checkOrder(entry.number, socket);
    placed(entry);
  }

  // What Redis has not confirmed has no place in its order.
  #checkOrder(number, socket) {
    const fresh = this.#orderedPerSocket && socket !== this.#newest.socket;
    if (!fresh && number < this.#newest.number) this.outOfOrder += 1;
    else this.#newest = { socket, number };
  }
}

function forgetOldest(collection) {
  if (collection.size > REMEMBERED) collection.delete(collection.keys().next().value);
}
