// A box that a person draws on the pictures: with a mouse, a pen, a finger or the keyboard.
import { place } from "./overlay.js";

const CORNERS = ["left top", "right top", "left bottom", "right bottom"];
const MIN_SIDE = 8; // pixels of the frame
const KEY_STEP = 0.01; // of the frame's height
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const limit = (value, low, high) => Math.max(low, Math.min(value, high));

// Fires "draw" when the person changes `box` ([x1, y1, x2, y2] in pixels of the frame), "accept" on Enter and "cancel" on Escape.
export class DrawnBox extends EventTarget {
  box = null;
  #elements = [];
  #drag = null;

  // `pictures` show the same frame. `frame` is its size: { width, height }.
  constructor(pictures, frame) {
    super();
    this.pictures = pictures;
    this.frame = frame;
    for (const picture of pictures) {
      const element = this.#build();
      picture.querySelector(".pan").append(element);
      this.#elements.push(element);
      picture.addEventListener("pointerdown", (event) => this.#press(event, picture));
      picture.addEventListener("pointermove", (event) => this.#move(event));
      for (const name of ["pointerup", "pointercancel"]) picture.addEventListener(name, () => { this.#drag = null; });
    }
    this.close();
  }

  get isOpen() { return this.#elements[0].parentElement.classList.contains("drawing"); }

  open() { for (const element of this.#elements) element.parentElement.classList.add("drawing"); }
  close() {
    for (const element of this.#elements) element.parentElement.classList.remove("drawing");
    this.show(null);
  }

  focus() { this.#elements.find((element) => element.offsetParent)?.focus({ preventScroll: true }); }

  // Show the box, or none. A box that is only proposed looks different.
  show(box, isProposed = false) {
    this.box = box;
    for (const element of this.#elements) {
      element.hidden = !box;
      element.classList.toggle("proposed", isProposed);
      if (!box) continue;
      place(element, box, this.frame);
      const [x1, y1, x2, y2] = box.map(Math.round);
      element.setAttribute("aria-label", `Box of the mask, ${x1} pixels from the left, ${y1} from the top, ${x2 - x1} wide, ${y2 - y1} high. Arrow keys move it. Shift and arrow keys change its size. Enter saves it.`);
    }
  }

  #build() {
    const element = document.createElement("div");
    element.className = "drawn";
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    for (const corner of CORNERS) {
      const handle = document.createElement("i");
      handle.dataset.corner = corner;
      element.append(handle);
    }
    element.addEventListener("keydown", (event) => this.#pressKey(event));
    return element;
  }

  // Return the place of a pointer in pixels of the frame, also in an enlarged picture.
  #pointAt(event, picture) {
    const area = picture.querySelector(".pan").getBoundingClientRect();
    return [
      limit(((event.clientX - area.left) / area.width) * this.frame.width, 0, this.frame.width),
      limit(((event.clientY - area.top) / area.height) * this.frame.height, 0, this.frame.height),
    ];
  }

  #press(event, picture) {
    if (!this.isOpen || event.button || !event.isPrimary) return;
    event.preventDefault();
    picture.setPointerCapture(event.pointerId);
    const corner = event.target.dataset?.corner;
    const start = this.#pointAt(event, picture);
    if (corner) {
      const [x1, y1, x2, y2] = this.box;
      const opposite = [corner.includes("left") ? x2 : x1, corner.includes("top") ? y2 : y1];
      this.#drag = { picture, from: opposite };
    } else if (event.target.closest(".drawn")) {
      this.#drag = { picture, start, box: this.box };
    } else {
      this.#drag = { picture, from: start };
    }
  }

  #move(event) {
    if (!this.#drag) return;
    const { picture, from, start, box } = this.#drag;
    const [x, y] = this.#pointAt(event, picture);
    if (box) return this.#change(this.#shift(box, x - start[0], y - start[1]));
    const drawn = [Math.min(from[0], x), Math.min(from[1], y), Math.max(from[0], x), Math.max(from[1], y)];
    if (drawn[2] - drawn[0] >= MIN_SIDE && drawn[3] - drawn[1] >= MIN_SIDE) this.#change(drawn);
  }

  #shift([x1, y1, x2, y2], dx, dy) {
    const [right, down] = [limit(dx, -x1, this.frame.width - x2), limit(dy, -y1, this.frame.height - y2)];
    return [x1 + right, y1 + down, x2 + right, y2 + down];
  }

  #pressKey(event) {
    const decision = { Enter: "accept", Escape: "cancel" }[event.key];
    if (decision) {
      event.preventDefault();
      return this.dispatchEvent(new Event(decision));
    }
    const arrow = ARROWS[event.key];
    if (!arrow || !this.box) return undefined;
    event.preventDefault();
    const step = Math.max(1, Math.round(KEY_STEP * this.frame.height));
    const [dx, dy] = arrow.map((part) => part * step);
    if (!event.shiftKey) return this.#change(this.#shift(this.box, dx, dy));
    const [x1, y1, x2, y2] = this.box;
    return this.#change([x1, y1, limit(x2 + dx, x1 + MIN_SIDE, this.frame.width), limit(y2 + dy, y1 + MIN_SIDE, this.frame.height)]);
  }

  #change(box) {
    this.show(box.map((side) => Math.round(side * 10) / 10));
    this.dispatchEvent(new Event("draw"));
  }
}
