// Pictures of faces, cut from the source on request and kept in this page's memory only.

const BATCH = 6; // rows in one request
const MAX_REQUESTS = 2; // at a time
const MAX_KEPT = 300; // pictures in memory
const WAIT = 120; // milliseconds without a new request before the first request, so that scrolling past a card requests nothing
const RETRY = 1500; // milliseconds

// Calls back with a row: { url, row, rows, columns, views: [[track, second]] }, or null after an error.
export class FaceCrops {
  #rows = new Map(); // key -> row, or null after an error
  #wanted = new Map(); // key -> { ids, callbacks }
  #running = 0;
  #timer = null;

  constructor(url) { this.url = url; }

  // Request the faces of a list of tracks, such as "3,5". `isWanted()` is asked before the request is sent.
  get(key, callback, isWanted = () => true) {
    if (this.#rows.has(key)) {
      const row = this.#rows.get(key);
      this.#rows.delete(key);
      this.#rows.set(key, row); // the rows that were not used for the longest time are removed first
      return callback(row);
    }
    const request = this.#wanted.get(key) ?? { key, callbacks: [] };
    request.callbacks.push(callback);
    request.isWanted = isWanted;
    this.#wanted.set(key, request);
    this.#schedule(WAIT);
  }

  #schedule(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#send(), milliseconds);
  }

  async #send() {
    if (this.#running >= MAX_REQUESTS) return;
    for (const [key, request] of this.#wanted) if (!request.isWanted()) this.#wanted.delete(key);
    const batch = [...this.#wanted.values()].slice(0, BATCH);
    if (!batch.length) return;
    for (const request of batch) this.#wanted.delete(request.key);
    this.#running += 1;
    if (this.#wanted.size) this.#schedule(0);
    const query = batch.map((request) => `tracks=${request.key}`).join("&");
    const response = await fetch(`${this.url}?${query}`).catch(() => null);
    this.#running -= 1;
    if (response?.status === 429) {
      for (const request of batch) this.#wanted.set(request.key, request);
      return this.#schedule(RETRY);
    }
    await this.#store(batch, response);
    this.#schedule(0);
  }

  async #store(batch, response) {
    if (!response?.ok && batch.length > 1) { // one frame of the batch can't be decoded: request its rows one by one
      for (const request of batch) {
        const alone = await fetch(`${this.url}?tracks=${request.key}`).catch(() => null);
        await this.#store([request], alone);
      }
      return;
    }
    const views = response?.ok ? JSON.parse(response.headers.get("X-Views")) : [];
    const url = response?.ok ? URL.createObjectURL(await response.blob()) : null;
    const widest = Math.max(...views.map((row) => row.length), 1);
    for (const [row, request] of batch.entries()) {
      const found = url && { url, row, rows: batch.length, columns: widest, views: views[row] };
      if (found || response?.status < 500) this.#rows.set(request.key, found); // after a passing error, it is requested again
      for (const callback of request.callbacks) callback(found);
    }
    while (this.#rows.size > MAX_KEPT) this.#removeOldest();
  }

  #removeOldest() {
    const [key, removed] = this.#rows.entries().next().value;
    this.#rows.delete(key);
    if (removed && ![...this.#rows.values()].some((row) => row?.url === removed.url)) URL.revokeObjectURL(removed.url);
  }
}

// Fill a `.faces` element with one element for each face of a row. `make(track, second)` creates it.
export function showFaces(element, crops, make) {
  element.replaceChildren(...(crops?.views ?? []).map(([track, second], column) => {
    const face = make(track, second);
    face.classList.add("face");
    face.style.backgroundImage = `url("${crops.url}")`;
    face.style.backgroundSize = `${100 * crops.columns}% ${100 * crops.rows}%`;
    const share = (place, places) => (places > 1 ? (100 * place) / (places - 1) : 0);
    face.style.backgroundPosition = `${share(column, crops.columns)}% ${share(crops.row, crops.rows)}%`;
    return face;
  }));
}
