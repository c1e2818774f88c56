// The page Policy: only what belongs to the chosen mode is shown; a frame of the channel's own shows what it does.
import { ask } from "./ask.js";
import { watch } from "./unsaved.js";

const policy = document.getElementById("policy");
const at = (id) => document.getElementById(id);
const STRENGTHS = [[1.2, "usual"], [1.8, "stronger"], [2.6, "strong"], [9, "the strongest"]];

function arrange() {
  const mode = new FormData(policy).get("mode");
  for (const part of policy.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(mode);
  const own = at("own_distance");
  own.required = at("own").checked;
  own.max = own.required ? JSON.parse(own.dataset.largest)[new FormData(policy).get("recognizer")] : "";
  at("strength-said").textContent = STRENGTHS.find(([most]) => at("strength").value <= most)[1];
  if (at("share")) at("share-said").textContent = `${Math.round(at("share").value / 10)} % of the way`;
}

async function look() {
  const values = new URLSearchParams(new FormData(policy));
  values.set("video", at("video").value);
  values.set("share", at("share").value);
  at("look").disabled = true;
  at("preview-said").textContent = "Looking for faces ...";
  try {
    const answer = await ask(policy.dataset.preview, values, { Accept: "image/jpeg, application/json" });
    const faces = Number(answer.headers.get("x-faces"));
    URL.revokeObjectURL(at("preview").src);
    at("preview").src = URL.createObjectURL(await answer.blob());
    at("preview").hidden = false;
    const count = faces === 0 ? "No face is found in this frame." : faces === 1 ? "One face is hidden." : `${faces} faces are hidden.`;
    at("preview-said").textContent = `${count} Who stays is decided for a whole video, not for one frame.`;
  } catch (error) {
    at("preview-said").textContent = error.message;
  }
  at("look").disabled = false;
}

at("replacement").onchange = async (event) => {
  const said = at("replacement-said");
  const [file] = event.target.files;
  if (!file) return;
  try {
    await ask(policy.dataset.replacement, file, { "content-type": file.type || "application/octet-stream" });
    said.textContent = "It is the channel's picture now.";
    said.className = "small good";
    at("replacement-now").src = URL.createObjectURL(file);
    at("replacement-now").hidden = false;
    at("replacement-none")?.remove();
  } catch (error) {
    said.textContent = error.message;
    said.className = "small bad";
  }
};
at("own_distance").oninput = () => { at("own").checked = true; };
at("look")?.addEventListener("click", look);
watch(policy, arrange);
