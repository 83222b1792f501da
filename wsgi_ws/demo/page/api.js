// SPDX-License-Identifier: Apache-2.0
// Requests to the demo's own process. The token says that this page, and no other, sends them.

const token = document.querySelector("meta[name=token]").content;

// Resolves to the answer's JSON; rejects with an Error whose message is for the user.
export async function call(method, path) {
  let response;
  try {
    response = await fetch(`/api/${path}`, { method, headers: { "X-Demo-Token": token } });
  } catch {
    throw new Error("The demo does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 404) throw new Error("The demo has been restarted: reload the page.");
  throw new Error(answer.error ?? `The demo answers ${response.status}.`);
}
