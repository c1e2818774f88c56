// The live page: sends the camera's frames, shows the de-faced ones, tells how it goes.

const WIDTH = 640, MAX_HEIGHT = 640, FRAMES_PER_SECOND = 20, QUALITY = 0.8;
const MAX_BUFFERED = 200000; // bytes that wait to be sent: above, frames are left out
const TARGET_SIDE = 1600, COVER_SIDE = 1024;

const by = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=csrf]").content;
const watched = document.querySelector("meta[name=stream]").content;
const form = by("begin"), picture = by("picture");
let running = null;

function problem(sentence) {
  by("problem").textContent = sentence;
  by("problem").hidden = !sentence;
}

function socket(path) {
  const opened = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
  opened.binaryType = "arraybuffer";
  return opened;
}

async function send(path, body) {
  const answer = await fetch(path, { method: "POST", body, headers: { "X-CSRF-Token": token } });
  const told = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

async function base64(file, side, type) {
  // Made smaller here: what is sent stays small, and holds no place or time.
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL(type, 0.95).split(",")[1];
}

async function wish() {
  const chosen = new FormData(form), targets = [];
  for (const file of by("targets").files) {
    targets.push({ person: file.name.slice(0, 100), data: await base64(file, TARGET_SIDE, "image/jpeg") });
  }
  const cover = by("replacement").files[0];
  return {
    address: chosen.get("source") === "address" ? chosen.get("address").trim() : null,
    channel: chosen.get("channel").trim() || null,
    targets,
    mode: chosen.get("mode") || null,
    replacement: chosen.get("mode") === "image" && cover ? await base64(cover, COVER_SIDE, "image/png") : null,
    delay_seconds: Number(chosen.get("delay")),
  };
}

async function openCamera() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 }, audio: false });
  by("camera").srcObject = stream;
  await by("camera").play();
  return stream;
}

function sendCamera(stream, key, name) {
  const video = by("camera"), canvas = document.createElement("canvas");
  canvas.width = WIDTH;
  canvas.height = Math.min(MAX_HEIGHT, 2 * Math.round((WIDTH * video.videoHeight) / video.videoWidth / 2));
  const pen = canvas.getContext("2d", { alpha: false }), out = socket(`/streams/${name}/camera`);
  let busy = false, timer = 0;
  const frame = () => {
    if (busy || out.bufferedAmount > MAX_BUFFERED) return;
    busy = true;
    const mark = performance.now();
    pen.drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(async (blob) => {
      try {
        const bytes = new Uint8Array(8 + blob.size);
        new DataView(bytes.buffer).setFloat64(0, mark);
        bytes.set(new Uint8Array(await blob.arrayBuffer()), 8);
        if (out.readyState === WebSocket.OPEN) out.send(bytes);
      } finally {
        busy = false; // a frame that could not be made is left out
      }
    }, "image/jpeg", QUALITY);
  };
  out.onopen = () => {
    out.send(key);
    timer = setInterval(frame, 1000 / FRAMES_PER_SECOND);
  };
  out.onclose = () => clearInterval(timer);
  running.camera = { stream, out };
}

function watch(name, own) {
  const incoming = socket(`/streams/${name}/watch`), pen = picture.getContext("2d", { alpha: false });
  let decoding = false;
  incoming.onmessage = async ({ data }) => {
    if (typeof data === "string") return tell(JSON.parse(data));
    if (decoding) return;
    decoding = true;
    const head = new DataView(data), mark = head.getFloat64(0);
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 16)], { type: "image/jpeg" })).catch(() => null);
    decoding = false;
    if (!bitmap) return; // the next one may be read
    if (picture.width !== bitmap.width || picture.height !== bitmap.height) {
      picture.width = bitmap.width;
      picture.height = bitmap.height;
    }
    pen.drawImage(bitmap, 0, 0);
    bitmap.close();
    picture.dataset.frames = Number(picture.dataset.frames || 0) + 1;
    // The camera's own page knows when a frame was taken: the whole way there and back.
    const age = own && mark > 0 ? (performance.now() - mark) / 1000 : head.getFloat64(8);
    by("late").textContent = `${age.toFixed(2)} s`;
  };
  incoming.onclose = ({ reason }) => stop(reason);
  return incoming;
}

function tell(status) {
  by("fps").textContent = status.frames_per_second.toFixed(1);
  by("kept").textContent = status.kept;
  by("hidden").textContent = status.hidden;
  by("watching").textContent = status.watching;
  by("black").hidden = !status.black;
  if (status.ended) stop(status.ended);
}

function stop(sentence) {
  if (!running) return;
  const { camera, incoming } = running;
  running = null;
  incoming?.close();
  camera?.out.close();
  camera?.stream.getTracks().forEach((track) => track.stop());
  if (form) {
    form.hidden = false;
    by("live").hidden = true;
  }
  picture.getContext("2d").clearRect(0, 0, picture.width, picture.height); // nobody stands there as if it went on
  if (sentence) problem(sentence);
}

async function begin() {
  problem("");
  by("start").disabled = true;
  let camera = null;
  try {
    const asked = await wish();
    if (asked.address === null) camera = await openCamera();
    const { id, key } = await send("/streams", JSON.stringify(asked));
    running = { id, key };
    form.hidden = true;
    by("live").hidden = false;
    by("page").value = `${location.origin}/streams/${id}`;
    by("mjpeg").value = `${location.origin}/streams/${id}/mjpeg`;
    running.incoming = watch(id, camera !== null);
    if (camera) sendCamera(camera, key, id);
    by("stop").focus();
  } catch (error) {
    camera?.getTracks().forEach((track) => track.stop());
    problem(error.name === "NotAllowedError" ? "The browser does not let this page use the camera." : error.message);
  }
  by("start").disabled = false;
}

async function untilLoaded(note) {
  const answer = await fetch("/loaded");
  note.hidden = true;
  if (!answer.ok) problem((await answer.json()).error);
}

if (by("loading")) untilLoaded(by("loading")).catch(() => {});
if (watched) {
  running = {};
  running.incoming = watch(watched, false);
} else {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    begin();
  });
  by("mode").addEventListener("change", () => { by("cover").hidden = by("mode").value !== "image"; });
  by("delay").addEventListener("input", () => { by("delay-told").textContent = by("delay").value; });
  by("address").addEventListener("input", () => { by("from-address").checked = true; });
  by("stop").addEventListener("click", async () => {
    if (!running) return;
    const { id, key } = running;
    stop("");
    await send(`/streams/${id}/end`, key).catch(() => {});
  });
}
