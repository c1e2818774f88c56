// The page People: pictures are checked by the engine as they come; what is there is checked once, one by one.
import { ask, form } from "./ask.js";

const people = document.getElementById("people");
const { base, most } = people.dataset;
const problem = document.getElementById("problem");
const dialog = document.getElementById("ask");

function tell(error) {
  problem.textContent = error.message;
  problem.hidden = false;
  problem.scrollIntoView({ block: "nearest" });
}

// Ask for a yes, or for a name; resolves to true or the name, or to null.
function confirmed(title, yes, name = null) {
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-yes").textContent = yes;
  const field = document.getElementById("ask-name");
  document.getElementById("ask-field").hidden = name === null;
  field.required = name !== null;
  field.value = name ?? "";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes" ? (name === null ? true : field.value) : null);
  });
}

const words = (answer) => [answer.sentence, answer.good && !answer.doubtful ? "good" : "bad"];

async function send(person, file) {
  if (file.size > Number(most)) return { good: false, sentence: "This picture is too large. Use a smaller one." };
  const answer = await ask(`${base}/pictures?${form({ person })}`, file, { "content-type": file.type || "application/octet-stream" });
  return answer.json();
}

// Each picture with its answer; gives how many were taken.
async function sendAll(person, files, list) {
  let taken = 0;
  let refused = 0;
  for (const file of files) {
    const row = list.appendChild(document.createElement("li"));
    row.textContent = `${file.name}: is being looked at ...`;
    try {
      const answer = await send(person, file);
      const [sentence, kind] = words(answer);
      row.textContent = `${file.name}: ${answer.good ? "added" : "not added"}. ${sentence}`;
      row.className = kind;
      answer.good ? (taken += 1) : (refused += 1);
      if (answer.doubtful) refused += 1;
    } catch (error) {
      refused += 1;
      row.textContent = `${file.name}: not added. ${error.message}`;
      row.className = "bad";
    }
  }
  // What was not taken stays to be read; the page is new when all is well, or on a click.
  if (taken && !refused) location.reload();
  else if (taken) {
    const button = list.appendChild(document.createElement("li")).appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = "Show what was added";
    button.onclick = () => location.reload();
  }
}

async function changing(address, values) {
  try {
    await ask(`${base}/${address}`, form(values));
    location.reload();
  } catch (error) { tell(error); }
}

for (const section of people.querySelectorAll(".person")) {
  const { person } = section.dataset;
  section.querySelector(".add").onchange = (event) => sendAll(person, [...event.target.files], section.querySelector(".answers"));
  section.querySelector(".rename").onclick = async () => {
    const name = await confirmed(`Rename ${person}`, "Rename", person);
    if (name) changing("rename", { person, name });
  };
  section.querySelector(".remove").onclick = async () => {
    if (await confirmed(`Remove ${person} and all of their pictures?`, "Remove")) changing("remove", { person });
  };
  for (const item of section.querySelectorAll("[data-picture]")) {
    item.querySelector("button").onclick = async () => {
      if (await confirmed(`Remove this picture of ${person}?`, "Remove")) changing("remove", { picture: item.dataset.picture });
    };
  }
}

document.getElementById("new").onsubmit = async (event) => {
  event.preventDefault();
  const list = event.target.querySelector(".answers");
  const button = event.submitter;
  list.replaceChildren();
  if (button) button.disabled = true;
  await sendAll(document.getElementById("person").value.trim(), [...document.getElementById("pictures").files], list);
  if (button) button.disabled = false;
};

for (const item of people.querySelectorAll("[data-unchecked]")) {
  const place = item.querySelector(".words");
  place.textContent = "Is being looked at ...";
  try {
    const [sentence, kind] = words(await (await ask(`${base}/check`, form({ picture: item.dataset.picture }))).json());
    place.textContent = sentence;
    place.classList.add(kind);
  } catch (error) {
    place.textContent = error.message;
    place.classList.add("bad");
    break;
  }
}
