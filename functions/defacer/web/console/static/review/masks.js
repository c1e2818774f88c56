// Cover a missed face: draw a mask, let it follow the face in it, and correct it. Or look again for faces in a range.
import { readJsonLines, token } from "../api.js";
import { DrawnBox } from "./drawn_box.js";
import { boxAt } from "./overlay.js";
import { formatClock } from "./store.js";

const PROPOSED_HEIGHT = 0.25; // of the frame, for the box that a person moves with the keyboard
const DEFAULT_SECONDS = 10; // a new mask covers at most this long before and after the moment, and only its shot
const TO_FRAME = 0.25; // of a frame; range ends are moved outward, so that rounding leaves no frame out

const byId = (id) => document.getElementById(id);
const formatTenths = (seconds) => `${formatClock(seconds)}.${Math.floor((seconds % 1) * 10)}`;
const never = Number.POSITIVE_INFINITY;

// Return the boxes of a mask that a person placed at `anchors`: [second, x1, y1, x2, y2] each, sorted. It moves in a
// straight line between two of them, and stays in its place before the first and after the last one.
export function interpolate(anchors, from, to) {
  const at = (time) => [time, ...boxAt(anchors, time, never)];
  return [at(from), ...anchors.filter(([time]) => time > from && time < to), at(to)];
}

const nearest = (boxes, time) => boxes.reduce((a, b) => (Math.abs(b[0] - time) < Math.abs(a[0] - time) ? b : a));

// Send a request whose answer has one JSON object per line: first {"progress": 0 to 1}, and at last the result.
async function requestWork(url, body, signal, onProgress) {
  const headers = { "x-csrf-token": token, "Content-Type": "application/json", Accept: "application/json" };
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body), headers, signal });
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? `The console answered with status ${response.status}. Try again.`);
  for await (const answer of readJsonLines(response)) {
    if (answer.error) throw new Error(answer.error);
    if ("progress" in answer) onProgress(answer.progress);
    else return answer;
  }
  throw new Error("The connection was lost. Try again.");
}

// Connect the elements of `_masks.html`. `jobUrl` is the address of the job.
export function startMasks(store, player, jobUrl) { return new MaskEditor(store, player, jobUrl); }

class MaskEditor {
  #id = null; // the track that is corrected, or null for a new mask
  #anchors = []; // where a person placed the box: [second, x1, y1, x2, y2], sorted
  #boxes = null; // the boxes of the saved mask
  #base = null; // the boxes of a mask that is rendered already: corrections change only their moments
  #unconfirmed = []; // the spans of that mask which nothing confirmed: [first, last]
  #isLoading = false; // whether the boxes of the mask are on their way, so that it can't be changed yet
  #from = 0;
  #to = 0;
  #followed = null; // the range of the saved mask where its box was followed
  #plans = new WeakMap(); // from the boxes of a saved mask to { anchors, base, unconfirmed, from, to, follow }, so that undo restores them
  #work = null; // cancels the request in progress

