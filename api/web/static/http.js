// Requests of this page to its own server.

/** Sends JSON. A browser lets no other site's page send this header, so the server knows its own. */
export function sendJson(method, path, body, headers = {}) {
  return fetch(path, {
    method,
    headers: { "X-Requested-With": "fetch", "Content-Type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
}

/** What a problem body says, on a line. */
export async function tellProblem(answer) {
  const problem = await answer.json().catch(() => ({}));
  const details = (problem.errors ?? []).map(({ pointer, detail }) => `${pointer} ${detail}`.trim());
  return details.join("; ") || problem.detail || `the server answered ${answer.status}`;
}
