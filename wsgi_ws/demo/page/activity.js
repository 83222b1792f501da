// SPDX-License-Identifier: Apache-2.0
// What has happened to the server and to the sockets: a list, and marks in the charts.

import { $, element, timeOfDay, write } from "./element.js";

const LINES = 60;
const MARKS = 12;
const STEP_MS = 1000; // closes of one moment with one code share a line

export class Activity {
  marks = []; // {at, label}, the newest last

  #closes = null; // the line that further closes of the moment are added to

  mark(label) {
    this.marks = [...this.marks.slice(1 - MARKS), { at: Date.now(), label }];
  }

  say(text, tone = "idle") {
    this.#closes = null;
    this.#add(text, tone);
  }

  closed(tab, code, codeText, reason) {
    const at = Date.now();
    const key = `${code} ${reason} ${tab.transport}`;
    if (this.#closes?.key === key && at - this.#closes.at < STEP_MS) {
      this.#closes.names.push(tab.name);
    } else {
      const line = this.#add("", "warn");
      this.#closes = { key, at, names: [tab.name], line };
    }
    const { names, line } = this.#closes;
    const who = names.length > 2 ? `${names.length} tabs` : names.join(" and ");
    const why = reason ? ` “${reason}”` : "";
    write(line.querySelector(".what"), `${who} (${tab.transport}) closed with ${codeText}${why}`);
  }

  #add(text, tone) {
    const at = Date.now();
    const line = element(
      "li",
      tone,
      element("time", "", timeOfDay(at)),
      element("span", "what", text),
    );
    $("activity").prepend(line);
    while ($("activity").children.length > LINES) $("activity").lastElementChild.remove();
    $("nothing-yet").hidden = true;
    return line;
  }
}