  constructor(store, player, jobUrl) {
    this.store = store;
    this.player = player;
    this.jobUrl = jobUrl;
    this.drawn = new DrawnBox([...player.element.querySelectorAll(".picture")], store.video);
    this.drawn.addEventListener("draw", () => this.#placeAnchor(this.drawn.box));
    this.drawn.addEventListener("accept", () => this.save());
    this.drawn.addEventListener("cancel", () => this.close());
    const actions = {
      "draw-mask": () => this.toggle("mask"),
      "look-again": () => this.toggle("search"),
      "mask-from": () => this.#setRange(this.#now, Math.max(this.#to, this.#now)),
      "mask-to": () => this.#setRange(Math.min(this.#from, this.#now), this.#now),
      "mask-whole": () => this.#setRange(0, store.video.duration),
      "mask-save": () => this.save(),
      "mask-delete": () => this.remove(),
      "mask-look": () => this.lookAgain(),
      "mask-trim": () => this.trim(),
      "mask-cancel": () => this.#work?.abort(),
      "mask-close": () => this.close(),
    };
    for (const [id, run] of Object.entries(actions)) byId(id).onclick = run;
    player.addShortcuts([
      { keys: ["d"], shown: "D", text: "Draw a mask, or correct the chosen one", run: () => this.toggle("mask") },
      { keys: ["r"], shown: "R", text: "Look again for missed faces", run: () => this.toggle("search") },
      { keys: ["i"], shown: "I", text: "Mask or search: from here", run: () => this.isOpen && actions["mask-from"]() },
      { keys: ["o"], shown: "O", text: "Mask or search: to here", run: () => this.isOpen && actions["mask-to"]() },
    ]);
    byId("mask-panel").addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    store.addEventListener("time", () => this.isOpen && this.#showBox());
    store.addEventListener("change", () => this.#onChange());
    store.addEventListener("select", () => this.#onSelect());
    this.#onSelect();
  }

  get isOpen() { return !byId("mask-panel").hidden; }
  get #now() { return this.store.currentTime; }
  get #chosenMask() {
    const track = this.store.track(this.store.selected);
    return track?.origin === "manual" && track.decision === "hide" ? track : null;
  }

  get #mode() { return byId("mask-panel").dataset.mode; }

  // Open the panel to draw a mask ("mask") or to look again ("search"), or close it if it is open for this.
  async toggle(mode) {
    const wasMode = this.isOpen ? this.#mode : null;
    if (wasMode) this.close();
    if (wasMode !== mode) await this.open(mode);
  }

  async open(mode) {
    this.player.pause();
    byId("mask-panel").dataset.mode = mode;
    byId("mask-panel").hidden = false;
    this.#opener.setAttribute("aria-pressed", "true");
    if (mode === "search") {
      this.#startNew("Choose the range in which a face was missed.");
      byId("mask-look").focus();
      return;
    }
    this.player.view.isDrawing = true;
    this.drawn.open();
    const mask = this.#chosenMask;
    if (mask) await this.#edit(mask);
    else this.#startNew();
    this.drawn.focus();
  }

  close() {
    this.#work?.abort();
    byId("mask-panel").hidden = true;
    this.#opener.setAttribute("aria-pressed", "false");
    this.player.view.isDrawing = false;
    this.drawn.close();
    this.#mark(null, null);
    if (this.#chosenMask) this.store.selectTrack(null); // so that the next mask is a new one
    this.#opener.focus();
  }

  get #opener() { return byId(this.#mode === "search" ? "look-again" : "draw-mask"); }

  // Add the mask, or change the one that is corrected.
  async save() {
    if (!this.#canSave || this.#work) return;
    const [follow, points, base, unconfirmed] = [byId("mask-follow").checked, this.#listPoints(), this.#base, this.#unconfirmed];
    const anchors = this.#anchors.length || !base ? this.#anchors : [nearest(base, this.#now)];
    const [from, to] = this.#outerRange();
    let result = { detections: interpolate(points, from, to), unconfirmed: this.#listUnconfirmed() };
    if (follow) {
      result = await this.#request("follow", { anchors, start: from, end: to }, "Following the face in the box");
      if (!result) return;
    }
    this.#plans.set(result.detections, { anchors: this.#anchors, base, unconfirmed, from: this.#from, to: this.#to, follow });
    this.#store(result);
    this.#proposeTrim(result);
    const { length } = result.unconfirmed;
    this.#say(`The mask is in the list of changes. ${length ? `${length === 1 ? "One part needs" : `${length} parts need`} your check: choose Next to check.` : "Play it to check it."}`);
  }

  // Offer to cover only the part where the box was followed.
  #proposeTrim({ unconfirmed }) {
    const half = this.player.frameSeconds / 2;
    const [first] = unconfirmed.filter(([start]) => start <= this.#from + half);
    const [last] = unconfirmed.filter(([, end]) => end >= this.#to - half);
    this.#followed = [first ? first[1] : this.#from, last ? last[0] : this.#to];
    const [from, to] = this.#followed;
    byId("mask-trim").hidden = !(first || last) || from >= to;
    byId("mask-trim").textContent = `Cover only ${formatTenths(from)} to ${formatTenths(to)}, where it was followed`;
  }

  trim() {
    const track = this.store.track(this.#id);
    const [from, to] = this.#followed;
    const [plan, detections] = [this.#plans.get(this.#boxes), interpolate(this.#boxes, from, to)];
    const unconfirmed = (track.unconfirmed ?? []).map(([first, last]) => [Math.max(first, from), Math.min(last, to)]).filter(([first, last]) => first < last);
    this.#plans.set(detections, { ...plan, from, to });
    [this.#from, this.#to] = [from, to];
    this.#store({ detections, unconfirmed });
    byId("mask-trim").hidden = true;
    this.#say("The mask covers only this range now. Play it to check it.");
  }

  remove() {
    const track = this.store.track(this.#id);
    if (track?.added) this.store.removeAdded(track.id);
    else if (track) this.store.decide([track.id], "keep");
    this.#startNew();
  }

  async lookAgain() {
    const [start, end] = this.#outerRange();
    const result = await this.#request("look-again", { start, end }, "Searching");
    if (!result) return;
    const { tracks } = result;
    if (tracks.length) this.store.addFound(tracks);
    const range = `between ${formatClock(this.#from)} and ${formatClock(this.#to)}`;
    this.#say(tracks.length ? `${tracks.length === 1 ? "One more face was" : `${tracks.length} more faces were`} found ${range}. They are hidden unless you keep them.` : `No more face was found ${range}.`);
  }

  #store(result) {
    const track = this.store.track(this.#id);
    this.#boxes = result.detections;
    if (track?.added) this.store.editTrack(track.id, result.detections, result.unconfirmed);
    else this.#id = track ? this.store.replaceMask(track.id, result) : this.store.addTrack(result);
    this.store.selectTrack(this.#id, this.#now);
    this.#show();
  }

  // Run a request that takes a while. Returns null if it failed or was cancelled.
  async #request(path, body, text) {
    this.#work = new AbortController();
    this.#show();
    this.#say(`${text} …`);
    try {
      return await requestWork(`${this.jobUrl}/${path}`, body, this.#work.signal, (share) => { byId("mask-progress").value = share; });
    } catch (error) {
      this.#say(error.name === "AbortError" ? "Cancelled. Nothing was changed." : error.message);
      return null;
    } finally {
      this.#work = null;
      this.#show();
    }
  }

  #startNew(text = "Draw a box around a face or a region, in the source or in the result.") {
    const { cuts, duration } = this.store.video;
    const now = this.#now;
    this.#id = null;
    this.#anchors = [];
    this.#boxes = this.#base = null;
    this.#unconfirmed = [];
    this.#isLoading = false;
    byId("mask-follow").checked = true;
    byId("mask-trim").hidden = true;
    const shotStart = cuts.findLast((cut) => cut <= now) ?? 0;
    const shotEnd = (cuts.find((cut) => cut > now) ?? duration + this.player.frameSeconds) - this.player.frameSeconds;
    this.#setRange(Math.max(shotStart, now - DEFAULT_SECONDS), Math.min(shotEnd, now + DEFAULT_SECONDS));
    this.#say(text);
  }

  async #edit(track) {
    this.#id = track.id;
    this.#isLoading = true;
    byId("mask-trim").hidden = true;
    this.#show();
    this.#say("Loading the boxes of this mask …");
    const detections = await this.player.boxes.read(track).catch((error) => this.#say(error.message));
    if (this.#id !== track.id || !detections) return; // another mask was chosen since
    this.#isLoading = false;
    const plan = this.#plans.get(detections) ?? { anchors: [], base: detections, unconfirmed: track.unconfirmed ?? [], from: track.start, to: track.end, follow: false };
    this.#anchors = [...plan.anchors];
    this.#boxes = detections;
    this.#base = plan.base;
    this.#unconfirmed = plan.unconfirmed;
    byId("mask-follow").checked = plan.follow;
    this.#setRange(plan.from, plan.to);
    this.#say("Go to any moment and correct the box there.");
  }

  #placeAnchor(box) {
    if (this.#isLoading) return;
    const now = this.#now;
    const half = this.player.frameSeconds / 2;
    this.#anchors = [...this.#anchors.filter(([time]) => Math.abs(time - now) > half), [now, ...box]].sort((a, b) => a[0] - b[0]);
    this.#setRange(Math.min(this.#from, now), Math.max(this.#to, now));
  }

  #setRange(from, to) {
    this.#from = from;
    this.#to = to;
    this.#show();
  }

  get #canSave() { return !this.#isLoading && (this.#anchors.length > 0 || this.#base !== null); }

  // Return the corners of the mask's path without following: the corrections, and the rendered boxes of other moments.
  #listPoints() {
    const half = this.player.frameSeconds / 2;
    const rendered = (this.#base ?? []).filter(([time]) => !this.#anchors.some(([moment]) => Math.abs(moment - time) <= half));
    return [...rendered, ...this.#anchors].sort((a, b) => a[0] - b[0]);
  }

  // Return the unconfirmed spans of the rendered mask, without those that a correction is in.
  #listUnconfirmed() {
    const half = this.player.frameSeconds / 2;
    const untouched = this.#unconfirmed.filter(([first, last]) => !this.#anchors.some(([time]) => time >= first - half && time <= last + half));
    const inRange = untouched.map(([first, last]) => [Math.max(first, this.#from), Math.min(last, this.#to)]);
    return inRange.filter(([first, last]) => first <= last);
  }

  #outerRange() {
    const margin = TO_FRAME * this.player.frameSeconds;
    return [Math.max(0, this.#from - margin), this.#to + margin];
  }

  // Return the box at the current moment: where a person placed it, or where the saved mask followed.
  #boxNow() {
    const now = this.#now;
    const half = this.player.frameSeconds / 2;
    if (now < this.#from - half || now > this.#to + half) return null;
    const placed = this.#anchors.find(([time]) => Math.abs(time - now) <= half);
    if (placed) return placed.slice(1);
    return boxAt(this.#boxes ?? this.#anchors, now, never);
  }

  #showBox() {
    if (this.#mode === "search") return null;
    if (this.#isLoading) return this.drawn.show(null);
    if (this.#canSave) return this.drawn.show(this.#boxNow());
    const { width, height } = this.store.video;
    const side = PROPOSED_HEIGHT * height;
    return this.drawn.show([(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2], true);
  }

  #show() {
    if (!this.isOpen) return;
    const isWorking = Boolean(this.#work);
    const track = this.store.track(this.#id);
    this.#showBox();
    byId("mask-title").textContent = this.#mode === "search" ? "Look again for missed faces" : track ? `Correct ${this.store.group(track.group).name}` : "Cover a missed face";
    byId("mask-range").textContent = `${formatTenths(this.#from)} to ${formatTenths(this.#to)}`;
    byId("mask-save").textContent = track ? "Change the mask" : "Add the mask";
    byId("mask-save").disabled = isWorking || !this.#canSave;
    byId("mask-look").disabled = isWorking;
    byId("mask-delete").hidden = !track;
    byId("mask-cancel").hidden = byId("mask-progress").hidden = !isWorking;
    this.#mark(this.#id, [this.#from, this.#to], this.#anchors.map(([time]) => time));
  }

  #mark(id, range, times) {
    this.player.overlay.correctedTrack = id;
    this.player.markRange(range, times);
  }

  #say(text) { byId("mask-status").textContent = text; }

  // Undo can remove the mask that is corrected, or bring back its earlier boxes.
  #onChange() {
    this.#onSelect();
    if (!this.isOpen || this.#id === null || this.#mode === "search") return;
    const track = this.store.track(this.#id);
    if (!track) this.#startNew();
    else if (track.detections && track.detections !== this.#boxes) this.#edit(track);
  }

  #onSelect() {
    const mask = this.#chosenMask;
    byId("draw-mask").textContent = mask ? "Correct the mask" : "Draw a mask";
    if (this.isOpen && this.#mode === "mask" && mask && mask.id !== this.#id && !this.#work) this.#edit(mask);
  }
}
