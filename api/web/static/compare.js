// The curves of several jobs and runs on one axis.
import { openCurves, pointsFor } from "/static/curve-area.js";

const sides = [...document.querySelectorAll("#compare > data")];
const store = openCurves();
const maxPoints = pointsFor(100); // how many runs they have is not known yet

/** A job's answer has many runs; a run's own, only its epochs. */
async function load({ value: path, textContent: title }) {
  const answer = await fetch(`${path}?max_points=${maxPoints}`);
  if (!answer.ok) return;
  const body = await answer.json();
  if (body.runs) store.load(body, sides.length > 1 ? `${title} · ` : "");
  else store.append(body.run, title, body.columns, body.rows);
}

await Promise.all(sides.map(load));
store.tell();
