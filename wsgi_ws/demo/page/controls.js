// SPDX-License-Identifier: Apache-2.0
// The buttons: each asks the demo for something, and says what came of it.

import { $ } from "./element.js";
import { call } from "./api.js";

const STEADY_MS = 1000;
const STEADY_COUNT = 2;

// page: {tabs, activity, run(count), redis}.
export function connectButtons(page) {
  const { activity } = page;

  function onClick(id, action) {
    const button = $(id);
    button.addEventListener("click", async () => {
      button.setAttribute("aria-busy", "true");
      try {
        await action();
      } catch (error) {
        activity.say(error.message, "bad");
      } finally {
        button.removeAttribute("aria-busy");
      }
    });
  }

  onClick("run-one", () => page.run(1));
  onClick("run-many", () => page.run(100));
  onClick("drop-all", () => {
    activity.mark("drop all");
    for (const tab of page.tabs) tab.client.drop();
  });
  onClick("redis", async () => {
    const action = page.redis === "running" ? "stop" : "start";
    activity.mark(action === "stop" ? "Redis off" : "Redis on");
    await call("POST", `redis/${action}`);
    activity.say(action === "stop" ? "Redis stopped" : "Redis started, with its data", "busy");
  });
  onClick("kill", async () => {
    activity.mark("kill");
    const { killed } = await call("POST", "workers/kill");
    activity.say(`Worker ${killed} killed (SIGKILL)`, "busy");
  });
  onClick("reload", async () => {
    activity.mark("reload");
    await call("POST", "server/reload");
    activity.say("Reload (SIGHUP): a new worker takes over from the old one", "busy");
  });

  setInterval(() => {
    if ($("steady").checked) page.run(STEADY_COUNT).catch(() => {});
  }, STEADY_MS);
}
