// The page Review: the two videos, the rows of the timeline, and what was decided anew.
import { Player } from "./player.js";
import { watch } from "./unsaved.js";

const at = (id) => document.getElementById(id);
const player = new Player(at("result"), at("source"));
const tracks = [...document.querySelectorAll(".track")];
const form = at("decisions");
let marked = null; // the face that is chosen: { width, height, looks }

function clock(seconds) {
  const whole = Math.floor(seconds);
  const rest = String(whole % 60).padStart(2, "0");
  return whole < 3600 ? `${Math.floor(whole / 60)}:${rest}` : `${Math.floor(whole / 3600)}:${String(Math.floor(whole / 60) % 60).padStart(2, "0")}:${rest}`;
}

function draw() {
  const { time, length, playing } = player;
  at("play").textContent = playing ? "Pause" : "Play";
  at("time").textContent = `${clock(time)} of ${clock(length)}`;
  if (document.activeElement !== at("place") || playing) at("place").value = length ? (1000 * time) / length : 0;
  at("place").setAttribute("aria-valuetext", `${clock(time)} of ${clock(length)}`);
  const x = length ? (1000 * time) / length : 0;
  for (const track of tracks) {
    track.querySelector(".now").setAttribute("x", x);
    track.classList.toggle("here", time >= track.dataset.start - 0.1 && time <= Number(track.dataset.end) + 0.1);
  }
  drawMark(time);
}

function boxAt(looks, time) {
  if (!looks.length || time < looks[0][0] - 0.5 || time > looks.at(-1)[0] + 0.5) return null;
  const after = looks.findIndex((look) => look[0] >= time);
  if (after <= 0) return (after < 0 ? looks.at(-1) : looks[0]).slice(1);
  const [a, b] = [looks[after - 1], looks[after]];
  const share = b[0] > a[0] ? (time - a[0]) / (b[0] - a[0]) : 0;
  return [1, 2, 3, 4].map((i) => a[i] + share * (b[i] - a[i]));
}

function drawMark(time) {
  const box = marked && boxAt(marked.looks, time);
  for (const svg of document.querySelectorAll(".mark")) {
    svg.classList.toggle("shown", Boolean(box));
    if (!box) continue;
    const more = 0.15 * (box[3] - box[1]);
    const rect = svg.firstElementChild;
    svg.setAttribute("viewBox", `0 0 ${marked.width} ${marked.height}`);
    for (const [name, value] of Object.entries({ x: box[0] - more, y: box[1] - more, width: box[2] - box[0] + 2 * more, height: box[3] - box[1] + 2 * more })) rect.setAttribute(name, value);
  }
}

async function choose(track, seconds) {
  for (const other of tracks) other.classList.toggle("chosen", other === track);
  player.seek(seconds);
  marked = null;
  draw();
  const answer = await fetch(`${form.dataset.tracks}/${track.dataset.track}`).catch(() => null);
  if (answer?.ok && track.classList.contains("chosen")) {
    marked = await answer.json();
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
    choose(track, (player.length * (event.clientX - area.left)) / area.width);
  };
}

function count(fields) {
  const rows = new Set(fields.map((field) => field.closest(".track")));
  for (const track of tracks) track.classList.toggle("altered", rows.has(track));
  at("render").disabled = rows.size === 0;
  at("changed").parentElement.classList.toggle("changed", rows.size > 0);
  at("changed").textContent = rows.size === 0 ? "Change a decision, and the video can be rendered again. No face is looked for anew."
    : `${rows.size === 1 ? "One decision is" : `${rows.size} decisions are`} changed. The result is replaced when the new one is ready.`;
}
if (at("render")) watch(form, count);

at("play").onclick = () => player.toggle();
at("back").onclick = () => player.seek(player.time - 1);
at("on").onclick = () => player.seek(player.time + 1);
at("place").oninput = (event) => player.seek((player.length * event.target.value) / 1000);
at("sound").onclick = (event) => {
  const on = event.target.getAttribute("aria-pressed") !== "true";
  player.lead.muted = !on;
  event.target.setAttribute("aria-pressed", String(on));
};
player.lead.muted = true;
player.addEventListener("change", draw);
player.addEventListener("trouble", (event) => {
  at("trouble").hidden = false;
  at("trouble").textContent = `This browser can't play the ${event.detail.id}. Its format may not be one that browsers know; the other one and the list below still work.`;
});
(function often() { if (player.playing) draw(); requestAnimationFrame(often); })();
draw();
