// The page Upload: send the chosen files one after the other, and remember unfinished uploads in this browser.
import { encodeForm, formatBytes, formatDuration, post, readJsonLines } from "./api.js";
import { localizeTimes } from "./local_times.js";
import { NameTakenError, ResumableUpload, SessionExpiredError } from "./resumable_upload.js";
import { findProblem } from "./video_file.js";

const input = document.getElementById("files");
const zone = document.getElementById("zone");
const list = document.getElementById("uploads");
const announcement = document.getElementById("announcement");
const WEEK_MS = 7 * 24 * 3600 * 1000; // Cloud Storage keeps a session for a week
const KEY_PREFIX = `upload ${input.dataset.channel} `;
const activeKeys = new Set();
let queue = Promise.resolve();

const keyOf = (file) => `${KEY_PREFIX}${file.size} ${file.lastModified} ${file.name}`;
const saveSession = (file, url, stored) => localStorage.setItem(keyOf(file), JSON.stringify({ url, name: file.name, stored, size: file.size, since: Date.now() }));
const forgetSession = (file) => localStorage.removeItem(keyOf(file));

function loadSession(key) {
  try {
    const session = JSON.parse(localStorage.getItem(key));
    if (session && Date.now() - session.since < WEEK_MS) return session;
  } catch { /* another page's entry */ }
  localStorage.removeItem(key);
  return null;
}

function showUnfinished() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(KEY_PREFIX) && !activeKeys.has(key));
  const sessions = keys.map((key) => [key, loadSession(key)]).filter(([, session]) => session);
  document.getElementById("unfinished").hidden = !sessions.length;
  document.getElementById("unfinished-list").replaceChildren(...sessions.map(([key, session]) => {
    const row = document.createElement("li");
    row.className = "card row";
    const name = document.createElement("strong");
    name.className = "grow";
    name.textContent = session.name;
    const size = document.createElement("span");
    size.className = "muted number";
    size.textContent = formatBytes(session.size);
    const forget = document.createElement("button");
    forget.type = "button";
    forget.textContent = "Forget it";
    forget.setAttribute("aria-label", `Forget ${session.name}`);
    forget.onclick = () => { localStorage.removeItem(key); showUnfinished(); };
    row.append(name, size, forget);
    return row;
  }));
}

function addFiles(files) {
  for (const file of files) {
    const item = new UploadItem(file);
    queue = queue.then(() => item.run());
  }
  input.value = "";
}

// Show the jobs of completed uploads below them, until all have ended.
const FOLLOW_RETRY_MS = 3000;
const LISTED_MS = 10000; // the list has a new job within this time
const followed = new Set(); // items
let isFollowing = false;

async function followJobs() {
  if (isFollowing) return;
  isFollowing = true;
  while (followed.size) {
    const request = new AbortController();
    try {
      const response = await post(input.dataset.live, encodeForm({ search: "", most: "" }), {}, request.signal);
      for await (const { order, changed } of readJsonLines(response)) {
        for (const item of followed) item.showJob(order, changed);
        if (!followed.size) request.abort();
      }
    } catch (error) {
      if (error.status) break; // the page Jobs still shows them
    }
    if (followed.size) await new Promise((resolve) => { setTimeout(resolve, FOLLOW_RETRY_MS); });
  }
  isFollowing = false;
}

class UploadItem {
  constructor(file) {
    this.file = file;
    const fragment = document.getElementById("item").content.cloneNode(true);
    this.row = fragment.firstElementChild;
    const find = (selector) => this.row.querySelector(selector);
    [this.bar, this.message, this.amount, this.link, this.job] = [".bar", ".message", ".amount", "a", ".job"].map(find);
    [this.replace, this.keepBoth, this.resume, this.stop] = [".replace", ".keep-both", ".resume", ".stop"].map(find);
    find(".name").textContent = file.name;
    this.bar.setAttribute("aria-label", `${file.name}: upload progress`);
    for (const button of [this.replace, this.keepBoth, this.resume, this.stop]) button.setAttribute("aria-label", `${button.textContent}: ${file.name}`);
    this.amount.textContent = formatBytes(file.size);
    this.show("Waiting for the uploads before it.");
    this.replace.onclick = () => this.retry("replace");
    this.keepBoth.onclick = () => this.retry("keep-both");
    this.resume.onclick = () => this.retry("");
    this.stop.onclick = () => { this.stopped = true; this.upload?.stop(); if (!this.upload) this.finish("Upload stopped.", "resume"); };
    document.getElementById("sending").hidden = false;
    list.append(fragment);
  }

  show(text, announce = false) {
    this.message.textContent = text;
    if (announce) announcement.textContent = `${this.file.name}: ${text}`;
  }

