// The timeline: cuts, spans of unsure, kept and hidden tracks, and masks that a person has to check. It can be zoomed.

const LANES = ["unsure", "kept", "hidden"]; // from top to bottom
const LANE_HEIGHT = 12;
const LANE_GAP = 4;
const BORDER = 8; // pixels at both ends, so that times are above the same times of the slider
const MIN_SPAN_PIXELS = 3;
const MIN_VIEW_SECONDS = 1;
const ZOOM_STEP = 1.6;
const MARGIN = 0.1; // of the view; it follows the position before the position reaches the border

export class Timeline {
  #drawn = null; // what is on the canvas, to draw only changes
  #dragging = false;

  // `seek(seconds)` is called when the user chooses a place.
  constructor(canvas, store, seek) {
    this.canvas = canvas;
    this.store = store;
    this.length = store.video.duration;
    this.seek = seek;
    this.from = 0;
    this.to = this.length;
    this.time = 0;
    this.range = null; // of the mask that is being drawn: [from, to]
    this.marks = []; // the times at which a person placed that mask
    canvas.addEventListener("pointerdown", (event) => { this.#dragging = true; canvas.setPointerCapture(event.pointerId); this.#seekTo(event); });
    canvas.addEventListener("pointermove", (event) => this.#dragging && this.#seekTo(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.#dragging = false; });
    canvas.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    new ResizeObserver(() => this.redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  get isZoomed() { return this.to - this.from < this.length; }

  zoomIn() { this.#zoom(1 / ZOOM_STEP, this.time); }
  zoomOut() { this.#zoom(ZOOM_STEP, this.time); }

  draw(time, follow) {
    this.time = time;
    if (follow && this.isZoomed && !this.#dragging) this.#follow();
    const key = `${time.toFixed(3)} ${this.from} ${this.to} ${this.store.selected}`;
    if (key === this.#drawn) return;
    this.#drawn = key;
    this.#paint();
  }

  redraw() {
    this.#drawn = null;
    this.draw(this.time, false);
  }

  #paint() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const { width, height } = canvas.getBoundingClientRect();
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const paint = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, width, height);
    const x = (seconds) => BORDER + ((seconds - this.from) / (this.to - this.from)) * (width - 2 * BORDER);
    const bar = (from, to, top, tall, fill) => {
      if (to < this.from || from > this.to) return;
      paint.fillStyle = fill;
      const [left, right] = [x(Math.max(from, this.from)), x(Math.min(to, this.to))];
      paint.fillRect(left, top, Math.max(MIN_SPAN_PIXELS, right - left), tall);
    };
    LANES.forEach((_, lane) => bar(this.from, this.to, laneTop(lane), LANE_HEIGHT, color("sunk")));
    for (const track of this.store.tracks) {
      const lane = LANES.indexOf(track.state);
      for (const [from, to] of track.spans) bar(from, to, laneTop(lane), LANE_HEIGHT, color(track.state));
      for (const [from, to] of track.unconfirmed ?? []) bar(from, to, laneTop(0) + LANE_HEIGHT / 2, LANE_HEIGHT / 2, color("bad"));
    }
    const selected = this.store.track(this.store.selected);
    paint.strokeStyle = color("ink");
    paint.lineWidth = 2;
    for (const [from, to] of selected?.spans ?? []) {
      if (to < this.from || from > this.to) continue;
      const left = x(Math.max(from, this.from));
      paint.strokeRect(left, laneTop(LANES.indexOf(selected.state)), Math.max(MIN_SPAN_PIXELS, x(Math.min(to, this.to)) - left), LANE_HEIGHT);
    }
    if (this.range) bar(...this.range, laneTop(LANES.length) - 3, 4, color("accent"));
    for (const moment of this.marks) bar(moment, moment, laneTop(LANES.length) - 5, 8, color("accent"));
    for (const cut of this.store.video.cuts) {
      if (cut < this.from || cut > this.to) continue;
      paint.fillStyle = color("strong-line");
      paint.fillRect(x(cut), 0, 1, height);
    }
    paint.fillStyle = color("ink");
    paint.fillRect(x(this.time) - 1, 0, 2, height);
  }

  #secondsAt(event) {
    const area = this.canvas.getBoundingClientRect();
    return this.from + ((this.to - this.from) * (event.clientX - area.left - BORDER)) / (area.width - 2 * BORDER);
  }

  #seekTo(event) { this.seek(Math.max(0, Math.min(this.#secondsAt(event), this.length))); }

  #onWheel(event) {
    if (event.ctrlKey) {
      event.preventDefault();
      this.#zoom(event.deltaY > 0 ? ZOOM_STEP : 1 / ZOOM_STEP, this.#secondsAt(event));
    } else if (this.isZoomed && (event.deltaX || event.shiftKey)) {
      event.preventDefault();
      this.#showFrom(this.from + ((event.deltaX || event.deltaY) * (this.to - this.from)) / this.canvas.clientWidth);
    }
  }

  // Zoom so that `center` stays in its place.
  #zoom(factor, center) {
    const size = this.to - this.from;
    const zoomed = Math.max(Math.min(MIN_VIEW_SECONDS, this.length), Math.min(size * factor, this.length));
    const share = (center - this.from) / size;
    this.to = this.from + zoomed;
    this.#showFrom(center - share * zoomed);
  }

  #follow() {
    const size = this.to - this.from;
    if (this.time < this.from || this.time > this.to - MARGIN * size) this.#showFrom(this.time - MARGIN * size);
  }

  #showFrom(from) {
    const size = this.to - this.from;
    this.from = Math.max(0, Math.min(from, this.length - size));
    this.to = this.from + size;
    this.redraw();
  }
}

const laneTop = (lane) => LANE_GAP + lane * (LANE_HEIGHT + LANE_GAP);
