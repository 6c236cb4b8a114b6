// Plain JavaScript with fetch, for node 18 or newer and for browsers.
//
//   node examples/browser.mjs
//
// In a browser: open a page of the server, paste this file into the console, and
//
//   await fmx.trainAndPredict({log: console.log})
//
// Pages of other sites are refused by a server of this machine, and other servers' answers are kept
// from them by the browser: a page of your own is served beside the server, behind one proxy.

const inNode = typeof process !== "undefined" && Boolean(process.versions?.node);
const environment = inNode ? process.env : {};

const settings = {
  url: environment.FMX_URL ?? (inNode ? "http://127.0.0.1:8000" : location.origin),
  key: environment.FMX_API_KEY,
  dataset: environment.DATASET ?? "fashion-mnist",
  epochs: Number(environment.EPOCHS ?? 5),
};

/** An error's body says what is wrong, and `errors` point to the places in the request. */
class ProblemError extends Error {
  constructor(problem) {
    const places = (problem.errors ?? []).map((e) => `${e.pointer}: ${e.detail}`).join("; ");
    super(`${problem.detail ?? problem.title}${places && ` (${places})`}`);
    this.problem = problem;
  }
}

/** The JSON at a path. Throws ProblemError. */
async function ask(path, {body, headers = {}, ...options} = {}, {url, key} = settings) {
  const answer = await fetch(url + path, {
    ...options,
    ...(body && {method: "POST", body: JSON.stringify(body)}),
    headers: {
      ...(body && {"Content-Type": "application/json"}),
      ...(key && {Authorization: `Bearer ${key}`}),
      ...headers,
    },
  });
  const value = await answer.json();
  if (!answer.ok) throw new ProblemError(value);
  return value;
}

/** A new job of kind q1; sent again with the same idempotency key it would be recorded once. */
async function submit(spec, name = "with JavaScript") {
  const headers = {"Idempotency-Key": `example-${Date.now()}-${Math.random()}`};
  return ask("/v1/jobs", {headers, body: {kind: "q1", preset: "quick", name, spec}});
}

/** The job whenever it has changed, until it has ended: each answer waits for the next change. */
async function* watch(id) {
  for (let job = await ask(`/v1/jobs/${id}`); ; ) {
    yield job;
    if (["succeeded", "failed", "cancelled"].includes(job.state)) return;
    job = await ask(`/v1/jobs/${id}`, {headers: {Prefer: "wait=10"}});
  }
}

/** Trains, tells what it sees, and predicts three pictures of the test set. */
async function trainAndPredict({dataset, epochs, log} = {}) {
  const say = log ?? console.log;
  const spec = {dataset: dataset ?? settings.dataset, max_epochs: epochs ?? settings.epochs};
  let job = await submit(spec);
  for await (job of watch(job.id)) {
    say(`${job.state}: ${job.progress.phase} ${job.progress.completed}/${job.progress.total}`);
  }
  if (job.state !== "succeeded") throw new Error(job.error?.message ?? job.state);
  const {comparisons} = await ask(`/v1/jobs/${job.id}/results`);
  for (const {id, published, ours} of comparisons) {
    say(`${id}: published ${published}, ours ${ours?.mean}`);
  }
  const body = {test_rows: [0, 1, 2]};
  const {predictions} = await ask(`/v1/models/${job.models[0]}/predict`, {body});
  for (const {row, label, actual} of predictions) say(`row ${row}: ${label}, is ${actual}`);
  return {job, predictions};
}

globalThis.fmx = {ask, submit, watch, trainAndPredict, ProblemError};

if (inNode) await trainAndPredict();
