// SPDX-License-Identifier: Apache-2.0
// Small helpers for the document.

export const $ = (id) => document.getElementById(id);

export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// Writing the same text again would end a user's selection in it.
export function write(node, text) {
  const string = String(text);
  if (node.textContent !== string) node.textContent = string;
}

export const grouped = (number) => number.toLocaleString("en-US");

export function milliseconds(value) {
  if (value === null) return "–";
  if (value >= 9950) return `${(value / 1000).toFixed(0)} s`;
  if (value >= 995) return `${(value / 1000).toFixed(1)} s`;
  return `${value.toFixed(value < 9.95 ? 1 : 0)} ms`;
}

export const timeOfDay = (at) => new Date(at).toTimeString().slice(0, 8);
