// Play the result and the source in exact step: while one of them lacks the frame, both wait.
//
// The result leads because it has the sound. All times are in seconds from the first frame.

const MAX_DRIFT = 0.02; // seconds; a larger drift is corrected with the playback rate
const MAX_CORRECTABLE_DRIFT = 0.12; // seconds; a larger drift stops both videos until they show the same frame
const INSIDE_FRAME = 0.002; // seconds; seek into a frame, because times in files are rounded
const UNCHANGED_FRAME_MS = 250; // after a seek, some browsers do not report a frame that was shown already
const MAX_QUEUED_STEPS = 3; // while a key is held down
const MIN_SEARCH_STEPS = 4; // frames of the average rate, before a step forward takes larger steps
const MIN_USUAL_GAPS = 4; // after this many gaps of the mean length, and none of another length, all gaps are equal
const MAX_GAP_DIFFERENCE = 0.1;
const POLL_MS = 30;
const HAS_NEXT_FRAME = 3; // HTMLMediaElement.HAVE_FUTURE_DATA

// A video, and the time of the frame that it shows.
class Clip {
  #first = 0; // the time of the first frame, which is not 0 in every file
  #onFrame = [];

  constructor(video, show) {
    this.video = video;
    this.frame = null;
    if (!video.requestVideoFrameCallback) return;
    const record = (_, { mediaTime }) => {
      if (this.frame === null && video.currentTime === 0) this.#first = mediaTime;
      this.frame = mediaTime - this.#first;
      video.dataset.frame = this.frame.toFixed(3);
      this.#onFrame.splice(0).forEach((done) => done());
      show();
      video.requestVideoFrameCallback(record);
    };
    video.requestVideoFrameCallback(record);
  }

