// Draw the boxes of tracks, with their names, on the source and on the result.

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

// Loads and remembers the boxes of tracks. `load(id)` returns a promise of them.
export class TrackBoxes {
  #loaded = new Map();

  constructor(load, onLoad) {
    this.load = load;
    this.onLoad = onLoad;
  }

  // Return the boxes of a track, or null while they are loading.
  of(track) {
    if (!track.detections && !this.#loaded.has(track.id)) this.read(track).then(this.onLoad);
    return track.detections ?? this.#loaded.get(track.id);
  }

  // Return a promise of the boxes of a track. A pending track has its own.
  async read(track) {
    if (track.detections ?? this.#loaded.get(track.id)) return track.detections ?? this.#loaded.get(track.id);
    this.#loaded.set(track.id, null);
    this.#loaded.set(track.id, await this.load(track.id).catch(() => [])); // no box is drawn, and none is requested again
    return this.#loaded.get(track.id);
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
      const known = this.boxes.of(track);
      const box = known && boxAt(known, time);
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
