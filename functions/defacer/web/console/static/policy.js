// The page Policy: show only the fields of the chosen mode, and preview each change on a frame of the channel's video.
import { post } from "./api.js";
import { watchForm } from "./unsaved.js";

const policy = document.getElementById("policy");
const byId = (id) => document.getElementById(id);
const STRENGTHS = [[1.2, "normal"], [1.8, "stronger"], [2.6, "strong"], [9, "strongest"]]; // upper bound, name

function arrange() {
  const mode = new FormData(policy).get("mode");
  for (const field of policy.querySelectorAll("[data-for]")) field.hidden = !field.dataset.for.split(" ").includes(mode);
  for (const field of policy.querySelectorAll("[data-confirm]")) field.hidden = new FormData(policy).get("confirm") === "never";
  const threshold = byId("own_threshold");
  threshold.required = byId("own").checked;
  threshold.max = threshold.required ? JSON.parse(threshold.dataset.largest)[new FormData(policy).get("recognizer")] : "";
  byId("strength-name").textContent = STRENGTHS.find(([most]) => byId("strength").value <= most)[1];
  schedulePreview();
  if (byId("share")) byId("share-value").textContent = `at ${Math.round(byId("share").value / 10)} % of the video`;
}

const PREVIEWED = ["mode", "color", "strength", "detector"]; // the fields that change a preview
const SETTLE_MS = 300; // a slider sends many changes: the last one counts
let shownPreview = null; // what the preview shows, or will show
let settling = 0;
let isRendering = false;

function describePreview() {
  const fields = new FormData(policy);
  return JSON.stringify([...PREVIEWED.map((name) => fields.get(name)), byId("video").value, byId("share").value, byId("replacement-current").src]);
}

function schedulePreview() {
  clearTimeout(settling);
  const lacksPicture = new FormData(policy).get("mode") === "image" && byId("replacement-current").hidden;
  if (!byId("video") || lacksPicture || describePreview() === shownPreview) return;
  settling = setTimeout(() => { if (!isRendering) showPreview(); }, SETTLE_MS);
}

async function showPreview() {
  const values = new URLSearchParams(new FormData(policy));
  values.set("video", byId("video").value);
  values.set("share", byId("share").value);
  isRendering = true;
  shownPreview = describePreview();
  byId("preview").classList.add("outdated");
  byId("preview-status").textContent = "Detecting faces ...";
  try {
    const response = await post(policy.dataset.preview, values, { Accept: "image/jpeg, application/json" });
    const faces = Number(response.headers.get("x-faces"));
    URL.revokeObjectURL(byId("preview").src);
    byId("preview").src = URL.createObjectURL(await response.blob());
    byId("preview").hidden = false;
    const count = faces === 0 ? "No face was detected in this frame." : faces === 1 ? "One face is hidden." : `${faces} faces are hidden.`;
    byId("preview-status").textContent = `${count} A preview hides targets too: they are recognized in a whole video only.`;
  } catch (error) {
    byId("preview-status").textContent = error.message;
  }
  byId("preview").classList.remove("outdated");
  isRendering = false;
  schedulePreview(); // for a change in the meantime
}

byId("replacement").onchange = async (event) => {
  const status = byId("replacement-status");
  const [file] = event.target.files;
  if (!file) return;
  try {
    await post(policy.dataset.replacement, file, { "content-type": file.type || "application/octet-stream" });
    status.textContent = "The picture was saved.";
    status.className = "small good";
    byId("replacement-current").src = URL.createObjectURL(file);
    byId("replacement-current").hidden = false;
    byId("replacement-missing")?.remove();
    schedulePreview();
  } catch (error) {
    status.textContent = error.message;
    status.className = "small bad";
  }
};
byId("own_threshold").oninput = () => { byId("own").checked = true; };
watchForm(policy, arrange);
