// "Apply" or "Publish": list each face that becomes visible, with its picture, then request the re-render, or confirm.
import { post } from "../api.js";
import { chooseFaces } from "./cards.js";
import { showFaces } from "./crops.js";
import { count, formatClock } from "./store.js";

const byId = (id) => document.getElementById(id);

function describeUnchecked(store) {
  const masks = store.masksToCheck.map(([track, spans]) => `${store.group(track.group).name} at ${spans.map(([first, last]) => `${formatClock(first)} to ${formatClock(last)}`).join(", ")}`);
  return `The face in a mask was lost for a time. Check that the mask covers it: ${masks.join("; ")}.`;
}

export class ApplyDialog {
  isSent = false;

  constructor(store, crops, jobUrl) {
    this.store = store;
    this.crops = crops;
    this.jobUrl = jobUrl;
    byId("apply-cancel").onclick = () => byId("apply-dialog").close();
    byId("apply-confirm").onclick = () => this.#send();
  }

  open() {
    const tracks = this.store.tracksToShow;
    const { waiting } = this.store;
    byId("apply-title").textContent = tracks.length ? `${count(tracks.length, waiting ? "track" : "hidden track")} will become visible` : "No face becomes visible";
    byId("apply-text").textContent = tracks.length ? "Check each face. Everyone who watches the result sees it." : waiting ? "Everyone is hidden in the video that is published." : `${count(this.store.changes.length, "change")} will be applied, and the video is rendered again.`;
    byId("apply-unchecked").textContent = describeUnchecked(this.store);
    byId("apply-unchecked").hidden = !this.store.masksToCheck.length;
    byId("apply-list").replaceChildren(...tracks.map((track) => this.#makeItem(track)));
    byId("apply-problem").hidden = true;
    byId("apply-dialog").showModal();
  }

  #makeItem(track) {
    const item = document.createElement("li");
    const faces = document.createElement("div");
    const text = document.createElement("span");
    faces.className = "faces";
    text.textContent = `${this.store.group(track.group).name}, ${formatClock(track.start)} to ${formatClock(track.end)}`;
    item.append(faces, text);
    this.crops.get(chooseFaces([track]), (crops) => showFaces(faces, crops, () => document.createElement("span")));
    return item;
  }

  async #send() {
    byId("apply-confirm").disabled = true;
    try {
      const body = JSON.stringify(this.store.toEdits());
      const response = await post(`${this.jobUrl}/edits`, body, { "Content-Type": "application/json" });
      const { jobs } = await response.json();
      this.isSent = true;
      sessionStorage.removeItem(this.jobUrl);
      location.assign(jobs);
    } catch (error) {
      byId("apply-problem").textContent = error.message;
      byId("apply-problem").hidden = false;
      byId("apply-confirm").disabled = false;
    }
  }
}
