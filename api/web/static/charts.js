// Charts of losses and accuracies over epochs, drawn by uPlot, with a legend that follows the mouse.
import uPlot from "/static/vendor/uplot/uPlot.esm.js";
import { align, readCurve, smooth } from "/static/curves.js";

const HEIGHT = 280;
const TRIMMED = [0.05, 0.95]; // shares of the values that trimming leaves at either end
const MARGIN = 0.05; // of the range, above and below
const MOST_TOLD = 8; // curves in the legend at the mouse
const MOST_FOCUSED = 60; // beyond this many a redraw at each move of the mouse is too slow

const WHOLE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]; // epochs are counted

const TELL = {
  loss: (value) => (value === 0 ? "0" : value < 0.01 ? value.toExponential(1) : value.toPrecision(3)),
  accuracy: (value) => `${(100 * value).toFixed(2)} %`,
};
const TELL_TICK = {
  loss: (value) => (value === null ? "" : value >= 0.01 || value === 0 ? String(+value.toFixed(3)) : value.toExponential(0)),
  accuracy: (value) => `${+(100 * value).toFixed(1)} %`,
};

/** The colours of the page, as numbers that a canvas understands. */
function readColours(element) {
  const probe = document.createElement("span");
  element.append(probe);
  const colours = {};
  for (const name of ["muted", "line", "panel"]) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return colours;
}

/** One chart: of `loss` or of `accuracy`, of the runs of a store that are shown. */
export class Chart {
  constructor(figure, store, kind) {
    this.figure = figure;
    this.place = figure.querySelector(".plot");
    this.store = store;
    this.kind = kind;
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.place.after(this.tip);
    new ResizeObserver(() => this.plot?.setSize(this.#size())).observe(this.place);
    addEventListener("themechange", () => this.#forget());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#forget());
  }

  /** Draws what the store has; options are { train, val, log, trim, smoothing }. */
  draw(options) {
    this.options = options;
    const curves = this.#gather(options);
    this.curves = curves;
    this.figure.hidden = this.#hasNothing();
    if (this.figure.hidden) return;
    if (curves.length === 0) {
      this.#clear();
      return;
    }
    const data = align(curves.map(({ points }) => points));
    const shape = JSON.stringify([options.log, options.trim, curves.map(({ label, dash }) => [label, dash])]);
    if (!this.plot || shape !== this.shape) {
      this.shape = shape;
      this.plot?.destroy();
      this.plot = new uPlot(this.#describe(curves, options), data, this.place);
    } else {
      this.plot.setData(data);
    }
    this.#tellReaders(curves);
  }

  #clear() {
    this.plot?.destroy();
    this.plot = null;
    this.tip.hidden = true;
    this.#tellReaders([]);
  }

  #forget() {
    this.shape = null;
    if (this.options) this.draw(this.options);
  }

  /** Whether no run, shown or not, has a figure of this kind, as an autoencoder has no accuracy. */
  #hasNothing() {
    const fields = [`val_${this.kind}`, `train_${this.kind}`];
    return ![...this.store.runs.values()].some((run) =>
      fields.some((field) => readCurve(run, field)[0].length > 0));
  }

  #gather({ train, val, log, smoothing }) {
    const parts = [...(val ? [["val", []]] : []), ...(train ? [["train", [5, 4]]] : [])];
    const found = [];
    for (const run of this.store.runs.values()) {
      if (!run.isShown) continue;
      for (const [part, dash] of parts) {
        const [xs, raw] = readCurve(run, `${part}_${this.kind}`);
        if (xs.length === 0) continue;
        const ys = smoothing > 0 ? smooth(raw, smoothing) : raw;
        const positive = log && this.kind === "loss" ? ys.map((y) => (y > 0 ? y : null)) : ys;
        const label = parts.length > 1 ? `${run.name} ${part}` : run.name;
        found.push({ label, dash, colour: run.colour, points: [xs, positive] });
      }
    }
    return found;
  }

