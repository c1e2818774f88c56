// The player of the review: its controls, and the box of the chosen track in both videos.
import { formatClock } from "./store.js";
import { Player } from "./video_pair.js";

const byId = (id) => document.getElementById(id);

// Return the box at this time, interpolated between two detections: [x1, y1, x2, y2].
function boxAt(boxes, time) {
  if (!boxes.length || time < boxes[0][0] - 0.5 || time > boxes.at(-1)[0] + 0.5) return null;
  const after = boxes.findIndex((box) => box[0] >= time);
  if (after <= 0) return (after < 0 ? boxes.at(-1) : boxes[0]).slice(1);
  const [a, b] = [boxes[after - 1], boxes[after]];
  const share = b[0] > a[0] ? (time - a[0]) / (b[0] - a[0]) : 0;
  return [1, 2, 3, 4].map((i) => a[i] + share * (b[i] - a[i]));
}

// Connect the player's elements with the store. `tracksUrl` and a track's id are the address of its boxes.
export function startPlayer(store, tracksUrl) {
  const player = new Player(byId("result"), byId("source"));
  let markedTrack = null; // the chosen track: { width, height, detections }

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

  function draw() {
    const { time, duration, playing } = player;
    const position = duration ? (1000 * time) / duration : 0;
    const clock = `${formatClock(time)} of ${formatClock(duration)}`;
    byId("play").textContent = playing ? "Pause" : "Play";
    byId("time").textContent = clock;
    if (document.activeElement !== byId("position") || playing) byId("position").value = position;
    byId("position").setAttribute("aria-valuetext", clock);
    drawMark(time);
    store.currentTime = time;
  }

  store.addEventListener("seek", (event) => { player.seek(event.detail.seconds); draw(); });
  store.addEventListener("select", async () => {
    const id = store.selected;
    markedTrack = null;
    draw();
    if (id === null || id < 0) return;
    const response = await fetch(`${tracksUrl}/${id}`).catch(() => null);
    if (response?.ok && store.selected === id) {
      markedTrack = await response.json();
      draw();
    }
  });

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
    byId("playback-problem").textContent = `This browser can't play the ${event.detail.id}: it might not support the format. The other video and the people below still work.`;
  });
  (function drawWhilePlaying() { if (player.playing) draw(); requestAnimationFrame(drawWhilePlaying); })();
  draw();
}
