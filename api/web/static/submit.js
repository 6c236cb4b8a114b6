// The form of a job: checked by the server while it is filled in, beside the request that it makes.
import { Fields } from "/static/fields.js";
import { sendJson, tellProblem } from "/static/http.js";
import { differ, lookUp, merge, put } from "/static/requests.js";

const PAUSE_MS = 350; // after the last key, before the server is asked
const SHOWN_RUNS = 12;
const UNREACHABLE = "The server can't be reached.";

const { defaults, presets, given } = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("submit");
const raw = document.getElementById("raw");
const problems = document.getElementById("problems");
const plan = document.getElementById("plan");
const checking = document.getElementById("checking");
const send = document.getElementById("send");
const fields = new Fields(form);
const preset = () => form.elements.preset.value;
let request = {};
let timer = 0;
let asked = 0;
let sent = { text: "", key: "" };

/** What a request means that names a preset and nothing else. */
function base(name) {
  return { ...defaults, preset: name, spec: merge(defaults.spec, presets[name]) };
}

function showForm() {
  form.elements.preset.value = request.preset ?? "report";
  const whole = merge(base(preset()), request);
  fields.write((pointer) => lookUp(whole, pointer));
}

function showRaw() {
  raw.value = JSON.stringify(request, null, 2);
}

function readForm() {
  const whole = {};
  fields.read((pointer, value) => put(whole, pointer, value));
  const changed = differ(whole, base(preset())) ?? {};
  return { kind: defaults.kind, preset: preset(), ...changed };
}

function check() {
  clearTimeout(timer);
  checking.textContent = "checking…";
  timer = setTimeout(validate, PAUSE_MS);
}

async function validate() {
  const mine = ++asked;
  const answer = await sendJson("POST", "/v1/jobs/validate", request).catch(() => null);
  if (mine !== asked) return;
  checking.textContent = "";
  if (answer?.ok) return accept(await answer.json());
  const problem = (await answer?.json().catch(() => null)) ?? { detail: UNREACHABLE };
  reject(problem.errors?.length ? problem.errors : [{ pointer: "", detail: problem.detail }]);
}

function accept({ runs, estimate }) {
  reject([]);
  send.disabled = false;
  const lines = runs.slice(0, SHOWN_RUNS).map(showRun);
  const list = document.createElement("ul");
  list.className = "plan";
  list.append(...lines);
  if (runs.length > SHOWN_RUNS) list.append(makeText("li", `and ${runs.length - SHOWN_RUNS} more`, "muted"));
  const head = makeText("p", tellPlan(runs.length, estimate), "plan-head");
  plan.replaceChildren(head, makeText("p", estimate.basis, "under"), list);
}

function tellPlan(numRuns, { epochs_at_most: epochs, seconds_at_most: seconds }) {
  const cost = seconds === null ? "" : `, ${tellTime(seconds)} at most one after another`;
  return `${numRuns} ${numRuns === 1 ? "run" : "runs"}, ${epochs.toLocaleString("en")} epochs at most${cost}`;
}

function tellTime(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function showRun({ name, max_epochs: epochs, needs, taken_from: taken }) {
  const line = makeText("li", name, "");
  const about = taken ? "taken over" : `${epochs} epochs${needs.length ? `, after ${needs.join(", ")}` : ""}`;
  line.append(makeText("span", about, "muted"));
  return line;
}

function makeText(tag, text, name) {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  return element;
}

function reject(errors) {
  const homeless = fields.mark(errors);
  problems.hidden = errors.length === 0;
  send.disabled = errors.length > 0;
  if (errors.length > 0) plan.replaceChildren();
  const texts = homeless.map(({ pointer, detail }) => `${pointer} ${detail}`.trim());
  const others = errors.length - homeless.length;
  if (others > 0) texts.push(others === 1 ? "One field needs another value." : `${others} fields need other values.`);
  problems.replaceChildren(...texts.map((text) => makeText("p", text, "")));
}

form.addEventListener("input", (event) => {
  if (event.target === raw) return takeRaw();
  if (event.target.name === "preset") {
    request = { ...request, preset: preset() };
    showForm();
  }
  request = readForm();
  showRaw();
  check();
});

/** A request that was typed as JSON fills the form in. */
function takeRaw() {
  let typed;
  try {
    typed = JSON.parse(raw.value);
  } catch (error) {
    reject([{ pointer: "", detail: `This is no JSON yet: ${error.message}` }]);
    return;
  }
  request = typed;
  if (typed !== null && typeof typed === "object" && !Array.isArray(typed)) showForm();
  check();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  send.disabled = true;
  const headers = { "Idempotency-Key": keyOf(request) };
  const answer = await sendJson("POST", "/v1/jobs", request, headers).catch(() => null);
  if (!answer) reject([{ pointer: "", detail: UNREACHABLE }]);
  else if (answer.ok) location.href = `/jobs/${(await answer.json()).id}`;
  else reject([{ pointer: "", detail: await tellProblem(answer) }]);
});
/** One key for one request, so that pressing again after a broken connection submits it once. */
function keyOf(value) {
  const text = JSON.stringify(value);
  if (text !== sent.text) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    sent = { text, key: Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("") };
  }
  return sent.key;
}

form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

const known = { kind: defaults.kind, preset: given.preset ?? "report" };
request = given.kind ? { ...known, ...(differ(given, base(known.preset)) ?? {}) } : known;
showForm();
showRaw();
validate();
