// A file to Cloud Storage in pieces, over a resumable session:
// https://cloud.google.com/storage/docs/performing-resumable-uploads
// A piece that fails is not believed to have failed: the session is asked how far it is, and it goes on from there.

const PIECE = 16 * 1024 * 1024; // a multiple of 256 KiB, as the protocol wants it
const WAITS = [1, 2, 4, 8, 15, 30]; // seconds, the last one again and again

export class Gone extends Error {}
export class Taken extends Error {}

export class Upload {
  // `onProgress(sent, waiting)`: bytes that have arrived or are on the way; whether a lost line is waited for.
  constructor(file, address, onProgress) {
    this.file = file;
    this.address = address;
    this.onProgress = onProgress;
    this.stopped = false;
  }

  stop() {
    this.stopped = true;
    this.request?.abort();
    this.wake?.();
  }

  // Resolves when all is there; rejects with Gone if the session is no more, with Taken if the
  // name is in use by now, with AbortError when stopped.
  async run(asking = false) {
    let sent = asking ? null : 0;
    for (let failures = 0; sent !== this.file.size; ) {
      if (this.stopped) throw new DOMException("stopped", "AbortError");
      try {
        sent = sent === null ? await this.#ask() : await this.#send(sent);
        this.onProgress(sent, false);
        failures = 0;
      } catch (error) {
        if (error instanceof Gone || error instanceof Taken || this.stopped) throw this.stopped ? new DOMException("stopped", "AbortError") : error;
        sent = null;
        this.onProgress(null, true);
        await this.#pause(WAITS[Math.min(failures, WAITS.length - 1)]);
        failures += 1;
      }
    }
  }

  async #send(start) {
    const end = Math.min(start + PIECE, this.file.size);
    const range = `bytes ${start}-${end - 1}/${this.file.size}`;
    return this.#reached(await this.#put(range, this.file.slice(start, end), start));
  }

  async #ask() {
    return this.#reached(await this.#put(`bytes */${this.file.size}`, null, 0));
  }

  // How many bytes have arrived, as the answer says.
  #reached(request) {
    if (request.status === 200 || request.status === 201) return this.file.size;
    if (request.status === 308) {
      const range = /bytes=0-(\d+)/.exec(request.getResponseHeader("Range") || "");
      return range ? Number(range[1]) + 1 : 0;
    }
    if (request.status === 412) throw new Taken();
    if (request.status >= 400 && request.status < 500 && ![408, 429].includes(request.status)) throw new Gone();
    throw new Error(`answered ${request.status}`);
  }

  #put(range, body, start) {
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      request.open("PUT", this.address);
      request.setRequestHeader("Content-Range", range);
      request.upload.onprogress = (event) => this.onProgress(start + event.loaded, false);
      request.onload = () => resolve(request);
      request.onerror = request.onabort = () => reject(new Error("the line was lost"));
      request.send(body);
    });
  }

  #pause(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(done, seconds * 1000);
      const self = this;
      function done() {
        clearTimeout(timer);
        removeEventListener("online", done);
        self.wake = null;
        resolve();
      }
      this.wake = done;
      addEventListener("online", done);
    });
  }
}
