// The page People: the engine checks each picture on upload, and each stored picture once.
import { encodeForm, post } from "./api.js";
import { askAndRun } from "./privacy.js";

const people = document.getElementById("people");
const { base, most } = people.dataset;
const problem = document.getElementById("problem");
const dialog = document.getElementById("dialog");

function showError(error) {
  problem.textContent = error.message;
  problem.hidden = false;
  problem.scrollIntoView({ block: "nearest" });
}

// Ask for a confirmation, or for a new name. Resolves to true, to the name, or to null if the user cancels.
function askUser(title, action, name = null) {
  document.getElementById("dialog-title").textContent = title;
  document.getElementById("dialog-confirm").textContent = action;
  const field = document.getElementById("dialog-name");
  document.getElementById("dialog-field").hidden = name === null;
  field.required = name !== null;
  field.value = name ?? "";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes" ? (name === null ? true : field.value) : null);
  });
}

const ratingOf = (check) => (check.usable && !check.doubtful ? "good" : "bad");

async function uploadPicture(person, file) {
  if (file.size > Number(most)) return { usable: false, message: "This picture is too large. Use a smaller one." };
  // Servers log URLs, so the name is in a header.
  const headers = { "x-person": encodeURIComponent(person), "content-type": file.type || "application/octet-stream" };
  const response = await post(`${base}/pictures`, file, headers);
  return response.json();
}

// Upload the pictures, and list the result of each check.
async function uploadPictures(person, files, list) {
  let added = 0;
  let withMessage = 0; // pictures whose message the user has to read
  for (const file of files) {
    const row = list.appendChild(document.createElement("li"));
    row.textContent = `${file.name}: checking ...`;
    try {
      const check = await uploadPicture(person, file);
      row.textContent = `${file.name}: ${check.usable ? "added" : "not added"}. ${check.message}`;
      row.className = ratingOf(check);
      if (check.usable) added += 1;
      if (!check.usable || check.doubtful) withMessage += 1;
    } catch (error) {
      withMessage += 1;
      row.textContent = `${file.name}: not added. ${error.message}`;
      row.className = "bad";
    }
  }
  // The page reloads at once only if it has no message to read.
  if (added && !withMessage) location.reload();
  else if (added) {
    const button = list.appendChild(document.createElement("li")).appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = "Show the added pictures";
    button.onclick = () => location.reload();
  }
}

async function postAndReload(path, values) {
  try {
    await post(`${base}/${path}`, encodeForm(values));
    location.reload();
  } catch (error) { showError(error); }
}

async function describePerson(person) {
  const { found, shown } = await (await post(`${base}/stored`, encodeForm({ person }))).json();
  const videos = (list) => list.map(({ video }) => video).join(", ");
  const renderable = shown.filter(({ obstacle }) => !obstacle);
  const gone = shown.filter(({ obstacle }) => obstacle);
  const choices = [];
  if (renderable.length) choices.push({ name: "rerender", checked: true, text: `Hide ${person} in published videos: ${videos(renderable)}` });
  if (gone.length) choices.push({ name: "delete", checked: false, text: `Delete the results that can't be rendered again: ${videos(gone)}` });
  return { found: `${found}.`, choices };
}

async function forgetPerson(person) {
  const ran = await askAndRun({
    title: `Forget ${person}?`,
    action: "Forget",
    url: `${base}/forget`,
    fields: { person },
    describe: () => describePerson(person),
  });
  if (ran) location.reload();
}

document.getElementById("forget").onsubmit = (event) => {
  event.preventDefault();
  forgetPerson(document.getElementById("forgotten").value.trim());
};

for (const section of people.querySelectorAll(".person")) {
  const { person } = section.dataset;
  section.querySelector(".add").onchange = (event) => uploadPictures(person, [...event.target.files], section.querySelector(".answers"));
  section.querySelector(".rename").onclick = async () => {
    const name = await askUser(`Rename ${person}`, "Rename", person);
    if (name) postAndReload("rename", { person, name });
  };
  section.querySelector(".remove").onclick = async () => {
    if (await askUser(`Remove ${person} and all of their pictures?`, "Remove")) postAndReload("remove", { person });
  };
  section.querySelector(".forget").onclick = () => forgetPerson(person);
  for (const item of section.querySelectorAll("[data-picture]")) {
    item.querySelector("button").onclick = async () => {
      if (await askUser(`Remove this picture of ${person}?`, "Remove")) postAndReload("remove", { picture: item.dataset.picture });
    };
  }
}

document.getElementById("new").onsubmit = async (event) => {
  event.preventDefault();
  const list = event.target.querySelector(".answers");
  const button = event.submitter;
  list.replaceChildren();
  if (button) button.disabled = true;
  await uploadPictures(document.getElementById("person").value.trim(), [...document.getElementById("pictures").files], list);
  if (button) button.disabled = false;
};

for (const item of people.querySelectorAll("[data-unchecked]")) {
  const message = item.querySelector(".message");
  message.textContent = "Checking ...";
  try {
    const check = await (await post(`${base}/check`, encodeForm({ picture: item.dataset.picture }))).json();
    message.textContent = check.message;
    message.classList.add(ratingOf(check));
  } catch (error) {
    message.textContent = error.message;
    message.classList.add("bad");
    break;
  }
}
