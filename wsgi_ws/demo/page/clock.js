// SPDX-License-Identifier: Apache-2.0
// Milliseconds since 1970 with fractions: Date.now() has none, and deliveries take less than one.

let origin = performance.timeOrigin;

export function now() {
  const coarse = Date.now();
  // performance.now() may stand still while the machine sleeps, and never follows a changed clock.
  if (Math.abs(origin + performance.now() - coarse) > 5) origin = coarse - performance.now();
  return origin + performance.now();
}