  // Show the newest job of this name. `changed` has the cards of the list by their jobs.
  showJob(order, changed) {
    this.cards = { ...this.cards, ...changed };
    for (const job of order) {
      const template = document.createElement("template");
      template.innerHTML = (this.cards[job] ?? "").trim(); // the server has escaped all values
      const card = template.content.firstElementChild;
      if (card?.dataset.name !== this.stored) continue;
      if (job in changed) {
        card.querySelector(".row").remove(); // the name is shown already
        card.querySelector(".erase")?.remove(); // the page Jobs has it
        localizeTimes(card);
        this.job.replaceChildren(...card.children);
        this.message.textContent = "Upload complete.";
        this.job.hidden = false;
      }
      if (!("running" in card.dataset) && Date.now() - this.sentAt > LISTED_MS) followed.delete(this);
      return;
    }
  }

  retry(onConflict) {
    this.stopped = false;
    this.showButtons("stop");
    queue = queue.then(() => this.run(onConflict));
  }

  showButtons(...names) {
    for (const name of ["replace", "keepBoth", "resume", "stop"]) this[name].hidden = !names.includes(name);
  }

  // Without buttons, this file's upload is over.
  finish(text, ...buttons) {
    this.upload = null;
    activeKeys.delete(keyOf(this.file));
    this.show(text, true);
    this.showButtons(...buttons);
  }

  async run(onConflict = "") {
    if (this.stopped) return;
    const problem = await findProblem(this.file);
    if (problem) return this.finish(problem);
    activeKeys.add(keyOf(this.file));
    const session = onConflict ? null : loadSession(keyOf(this.file));
    try {
      const url = session ? session.url : await this.startSession(onConflict);
      this.stored ??= session?.stored ?? this.file.name;
      if (this.stopped) throw new DOMException("stopped", "AbortError"); // while the session was being started
      await this.send(url, Boolean(session));
      forgetSession(this.file);
      this.finish("Upload complete. The job is starting.");
      this.bar.hidden = true;
      this.link.hidden = false;
      this.sentAt = Date.now();
      followed.add(this);
      followJobs();
    } catch (error) {
      const ask = "Replace the video and its result, or keep both?";
      if (error instanceof SessionExpiredError) {
        forgetSession(this.file);
        if (session || !this.restarted) {
          this.upload = null;
          this.restarted = true; // only once: the user decides about a session that expires repeatedly
          return this.run(onConflict);
        }
        this.finish("Cloud Storage ended this upload. Start it again.", "resume");
      } else if (error instanceof NameTakenError) {
        forgetSession(this.file);
        this.finish(`Another user uploaded a video of this name during your upload. ${ask}`, "replace", "keepBoth");
      } else if (error.name === "AbortError") this.finish("Upload stopped. You can resume it.", "resume");
      else if (error.status === 409) this.finish(`${error.message} ${ask}`, "replace", "keepBoth");
      else this.finish(error.message, "resume");
    }
    showUnfinished();
  }

  async startSession(onConflict) {
    this.show("Starting the upload.");
    const { name, size, type } = this.file;
    const fields = encodeForm({ name, size, type, on_conflict: onConflict });
    const response = await this.retryWhileUnreachable(() => post(input.dataset.uploads, fields));
    const { url, name: stored } = await response.json();
    this.stored = stored;
    saveSession(this.file, url, stored);
    return url;
  }

  // An upload that restarts waits for the console, which might be restarting too.
  async retryWhileUnreachable(call) {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (error.status !== 0 || !this.restarted) throw error;
        if (this.stopped) throw new DOMException("stopped", "AbortError");
        this.show("The connection was lost. Trying again.");
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
    }
  }

  send(url, isResumed) {
    let since = performance.now();
    let firstSent = null;
    this.showButtons("stop");
    this.upload = new ResumableUpload(this.file, url, (sent, isWaiting) => {
      if (isWaiting) {
        firstSent = null;
        return this.show("The connection was lost. Trying again.", true);
      }
      if (firstSent === null) [firstSent, since] = [sent, performance.now()];
      this.bar.value = sent / this.file.size;
      this.amount.textContent = `${formatBytes(sent)} of ${formatBytes(this.file.size)}`;
      const speed = (sent - firstSent) / ((performance.now() - since) / 1000);
      const left = formatDuration((this.file.size - sent) / speed);
      this.show(speed > 0 && left ? `${formatBytes(speed)} per second, ${left} left` : "Sending.");
    });
    return this.upload.run(isResumed);
  }
}

input.onchange = () => addFiles(input.files);
for (const name of ["dragover", "dragenter"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
zone.addEventListener("dragleave", () => zone.classList.remove("over"));
zone.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); addFiles(event.dataTransfer.files); });
addEventListener("beforeunload", (event) => { if (activeKeys.size) event.preventDefault(); });
showUnfinished();
addFiles(input.files); // files that were chosen while this script was loading
