// The player of the page Review: two videos in step, boxes on top, the timeline, the buttons and the shortcuts.
import { Shortcuts } from "./keys.js";
import { Overlay, TrackBoxes } from "./overlay.js";
import { formatClock } from "./store.js";
import { Timeline } from "./timeline.js";
import { VideoPair } from "./video_pair.js";
import { View } from "./view.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4];
const VIEWS = ["side", "wipe", "result"];
const SAME_MOMENT_SECONDS = 0.1;
const ZOOM_STEP = 1.5;
const BESIDE_HEIGHT = 0.45; // of the window: the height of two pictures side by side, and of each if they are stacked
const STACKED_HEIGHT = 0.28;
const MIN_GAIN = 1.5; // stacked pictures are this much wider, because they leave less room for the controls

const byId = (id) => document.getElementById(id);

// Connect the elements of `_player.html` with the store. `jobUrl` is the address of the job.
export function startPlayer(store, jobUrl) { return new Player(store, jobUrl); }

class Player {
  #scheduled = false;

  constructor(store, jobUrl) {
    const { element } = this;
    const { video } = store;
    this.store = store;
    this.videos = new VideoPair(byId("result"), byId("source"), video.frame_rate);
    this.videos.muted = true;
    this.view = new View(element.querySelector(".screens"), byId("divider"), byId("source") ? VIEWS : ["result"]);
    this.boxes = new TrackBoxes(jobUrl, () => this.#schedule());
    this.overlay = new Overlay([...element.querySelectorAll(".boxes")], store, this.boxes);
    this.timeline = new Timeline(byId("timeline"), store, (seconds) => this.videos.seek(seconds));
    this.shortcuts = new Shortcuts(this.#listShortcuts(), byId("shortcuts"));
    for (const item of element.querySelectorAll("video")) item.addEventListener("loadedmetadata", () => this.#fitPictures());
    new ResizeObserver(() => this.#fitPictures()).observe(element);
    this.#connectButtons();
    this.videos.addEventListener("change", () => this.#schedule());
    this.view.addEventListener("change", () => { this.videos.showSource(this.view.name !== "result"); this.#schedule(); });
    this.videos.addEventListener("unplayable", (event) => {
      byId("playback-problem").hidden = false;
      byId("playback-problem").textContent = `This browser can't play the ${event.detail.id}: it might not support the format. Everything else on this page works.`;
    });
    byId("position").max = video.duration;
    store.addEventListener("change", () => this.#update());
    store.addEventListener("select", () => { this.timeline.redraw(); this.#schedule(); });
    store.addEventListener("seek", (event) => this.#show(event.detail.seconds));
    this.#update();
  }

  get element() { return byId("player"); }
  get frameSeconds() { return this.videos.frameSeconds; }

  pause() { this.videos.pause(); }
  addShortcuts(rows) { this.shortcuts.rows.splice(-1, 0, ...rows); }

  // Mark the range of a mask on the timeline, and the times of its corrections. null marks nothing.
  markRange(range, times = []) {
    this.timeline.range = range;
    this.timeline.marks = times;
    this.timeline.redraw();
    this.#schedule();
  }

  #show(seconds) {
    this.videos.seek(seconds);
    if (this.element.getBoundingClientRect().bottom < 0) this.element.scrollIntoView({ block: "start" });
  }

  // The moments that a person has to check, in the order of time: { time, track, what }.
  listMoments() {
    const shown = this.store.tracks.filter((track) => track.origin !== "manual" || track.decision === "hide"); // no removed mask
    const moments = shown.flatMap((track) => [
      ...(track.state === "unsure" ? [{ time: track.start, track, what: "unsure" }] : []),
      ...(track.unconfirmed ?? []).map(([time]) => ({ time, track, what: "check this" })),
    ]);
    return moments.sort((a, b) => a.time - b.time || a.track.id - b.track.id);
  }

  // Jump to the next moment (1) or the previous moment (-1), and from the last one to the first.
  jumpToMoment(direction) {
    const moments = this.listMoments();
    if (!moments.length) return;
    const now = this.videos.time;
    const current = moments.findIndex(({ time, track }) => track.id === this.store.selected && Math.abs(time - now) < SAME_MOMENT_SECONDS);
    let next = current + direction;
    if (current < 0) {
      const later = moments.findIndex(({ time }) => time > now);
      next = direction > 0 ? later : (later < 0 ? moments.length : later) - 1;
      if (direction > 0 && later < 0) next = 0;
    }
    next = (next + moments.length) % moments.length;
    const { time, track, what } = moments[next];
    this.store.selectTrack(track.id, time);
    byId("moment").textContent = `${this.store.group(track.group).name}: ${what}. ${next + 1} of ${moments.length}.`;
  }

  #listShortcuts() {
    const { videos, view } = this;
    const changeSpeed = (step) => {
      const index = SPEEDS.findIndex((speed) => speed >= videos.speed) + step;
      videos.setSpeed(SPEEDS[Math.max(0, Math.min(index, SPEEDS.length - 1))]);
    };
    return [
      { keys: [" "], shown: "Space", text: "Play or pause", run: () => videos.toggle() },
      { keys: ["l"], shown: "L", text: "Play; again: twice as fast", run: () => videos.play(videos.playing ? Math.min(4, videos.speed * 2) : Math.max(1, videos.speed)) },
      { keys: ["k"], shown: "K", text: "Pause", run: () => { videos.pause(); videos.setSpeed(1); } },
      { keys: ["j"], shown: "J", text: "Play backward", run: () => videos.playBackward() },
      { keys: ["."], shown: ".", text: "One frame forward", run: () => videos.step(1) },
      { keys: [","], shown: ",", text: "One frame back", run: () => videos.step(-1) },
      { keys: ["ArrowRight"], shown: "→", text: "One second forward", run: () => videos.seek(videos.time + 1) },
      { keys: ["ArrowLeft"], shown: "←", text: "One second back", run: () => videos.seek(videos.time - 1) },
      { keys: ["Shift+ArrowRight"], shown: "Shift+→", text: "Five seconds forward", run: () => videos.seek(videos.time + 5) },
      { keys: ["Shift+ArrowLeft"], shown: "Shift+←", text: "Five seconds back", run: () => videos.seek(videos.time - 5) },
      { keys: ["Home"], shown: "Home", text: "To the start", run: () => videos.seek(0) },
      { keys: ["End"], shown: "End", text: "To the end", run: () => videos.seek(videos.duration) },
      { keys: [">"], shown: ">", text: "Faster", run: () => changeSpeed(1) },
      { keys: ["<"], shown: "<", text: "Slower", run: () => changeSpeed(-1) },
      { keys: ["n"], shown: "N", text: "Next moment to check", run: () => this.jumpToMoment(1) },
      { keys: ["Shift+n"], shown: "Shift+N", text: "Previous moment to check", run: () => this.jumpToMoment(-1) },
      { keys: ["v"], shown: "V", text: "Next view: side by side, divider, result only", run: () => view.showNext() },
      { keys: ["b"], shown: "B", text: "Show or hide the boxes", run: () => byId("show-boxes").click() },
      { keys: ["s"], shown: "S", text: "Sound on or off", run: () => byId("sound").click() },
      { keys: ["+", "="], shown: "+", text: "Enlarge the picture", run: () => view.zoomBy(ZOOM_STEP) },
      { keys: ["-"], shown: "-", text: "Reduce the picture", run: () => view.zoomBy(1 / ZOOM_STEP) },
      { keys: ["0"], shown: "0", text: "Show the whole picture", run: () => view.resetZoom() },
      { keys: ["]"], shown: "]", text: "Enlarge the timeline", run: () => this.timeline.zoomIn() },
      { keys: ["["], shown: "[", text: "Reduce the timeline", run: () => this.timeline.zoomOut() },
      { keys: ["f"], shown: "F", text: "Full screen", run: () => this.#toggleFullScreen() },
      { keys: ["?"], shown: "?", text: "Show these shortcuts", run: () => this.shortcuts.showHelp() },
    ];
  }

  #connectButtons() {
    const { videos, view, timeline } = this;
    const actions = {
      play: () => videos.toggle(),
      back: () => videos.step(-1),
      forward: () => videos.step(1),
      "next-moment": () => this.jumpToMoment(1),
      "zoom-in": () => view.zoomBy(ZOOM_STEP),
      "zoom-out": () => view.zoomBy(1 / ZOOM_STEP),
      "timeline-in": () => timeline.zoomIn(),
      "timeline-out": () => timeline.zoomOut(),
      "full-screen": () => this.#toggleFullScreen(),
      "show-shortcuts": () => this.shortcuts.showHelp(),
      sound: () => { videos.muted = !videos.muted; },
      "show-boxes": () => { this.overlay.isShown = !this.overlay.isShown; this.#schedule(); },
    };
    for (const [id, run] of Object.entries(actions)) byId(id).onclick = run;
    byId("speed").onchange = (event) => videos.setSpeed(Number(event.target.value));
    if (byId("view")) byId("view").onchange = (event) => view.show(event.target.value);
    byId("position").oninput = (event) => videos.seek(Number(event.target.value));
  }

  #toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.element.requestFullscreen?.();
  }

  // The boxes on top need pictures with exactly the shape of the video. Two pictures are stacked where they are larger so.
  #fitPictures() {
    const video = [...this.element.querySelectorAll("video")].find(({ videoWidth }) => videoWidth);
    const shape = video ? video.videoWidth / video.videoHeight : this.store.video.width / this.store.video.height;
    const width = this.element.clientWidth;
    const beside = Math.min(width / 2, BESIDE_HEIGHT * innerHeight * shape);
    const stacked = Math.min(width, STACKED_HEIGHT * innerHeight * shape);
    this.element.style.setProperty("--shape", shape);
    this.element.classList.toggle("stacked", stacked > MIN_GAIN * beside);
  }

  #update() {
    const count = this.listMoments().length;
    byId("next-moment").disabled = count === 0;
    byId("moment").textContent = count === 0 ? "Nothing to check." : `${count} to check.`;
    this.timeline.redraw();
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => { this.#scheduled = false; this.#draw(); });
  }

  #draw() {
    const { videos, view } = this;
    const { time } = videos;
    const isMoving = videos.playing || videos.isReversing;
    const { duration } = this.store.video;
    const hundredths = String(Math.floor((time % 1) * 100 + 1e-6)).padStart(2, "0");
    this.store.currentTime = time;
    this.element.classList.toggle("waiting", videos.waiting);
    byId("play").textContent = isMoving ? "Pause" : "Play";
    byId("time").textContent = `${formatClock(time)}.${hundredths} / ${formatClock(duration)}`;
    byId("position").value = time;
    byId("position").setAttribute("aria-valuetext", `${formatClock(time)} of ${formatClock(duration)}`);
    byId("sound").setAttribute("aria-pressed", String(!videos.muted));
    byId("show-boxes").setAttribute("aria-pressed", String(this.overlay.isShown));
    byId("speed").value = SPEEDS.includes(videos.speed) ? videos.speed : 1;
    if (byId("view")) byId("view").value = view.name;
    this.overlay.draw(time);
    this.timeline.draw(time, isMoving);
  }
}
