// Play two videos in step: the result leads because it has the sound, and the source follows.

const MAX_DRIFT = 0.06; // seconds; a frame or two
const MAX_PAUSED_DRIFT = 0.005; // seconds; paused videos show the same frame
const MAX_CATCH_UP = 0.6; // seconds; a larger drift is corrected with a jump

export class Player extends EventTarget {
  constructor(leader, follower) {
    super();
    this.leader = leader;
    this.follower = follower;
    for (const name of ["timeupdate", "seeked", "play", "pause", "loadedmetadata", "ended"]) {
      leader.addEventListener(name, () => { this.#align(); this.dispatchEvent(new Event("change")); });
    }
    if (follower) follower.addEventListener("seeked", () => this.dispatchEvent(new Event("change")));
    for (const video of this.videos) video.addEventListener("error", () => this.#reload(video));
    setInterval(() => this.playing && this.#align(), 200);
  }

  get videos() { return [this.leader, this.follower].filter(Boolean); }
  get playing() { return !this.leader.paused && !this.leader.ended; }
  get time() { return this.leader.currentTime; }
  get duration() { return Number.isFinite(this.leader.duration) ? this.leader.duration : 0; }

  seek(seconds) {
    const time = Math.max(0, Math.min(seconds, this.duration || seconds));
    for (const video of this.videos) video.currentTime = time;
  }

  async toggle() {
    if (this.playing) return this.videos.forEach((video) => video.pause());
    if (this.leader.ended) this.seek(0);
    await Promise.allSettled(this.videos.map((video) => video.play()));
  }

  // Correct a small drift with the playback rate, so that the picture does not jump.
  #align() {
    const { leader, follower } = this;
    if (!follower || follower.readyState < 2 || follower.seeking) return;
    const drift = leader.currentTime - follower.currentTime;
    if (!this.playing) {
      if (!follower.paused) follower.pause();
      if (Math.abs(drift) > MAX_PAUSED_DRIFT) follower.currentTime = leader.currentTime;
      return;
    }
    if (follower.paused && !follower.ended) follower.play().catch(() => {});
    if (Math.abs(drift) > MAX_CATCH_UP) follower.currentTime = leader.currentTime;
    follower.playbackRate = Math.abs(drift) > MAX_DRIFT ? 1 + Math.max(-0.2, Math.min(0.2, drift)) : 1;
  }

  // A signed URL expires. The same path redirects to a new one, so reload once; a second error is the browser's.
  #reload(video) {
    if (video.dataset.reloaded === video.currentSrc || !video.currentTime) {
      return this.dispatchEvent(new CustomEvent("unplayable", { detail: video }));
    }
    video.dataset.reloaded = video.currentSrc;
    const time = video.currentTime;
    video.load();
    video.addEventListener("loadedmetadata", () => { video.currentTime = time; }, { once: true });
  }
}
