// The list of person cards. Only the rows near the window are in the document, so that it stays fast with 2,000 tracks.
import { showFaces } from "./crops.js";
import { count, formatClock } from "./store.js";

const SHORT_SECONDS = 0.5; // hidden cards that are visible for a shorter time are folded together
const MAX_FACES = 6;
const OVERSCAN = 600; // pixels above and below the window
const TAG = { kept: "kept", hidden: "hidden", unsure: "unsure" };

export const FILTERS = [
  { name: "all", text: "All", accepts: () => true },
  { name: "unsure", text: "Unsure", accepts: (group) => group.state === "unsure" || group.initial === "unsure" },
  { name: "kept", text: "Kept", accepts: (group) => group.kept > 0 && !group.isMask },
  { name: "hidden", text: "Hidden", accepts: (group) => group.kept < group.tracks.length },
  { name: "short", text: "Short", accepts: (group) => group.seconds < SHORT_SECONDS },
];

const isFolded = (group) => group.seconds < SHORT_SECONDS && group.initial === "hidden" && group.state === "hidden" && !group.changed;

// What to request as the faces of these tracks: the longest ones, or the largest box of a track that this page has changed.
export function chooseFaces(tracks) {
  const longest = tracks.filter((track) => !track.detections).sort((a, b) => b.end - b.start - (a.end - a.start));
  if (longest.length || !tracks.length) return longest.slice(0, MAX_FACES).map((track) => track.id).join();
  const area = ([, x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  return `@${tracks[0].detections.reduce((a, b) => (area(b) > area(a) ? b : a)).map((number) => number.toFixed(3)).join()}`;
}

function drawSpans(path, spans, duration) {
  const parts = spans.map(([first, last]) => {
    const x = Math.min(996, (1000 * first) / duration);
    return `M${x.toFixed(1)} 0h${Math.max(4, Math.min(1000 - x, (1000 * (last - first)) / duration)).toFixed(1)}v10H${x.toFixed(1)}z`;
  });
  path.setAttribute("d", parts.join(""));
}

export class CardList extends EventTarget { // fires "choose" when other cards are selected, and "name" with `detail.group`
  chosen = new Set(); // ids of the selected groups
  #filter = FILTERS[0];
  #text = "";
  #expanded = new Set(); // ids of groups whose tracks are shown
  #isUnfolded = false; // whether the short cards are shown
  #rows = []; // { kind, key, top, height, group or track }
  #mounted = new Map(); // key -> element
  #heights = {};

  constructor(list, store, crops) {
    super();
    this.list = list;
    this.store = store;
    this.crops = crops;
    store.addEventListener("change", () => this.refresh());
    store.addEventListener("select", () => this.#updateMounted());
    store.addEventListener("time", () => this.#drawTime());
    addEventListener("scroll", () => this.#mount(), { passive: true });
    new ResizeObserver(() => { this.#measure(); this.refresh(); }).observe(list);
    this.#measure();
    this.refresh();
  }

  setFilter(name) { this.#filter = FILTERS.find((filter) => filter.name === name); this.refresh(); }
  search(text) { this.#text = text.trim().toLowerCase(); this.refresh(); }
  get isEmpty() { return this.#rows.length === 0; }

  clearChosen() {
    this.chosen.clear();
    this.#updateMounted();
    this.dispatchEvent(new Event("choose"));
  }

  // Build all rows again from the store, and show those in the window.
  refresh() {
    for (const id of this.chosen) if (!this.store.group(id)) this.chosen.delete(id);
    const { name, accepts } = this.#filter;
    const groups = this.store.groups.filter((group) => accepts(group) && group.name.toLowerCase().includes(this.#text));
    const folded = name === "short" || this.#text ? [] : groups.filter(isFolded);
    const hidden = new Set(folded.length > 1 ? folded : []);
    const rows = [];
    const add = (kind, key, values) => rows.push({ kind, key, ...values });
    const addGroup = (group) => {
      add("person", `person${group.id}`, { group });
      if (this.#expanded.has(group.id)) for (const track of group.tracks) add("track", `track${track.id}`, { track, group });
    };
    groups.filter((group) => !hidden.has(group)).forEach(addGroup);
    if (hidden.size) {
      add("short", "short", { groups: folded });
      if (this.#isUnfolded) folded.forEach(addGroup);
    }
    let top = 0;
    for (const row of rows) {
      row.top = top;
      row.height = this.#heights[row.kind];
      top += row.height;
    }
    this.#rows = rows;
    this.list.style.height = `${top}px`;
    this.#mount();
    this.#updateMounted();
    this.dispatchEvent(new Event("choose"));
  }

  #measure() {
    for (const kind of ["person", "track", "short"]) {
      const probe = this.#make(kind);
      probe.style.visibility = "hidden";
      this.list.append(probe);
      this.#heights[kind] = probe.getBoundingClientRect().height;
      probe.remove();
    }
  }

  #make(kind) { return document.getElementById(kind === "person" ? "card-template" : `${kind}-template`).content.firstElementChild.cloneNode(true); }

  // Put the rows near the window into the document, in their order, and remove the others.
  #mount() {
    const start = this.list.getBoundingClientRect().top;
    const [from, to] = [-start - OVERSCAN, innerHeight - start + OVERSCAN];
    let first = this.#firstAfter(from);
    const wanted = [];
    while (first < this.#rows.length && this.#rows[first].top < to) wanted.push(first++);
    const focused = document.activeElement?.closest?.("#cards > li")?.dataset.key;
    if (focused && !wanted.some((index) => this.#rows[index].key === focused)) {
      const index = this.#rows.findIndex((row) => row.key === focused); // removing it would lose the focus
      if (index >= 0) wanted.splice(wanted[0] > index ? 0 : wanted.length, 0, index);
    }
    const keys = new Set(wanted.map((index) => this.#rows[index].key));
    for (const [key, element] of this.#mounted) {
      if (keys.has(key)) continue;
      element.remove();
      this.#mounted.delete(key);
    }
    let before = null;
    for (const index of wanted) {
      const row = this.#rows[index];
      let element = this.#mounted.get(row.key);
      if (!element) {
        element = this.#make(row.kind);
        element.dataset.key = row.key;
        this.#mounted.set(row.key, element);
        this.#connect(row.kind, element);
        this.#fill(row, element, index);
      }
      const place = before ? before.nextElementSibling : this.list.firstElementChild;
      if (place !== element) this.list.insertBefore(element, place);
      before = element;
    }
  }

  #firstAfter(y) {
    let [low, high] = [0, this.#rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#rows[middle].top + this.#rows[middle].height > y) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #updateMounted() {
    for (const [index, row] of this.#rows.entries()) {
      const element = this.#mounted.get(row.key);
      if (element) this.#fill(row, element, index);
    }
  }

  #drawTime() {
    const time = this.store.currentTime;
    const x = (1000 * time) / this.store.video.duration;
    for (const element of this.#mounted.values()) {
      element.querySelector(".now")?.setAttribute("x", x);
      const spans = (element.group ?? element.track)?.spans ?? [];
      element.classList.toggle("here", spans.some(([first, last]) => first - 0.1 <= time && time <= last + 0.1));
    }
  }

  #connect(kind, element) {
    const part = (name) => element.querySelector(name);
    const toggle = (set, id) => { if (!set.delete(id)) set.add(id); };
    const ids = () => (element.track ? [element.track.id] : element.group.tracks.map((track) => track.id));
    if (kind === "short") {
      part(".expand").onclick = () => { this.#isUnfolded = !this.#isUnfolded; this.refresh(); };
      return;
    }
    part(".keep").onclick = () => this.store.decide(ids(), "keep");
    part(".hide").onclick = () => this.store.decide(ids(), "hide");
    part(".go").onclick = () => this.store.selectTrack(element.track?.id ?? element.group.tracks[0].id);
    if (kind === "track") {
      part(".split").onclick = () => this.store.split([element.track.id]);
      return;
    }
    part(".choose").onchange = () => { toggle(this.chosen, element.group.id); this.refresh(); };
    part(".expand").onclick = () => { toggle(this.#expanded, element.group.id); this.refresh(); };
    part(".who").onclick = () => this.dispatchEvent(new CustomEvent("name", { detail: { group: element.group } }));
    part(".line").onclick = (event) => {
      const area = event.currentTarget.getBoundingClientRect();
      this.#goTo(element.group, (this.store.video.duration * (event.clientX - area.left)) / area.width);
    };
  }

  // Choose the track of the group that is nearest to this time.
  #goTo(group, seconds) {
    const distance = (track) => Math.min(...track.spans.map(([first, last]) => Math.max(first - seconds, seconds - last, 0)));
    const nearest = group.tracks.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    this.store.selectTrack(nearest.id, seconds);
  }

  #fill(row, element, index) {
    element.style.top = `${row.top}px`;
    element.setAttribute("aria-setsize", this.#rows.length);
    element.setAttribute("aria-posinset", index + 1);
    element.group = row.group;
    element.track = row.track;
    if (row.kind === "person") this.#fillPerson(element, row.group);
    else if (row.kind === "track") this.#fillTrack(element, row.track, row.group);
    else this.#fillShort(element, row.groups);
  }

  #fillPerson(element, group) {
    const part = (name) => element.querySelector(name);
    const { duration } = this.store.video;
    this.#fillDecision(element, group, group.name, group.decision);
    part(".choose").checked = this.chosen.has(group.id);
    part(".choose").setAttribute("aria-label", `Select ${group.name}`);
    part(".go").textContent = group.name;
    part(".go").setAttribute("aria-label", `${group.name}: show in the video`);
    part(".seconds").textContent = `${group.seconds < 10 ? group.seconds.toFixed(1) : Math.round(group.seconds)} s`;
    part(".from").textContent = `, from ${formatClock(group.start)}`;
    part(".expand .count").textContent = group.tracks.length;
    part(".expand .noun").textContent = group.tracks.length === 1 ? " track" : " tracks";
    part(".expand").setAttribute("aria-expanded", this.#expanded.has(group.id));
    part(".expand").setAttribute("aria-label", `${count(group.tracks.length, "track")} of ${group.name}`);
    part(".who").hidden = !this.store.editable || group.withdrawn || group.isMask || (group.isAdded && !this.store.people.length);
    part(".who").setAttribute("aria-label", `This is… (${group.name})`);
    const spansOf = (accepts) => group.tracks.filter(accepts).flatMap((track) => track.spans);
    drawSpans(part(".hidden-spans"), spansOf((track) => track.state === "hidden"), duration);
    drawSpans(part(".kept-spans"), spansOf((track) => track.state === "kept"), duration);
    drawSpans(part(".unsure-spans"), spansOf((track) => track.state === "unsure"), duration);
    drawSpans(part(".unconfirmed-spans"), group.tracks.flatMap((track) => track.unconfirmed ?? []), duration);
    part(".now").setAttribute("x", (1000 * this.store.currentTime) / duration);
    element.classList.toggle("chosen", group.tracks.some((track) => track.id === this.store.selected));
    this.#showCrops(element, chooseFaces(group.tracks));
  }

  #fillTrack(element, track, group) {
    const part = (name) => element.querySelector(name);
    const [start, end] = [formatClock(track.start), formatClock(track.end)];
    this.#fillDecision(element, track, `track ${track.id}`, track.decision);
    part(".go").textContent = start === end ? start : `${start}–${end}`;
    part(".go").setAttribute("aria-label", `Track ${track.id}, ${track.state}, from ${start} to ${end}: show in the video`);
    const resemblance = track.resemblance ? ` ${track.resemblance}.` : "";
    part(".reason").textContent = track.reason ? `${track.reason}.${resemblance}` : "Added by you.";
    part(".reason").title = part(".reason").textContent;
    part(".split").hidden = !this.store.editable || group.tracks.length < 2;
    part(".split").setAttribute("aria-label", `Split track ${track.id} off`);
    element.classList.toggle("chosen", track.id === this.store.selected);
    this.#showCrops(element, track.detections ? chooseFaces([track]) : `${track.id}:1`);
  }

  // Show the state of a card or track, and what a click on Keep or Hide has changed.
  #fillDecision(element, item, name, decision) {
    const part = (selector) => element.querySelector(selector);
    const published = (item.tracks ?? [item]).every((track) => track.published === track.decision || (track.added && track.split_from === undefined));
    const isMask = item.isMask ?? item.origin === "manual"; // a mask that is kept covers nothing any more
    const words = isMask && decision === "keep" ? "removed" : decision === "mixed" ? `${item.kept} of ${item.tracks.length} kept` : decision === "keep" ? "kept" : "hidden";
    const state = item.state === "unsure" ? `unsure, ${words}` : words;
    for (const kind of Object.keys(TAG)) element.classList.toggle(kind, item.state === kind);
    element.classList.toggle("altered", Boolean(item.changed ?? item.decided));
    part(".tag").textContent = published ? state : `will be ${words}`;
    part(".keep").setAttribute("aria-pressed", decision === "keep");
    part(".hide").setAttribute("aria-pressed", decision === "hide");
    part(".keep").disabled = Boolean(item.withdrawn);
    part(".keep").title = item.withdrawn ? "This person withdrew their consent" : "";
    part(".keep").textContent = isMask ? "Remove" : "Keep";
    part(".keep").setAttribute("aria-label", `${part(".keep").textContent} ${name}`);
    part(".hide").setAttribute("aria-label", `Hide ${name}`);
    part(".switch").hidden = !this.store.editable;
    part(".switch").setAttribute("aria-label", `${part(".keep").textContent} or hide ${name}`);
  }

  #fillShort(element, groups) {
    const button = element.querySelector(".expand");
    button.textContent = `${count(groups.length, "person").replace("persons", "people")} visible for less than ${SHORT_SECONDS} s each, all hidden`;
    button.setAttribute("aria-expanded", this.#isUnfolded);
    this.#showCrops(element, chooseFaces(groups.slice(0, MAX_FACES).map((group) => group.tracks[0])));
  }

  #showCrops(element, key) {
    if (element.dataset.faces === key || !this.store.editable) return;
    element.dataset.faces = key;
    element.querySelector(".faces").replaceChildren();
    const isCurrent = () => element.isConnected && element.dataset.faces === key;
    this.crops.get(key, (crops) => {
      if (!isCurrent()) return;
      showFaces(element.querySelector(".faces"), crops, (track, second) => {
        const face = document.createElement("button");
        face.type = "button";
        face.tabIndex = -1; // the button with the name does the same
        face.onclick = () => this.store.selectTrack(track < 0 ? element.group.tracks[0].id : track, second);
        return face;
      });
    }, isCurrent);
  }
}
