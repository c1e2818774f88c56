// The dialog to erase a video or to forget a person: what is stored, the choices, the progress, and the end.
import { encodeForm, post, readJsonLines } from "./api.js";

const byId = (id) => document.getElementById(id);

// Post the request, and call `show` with each line of its progress. Return the last line and whether nothing is left.
async function follow(url, fields, show) {
  const response = await post(url, encodeForm(fields), { Accept: "application/jsonl" });
  for await (const entry of readJsonLines(response)) {
    if ("end" in entry) return entry;
    show(entry.line);
  }
  throw new Error("The connection was lost before the end. Run this again: it continues where it stopped.");
}

function addChoice({ name, text, checked }) {
  const row = byId("privacy-choices").appendChild(document.createElement("div"));
  row.className = "choice";
  const input = row.appendChild(document.createElement("input"));
  Object.assign(input, { type: "checkbox", name, id: `privacy-${name}`, checked });
  const label = row.appendChild(document.createElement("label"));
  label.htmlFor = input.id;
  label.textContent = text;
}

let removed = 0;

// Show a line of the progress. Removed objects are counted, because their names tell a user nothing.
function showLine(line) {
  if (line.startsWith("removed ")) {
    removed += 1;
    byId("privacy-removed").textContent = `Removed objects: ${removed}.`;
    return;
  }
  const list = byId("privacy-lines");
  list.hidden = false;
  list.appendChild(document.createElement("li")).textContent = line;
  list.scrollTop = list.scrollHeight;
}

// Open the dialog. `describe` returns what is stored ({ found, choices }). `url` gets `fields` and the checked choices.
// Resolve to true if the work ran, so that the page has to load again.
export async function askAndRun({ title, action, url, fields, describe }) {
  const dialog = byId("privacy"), confirm = byId("privacy-confirm"), close = byId("privacy-close");
  byId("privacy-title").textContent = title;
  byId("privacy-found").textContent = "Checking what is stored ...";
  for (const id of ["privacy-choices", "privacy-lines"]) byId(id).replaceChildren();
  byId("privacy-lines").hidden = byId("privacy-end").hidden = true;
  byId("privacy-removed").textContent = "";
  confirm.textContent = action;
  confirm.hidden = false;
  confirm.disabled = true;
  close.textContent = "Cancel";
  close.disabled = false;
  dialog.showModal();
  let ran = false;
  const closed = new Promise((resolve) => { dialog.onclose = () => resolve(ran); });
  const showEnd = (text, done = false) => {
    byId("privacy-end").className = done ? "done" : "note";
    byId("privacy-end").textContent = text;
    byId("privacy-end").hidden = false;
  };
  dialog.oncancel = (event) => { if (close.disabled) event.preventDefault(); };
  confirm.onclick = async () => {
    const choices = [...byId("privacy-choices").querySelectorAll("input:checked")].map((input) => [input.name, "yes"]);
    ran = confirm.disabled = close.disabled = true;
    removed = 0;
    byId("privacy-end").hidden = true;
    showLine("This can take minutes. Keep this page open.");
    try {
      const { end, done } = await follow(url, { ...fields, ...Object.fromEntries(choices) }, showLine);
      showEnd(end, done);
      confirm.hidden = done;
    } catch (error) { showEnd(error.message); }
    confirm.disabled = close.disabled = false;
    close.textContent = "Close";
    close.focus();
  };
  try {
    const { found, choices } = await describe();
    byId("privacy-found").textContent = found;
    choices.forEach(addChoice);
    confirm.disabled = false;
  } catch (error) { byId("privacy-found").textContent = error.message; }
  return closed;
}
