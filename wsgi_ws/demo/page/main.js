// SPDX-License-Identifier: Apache-2.0
// Puts the page together: a session, its tabs, and twice a second a look into the ledger.
//
// window.__demo has everything, for tests and for whoever is curious in the console.

import { Activity } from "./activity.js";
import { call } from "./api.js";
import { drawHistogram, drawLatency, drawRate } from "./charts.js";
import { now } from "./clock.js";
import { connectButtons } from "./controls.js";
import { $, milliseconds, write } from "./element.js";
import { LastMinute, percentile } from "./last-minute.js";
import { Ledger } from "./ledger.js";
import { showTrouble, showVerdict, verdict } from "./summary.js";
import { RealtimeTab, StreamsTab, codeText } from "./tab.js";

const LOOK_MS = 500;
const TABS = [
  { user: "ana", number: 1 },
  { user: "ana", number: 2 },
  { user: "ben", number: 1 },
];

const ledger = new Ledger();
const activity = new Activity();
const lastMinute = new LastMinute();
const tabs = [];
const page = { session: null, tabs, ledger, activity, lastMinute, redis: "", workers: [], run };
let upSince = null; // Date.now() since when Redis and a worker are there
let unreachable = "";
window.__demo = page;
page.verdict = () => verdict(tabs, now(), upSince);

async function begin() {
  const { session, users, transports, websocket_port: port } = await call("POST", "sessions");
  page.session = session;
  for (const transport of transports) {
    const group = $(transport);
    group.hidden = false;
    for (const { user, number } of TABS) {
      const node = $("tab").content.firstElementChild.cloneNode(true);
      group.querySelector(".tabs").append(node);
      const url = `ws://${location.hostname}:${port}${users[user]}`;
      const ask = async () => (await call("GET", `sessions/${session}/${user}/tasks`)).ended;
      const Kind = transport === "streams" ? StreamsTab : RealtimeTab;
      watch(new Kind({ user, number, node, url, ledger, ask }));
    }
  }
  for (const tab of tabs) tab.reload();
}

function watch(tab) {
  tabs.push(tab);
  tab.addEventListener("delivered", ({ detail }) => lastMinute.delivered(tab.transport, detail));
  tab.addEventListener("took", ({ detail: { at, ms } }) => lastMinute.took(Math.max(0, ms), at));
  tab.addEventListener("closed", ({ detail: { code, reason } }) =>
    activity.closed(tab, code, codeText(code), reason),
  );
}

async function run(count) {
  const { started } = await call("POST", `sessions/${page.session}/queries?count=${count}`);
  for (const { transport, user, job_id: taskId } of started)
    if (transport === "realtime")
      for (const tab of tabs)
        if (tab.transport === transport && tab.user === user) tab.waitFor(taskId);
}

// --- the ledger and what runs -------------------------------------------------------------------

async function look() {
  try {
    const news = await call("GET", `sessions/${page.session}/published?after=${ledger.last}`);
    ledger.add(news.entries);
    for (const tab of tabs) news.entries.forEach((entry) => tab.truth.published(entry));
    showProcesses(news);
    showVerdict(settled(), ledger.published, news.refused);
    unreachable = "";
  } catch (error) {
    if (error.message !== unreachable) activity.say(error.message, "bad");
    unreachable = error.message;
    upSince = null;
    showTrouble(error.message);
  }
  setTimeout(look, LOOK_MS);
}

function settled() {
  const at = now();
  for (const tab of tabs) {
    tab.truth.settle(at);
    tab.render(at, upSince);
  }
  return page.verdict();
}

function showProcesses({ redis, workers }) {
  const changed = String(workers) !== String(page.workers) || redis !== page.redis;
  if (redis === "stopped" || !workers.length) upSince = null;
  else if (changed || upSince === null) upSince = Date.now();
  page.redis = redis;
  page.workers = workers;
  write($("redis-state"), redis === "configured" ? "yours" : redis);
  $("redis-state").className = redis === "stopped" ? "bad" : "good";
  write($("worker-state"), workers.join(", ") || "none");
  $("worker-state").className = workers.length ? "good" : "bad";
  write($("redis"), redis === "stopped" ? "Start Redis" : "Stop Redis");
  $("redis").disabled = redis === "configured";
  $("redis").title = redis === "configured" ? "This Redis is configured: it is not touched." : "";
  $("kill").disabled = !workers.length;
}

// --- the charts ---------------------------------------------------------------------------------

function draw() {
  const at = now();
  const seconds = lastMinute.view(at);
  const of = (share) => seconds.map(({ latencies }) => percentile(latencies, share));
  const all = seconds.flatMap(({ latencies }) => latencies);
  const { streams, realtime } = seconds.at(-1);
  drawRate($("rate"), seconds, activity.marks, at);
  drawLatency($("latency"), { p99: of(0.99), p50: of(0.5) }, activity.marks, at);
  drawHistogram($("histogram"), all);
  write($("rate-now"), `${streams + realtime} / s`);
  write($("p50"), milliseconds(percentile(all, 0.5)));
  write($("p99"), milliseconds(percentile(all, 0.99)));
}

connectButtons(page);
draw();
setInterval(draw, 1000);
addEventListener("resize", draw);
begin().then(look, (error) => showTrouble(error.message));
