// "This is…": choose who a card shows. A new name needs a saved picture, because `forget` withdraws that person's consent by it.
import { post } from "../api.js";
import { chooseFaces } from "./cards.js";
import { showFaces } from "./crops.js";

const byId = (id) => document.getElementById(id);
const NEW = "";

export class NameDialog {
  #group = null;

  constructor(store, crops, jobUrl) {
    this.store = store;
    this.crops = crops;
    this.jobUrl = jobUrl;
    byId("name-cancel").onclick = () => byId("name-dialog").close();
    byId("name-dialog").querySelector("form").onsubmit = (event) => { event.preventDefault(); this.#confirm(); };
    byId("save-picture").onchange = () => this.#update();
    byId("known-people").onchange = () => this.#update();
  }

  open(group) {
    this.#group = group;
    byId("name-title").textContent = `Who is ${group.name}?`;
    byId("new-name").value = "";
    byId("save-picture").checked = false;
    byId("name-problem").hidden = true;
    const names = [...this.store.people.map((person) => [person, person]), ...(group.isAdded ? [] : [[NEW, "A new person"]])];
    byId("known-people").replaceChildren(...names.map(([value, text], index) => this.#makeChoice("person", `person-${index}`, value, text, index === 0)));
    byId("picture-choice").replaceChildren();
    this.crops.get(chooseFaces(group.tracks), (crops) => this.#showPictures(group, crops));
    this.#update();
    byId("name-dialog").showModal();
  }

  get #person() { return byId("known-people").querySelector(":checked").value || byId("new-name").value.trim(); }
  get #isNew() { return byId("known-people").querySelector(":checked").value === NEW; }

  #makeChoice(name, id, value, text, isChecked) {
    const choice = document.createElement("div");
    const input = Object.assign(document.createElement("input"), { type: "radio", name, id, value, checked: isChecked });
    const label = Object.assign(document.createElement("label"), { htmlFor: id, textContent: text });
    choice.className = "choice";
    choice.append(input, label);
    return choice;
  }

  #showPictures(group, crops) {
    if (this.#group !== group) return;
    showFaces(byId("picture-choice"), crops, (track, second) => {
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "picture", value: `${track} ${second}` });
      input.setAttribute("aria-label", `The picture at ${second.toFixed(1)} s`);
      label.append(input);
      return label;
    });
    const first = byId("picture-choice").querySelector("input");
    if (first) first.checked = true;
  }

  #update() {
    const isNew = this.#isNew;
    byId("new-name-field").hidden = !isNew;
    byId("new-name").required = isNew;
    byId("save-picture").disabled = isNew || this.#group.isAdded;
    if (isNew) byId("save-picture").checked = true;
    byId("save-hint").textContent = isNew ? "A new person needs a picture. You can remove it on the page People." : this.#group.isAdded ? "You can save one after the video is rendered again." : "The next videos of this channel then keep this person more reliably.";
    byId("picture-choice").hidden = !byId("save-picture").checked;
  }

  async #confirm() {
    const person = this.#person;
    byId("name-confirm").disabled = true;
    try {
      this.store.requireName(this.#group.id, person);
      if (byId("save-picture").checked) await this.#savePicture(person);
      this.store.name(this.#group.id, person);
      byId("name-dialog").close();
    } catch (error) {
      byId("name-problem").textContent = error.message;
      byId("name-problem").hidden = false;
    }
    byId("name-confirm").disabled = false;
  }

  async #savePicture(person) {
    const chosen = byId("picture-choice").querySelector(":checked");
    if (!chosen) throw new Error("Choose a picture to save. If none is shown, wait a moment.");
    const [track, second] = chosen.value.split(" ").map(Number);
    const body = JSON.stringify({ person, track, second, groups: this.store.toEdits().edits.groups });
    await post(`${this.jobUrl}/targets`, body, { "Content-Type": "application/json" });
  }
}
