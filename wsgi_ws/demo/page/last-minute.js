// SPDX-License-Identifier: Apache-2.0
// Deliveries of the last minute, by seconds: how many of each transport, and how long they took.

export const SECONDS = 60;
// Upper bounds of the histogram's buckets in milliseconds; the last bucket has all that is above.
export const BOUNDS = [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

export class LastMinute {
  #seconds = new Map(); // second → {streams, realtime, latencies}

  delivered(transport, at) {
    this.#second(at)[transport] += 1;
  }

  took(milliseconds, at) {
    this.#second(at).latencies.push(milliseconds);
  }

  // The seconds that are over, the oldest first; one that is empty has nothing in it.
  view(at) {
    const first = Math.floor(at / 1000) - SECONDS;
    for (const second of this.#seconds.keys()) if (second < first) this.#seconds.delete(second);
    return Array.from({ length: SECONDS }, (_, i) => this.#seconds.get(first + i) ?? empty());
  }

  #second(at) {
    const second = Math.floor(at / 1000);
    if (!this.#seconds.has(second)) this.#seconds.set(second, empty());
    return this.#seconds.get(second);
  }
}

function empty() {
  return { streams: 0, realtime: 0, latencies: [] };
}

// The value that this share of all is not above; null when there are none.
export function percentile(values, share) {
  if (!values.length) return null;
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

export function histogram(values) {
  const counts = new Array(BOUNDS.length + 1).fill(0);
  for (const value of values) {
    const bucket = BOUNDS.findIndex((bound) => value <= bound);
    counts[bucket < 0 ? BOUNDS.length : bucket] += 1;
  }
  return counts;
}
