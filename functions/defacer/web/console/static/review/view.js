// How the pictures are shown: side by side, with a divider, or only the result; enlarged and moved; full screen.

const MAX_ZOOM = 8;
const WHEEL_ZOOM = 1.15;
const SWIPE_PIXELS = 60;
const CLICK_PIXELS = 5; // a pointer that moves less than this clicks

// Fires "change" with the new `name`. Both pictures are enlarged and moved together.
export class View extends EventTarget {
  zoom = 1;
  isDrawing = false; // whether the pointers belong to a mask that is being drawn
  #x = 0; // place of the enlarged picture, as a share of its size
  #y = 0;
  #pointers = new Map();

  constructor(screens, divider, names) {
    super();
    this.screens = screens;
    this.names = names;
    const move = () => screens.style.setProperty("--divider", `${divider.value}%`);
    divider.addEventListener("input", move);
    move();
    this.show(names[0]);
    screens.addEventListener("pointerdown", (event) => this.#press(event));
    screens.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) screens.addEventListener(name, (event) => this.#release(event));
    screens.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.zoomBy(event.deltaY > 0 ? 1 / WHEEL_ZOOM : WHEEL_ZOOM, event);
    }, { passive: false });
  }

  get name() { return this.screens.dataset.view; }

  show(name) {
    this.screens.dataset.view = name;
    this.dispatchEvent(new Event("change"));
  }

  showNext(direction = 1) {
    const { length } = this.names;
    this.show(this.names[(this.names.indexOf(this.name) + direction + length) % length]);
  }

  // Enlarge around a pointer's place, or around the center.
  zoomBy(factor, event = null) {
    const zoom = Math.max(1, Math.min(this.zoom * factor, MAX_ZOOM));
    const [x, y] = event ? this.#shareAt(event) : [0.5, 0.5];
    this.#x = x - ((x - this.#x) * zoom) / this.zoom;
    this.#y = y - ((y - this.#y) * zoom) / this.zoom;
    this.zoom = zoom;
    this.#apply();
  }

  resetZoom() { this.zoomBy(1 / MAX_ZOOM); }

  #apply() {
    const limit = (value) => Math.max(1 - this.zoom, Math.min(value, 0));
    [this.#x, this.#y] = [limit(this.#x), limit(this.#y)];
    const { style } = this.screens;
    style.setProperty("--zoom", this.zoom);
    style.setProperty("--pan-x", `${100 * this.#x}%`);
    style.setProperty("--pan-y", `${100 * this.#y}%`);
    this.screens.classList.toggle("zoomed", this.zoom > 1);
    this.dispatchEvent(new Event("change"));
  }

  #picture(event) { return event.target.closest?.(".picture") ?? this.screens.querySelector(".picture"); }

  // Return the place of a pointer as shares of the picture's width and height.
  #shareAt(event) {
    const area = this.#picture(event).getBoundingClientRect();
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
  }

  #press(event) {
    if (this.isDrawing || !event.target.closest(".picture") || event.button) return;
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, startX: event.clientX, startY: event.clientY, moved: false });
  }

  #move(event) {
    const pointer = this.#pointers.get(event.pointerId);
    if (!pointer || this.isDrawing) return;
    const [dx, dy] = [event.clientX - pointer.x, event.clientY - pointer.y];
    if (!pointer.moved && Math.hypot(event.clientX - pointer.startX, event.clientY - pointer.startY) < CLICK_PIXELS) return;
    if (!pointer.moved) this.screens.setPointerCapture(event.pointerId);
    pointer.moved = true;
    const before = this.#spread();
    pointer.x = event.clientX;
    pointer.y = event.clientY;
    if (this.#pointers.size > 1) {
      pointer.pinched = true;
      this.zoomBy(this.#spread() / before, { target: this.screens, ...this.#center() });
    } else if (this.zoom > 1) {
      const area = this.#picture(event).getBoundingClientRect();
      this.#x += dx / area.width;
      this.#y += dy / area.height;
      this.#apply();
    }
  }

  #release(event) {
    const pointer = this.#pointers.get(event.pointerId);
    this.#pointers.delete(event.pointerId);
    if (!pointer || pointer.pinched || this.zoom > 1 || event.pointerType === "mouse" || event.type === "pointercancel") return;
    const [dx, dy] = [event.clientX - pointer.startX, event.clientY - pointer.startY];
    if (Math.abs(dx) > SWIPE_PIXELS && Math.abs(dx) > 2 * Math.abs(dy)) this.showNext(dx < 0 ? 1 : -1);
  }

  #spread() {
    const [a, b] = this.#pointers.values();
    return b ? Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) : 1;
  }

  #center() {
    const points = [...this.#pointers.values()];
    return { clientX: points.reduce((sum, { x }) => sum + x, 0) / points.length, clientY: points.reduce((sum, { y }) => sum + y, 0) / points.length };
  }
}
