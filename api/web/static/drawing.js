// A picture of 28 x 28 that is drawn with a mouse, a finger or the keyboard, light on dark.

const SIDE = 28;
const BRUSH = 1.35; // pixels from the middle of a stroke to its edge
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** A canvas to draw on; `done` is called with the pixels after each stroke. */
export class Drawing {
  constructor(canvas, done) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.done = done;
    this.pixels = new Float32Array(SIDE * SIDE);
    this.cursor = [SIDE / 2, SIDE / 2];
    this.last = null;
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.last && this.#strokeTo(this.#place(event)));
    canvas.addEventListener("pointerup", () => this.#end());
    canvas.addEventListener("pointercancel", () => this.#end());
    canvas.addEventListener("keydown", (event) => this.#press(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.#render());
    this.#render();
  }

  /** Rows of 0 to 255, as the server wants them. */
  get rows() {
    return Array.from({ length: SIDE }, (_, y) =>
      Array.from(this.pixels.subarray(y * SIDE, (y + 1) * SIDE), (value) => Math.round(255 * value)));
  }

  clear() {
    this.pixels.fill(0);
    this.#render();
  }

  #begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.#place(event);
    this.#strokeTo(this.last);
  }

  #end() {
    if (this.last) this.done(this.rows);
    this.last = null;
  }

  #place({ offsetX, offsetY }) {
    return [(offsetX / this.canvas.clientWidth) * SIDE, (offsetY / this.canvas.clientHeight) * SIDE];
  }

  #strokeTo([x, y]) {
    const [fromX, fromY] = this.last;
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(x - fromX, y - fromY)));
    for (let i = 1; i <= steps; i++) {
      this.#stamp(fromX + ((x - fromX) * i) / steps, fromY + ((y - fromY) * i) / steps, 1);
    }
    this.last = [x, y];
    this.#render();
  }

  /** Light, or none, in a soft disc. */
  #stamp(x, y, light) {
    for (let row = 0; row < SIDE; row++) {
      for (let column = 0; column < SIDE; column++) {
        const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y);
        const share = Math.min(1, Math.max(0, BRUSH + 0.5 - distance));
        const i = row * SIDE + column;
        if (light > 0) this.pixels[i] = Math.max(this.pixels[i], share);
        else this.pixels[i] = Math.min(this.pixels[i], 1 - share);
      }
    }
  }

  #press(event) {
    const step = STEPS[event.key];
    if (step) {
      this.cursor = this.cursor.map((value, i) => Math.min(SIDE - 0.5, Math.max(0.5, value + step[i])));
    } else if (event.key === " ") this.#stamp(...this.cursor, 1);
    else if (event.key === "Backspace" || event.key === "Delete") this.#stamp(...this.cursor, 0);
    else if (event.key === "Enter") this.done(this.rows);
    else return;
    event.preventDefault();
    this.#render();
  }

  #render() {
    const size = this.canvas.width / SIDE;
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.pixels.forEach((value, i) => {
      if (value === 0) return;
      const grey = Math.round(255 * value);
      this.context.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      this.context.fillRect((i % SIDE) * size, Math.floor(i / SIDE) * size, size, size);
    });
    if (document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
      this.context.strokeStyle = "#a5a1ff";
      this.context.lineWidth = 2;
      const [x, y] = this.cursor;
      this.context.strokeRect((x - 1.5) * size, (y - 1.5) * size, 3 * size, 3 * size);
    }
  }
}