  get time() { return this.video.currentTime - this.#first; }
  get shown() { return this.frame ?? this.time; }
  get isBehind() { return this.video.readyState < HAS_NEXT_FRAME && !this.video.ended; }

  // Seek, and wait until the frame is on the screen.
  async show(seconds) {
    const { video } = this;
    const isShown = new Promise((done) => this.#onFrame.push(done));
    await new Promise((done) => {
      for (const name of ["seeked", "error"]) video.addEventListener(name, done, { once: true });
      video.currentTime = Math.max(0, seconds) + this.#first;
    });
    await Promise.race([isShown, new Promise((done) => setTimeout(done, UNCHANGED_FRAME_MS))]);
  }
}

// Fires "change" when the picture, the speed or the state changes, and "unplayable" for a video that can't be played.
export class VideoPair extends EventTarget {
  #clips;
  #active; // the videos that are visible
  #wanted = null; // the time of the next seek
  #seeking = null; // the seek in progress
  #holding = false;
  #usualGaps = 0; // gaps between frames that had the mean length; negative if the frame rate varies
  #queuedSteps = 0;
  #lastStep = Promise.resolve();
  #reverse = 0; // identifies the current run backward, or 0
  speed = 1;
  playing = false; // whether the user wants the videos to play
  waiting = false; // whether a video lacks the frame

  constructor(result, source, frameRate) {
    super();
    this.frameSeconds = 1 / frameRate;
    this.#clips = [result, source].filter(Boolean).map((video) => new Clip(video, () => this.#changed()));
    this.#active = this.#clips;
    for (const { video } of this.#clips) {
      for (const name of ["timeupdate", "loadedmetadata", "canplay"]) video.addEventListener(name, () => this.#changed());
      video.addEventListener("waiting", () => this.#keepInStep());
      video.addEventListener("error", () => this.#reload(video));
    }
    result.addEventListener("ended", () => this.pause());
    setInterval(() => this.#keepInStep(), 100);
  }

  get #leader() { return this.#clips[0]; }
  get time() { return this.#seeking ? this.#wanted ?? this.#seeking.time : this.#leader.shown; }
  get duration() { return Number.isFinite(this.#leader.video.duration) ? this.#leader.video.duration : 0; }
  get muted() { return this.#leader.video.muted; }
  set muted(isMuted) { this.#leader.video.muted = isMuted; this.#changed(); }
  get isReversing() { return this.#reverse !== 0; }

  // Play only the result, or both videos.
  async showSource(isShown) {
    const hidden = this.#clips.slice(1);
    this.#active = isShown ? this.#clips : this.#clips.slice(0, 1);
    hidden.forEach(({ video }) => video.pause());
    if (isShown) await this.seek(this.time);
  }

  async play(speed = this.speed) {
    this.#reverse = 0;
    this.speed = speed;
    this.playing = true;
    if (this.duration && this.time > this.duration - 1.5 * this.frameSeconds) await this.seek(0);
    else await this.#run();
  }

  pause() {
    const wasMoving = this.playing || this.isReversing;
    this.playing = false;
    this.#reverse = 0;
    this.#clips.forEach(({ video }) => video.pause());
    this.#changed();
    return wasMoving ? this.seek(this.#leader.shown) : this.#seeking?.done;
  }

  toggle() { return this.playing || this.isReversing ? this.pause() : this.play(); }

  setSpeed(speed) {
    this.speed = speed;
    for (const { video } of this.#clips) video.playbackRate = speed;
    this.#changed();
  }

  // Play backward, frame by frame, as quickly as the browser decodes.
  async playBackward(speed = 1) {
    const run = Date.now();
    await this.pause();
    this.#reverse = run;
    const begin = this.time;
    while (this.#reverse === run && this.time > 0) {
      await this.seek(begin - (speed * (Date.now() - run)) / 1000);
    }
    if (this.#reverse === run) this.pause();
  }

  // Step to the next frame (1) or the previous frame (-1).
  step(direction) {
    if (this.#queuedSteps >= MAX_QUEUED_STEPS) return;
    this.#queuedSteps += 1;
    this.#lastStep = this.#lastStep.then(() => this.#stepOnce(direction)).finally(() => { this.#queuedSteps -= 1; });
  }

  async #stepOnce(direction) {
    if (this.playing || this.isReversing) await this.pause();
    await this.#seeking?.done;
    const { shown } = this.#leader;
    if (direction < 0) return this.#seekTo(shown - INSIDE_FRAME);
    const next = await this.#findNext(shown);
    if (Math.abs(this.#leader.shown - next) > INSIDE_FRAME) await this.#seekTo(next + INSIDE_FRAME);
    const isUsual = Math.abs(next - shown - this.frameSeconds) < MAX_GAP_DIFFERENCE * this.frameSeconds;
    if (next > shown) this.#usualGaps = isUsual ? this.#usualGaps + 1 : Number.NEGATIVE_INFINITY;
    return undefined;
  }

  // Return the time of the next frame, or of this one at the end. The frame rate can vary, so it takes several seeks.
  async #findNext(shown) {
    const leader = this.#leader;
    const isLater = () => leader.shown > shown + INSIDE_FRAME;
    let step = this.frameSeconds;
    for (let time = shown + step; !isLater(); time += step) {
      await this.#seekTo(time + INSIDE_FRAME);
      if (time >= this.duration || leader.frame === null) break;
      if (time > shown + MIN_SEARCH_STEPS * this.frameSeconds) step *= 2;
    }
    let found = leader.shown;
    while (isLater() && this.#usualGaps < MIN_USUAL_GAPS) { // a frame between the two could have been missed
      found = leader.shown;
      await this.#seekTo(found - INSIDE_FRAME);
    }
    return found;
  }

  // Show the frame of this time in both videos. A later seek replaces one that has not begun.
  seek(seconds) { return this.#seekTo(seconds + INSIDE_FRAME); }

  #seekTo(seconds) {
    this.#wanted = Math.max(0, Math.min(seconds, this.duration ? this.duration - INSIDE_FRAME : seconds));
    if (!this.#seeking) {
      this.#seeking = { time: this.#wanted, done: this.#seekUntilInStep().finally(() => this.#endSeek()) };
    }
    this.#changed();
    return this.#seeking.done;
  }

  async #seekUntilInStep() {
    await null; // #seeking is set
    while (this.#wanted !== null) {
      const time = this.#wanted;
      this.#wanted = null;
      if (this.#seeking) this.#seeking.time = time;
      this.#setWaiting(true);
      this.#clips.forEach(({ video }) => video.pause());
      await this.#showEverywhere(time);
      // The time can be so near to the border of two frames that one video shows the other frame.
      if (this.#wanted === null && this.#difference() > this.frameSeconds / 2) {
        await this.#showEverywhere(Math.max(...this.#active.map((clip) => clip.shown)) + this.frameSeconds / 4);
      }
    }
  }

  #endSeek() {
    this.#seeking = null;
    this.#setWaiting(false);
    if (this.playing) this.#run();
  }

  #showEverywhere(time) { return Promise.all(this.#active.map((clip) => clip.show(time))); }

  #difference() {
    const shown = this.#active.map((clip) => clip.shown);
    return Math.max(...shown) - Math.min(...shown);
  }

  // Start both videos from the same frame, when both have it and the next one.
  async #run() {
    if (this.#holding || this.#seeking) return;
    this.#holding = true;
    if (this.#active.some((clip) => clip.isBehind)) {
      this.#setWaiting(true);
      this.#active.forEach(({ video }) => video.pause());
      while (this.playing && this.#active.some((clip) => clip.isBehind)) await new Promise((done) => setTimeout(done, POLL_MS));
    }
    if (this.playing && this.#difference() > this.frameSeconds / 2) await this.seek(Math.min(...this.#active.map((clip) => clip.shown)));
    this.#holding = false;
    this.#setWaiting(false);
    if (!this.playing || this.#seeking) return;
    for (const { video } of this.#active) video.playbackRate = this.speed;
    await Promise.allSettled(this.#active.map(({ video }) => video.play()));
    this.#changed();
  }

  // Correct a small drift with the playback rate. Stop both videos if it is large or if one of them has no frame.
  #keepInStep() {
    if (!this.playing || this.#seeking || this.#holding || this.#active.length < 2) return undefined;
    const [leader, follower] = this.#active;
    if (leader.video.ended) return undefined;
    const drift = follower.video.ended ? 0 : leader.time - follower.time;
    const hasStopped = this.#active.some((clip) => clip.isBehind || (clip.video.paused && !clip.video.ended));
    if (hasStopped || Math.abs(drift) > MAX_CORRECTABLE_DRIFT * this.speed) {
      this.#active.forEach(({ video }) => video.pause());
      return this.#run();
    }
    const correction = Math.abs(drift) > MAX_DRIFT ? Math.max(-0.25, Math.min(0.25, 2 * drift)) : 0;
    follower.video.playbackRate = this.speed * (1 + correction);
    return undefined;
  }

  #setWaiting(isWaiting) {
    this.waiting = isWaiting;
    this.#changed();
  }

  #changed() { this.dispatchEvent(new Event("change")); }

  // A signed URL expires. The same path redirects to a new one, so reload once; a second error is the browser's.
  #reload(video) {
    if (video.dataset.reloaded === video.currentSrc || !video.currentTime) {
      this.#active = this.#clips = this.#clips.filter((clip) => clip.video !== video || clip === this.#leader);
      return this.dispatchEvent(new CustomEvent("unplayable", { detail: video }));
    }
    video.dataset.reloaded = video.currentSrc;
    const time = video.currentTime;
    video.load();
    video.addEventListener("loadedmetadata", () => { video.currentTime = time; }, { once: true });
  }
}
