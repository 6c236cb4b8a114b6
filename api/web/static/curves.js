// The epochs of runs: kept by run and epoch, and handed out as aligned columns for a chart.

const REST = 3; // times as long as the last drawing took, before the next one

/** Curves of any number of runs; `change` is called after something has changed, and not too often. */
export class CurveStore {
  constructor(change) {
    this.runs = new Map();
    this.change = change;
    this.isTold = false;
    this.rest = 0;
  }

  /** Takes the answer of /v1/jobs/{id}/metrics; `prefix` goes before the names of its runs. */
  load(body, prefix = "") {
    for (const { run, name, rows } of body.runs) {
      this.#require(run, prefix + name).epochs.clear();
      this.append(run, prefix + name, body.columns, rows);
    }
  }

  /** Adds epochs of a run, in the place of those with their numbers. */
  append(id, name, columns, rows) {
    const run = this.#require(id, name);
    const places = FIELDS.map((field) => columns.indexOf(field));
    const epoch = columns.indexOf("epoch");
    for (const row of rows) {
      run.epochs.set(row[epoch], places.map((place) => (place < 0 ? null : row[place])));
    }
    this.tell();
  }

  /** Forgets what a run was said to have done after an epoch. */
  rewind(id, epoch) {
    const epochs = this.runs.get(id)?.epochs;
    for (const number of epochs?.keys() ?? []) if (number > epoch) epochs.delete(number);
    this.tell();
  }

  show(id, isShown) {
    this.runs.get(id).isShown = isShown;
    this.tell();
  }

  tell() {
    if (this.isTold) return;
    this.isTold = true;
    setTimeout(() => requestAnimationFrame(() => {
      this.isTold = false;
      const began = performance.now();
      this.change();
      this.rest = REST * (performance.now() - began);
    }), this.rest);
  }

  #require(id, name) {
    if (!this.runs.has(id)) {
      const colour = pickColour(this.runs.size);
      this.runs.set(id, { id, name, colour, isShown: true, epochs: new Map() });
    }
    return this.runs.get(id);
  }
}

export const FIELDS = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"];

// Told apart by most eyes, and light enough for dark pages and dark enough for light ones.
const COLOURS = [
  "#4c6ef5", "#e8590c", "#0c9d72", "#d6336c", "#8250df", "#1098ad", "#b8860b", "#e03131",
  "#5f8a1f", "#868e96",
];
const GOLDEN_ANGLE = 137.508;

function pickColour(index) {
  return index < COLOURS.length
    ? COLOURS[index]
    : `oklch(0.64 0.15 ${((index * GOLDEN_ANGLE) % 360).toFixed(1)})`;
}

/** A curve's points in the order of their epochs: [epochs, values], without what is not known. */
export function readCurve(run, field) {
  const place = FIELDS.indexOf(field);
  const points = [...run.epochs].filter(([, row]) => row[place] !== null);
  points.sort((a, b) => a[0] - b[0]);
  return [points.map(([epoch]) => epoch), points.map(([, row]) => row[place])];
}

/** An exponential moving average that begins at the first value; weight 0 changes nothing. */
export function smooth(values, weight) {
  let last = 0;
  return values.map((value, i) => {
    last = last * weight + (1 - weight) * value;
    return last / (1 - weight ** (i + 1));
  });
}

/** Curves on one axis: [epochs, column, column, …], with null where a curve has no point. */
export function align(curves) {
  const epochs = [...new Set(curves.flatMap(([xs]) => xs))].sort((a, b) => a - b);
  const place = new Map(epochs.map((epoch, i) => [epoch, i]));
  const columns = curves.map(([xs, ys]) => {
    const column = new Array(epochs.length).fill(null);
    xs.forEach((x, i) => (column[place.get(x)] = ys[i]));
    return column;
  });
  return [epochs, ...columns];
}
