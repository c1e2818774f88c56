// The page Drop: what is chosen goes up, one file after the other; what was cut off is remembered in this browser.
import { ask, bytes, form, lasting } from "./ask.js";
import { Gone, Taken, Upload } from "./upload.js";
import { problemOf } from "./video_file.js";

const input = document.getElementById("files");
const zone = document.getElementById("zone");
const list = document.getElementById("list");
const said = document.getElementById("said");
const WEEK = 7 * 24 * 3600 * 1000;
const PREFIX = `upload ${input.dataset.channel} `;
let queue = Promise.resolve();

const keyOf = (file) => `${PREFIX}${file.size} ${file.lastModified} ${file.name}`;
const remember = (file, address) => localStorage.setItem(keyOf(file), JSON.stringify({ address, name: file.name, size: file.size, since: Date.now() }));
const forget = (file) => localStorage.removeItem(keyOf(file));

function remembered(key) {
  try {
    const found = JSON.parse(localStorage.getItem(key));
    if (found && Date.now() - found.since < WEEK) return found;
  } catch { /* not ours */ }
  localStorage.removeItem(key);
  return null;
}

function showLeft() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX) && !active.has(key));
  const left = keys.map((key) => [key, remembered(key)]).filter(([, found]) => found);
  document.getElementById("left").hidden = !left.length;
  document.getElementById("left-list").replaceChildren(...left.map(([key, found]) => {
    const row = document.createElement("li");
    row.className = "card row";
    const name = document.createElement("strong");
    name.className = "grow";
    name.textContent = found.name;
    const amount = document.createElement("span");
    amount.className = "muted number";
    amount.textContent = bytes(found.size);
    const drop = document.createElement("button");
    drop.type = "button";
    drop.textContent = "Forget it";
    drop.setAttribute("aria-label", `Forget ${found.name}`);
    drop.onclick = () => { localStorage.removeItem(key); showLeft(); };
    row.append(name, amount, drop);
    return row;
  }));
}
const active = new Set();

function take(files) {
  for (const file of files) {
    const item = new Item(file);
    queue = queue.then(() => item.go());
  }
  input.value = "";
}

class Item {
  constructor(file) {
    this.file = file;
    const piece = document.getElementById("item").content.cloneNode(true);
    this.row = piece.firstElementChild;
    const part = (name) => this.row.querySelector(name);
    [this.bar, this.words, this.amount, this.link] = [".bar", ".words", ".amount", "a"].map(part);
    [this.replace, this.beside, this.resume, this.stop] = [".replace", ".beside", ".resume", ".stop"].map(part);
    part(".name").textContent = file.name;
    this.bar.setAttribute("aria-label", `${file.name}: sent`);
    for (const button of [this.replace, this.beside, this.resume, this.stop]) button.setAttribute("aria-label", `${button.textContent}: ${file.name}`);
    this.amount.textContent = bytes(file.size);
    this.say("Waiting for its turn.");
    this.replace.onclick = () => this.again("replace");
    this.beside.onclick = () => this.again("beside");
    this.resume.onclick = () => this.again("");
    this.stop.onclick = () => { this.stopped = true; this.upload?.stop(); if (!this.upload) this.end("Stopped.", "resume"); };
    document.getElementById("sending").hidden = false;
    list.append(piece);
  }

  say(text, aloud = false) {
    this.words.textContent = text;
    if (aloud) said.textContent = `${this.file.name}: ${text}`;
  }

  again(there) {
    this.stopped = false;
    this.buttons("stop");
    queue = queue.then(() => this.go(there));
  }

  buttons(...shown) {
    for (const name of ["replace", "beside", "resume", "stop"]) this[name].hidden = !shown.includes(name);
  }

  // Without buttons, the page is done with this file.
  end(text, ...buttons) {
    this.upload = null;
    active.delete(keyOf(this.file));
    this.say(text, true);
    this.buttons(...buttons);
  }

  async go(there = "") {
    if (this.stopped) return;
    const problem = await problemOf(this.file);
    if (problem) return this.end(problem);
    active.add(keyOf(this.file));
    const before = there ? null : remembered(keyOf(this.file));
    try {
      const address = before ? before.address : await this.begin(there);
      if (this.stopped) throw new DOMException("stopped", "AbortError"); // while the session began
      await this.send(address, Boolean(before));
      forget(this.file);
      this.bar.value = 1;
      this.end("All of it has arrived. The job begins now.");
      this.link.hidden = false;
    } catch (error) {
      if (error instanceof Gone) {
        forget(this.file);
        if (before || !this.renewed) {
          this.upload = null;
          this.renewed = true; // once: a session that ends again and again needs a person
          return this.go(there); // the session has ended, as after a restart of the emulator: from the start
        }
        this.end("Cloud Storage has given this upload up. Try again from the start.", "resume");
      } else if (error instanceof Taken) {
        forget(this.file);
        this.end("Somebody else dropped a video of this name meanwhile. Replace it, and its result with it, or keep both?", "replace", "beside");
      } else if (error.name === "AbortError") this.end("Stopped. It can go on where it was.", "resume");
      else if (error.status === 409) this.end(`${error.message} Replace it, and its result with it, or keep both?`, "replace", "beside");
      else this.end(error.message, "resume");
    }
    showLeft();
  }

  async begin(there) {
    this.say("Asking for a place.");
    const { name, size, type } = this.file;
    const answer = await this.reach(() => ask(input.dataset.uploads, form({ name, size, type, there })));
    const { address } = await answer.json();
    remember(this.file, address);
    return address;
  }

  // An upload that starts over waits for the console, which might be starting over too.
  async reach(call) {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (error.status !== 0 || !this.renewed) throw error;
        if (this.stopped) throw new DOMException("stopped", "AbortError");
        this.say("The connection was lost. Trying again.");
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
    }
  }

  send(address, asking) {
    let since = performance.now();
    let first = null;
    this.buttons("stop");
    this.upload = new Upload(this.file, address, (sent, waiting) => {
      if (waiting) {
        first = null;
        return this.say("The connection was lost. Trying again.", true);
      }
      if (first === null) [first, since] = [sent, performance.now()];
      this.bar.value = sent / this.file.size;
      this.amount.textContent = `${bytes(sent)} of ${bytes(this.file.size)}`;
      const speed = (sent - first) / ((performance.now() - since) / 1000);
      const left = lasting((this.file.size - sent) / speed);
      this.say(speed > 0 && left ? `${bytes(speed)} a second, ${left} left` : "Sending.");
    });
    return this.upload.run(asking);
  }
}

input.onchange = () => take(input.files);
for (const name of ["dragover", "dragenter"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
zone.addEventListener("dragleave", () => zone.classList.remove("over"));
zone.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); take(event.dataTransfer.files); });
addEventListener("beforeunload", (event) => { if (active.size) event.preventDefault(); });
showLeft();
