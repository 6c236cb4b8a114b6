// The two charts of a page, the tools above them and the runs beside them.
import { Chart } from "/static/charts.js";
import { CurveStore } from "/static/curves.js";

const POINTS_IN_ALL = 30_000; // of a first load: what a chart can show of hundreds of runs
const LEAST_POINTS = 40;
const MOST_POINTS = 400;

/** How many epochs of each run to ask for. */
export function pointsFor(numRuns) {
  const share = Math.floor(POINTS_IN_ALL / Math.max(1, numRuns));
  return Math.min(MOST_POINTS, Math.max(LEAST_POINTS, share));
}

/** The curves of a job, thinned, in one request. */
export async function fetchCurves(jobId, maxPoints) {
  const answer = await fetch(`/v1/jobs/${jobId}/metrics?max_points=${maxPoints}`);
  if (!answer.ok) throw new Error(`the curves of ${jobId}: ${answer.status}`);
  return answer.json();
}

/** Sets the area up; answers the store to put curves into. */
export function openCurves() {
  const area = document.getElementById("curve-area");
  const tools = document.getElementById("curve-tools");
  const store = new CurveStore(() => update());
  const charts = [...area.querySelectorAll("[data-chart]")].map(
    (figure) => new Chart(figure, store, figure.dataset.chart));
  const legend = new Legend(area.querySelector(".legend"), store);
  const waiting = area.querySelector(".waiting");

  const update = () => {
    legend.update();
    const hasSome = [...store.runs.values()].some((run) => run.epochs.size > 0);
    waiting.textContent = "No epoch has ended yet.";
    waiting.hidden = hasSome;
    area.classList.toggle("filled", hasSome);
    for (const chart of charts) chart.draw(readTools(tools));
  };
  tools.addEventListener("input", () => {
    tools.querySelector("output").textContent = tools.querySelector("[name=smoothing]").value;
    store.tell();
  });
  return store;
}

function readTools(tools) {
  const get = (name) => tools.querySelector(`[name=${name}]`);
  return {
    val: get("val").checked,
    train: get("train").checked,
    log: get("log").checked,
    trim: get("trim").checked,
    smoothing: Number(get("smoothing").value),
  };
}

/** The runs with their colours, each to be shown or hidden. */
class Legend {
  constructor(fieldset, store) {
    this.store = store;
    this.list = fieldset.querySelector(".legend-runs");
    this.search = fieldset.querySelector("input[type=search]");
    this.rows = new Map();
    this.search.addEventListener("input", () => this.#filter());
    for (const button of fieldset.querySelectorAll("[data-show]")) {
      button.addEventListener("click", () => this.#showAll(button.dataset.show === "all"));
    }
  }

  update() {
    for (const run of this.store.runs.values()) {
      if (!this.rows.has(run.id)) this.#add(run);
    }
  }

  #add(run) {
    const row = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = run.isShown;
    box.style.accentColor = run.colour;
    box.addEventListener("change", () => this.store.show(run.id, box.checked));
    const name = document.createElement("span");
    name.textContent = run.name;
    name.title = run.name;
    row.append(box, name);
    this.rows.set(run.id, { row, box, name: run.name.toLowerCase() });
    this.list.append(row);
  }

  #filter() {
    const wanted = this.search.value.trim().toLowerCase();
    for (const { row, name } of this.rows.values()) row.hidden = !name.includes(wanted);
  }

  /** All that the search leaves, so that a part of the runs can be chosen by name. */
  #showAll(isShown) {
    for (const [id, { row, box }] of this.rows) {
      if (row.hidden) continue;
      box.checked = isShown;
      this.store.show(id, isShown);
    }
  }
}
