// Upload a file to Cloud Storage in chunks, over a resumable session:
// https://cloud.google.com/storage/docs/performing-resumable-uploads
// After a failed chunk, the session is asked how many bytes have arrived, because the chunk might have arrived.

const CHUNK = 16 * 1024 * 1024; // the protocol requires a multiple of 256 KiB
const RETRY_SECONDS = [1, 2, 4, 8, 15, 30]; // the last one repeats

export class SessionExpiredError extends Error {}
export class NameTakenError extends Error {}

export class ResumableUpload {
  // Calls `onProgress(sent, isWaiting)` with the bytes that have arrived or are on the way. `isWaiting`: connection lost.
  constructor(file, url, onProgress) {
    this.file = file;
    this.url = url;
    this.onProgress = onProgress;
    this.stopped = false;
  }

  stop() {
    this.stopped = true;
    this.request?.abort();
    this.wake?.();
  }

  // Resolves when the file has arrived. Rejects with SessionExpiredError, with NameTakenError if another upload took the
  // name, or with AbortError after `stop`.
  async run(isResumed = false) {
    let sent = isResumed ? null : 0;
    for (let failures = 0; sent !== this.file.size; ) {
      if (this.stopped) throw new DOMException("stopped", "AbortError");
      try {
        sent = sent === null ? await this.#querySent() : await this.#sendChunk(sent);
        this.onProgress(sent, false);
        failures = 0;
      } catch (error) {
        if (this.stopped) throw new DOMException("stopped", "AbortError");
        if (error instanceof SessionExpiredError || error instanceof NameTakenError) throw error;
        sent = null;
        this.onProgress(null, true);
        await this.#pause(RETRY_SECONDS[Math.min(failures, RETRY_SECONDS.length - 1)]);
        failures += 1;
      }
    }
  }

  async #sendChunk(start) {
    const end = Math.min(start + CHUNK, this.file.size);
    const range = `bytes ${start}-${end - 1}/${this.file.size}`;
    return this.#readSent(await this.#put(range, this.file.slice(start, end), start));
  }

  async #querySent() {
    return this.#readSent(await this.#put(`bytes */${this.file.size}`, null, 0));
  }

  // Return the number of bytes that have arrived, from the response.
  #readSent(request) {
    if (request.status === 200 || request.status === 201) return this.file.size;
    if (request.status === 308) {
      const range = /bytes=0-(\d+)/.exec(request.getResponseHeader("Range") || "");
      return range ? Number(range[1]) + 1 : 0;
    }
    if (request.status === 412) throw new NameTakenError();
    if (request.status >= 400 && request.status < 500 && ![408, 429].includes(request.status)) throw new SessionExpiredError();
    throw new Error(`status ${request.status}`);
  }

  #put(range, body, start) {
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      request.open("PUT", this.url);
      request.setRequestHeader("Content-Range", range);
      request.upload.onprogress = (event) => this.onProgress(start + event.loaded, false);
      request.onload = () => resolve(request);
      request.onerror = request.onabort = () => reject(new Error("connection lost"));
      request.send(body);
    });
  }

  #pause(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(finish, seconds * 1000);
      const self = this;
      function finish() {
        clearTimeout(timer);
        removeEventListener("online", finish);
        self.wake = null;
        resolve();
      }
      this.wake = finish;
      addEventListener("online", finish);
    });
  }
}
