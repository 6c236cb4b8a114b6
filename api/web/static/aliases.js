// The aliases of models: listed, given to the model of this page, taken away.
import { sendJson, tellProblem } from "/static/http.js";

const section = document.getElementById("aliases");
const list = section.querySelector(".aliases");
const problem = section.querySelector(".problem");
const form = document.getElementById("promote");
const PATH = "/v1/models/aliases";

async function listAliases() {
  const found = [];
  for (let cursor = null, more = true; more; more = cursor !== null) {
    const query = cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
    const page = await (await fetch(PATH + query)).json();
    found.push(...page.items);
    cursor = page.next_cursor;
  }
  return found;
}

function show({ name, model }) {
  const item = document.createElement("li");
  const title = document.createElement("strong");
  title.textContent = name;
  const link = document.createElement("a");
  link.href = `/models/${model}`;
  link.textContent = model;
  item.append(title, " → ", link);
  if (form) item.append(makeRemover(name));
  return item;
}

function makeNone() {
  const item = document.createElement("li");
  item.className = "muted";
  item.textContent = "There is none yet.";
  return item;
}

function makeRemover(name) {
  const button = document.createElement("button");
  button.className = "button small ghost";
  button.textContent = "Remove";
  button.setAttribute("aria-label", `Remove the alias ${name}`);
  button.addEventListener("click", () => change("DELETE", name));
  return button;
}

async function change(method, name, body) {
  const answer = await sendJson(method, `${PATH}/${encodeURIComponent(name)}`, body);
  problem.hidden = answer.ok;
  if (!answer.ok) problem.textContent = await tellProblem(answer);
  await update();
}

async function update() {
  const aliases = await listAliases();
  list.replaceChildren(...(aliases.length === 0 ? [makeNone()] : aliases.map(show)));
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  change("PUT", new FormData(form).get("name"), { model: section.dataset.model });
});
update();
