// A job's page while it runs: its curves grow, and its parts are fetched again as they change.
import { fetchCurves, openCurves, pointsFor } from "/static/curve-area.js";
import { refresh } from "/static/live.js";
import { followLog } from "/static/log.js";

const root = document.getElementById("job");
const jobId = root.dataset.job;
const maxPoints = pointsFor(Number(root.dataset.runs));
const POLL_MS = 2000;
const store = openCurves();

const parts = { summary: 1000, runs: 3000, outcome: 5000, "file-list": 5000 }; // least milliseconds between two looks
const asked = new Map();

/** Fetches a part again, soon: what changes many times in its period is fetched once. */
function renew(name) {
  if (asked.has(name)) return;
  asked.set(name, setTimeout(() => {
    asked.delete(name);
    refresh(document.getElementById(name));
  }, parts[name]));
}

function finish() {
  for (const name of Object.keys(parts)) refresh(document.getElementById(name));
}

/** What the job's stream of events says. */
function listen(source) {
  const on = (name, do_) => source.addEventListener(name, ({ data }) => do_(JSON.parse(data)));
  on("job", () => renew("summary"));
  on("run", () => ["summary", "runs"].forEach(renew));
  on("epochs", ({ run, name, columns, rows }) => {
    store.append(run, name, columns, rows);
    ["summary", "runs"].forEach(renew);
  });
  on("rewound", ({ run, epoch }) => store.rewind(run, epoch));
  on("artifacts", () => renew("file-list"));
  on("end", () => {
    source.close();
    finish();
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) poll();
  });
}

/** Looks every two seconds whether the job is another one, for a server without a stream. */
async function poll(known = null) {
  const answer = document.hidden ? null : await fetch(`/v1/jobs/${jobId}`).catch(() => null);
  const etag = answer?.ok ? answer.headers.get("ETag") : known;
  if (etag !== known) {
    const { finished_at: end } = await answer.json();
    if (known !== null) store.load(await fetchCurves(jobId, maxPoints));
    if (end !== null) return finish();
    if (known !== null) ["summary", "runs"].forEach(renew);
  }
  setTimeout(() => poll(etag), POLL_MS);
}

store.load(await fetchCurves(jobId, maxPoints));
if (!("ended" in root.dataset)) {
  if (root.dataset.events) listen(new EventSource(root.dataset.events));
  else poll();
}
followLog(document.getElementById("log-text"), document.getElementById("follow"));
