// Two videos as one: the result leads, because it has the sound; the source follows it.

const APART = 0.06; // seconds; less is a frame or two
const STILL = 0.005; // seconds; while nothing moves they show the same frame
const FAR = 0.6; // seconds; more is not caught up with but jumped

export class Player extends EventTarget {
  constructor(lead, follower) {
    super();
    this.lead = lead;
    this.follower = follower;
    for (const name of ["timeupdate", "seeked", "play", "pause", "loadedmetadata", "ended"]) {
      lead.addEventListener(name, () => { this.#align(); this.dispatchEvent(new Event("change")); });
    }
    if (follower) follower.addEventListener("seeked", () => this.dispatchEvent(new Event("change")));
    for (const video of this.all) video.addEventListener("error", () => this.#renew(video));
    setInterval(() => this.playing && this.#align(), 200);
  }

  get all() { return [this.lead, this.follower].filter(Boolean); }
  get playing() { return !this.lead.paused && !this.lead.ended; }
  get time() { return this.lead.currentTime; }
  get length() { return Number.isFinite(this.lead.duration) ? this.lead.duration : 0; }

  seek(seconds) {
    const time = Math.max(0, Math.min(seconds, this.length || seconds));
    for (const video of this.all) video.currentTime = time;
  }

  async toggle() {
    if (this.playing) return this.all.forEach((video) => video.pause());
    if (this.lead.ended) this.seek(0);
    await Promise.allSettled(this.all.map((video) => video.play()));
  }

  // Little by little where they are a little apart, so that nothing jumps.
  #align() {
    const { lead, follower } = this;
    if (!follower || follower.readyState < 2 || follower.seeking) return;
    const apart = lead.currentTime - follower.currentTime;
    if (!this.playing) {
      if (!follower.paused) follower.pause();
      if (Math.abs(apart) > STILL) follower.currentTime = lead.currentTime;
      return;
    }
    if (follower.paused && !follower.ended) follower.play().catch(() => {});
    if (Math.abs(apart) > FAR) follower.currentTime = lead.currentTime;
    follower.playbackRate = Math.abs(apart) > APART ? 1 + Math.max(-0.2, Math.min(0.2, apart)) : 1;
  }

  // An address ends after a while: the same path leads to a new one. Once; after that the browser can't play it.
  #renew(video) {
    if (video.dataset.renewed === video.currentSrc || !video.currentTime) return this.dispatchEvent(new CustomEvent("trouble", { detail: video }));
    video.dataset.renewed = video.currentSrc;
    const time = video.currentTime;
    video.load();
    video.addEventListener("loadedmetadata", () => { video.currentTime = time; }, { once: true });
  }
}
