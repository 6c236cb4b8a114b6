// A model is tried: with a file, a row of its test set, or a drawing.
import { Drawing } from "/static/drawing.js";
import { sendJson, tellProblem } from "/static/http.js";

const root = document.getElementById("try");
const modelPath = `/v1/models/${root?.dataset.model}`;
const byId = (id) => document.getElementById(id);
const problem = root?.querySelector(".problem");
let asked = 0; // questions so far: an answer that another one has overtaken is not shown

/** Maps and probabilities; a network without convolutions has no maps. */
async function sendTo(send) {
  const answer = await send(`${modelPath}/feature-maps?values=false`);
  return answer.status === 409 ? send(`${modelPath}/predict`) : answer;
}

async function ask(send) {
  const mine = ++asked;
  const answer = await sendTo(send).catch(() => null);
  if (mine !== asked) return;
  problem.hidden = answer?.ok === true;
  if (!answer) problem.textContent = "The server can't be reached.";
  else if (answer.ok) show(await answer.json());
  else problem.textContent = await tellProblem(answer);
}

function askJson(body) {
  return ask((path) => sendJson("POST", path, body));
}

function askFile(file) {
  return ask((path) => {
    const form = new FormData();
    form.append("files", file, file.name || "picture");
    return fetch(path, { method: "POST", headers: { "X-Requested-With": "fetch" }, body: form });
  });
}

function show({ predictions, feature_maps: maps }) {
  const found = (maps ?? predictions)[0];
  byId("no-answer").hidden = true;
  byId("answer").hidden = false;
  byId("label").textContent = found.label;
  byId("about").textContent = describe(found);
  byId("bars").replaceChildren(...Object.entries(found.probabilities).flatMap(showBar));
  const seen = byId("seen");
  seen.closest("figure").hidden = !found.input;
  if (found.input) {
    seen.src = found.input.picture;
    seen.alt = `The picture as the model takes it, which it calls ${found.label}`;
  }
  byId("layers").replaceChildren(...(found.layers ?? []).map(showLayer));
  byId("answer").scrollIntoView({ block: "nearest" });
}

function describe({ file, width, height, inverted, row, actual }) {
  if (row !== undefined && row !== null) return `Row ${row}: ${actual}. The model says`;
  if (!file) return "The model says";
  return `${file}, ${width} × ${height}${inverted ? ", inverted as its background is light" : ""}. The model says`;
}

function showBar([label, probability]) {
  const name = document.createElement("dt");
  name.textContent = label;
  const value = document.createElement("dd");
  const meter = document.createElement("meter");
  meter.value = probability;
  meter.setAttribute("aria-label", label);
  const number = document.createElement("span");
  number.className = "numbers";
  number.textContent = `${(100 * probability).toFixed(1)} %`;
  value.append(meter, number);
  return [name, value];
}

function showLayer({ name, meaning, shape, picture }) {
  const figure = document.createElement("figure");
  figure.className = "layer";
  const caption = document.createElement("figcaption");
  const title = document.createElement("strong");
  title.textContent = name;
  caption.append(title, ` ${meaning}, ${shape[0]} maps of ${shape[1]} × ${shape[2]}`);
  const image = document.createElement("img");
  image.src = picture;
  image.alt = `The ${shape[0]} feature maps of ${name}`;
  figure.append(caption, image);
  return figure;
}

function openFiles() {
  const drop = byId("drop");
  const hold = (event) => event.preventDefault();
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => (hold(event), drop.classList.add("over")));
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    hold(event);
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) askFile(event.dataTransfer.files[0]);
  });
  byId("file").addEventListener("change", ({ target }) => target.files[0] && askFile(target.files[0]));
}

function openRows() {
  const form = byId("test-row");
  const field = form.elements.row;
  const take = () => askJson({ test_rows: [field.valueAsNumber || 0] });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take();
  });
  byId("any-row").addEventListener("click", () => {
    field.value = Math.floor(Math.random() * 200);
    take();
  });
}

if (root) {
  openFiles();
  openRows();
  const drawing = new Drawing(byId("canvas"), (rows) => askJson({ images: [rows] }));
  byId("clear").addEventListener("click", () => drawing.clear());
}
