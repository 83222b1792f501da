// SPDX-License-Identifier: Apache-2.0
// The truth line: all tabs together against the ledger, in one sentence and in figures.

import { $, grouped, write } from "./element.js";

const WRONG = ["lost", "repeated", "out-of-order", "foreign"];

// The sums over all tabs. upSince: since when everything runs; null while something doesn't.
export function verdict(tabs, at, upSince) {
  const sum = (count) => tabs.reduce((total, tab) => total + count(tab), 0);
  const lost = sum((tab) => tab.lost(at, upSince));
  return {
    due: sum((tab) => tab.truth.due),
    got: sum((tab) => tab.truth.got),
    behind: sum((tab) => tab.truth.missing) - lost,
    lost,
    repeated: sum((tab) => tab.truth.repeated),
    "out-of-order": sum((tab) => tab.truth.outOfOrder),
    foreign: sum((tab) => tab.truth.foreign),
  };
}

export function showVerdict(figures, published, refused) {
  const wrong = WRONG.some((name) => figures[name]);
  const [tone, sentence] = judge(figures, wrong);
  $("truth").dataset.tone = tone;
  write($("sentence"), sentence);
  write($("refused"), refused ? `${grouped(refused)} more could not be published while Redis was away.` : "");
  write($("figure-published"), grouped(published));
  for (const [name, value] of Object.entries(figures)) {
    const figure = $(`figure-${name}`);
    write(figure, grouped(value));
    if (WRONG.includes(name)) figure.className = value ? "bad" : "good";
  }
}

// Nobody knows the truth at the moment: say why.
export function showTrouble(message) {
  $("truth").dataset.tone = "bad";
  write($("sentence"), message);
}

function judge({ due, behind }, wrong) {
  if (wrong) return ["bad", "Something went wrong: see the figures in red."];
  if (behind) return ["warn", "So far, so good. The rest is on its way."];
  if (due) return ["good", "Each tab has got everything, once and in order."];
  return ["idle", "Nothing published yet: run a query."];
}
