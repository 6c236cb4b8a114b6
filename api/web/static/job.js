// A job's page while it runs: its curves grow, and its parts are fetched again as they change.
import { fetchCurves, openCurves, pointsFor } from "/static/curve-area.js";
import { refresh } from "/static/live.js";
import { showLog } from "/static/log.js";
import { keepSortable } from "/static/sorting.js";

const POLL_MS = 2000;

const root = document.getElementById("job");
const jobId = root.dataset.job;
const maxPoints = pointsFor(Number(root.dataset.runs));
const store = openCurves();

const renewLog = () => showLog(document.getElementById("log-text"), document.getElementById("follow"));
const renewPart = (id) => () => refresh(document.getElementById(id));

/** The parts of the page: how each is fetched again, and the least milliseconds between. */
const PARTS = {
  summary: [renewPart("summary"), 1000],
  runs: [renewPart("runs"), 3000],
  log: [renewLog, 3000],
  outcome: [renewPart("outcome"), 5000],
  files: [renewPart("file-list"), 5000],
};
const waiting = new Set();

/** Fetches parts again, soon: what changes many times meanwhile is fetched once. */
function renew(...names) {
  for (const name of names) {
    if (waiting.has(name)) continue;
    waiting.add(name);
    const [fetchPart, pause] = PARTS[name];
    setTimeout(() => {
      waiting.delete(name);
      fetchPart();
    }, pause);
  }
}

function finish() {
  for (const [fetchPart] of Object.values(PARTS)) fetchPart();
}

/** A job's stream of events, while the page is looked at: hidden tabs hold no connection. */
class Stream {
  constructor(path) {
    this.path = path;
    this.last = null;
    this.hasEnded = false;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    this.open();
  }

  open() {
    if (this.source || this.hasEnded || document.hidden) return;
    const after = this.last === null ? "" : `?after=${encodeURIComponent(this.last)}`;
    this.source = new EventSource(this.path + after);
    this.#on("job", () => renew("summary"));
    this.#on("run", () => renew("summary", "runs", "log"));
    this.#on("epochs", ({ run, name, columns, rows }) => {
      store.append(run, name, columns, rows);
      renew("summary", "runs", "log");
    });
    this.#on("rewound", ({ run, epoch }) => store.rewind(run, epoch));
    this.#on("artifacts", () => renew("files"));
    this.#on("end", () => this.#end(finish));
    this.source.addEventListener("error", () => {
      // A server that refuses a stream, as it does where too many are open, is asked now and then.
      if (this.source?.readyState === EventSource.CLOSED) this.#end(poll);
    });
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  #on(name, do_) {
    this.source.addEventListener(name, ({ data, lastEventId }) => {
      this.last = lastEventId || this.last;
      do_(JSON.parse(data));
    });
  }

  #end(then) {
    this.hasEnded = true;
    this.close();
    then();
  }
}

/** Looks every two seconds whether the job is another one, where no stream could be had. */
async function poll(known = null) {
  const answer = document.hidden ? null : await fetch(`/v1/jobs/${jobId}`).catch(() => null);
  if (answer?.status === 404) return void (location.href = "/jobs"); // it was deleted
  const etag = answer?.ok ? answer.headers.get("ETag") : known;
  if (etag !== known) {
    const { finished_at: end } = await answer.json();
    store.load(await fetchCurves(jobId, maxPoints));
    if (end !== null) return finish();
    renew("summary", "runs", "log");
  }
  setTimeout(() => poll(etag), POLL_MS);
}

store.load(await fetchCurves(jobId, maxPoints));
store.tell();
if (!("ended" in root.dataset)) new Stream(root.dataset.events);
renewLog();
if ("moreRuns" in root.dataset) renewPart("runs")();
keepSortable(document.getElementById("runs"));
