// The live page: send the camera's frames, show the redacted frames, and show the stream's status.

const WIDTH = 640, MAX_HEIGHT = 640, FRAMES_PER_SECOND = 20, QUALITY = 0.8;
const MAX_BUFFERED_BYTES = 200000; // frames are skipped while more bytes wait to be sent
const LOST = "The connection to the service was refused or lost, so the stream ended. Load the page again, then start a new stream.";
const MAX_TARGET_SIDE = 1600, MAX_REPLACEMENT_SIDE = 1024;

const CAMERA_PROBLEMS = {
  NotAllowedError: "This page is not allowed to use the camera. Allow it in the browser, then start again.",
  NotFoundError: "This device has no camera. Connect one, or enter a camera's address.",
  NotReadableError: "Another program uses the camera. Close it, then start again.",
};

const byId = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=csrf]").content;
const form = byId("start-form"), picture = byId("picture");
let running = null;

function showProblem(message) {
  byId("problem").textContent = message;
  byId("problem").hidden = !message;
}

// Servers log URLs, so the stream's id and key are in the first message.
function openSocket(path, access) {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => socket.send(JSON.stringify(access)));
  return socket;
}

async function post(path, body) {
  const response = await fetch(path, { method: "POST", body, headers: { "X-CSRF-Token": token } }).catch(() => null);
  if (!response) throw new Error("The service does not answer. Check that it runs, then try again.");
  const result = response.status === 204 ? {} : await response.json().catch(() => ({ error: `The service failed (status ${response.status}). Load the page again.` }));
  if (!response.ok) throw new Error(result.error);
  return result;
}

function readFile(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

async function encodePicture(file, maxSide, type) {
  // The browser scales and re-encodes the picture, so that it is small and has no metadata such as a location.
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return readFile(file); // few browsers decode HEIC, but the service does
  const scale = Math.min(1, maxSide / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL(type, 0.95).split(",")[1];
}

async function readRequest() {
  const fields = new FormData(form), targets = [];
  for (const file of byId("targets").files) {
    targets.push({ person: file.name.slice(0, 100), data: await encodePicture(file, MAX_TARGET_SIDE, "image/jpeg") });
  }
  const replacement = byId("replacement").files[0];
  const hasReplacement = fields.get("mode") === "image" && replacement;
  return {
    address: fields.get("source") === "address" ? fields.get("address").trim() : null,
    channel: (fields.get("channel") ?? "").trim() || null,
    targets,
    mode: fields.get("mode") || null,
    replacement: hasReplacement ? await encodePicture(replacement, MAX_REPLACEMENT_SIDE, "image/png") : null,
    delay_seconds: Number(fields.get("delay")),
  };
}

async function openCamera() {
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 }, audio: false });
  byId("camera").srcObject = media;
  await byId("camera").play();
  return media;
}

function sendCamera(media, key, id) {
  const video = byId("camera"), canvas = document.createElement("canvas");
  canvas.width = WIDTH;
  canvas.height = Math.min(MAX_HEIGHT, 2 * Math.round((WIDTH * video.videoHeight) / video.videoWidth / 2));
  const context = canvas.getContext("2d", { alpha: false }), socket = openSocket("/sockets/camera", { stream: id, key });
  let encoding = false, timer = 0;
  const sendFrame = () => {
    if (encoding || socket.bufferedAmount > MAX_BUFFERED_BYTES) return;
    encoding = true;
    const mark = performance.now();
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(async (blob) => {
      try {
        const bytes = new Uint8Array(8 + blob.size);
        new DataView(bytes.buffer).setFloat64(0, mark);
        bytes.set(new Uint8Array(await blob.arrayBuffer()), 8);
        if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
      } finally {
        encoding = false; // a frame that can't be encoded is skipped
      }
    }, "image/jpeg", QUALITY);
  };
  socket.addEventListener("open", () => { timer = setInterval(sendFrame, 1000 / FRAMES_PER_SECOND); });
  socket.onclose = () => clearInterval(timer);
  running.camera = { media, socket };
}

function watch(id, isOwnCamera) {
  const socket = openSocket("/sockets/watch", { stream: id }), context = picture.getContext("2d", { alpha: false });
  let decoding = false;
  socket.onmessage = async ({ data }) => {
    if (typeof data === "string") return showStatus(JSON.parse(data));
    if (decoding) return;
    decoding = true;
    const head = new DataView(data), mark = head.getFloat64(0);
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 16)], { type: "image/jpeg" })).catch(() => null);
    decoding = false;
    if (!bitmap) return; // the next frame might be readable
    if (picture.width !== bitmap.width || picture.height !== bitmap.height) {
      picture.width = bitmap.width;
      picture.height = bitmap.height;
    }
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    picture.dataset.frames = Number(picture.dataset.frames || 0) + 1;
    // The camera's own page compares its own clock, so its delay includes both directions of the network.
    const delay = isOwnCamera && mark > 0 ? (performance.now() - mark) / 1000 : head.getFloat64(8);
    byId("delay-measured").textContent = `${delay.toFixed(2)} s`;
  };
  // The reason is empty if the connection was lost, or if a proxy refused the socket.
  socket.onclose = ({ reason }) => stop(reason || LOST);
  return socket;
}

function showStatus(status) {
  byId("fps").textContent = status.frames_per_second.toFixed(1);
  byId("kept").textContent = status.kept;
  byId("hidden").textContent = status.hidden;
  byId("watching").textContent = status.watching;
  byId("black").hidden = !status.black;
  if (status.ended) stop(status.ended);
}

function stop(message) {
  if (!running) return;
  const { camera, watching } = running;
  running = null;
  watching?.close();
  camera?.socket.close();
  camera?.media.getTracks().forEach((track) => track.stop());
  if (form) {
    form.hidden = false;
    byId("live").hidden = true;
  }
  picture.getContext("2d").clearRect(0, 0, picture.width, picture.height); // the last frame would look like a live one
  if (message) showProblem(message);
}

async function start() {
  showProblem("");
  byId("start").disabled = true;
  let media = null;
  try {
    const request = await readRequest();
    if (request.address === null) media = await openCamera();
    const { id, key } = await post("/streams", JSON.stringify(request));
    running = { id, key };
    form.hidden = true;
    byId("live").hidden = false;
    byId("page-url").value = `${location.origin}/watch#${id}`;
    byId("mjpeg-url").value = `${location.origin}/mjpeg/${id}`;
    running.watching = watch(id, media !== null);
    if (media) sendCamera(media, key, id);
    byId("stop").focus();
  } catch (error) {
    media?.getTracks().forEach((track) => track.stop());
    showProblem(CAMERA_PROBLEMS[error.name] ?? error.message);
  }
  byId("start").disabled = false;
}

async function hideWhenLoaded(note) {
  const response = await fetch("/loaded");
  note.hidden = true;
  if (!response.ok) showProblem((await response.json()).error);
}

if (byId("loading")) hideWhenLoaded(byId("loading")).catch(() => {});
if (!form) {
  running = {};
  running.watching = watch(location.hash.slice(1), false);
  window.addEventListener("hashchange", () => location.reload()); // the URL of another stream
} else {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  byId("mode").addEventListener("change", () => { byId("replacement-field").hidden = byId("mode").value !== "image"; });
  byId("delay").addEventListener("input", () => { byId("delay-chosen").textContent = byId("delay").value; });
  byId("address").addEventListener("input", () => { byId("from-address").checked = true; });
  byId("stop").addEventListener("click", async () => {
    if (!running) return;
    const { id, key } = running;
    stop("");
    await post("/end", JSON.stringify({ stream: id, key })).catch(() => {});
  });
}
