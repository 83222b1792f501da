// SPDX-License-Identifier: Apache-2.0
// The three charts, in SVG: drawn anew each second, coloured by page.css.

import { BOUNDS, SECONDS, histogram } from "./last-minute.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 132;
const LEFT = 44;
const RIGHT = 6;
const TOP = 8;
const BOTTOM = 18;
const FLOOR = HEIGHT - BOTTOM;
const CHARACTER_WIDTH = 6; // about, of a label
const ROW_HEIGHT = 13;

function shape(tag, attributes, text) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Take the place's width, and return it; the height stays, so that nothing jumps.
function prepare(svg) {
  const width = Math.max(160, svg.parentElement.clientWidth);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  return width;
}

function grid(width, ticks, y) {
  return ticks.flatMap(([value, label]) => [
    shape("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    shape("text", { x: LEFT - 6, y: y(value) + 3.5, "text-anchor": "end" }, label),
  ]);
}

function timeAxis(width) {
  const ends = [
    [LEFT, "start", "a minute ago"],
    [width - RIGHT, "end", "now"],
  ];
  return ends.map(([x, anchor, label]) =>
    shape("text", { x, y: HEIGHT - 4, "text-anchor": anchor }, label),
  );
}

const across = (width) => (second) => LEFT + (second * (width - LEFT - RIGHT)) / SECONDS;

// What was done to the server, as upright lines. marks: {at, label}; now: the right end.
function markLines(width, marks, now) {
  const x = across(width);
  const rowEnds = []; // where the labels of each row end, so that none covers another
  return marks.flatMap(({ at, label }) => {
    const place = x(SECONDS - (Math.floor(now / 1000) * 1000 - at) / 1000);
    if (place < LEFT || place > width - RIGHT) return [];
    const size = label.length * CHARACTER_WIDTH;
    const start = Math.min(place + 4, width - size);
    let row = rowEnds.findIndex((end) => end < start);
    if (row < 0) row = rowEnds.length;
    rowEnds[row] = start + size;
    return [
      shape("line", { class: "mark", x1: place, x2: place, y1: TOP - 6, y2: FLOOR }),
      shape("text", { class: "mark", x: start, y: TOP + 3 + row * ROW_HEIGHT }, label),
    ];
  });
}

function roundUp(value) {
  for (let unit = 10; ; unit *= 10)
    for (const step of [1, 2, 4, 6, 8]) if (value <= step * unit) return step * unit;
}

export function drawRate(svg, seconds, marks, now) {
  const width = prepare(svg);
  const top = roundUp(Math.max(...seconds.map((second) => second.streams + second.realtime)));
  const x = across(width);
  const y = (value) => FLOOR - (value / top) * (FLOOR - TOP);
  const bars = seconds.flatMap((second, i) => {
    const place = { x: x(i) + 0.5, width: Math.max(1, x(1) - x(0) - 1) };
    const both = second.streams + second.realtime;
    return [
      ["streams", y(second.streams), FLOOR - y(second.streams)],
      ["realtime", y(both), y(second.streams) - y(both)],
    ]
      .filter(([, , height]) => height > 0)
      .map(([name, at, height]) => shape("rect", { class: name, ...place, y: at, height }));
  });
  const ticks = [0, top / 2, top].map((value) => [value, String(value)]);
  svg.replaceChildren(
    ...grid(width, ticks, y),
    ...bars,
    ...markLines(width, marks, now),
    ...timeAxis(width),
  );
}

const LATENCY_TICKS = [
  [0.1, "0.1 ms"],
  [1, "1 ms"],
  [10, "10 ms"],
  [100, "0.1 s"],
  [1000, "1 s"],
];

// lines: {class name: a value or null for each second}.
export function drawLatency(svg, lines, marks, now) {
  const width = prepare(svg);
  const x = across(width);
  const y = (value) => {
    const share = (Math.log10(Math.min(Math.max(value, 0.1), 1000)) + 1) / 4;
    return FLOOR - share * (FLOOR - TOP);
  };
  const drawn = Object.entries(lines).flatMap(([name, values]) => [
    shape("path", { class: `line ${name}`, d: pathThrough(values, x, y) }),
    ...values.flatMap((value, i) =>
      value === null ? [] : [shape("circle", { class: name, cx: x(i + 0.5), cy: y(value), r: 1.6 })],
    ),
  ]);
  svg.replaceChildren(
    ...grid(width, LATENCY_TICKS, y),
    ...drawn,
    ...markLines(width, marks, now),
    ...timeAxis(width),
  );
}

// A line is broken where a second had nothing: nothing is known of it.
function pathThrough(values, x, y) {
  let pen = "M";
  let path = "";
  values.forEach((value, i) => {
    if (value !== null) path += `${pen}${x(i + 0.5).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = value === null ? "M" : "L";
  });
  return path;
}

export function drawHistogram(svg, latencies) {
  const width = prepare(svg);
  const shares = histogram(latencies).map((count) => count / Math.max(1, latencies.length));
  const step = (width - LEFT - RIGHT) / shares.length;
  const top = Math.max(...shares) > 0.5 ? 1 : 0.5;
  const y = (share) => FLOOR - (share / top) * (FLOOR - TOP);
  const bars = shares.map((share, i) =>
    shape("rect", {
      class: "share",
      x: LEFT + i * step + 1,
      width: step - 2,
      y: y(share),
      height: FLOOR - y(share),
    }),
  );
  const labels = BOUNDS.map((bound, i) =>
    shape(
      "text",
      { x: LEFT + (i + 1) * step, y: HEIGHT - 4, "text-anchor": "middle" },
      i % 2 ? String(bound) : "",
    ),
  );
  const ticks = [0, top / 2, top].map((value) => [value, `${value * 100} %`]);
  svg.replaceChildren(...grid(width, ticks, y), ...bars, ...labels);
}
