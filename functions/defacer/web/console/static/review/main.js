// The page Review: the player, the cards, the pending changes, and "Apply".
import { localizeTimes } from "../local_times.js";
import { ApplyDialog } from "./apply.js";
import { CardList, FILTERS } from "./cards.js";
import { FaceCrops } from "./crops.js";
import { NameDialog } from "./naming.js";
import { startMasks } from "./masks.js";
import { startPlayer } from "./player.js";
import { count, ReviewStore } from "./store.js";
import { SuggestionPanel } from "./suggestions.js";

const byId = (id) => document.getElementById(id);
const jobUrl = byId("people").dataset.job;
const problem = byId("problem");

function showProblem(message) {
  problem.textContent = message;
  problem.hidden = !message;
  if (message) problem.scrollIntoView({ block: "nearest" });
}

function connectToolbar(store, cards) {
  for (const filter of FILTERS) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.filter = filter.name;
    chip.setAttribute("aria-pressed", filter.name === "all");
    chip.onclick = () => {
      for (const other of byId("filters").children) other.setAttribute("aria-pressed", other === chip);
      cards.setFilter(filter.name);
    };
    byId("filters").append(chip);
  }
  byId("search").oninput = (event) => cards.search(event.target.value);
  const actions = {
    keep: (groups) => store.decide(groups.filter((group) => !group.isMask).flatMap((group) => group.tracks.map((track) => track.id)), "keep"),
    hide: (groups) => store.decide(groups.flatMap((group) => group.tracks.map((track) => track.id)), "hide"),
    merge: (groups) => store.merge(groups.map((group) => group.id)),
    clear: () => {},
  };
  for (const button of byId("selection").querySelectorAll("[data-action]")) {
    button.onclick = () => {
      try {
        actions[button.dataset.action]([...cards.chosen].map((id) => store.group(id)));
        showProblem("");
        cards.clearChosen();
      } catch (error) {
        showProblem(error.message);
      }
    };
  }
  const update = () => {
    for (const filter of FILTERS) byId("filters").querySelector(`[data-filter=${filter.name}]`).textContent = `${filter.text} ${store.groups.filter(filter.accepts).length}`;
    byId("selection").hidden = !cards.chosen.size || !store.editable;
    byId("selected-count").textContent = `${cards.chosen.size} selected`;
    byId("selection").querySelector("[data-action=merge]").disabled = cards.chosen.size < 2;
    byId("no-match").hidden = !cards.isEmpty || !store.tracks.length;
  };
  cards.addEventListener("choose", update);
  update();
  byId("toolbar").hidden = !store.tracks.length;
}

function connectChanges(store, crops) {
  const dialog = new ApplyDialog(store, crops, jobUrl);
  const update = () => {
    const { changes } = store;
    byId("changes").hidden = !changes.length && !store.canRedo && !store.waiting;
    byId("change-count").textContent = changes.length ? `${count(changes.length, "change")}, not ${store.waiting ? "published" : "applied"} yet` : "No changes";
    byId("undo").disabled = !store.canUndo;
    byId("redo").disabled = !store.canRedo;
    byId("open-apply").disabled = !changes.length && !store.waiting;
    byId("change-list").replaceChildren(...changes.map((change) => {
      const item = document.createElement("li");
      const text = document.createElement("span");
      const undo = document.createElement("button");
      item.className = "row";
      text.className = "grow";
      text.textContent = change.text;
      undo.type = "button";
      undo.className = "plain";
      undo.textContent = "Remove";
      undo.setAttribute("aria-label", `Remove: ${change.text}`);
      undo.onclick = change.undo;
      item.append(text, undo);
      return item;
    }));
  };
  store.addEventListener("change", update);
  byId("undo").onclick = () => store.undo();
  byId("redo").onclick = () => store.redo();
  byId("open-apply").onclick = () => dialog.open();
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.matches("input[type=text], input[type=search]")) return;
    event.preventDefault();
    if (event.shiftKey) store.redo();
    else store.undo();
  });
  addEventListener("beforeunload", (event) => { if (store.canUndo && !dialog.isSent) event.preventDefault(); });
  update();
}

// "Split here": the chosen track becomes two at the player's time.
function connectSplit(store, player) {
  const button = byId("split-here");
  const chosen = () => {
    const track = store.track(store.selected);
    const half = player.frameSeconds / 2;
    return track && track.origin !== "manual" && track.start < store.currentTime - half && store.currentTime - half <= track.end ? track : null;
  };
  const split = async () => {
    const [track, seconds] = [chosen(), store.currentTime - player.frameSeconds / 2];
    if (!track) return;
    try {
      const id = store.splitAt(track.id, await player.boxes.read(track), seconds);
      store.selectTrack(id, store.currentTime);
      showProblem("");
    } catch (error) {
      showProblem(error.message);
    }
  };
  const update = () => { button.disabled = !chosen(); };
  for (const name of ["time", "select", "change"]) store.addEventListener(name, update);
  button.onclick = split;
  player.addShortcuts([{ keys: ["x"], shown: "X", text: "Split the chosen track here", run: split }]);
}

// Keep the pending changes in this tab, so that "Back" and a reload do not lose them.
function keepChanges(store) {
  const saved = JSON.parse(sessionStorage.getItem(jobUrl) ?? "null");
  if (saved?.version === store.version) store.restore(saved);
  store.addEventListener("change", () => {
    try {
      sessionStorage.setItem(jobUrl, JSON.stringify({ version: store.version, ...store.save() }));
    } catch { // it is full
      sessionStorage.removeItem(jobUrl);
      showProblem("The changes are too large to survive a reload of this page. Apply them before you leave it.");
    }
  });
}

function showNotes({ summary, warnings, pending, editable, tracks }) {
  byId("summary").textContent = summary;
  byId("empty").hidden = tracks.length > 0;
  const add = (title, text) => {
    const note = document.createElement("p");
    const strong = document.createElement("strong");
    note.className = "note";
    strong.textContent = title;
    note.append(strong, ` ${text}`);
    byId("notes").append(note);
  };
  for (const warning of warnings) add("Warning.", warning + (editable ? " Or choose Keep for the person below." : ""));
  if (pending) add("Being rendered.", `The changes of ${count(pending, "track")} are requested already. Changes that you make here are rendered together with them.`);
}

async function start() {
  const response = await fetch(`${jobUrl}/review.json`).catch(() => null);
  if (!response?.ok) {
    const answer = await response?.json().catch(() => ({}));
    return showProblem(answer?.error ?? "The people of this video can't be loaded. Check the network connection and load the page again.");
  }
  const review = await response.json();
  showNotes(review);
  const store = new ReviewStore(review);
  if (store.editable) keepChanges(store);
  const crops = new FaceCrops(`${jobUrl}/crops`);
  const cards = new CardList(byId("cards"), store, crops);
  performance.mark("cards"); // tests print when the first cards are ready
  connectToolbar(store, cards);
  store.addEventListener("seek", () => { // on a phone the player can be above the cards
    const player = byId("player");
    if (player.getBoundingClientRect().bottom < 100) player.scrollIntoView({ behavior: "smooth" });
  });
  if (store.editable) {
    connectChanges(store, crops);
    new SuggestionPanel(store, crops);
    const naming = new NameDialog(store, crops, jobUrl);
    cards.addEventListener("name", (event) => naming.open(event.detail.group));
  }
  const player = startPlayer(store, jobUrl);
  if (store.editable) {
    startMasks(store, player, jobUrl);
    connectSplit(store, player);
  }
}

localizeTimes(document);
start();
