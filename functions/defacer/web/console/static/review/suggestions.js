// "Probably the same person": stacks of cards to merge with one click.
import { chooseFaces } from "./cards.js";
import { showFaces } from "./crops.js";
import { count } from "./store.js";

const SHOWN = 3; // stacks at a time

const byId = (id) => document.getElementById(id);

export class SuggestionPanel {
  constructor(store, crops) {
    this.store = store;
    this.crops = crops;
    byId("merge-shown").onclick = () => { for (const item of [...byId("suggestion-list").children]) this.#merge(item); };
    byId("suggestions").open = matchMedia("(min-width: 64rem)").matches; // elsewhere the cards would be far below
    store.addEventListener("change", () => this.#update());
    this.#update();
  }

  #update() {
    const stacks = this.store.suggestions.list();
    const key = ({ id, tracks }) => `${id}:${chooseFaces(tracks)}`;
    const shown = stacks.slice(0, SHOWN);
    byId("suggestions").hidden = !stacks.length;
    byId("suggestion-count").textContent = count(stacks.length, "suggestion");
    byId("merge-shown").hidden = shown.length < 2;
    byId("merge-shown").textContent = `Merge these ${shown.length}`;
    const keys = shown.map((groups) => groups.map(key).join());
    const old = new Map([...byId("suggestion-list").children].map((item) => [item.dataset.key, item]));
    byId("suggestion-list").replaceChildren(...shown.map((groups, index) => old.get(keys[index]) ?? this.#make(groups, keys[index])));
  }

  #make(groups, key) {
    const item = byId("suggestion-template").content.firstElementChild.cloneNode(true);
    const names = groups.map((group) => group.name).join(", ");
    item.dataset.key = key;
    item.querySelector(".members").replaceChildren(...groups.map((group) => this.#makeMember(group)));
    item.querySelector(".same").setAttribute("aria-label", `Same person: ${names}`);
    item.querySelector(".different").setAttribute("aria-label", `Different people: ${names}`);
    item.querySelector(".same").onclick = () => { this.#merge(item); this.#focusNext(); };
    item.querySelector(".different").onclick = () => { this.#refuse(groups.map(({ id }) => id)); this.#focusNext(); };
    return item;
  }

  #makeMember(group) {
    const member = byId("member-template").content.firstElementChild.cloneNode(true);
    member.querySelector("input").value = group.id;
    member.querySelector(".name").textContent = group.name;
    this.crops.get(chooseFaces(group.tracks), (crops) => showFaces(member.querySelector(".faces"), crops, () => document.createElement("span")), () => member.isConnected);
    return member;
  }

  // Merge the checked cards of a stack. The others are different people.
  #merge(item) {
    const inputs = [...item.querySelectorAll("input")];
    const [same, other] = [true, false].map((isSame) => inputs.filter((input) => input.checked === isSame).map((input) => Number(input.value)));
    if (other.length) this.#refuse([...same, ...other], other);
    if (same.length > 1) this.store.merge(same);
  }

  #refuse(ids, others = ids) {
    const find = (some) => some.map((id) => this.store.group(id)).filter(Boolean);
    this.store.suggestions.refuse(find(ids), find(others));
    this.store.dispatchEvent(new Event("change"));
  }

  #focusNext() { (byId("suggestion-list").querySelector(".same") ?? byId("people-title")).focus(); }
}