  #size() {
    return { width: Math.max(240, this.place.clientWidth), height: HEIGHT };
  }

  #describe(curves, { log, trim }) {
    const { muted, line, panel } = readColours(this.place);
    const axis = {
      stroke: muted,
      font: '11px "Inter", sans-serif',
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1, size: 4 },
    };
    const isMany = curves.length > MOST_FOCUSED;
    return {
      ...this.#size(),
      legend: { show: false },
      padding: [10, 12, 0, 0],
      scales: { x: { time: false }, y: this.#scale({ log, trim }) },
      axes: [
        { ...axis, size: 30, incrs: WHOLE_STEPS },
        { ...axis, size: 56, values: (_, ticks) => ticks.map(TELL_TICK[this.kind]) },
      ],
      cursor: {
        y: false,
        drag: { x: true, y: false },
        focus: { prox: isMany ? -1 : 24 },
        points: { size: 7, width: 2, fill: panel, show: !isMany },
      },
      focus: { alpha: 0.25 },
      series: [
        {},
        ...curves.map(({ label, colour, dash, points }) => ({
          label,
          stroke: colour,
          width: isMany ? 1 : 1.6,
          dash,
          spanGaps: true,
          points: { show: points[0].length === 1, size: 6, fill: colour },
        })),
      ],
      hooks: { setCursor: [(plot) => this.#point(plot)] },
    };
  }

  #scale({ log, trim }) {
    const isLog = log && this.kind === "loss";
    return {
      distr: isLog ? 3 : 1,
      ...(trim && { range: () => this.#trimmedRange(isLog) }),
    };
  }

  /** Most of the values that are shown, with a margin: the first epochs are far from the others. */
  #trimmedRange(isLog) {
    const values = this.curves.flatMap(({ points: [, ys] }) => ys).filter((y) => y !== null);
    if (values.length === 0) return [0, 1];
    values.sort((a, b) => a - b);
    const [low, high] = TRIMMED.map((share) => values[Math.round(share * (values.length - 1))]);
    const margin = isLog ? 0 : MARGIN * (high - low || 1e-3);
    return [low - margin, high + margin];
  }

  /** The curves nearest to the mouse, with their values at its epoch. */
  #point(plot) {
    const { idx, left, top } = plot.cursor;
    this.tip.hidden = idx == null || left < 0;
    if (this.tip.hidden) return;
    const epoch = plot.data[0][idx];
    const near = this.curves
      .map((curve) => ({ ...curve, value: valueAt(curve.points, epoch) }))
      .filter(({ value }) => value != null)
      .map((curve) => ({ ...curve, distance: Math.abs(plot.valToPos(curve.value, "y") - top) }))
      .sort((a, b) => a.distance - b.distance);
    const shown = near.slice(0, MOST_TOLD).sort((a, b) => b.value - a.value);
    this.tip.replaceChildren(tellHead(epoch, near.length - shown.length), ...shown.map((curve) => this.#tell(curve)));
    const isRight = left > plot.over.clientWidth / 2;
    this.tip.style.left = isRight ? "" : `${left + 76}px`;
    this.tip.style.right = isRight ? `${plot.over.clientWidth - left + 28}px` : "";
  }

  #tell({ label, colour, value }) {
    const row = document.createElement("div");
    const swatch = document.createElement("i");
    swatch.style.background = colour;
    const name = document.createElement("span");
    name.textContent = label;
    const number = document.createElement("b");
    number.textContent = TELL[this.kind](value);
    row.append(swatch, name, number);
    return row;
  }

  /** What the picture shows, for whoever does not see it. */
  #tellReaders(curves) {
    const ends = curves.map(({ label, points: [, ys] }) => ({ label, last: ys.at(-1) }));
    const best = ends.sort((a, b) => (this.kind === "loss" ? a.last - b.last : b.last - a.last))[0];
    const ending = best ? `; best at the end: ${best.label}, ${TELL[this.kind](best.last)}` : "";
    this.place.setAttribute("role", "img");
    const count = curves.length === 1 ? "1 curve" : `${curves.length} curves`;
    this.place.setAttribute("aria-label", `${this.kind} over epochs, ${count}${ending}`);
  }
}

function tellHead(epoch, numOthers) {
  const head = document.createElement("div");
  head.className = "tip-head";
  head.textContent = numOthers > 0 ? `Epoch ${epoch}, and ${numOthers} more` : `Epoch ${epoch}`;
  return head;
}

/** A curve's last value up to an epoch, while it goes on. */
function valueAt([xs, ys], epoch) {
  if (xs.length === 0 || epoch > xs.at(-1) || epoch < xs[0]) return null;
  let low = 0;
  let high = xs.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (xs[middle] <= epoch) low = middle;
    else high = middle - 1;
  }
  return ys[low];
}
