// The page Review: the two videos, the timeline of the tracks, and the changed decisions.
import { Player } from "./player.js";
import { watchForm } from "./unsaved.js";

const byId = (id) => document.getElementById(id);
const player = new Player(byId("result"), byId("source"));
const tracks = [...document.querySelectorAll(".track")];
const form = byId("decisions");
let markedTrack = null; // the chosen track: { width, height, detections }

function formatClock(seconds) {
  const whole = Math.floor(seconds);
  const rest = String(whole % 60).padStart(2, "0");
  return whole < 3600 ? `${Math.floor(whole / 60)}:${rest}` : `${Math.floor(whole / 3600)}:${String(Math.floor(whole / 60) % 60).padStart(2, "0")}:${rest}`;
}

function draw() {
  const { time, duration, playing } = player;
  const position = duration ? (1000 * time) / duration : 0;
  const clock = `${formatClock(time)} of ${formatClock(duration)}`;
  byId("play").textContent = playing ? "Pause" : "Play";
  byId("time").textContent = clock;
  if (document.activeElement !== byId("position") || playing) byId("position").value = position;
  byId("position").setAttribute("aria-valuetext", clock);
  for (const track of tracks) {
    track.querySelector(".now").setAttribute("x", position);
    track.classList.toggle("here", time >= track.dataset.start - 0.1 && time <= Number(track.dataset.end) + 0.1);
  }
  drawMark(time);
}

// Return the box at this time, interpolated between two detections: [x1, y1, x2, y2].
function boxAt(boxes, time) {
  if (!boxes.length || time < boxes[0][0] - 0.5 || time > boxes.at(-1)[0] + 0.5) return null;
  const after = boxes.findIndex((box) => box[0] >= time);
  if (after <= 0) return (after < 0 ? boxes.at(-1) : boxes[0]).slice(1);
  const [a, b] = [boxes[after - 1], boxes[after]];
  const share = b[0] > a[0] ? (time - a[0]) / (b[0] - a[0]) : 0;
  return [1, 2, 3, 4].map((i) => a[i] + share * (b[i] - a[i]));
}

function drawMark(time) {
  const box = markedTrack && boxAt(markedTrack.detections, time);
  for (const svg of document.querySelectorAll(".mark")) {
    svg.classList.toggle("shown", Boolean(box));
    if (!box) continue;
    const margin = 0.15 * (box[3] - box[1]);
    const rect = svg.firstElementChild;
    svg.setAttribute("viewBox", `0 0 ${markedTrack.width} ${markedTrack.height}`);
    for (const [name, value] of Object.entries({ x: box[0] - margin, y: box[1] - margin, width: box[2] - box[0] + 2 * margin, height: box[3] - box[1] + 2 * margin })) rect.setAttribute(name, value);
  }
}

async function choose(track, seconds) {
  for (const other of tracks) other.classList.toggle("chosen", other === track);
  player.seek(seconds);
  markedTrack = null;
  draw();
  const response = await fetch(`${form.dataset.tracks}/${track.dataset.track}`).catch(() => null);
  if (response?.ok && track.classList.contains("chosen")) {
    markedTrack = await response.json();
    draw();
  }
}

for (const track of tracks) {
  const start = Number(track.dataset.start);
  const end = Number(track.dataset.end);
  track.querySelector(".go").onclick = () => choose(track, start + Math.min(0.3, (end - start) / 2));
  const line = track.querySelector(".line");
  line.onclick = (event) => {
    const area = line.getBoundingClientRect();
    choose(track, (player.duration * (event.clientX - area.left)) / area.width);
  };
}

function showChanges(fields) {
  const rows = new Set(fields.map((field) => field.closest(".track")));
  for (const track of tracks) track.classList.toggle("altered", rows.has(track));
  byId("rerender").disabled = rows.size === 0;
  byId("changes").parentElement.classList.toggle("changed", rows.size > 0);
  byId("changes").textContent = rows.size === 0 ? byId("changes").dataset.none
    : `${rows.size === 1 ? "One decision is" : `${rows.size} decisions are`} changed. The result is replaced when the re-render is done.`;
}
if (byId("rerender")) watchForm(form, showChanges);

byId("play").onclick = () => player.toggle();
byId("back").onclick = () => player.seek(player.time - 1);
byId("forward").onclick = () => player.seek(player.time + 1);
byId("position").oninput = (event) => player.seek((player.duration * event.target.value) / 1000);
byId("sound").onclick = (event) => {
  const isOn = event.target.getAttribute("aria-pressed") !== "true";
  player.leader.muted = !isOn;
  event.target.setAttribute("aria-pressed", String(isOn));
};
player.leader.muted = true;
player.addEventListener("change", draw);
player.addEventListener("unplayable", (event) => {
  byId("playback-problem").hidden = false;
  byId("playback-problem").textContent = `This browser can't play the ${event.detail.id}: it might not support the format. The other video and the tracks below still work.`;
});
(function drawWhilePlaying() { if (player.playing) draw(); requestAnimationFrame(drawWhilePlaying); })();
draw();
