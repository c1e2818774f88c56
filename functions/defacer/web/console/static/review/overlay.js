// Draw the boxes of tracks, with their names, on the source and on the result.

const PART_SECONDS = 20;
const LINGER_SECONDS = 0.3; // before the first and after the last box of a track, because its mask is shown there too

// Return the box at this time, interpolated between two boxes: [x1, y1, x2, y2]. `boxes` are [second, x1, y1, x2, y2].
export function boxAt(boxes, time, linger = LINGER_SECONDS) {
  if (!boxes.length || time < boxes[0][0] - linger || time > boxes.at(-1)[0] + linger) return null;
  let [low, high] = [0, boxes.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (boxes[middle][0] < time) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return boxes[0].slice(1);
  if (low === boxes.length) return boxes.at(-1).slice(1);
  const [a, b] = [boxes[low - 1], boxes[low]];
  const share = b[0] > a[0] ? (time - a[0]) / (b[0] - a[0]) : 0;
  return [1, 2, 3, 4].map((i) => a[i] + share * (b[i] - a[i]));
}

// Loads and remembers the boxes of tracks, part by part of the video.
export class TrackBoxes {
  #parts = new Map(); // from the number of a part to the boxes of each track in it
  #whole = new Map(); // from a track's id to all of its boxes

  constructor(jobUrl, onLoad) {
    this.jobUrl = jobUrl;
    this.onLoad = onLoad;
  }

  // Return the box of a track at a time, or null if there is none or it is still loading. A pending track has its own.
  at(track, time) {
    const part = Math.floor(time / PART_SECONDS);
    this.#load(part);
    this.#load(Math.floor((time + PART_SECONDS / 2) / PART_SECONDS)); // the next part, before it is needed
    const boxes = track.detections ?? this.#parts.get(part)?.[track.id];
    return boxes ? boxAt(boxes, time) : null;
  }

  // Return a promise of all boxes of a track.
  async read(track) {
    if (track.detections) return track.detections;
    if (!this.#whole.has(track.id)) this.#whole.set(track.id, (await this.#fetch(`tracks/${track.id}`)).detections);
    return this.#whole.get(track.id);
  }

  async #load(part) {
    if (this.#parts.has(part)) return;
    this.#parts.set(part, null);
    const range = `from=${part * PART_SECONDS}&to=${(part + 1) * PART_SECONDS}`;
    const { tracks } = await this.#fetch(`boxes?${range}`).catch(() => ({ tracks: {} })); // no box, and no endless requests
    this.#parts.set(part, tracks);
    this.onLoad();
  }

  async #fetch(path) {
    const response = await fetch(`${this.jobUrl}/${path}`);
    if (!response.ok) throw new Error("The boxes could not be loaded. Load the page again.");
    return response.json();
  }
}

// Places boxes on layers that cover the pictures exactly.
export class Overlay {
  constructor(layers, store, boxes) {
    this.layers = layers;
    this.store = store;
    this.boxes = boxes;
    this.isShown = true;
    this.correctedTrack = null; // the mask that a person corrects is drawn by `DrawnBox`
    for (const layer of layers) layer.addEventListener("click", (event) => this.#select(event));
  }

  // The selected track is drawn even if the boxes are switched off.
  draw(time) {
    const visible = [];
    for (const track of this.store.tracks) {
      if (track.id === this.correctedTrack) continue;
      const isSelected = track.id === this.store.selected;
      if (!(this.isShown || isSelected) || time < track.start - LINGER_SECONDS || time > track.end + LINGER_SECONDS) continue;
      const box = this.boxes.at(track, time);
      if (box) visible.push({ track, box, isSelected });
    }
    for (const layer of this.layers) this.#fill(layer, visible);
  }

  #fill(layer, visible) {
    while (layer.children.length > visible.length) layer.lastChild.remove();
    while (layer.children.length < visible.length) {
      const item = document.createElement("div");
      item.append(document.createElement("span"));
      layer.append(item);
    }
    visible.forEach(({ track, box, isSelected }, number) => {
      const item = layer.children[number];
      item.className = `box ${track.state}${track.origin === "manual" ? " manual" : ""}${isSelected ? " selected" : ""}`;
      item.dataset.track = track.id;
      item.firstChild.textContent = this.store.group(track.group).name;
      place(item, box, this.store.video);
    });
  }

  #select(event) {
    const item = event.target.closest("[data-track]");
    if (item) this.store.selectTrack(Number(item.dataset.track), this.store.currentTime);
  }
}

// Place an element over a box of the frame, whatever the size of the picture is.
export function place(item, [x1, y1, x2, y2], { width, height }) {
  const percent = (value, whole) => `${((100 * value) / whole).toFixed(3)}%`;
  item.style.left = percent(x1, width);
  item.style.top = percent(y1, height);
  item.style.width = percent(x2 - x1, width);
  item.style.height = percent(y2 - y1, height);
}
