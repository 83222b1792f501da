// SPDX-License-Identifier: Apache-2.0
// What the demo says it has published, in Redis's order: each entry that Redis has confirmed is due to
// the tabs of one user.

const REMEMBERED = 50_000;

export class Ledger {
  last = 0; // the number of the newest entry
  published = 0; // confirmed entries so far
  #entries = new Map(); // key → entry, in the order of their numbers

  add(entries) {
    for (const entry of entries) {
      this.#entries.set(entry.key, entry);
      this.last = entry.number;
      if (entry.confirmed) this.published += 1;
    }
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= REMEMBERED) break;
      this.#entries.delete(key);
    }
  }

  get entries() {
    return this.#entries.values();
  }

  find(key) {
    return this.#entries.get(key);
  }
}
