// The page Jobs: replace each card that the server reports as changed, keep the keyboard focus, and tell when a job ends.
import { encodeForm, post, readJsonLines } from "./api.js";
import { localizeTimes } from "./local_times.js";
import { askAndRun } from "./privacy.js";

const RETRY_MS = 3000, REFUSED_MS = 60000;

const list = document.getElementById("jobs");
const connection = document.getElementById("connection");
const notify = document.getElementById("notify");
const searchForm = document.getElementById("search-form");
const title = document.title;
let following = null; // stops to follow the changes
let search = ""; // the text is in the URL's fragment, which browsers do not send
let ended = 0; // jobs that ended while the page was hidden

function parseCard(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim(); // the server has escaped all values
  return template.content.firstElementChild;
}

// Show how many tracks are kept, hidden and unsure when a card becomes visible.
const counts = new Map(); // of jobs that were asked about, by URL
const visible = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    visible.unobserve(target);
    showCounts(target);
  }
});

async function showCounts(place) {
  const url = place.dataset.counts;
  if (!counts.has(url)) counts.set(url, fetch(url).then((response) => (response.ok ? response.json() : null)).catch(() => null));
  const found = await counts.get(url);
  if (!found) return counts.delete(url);
  const unsure = found.unsure ? `, ${found.unsure} unsure` : "";
  place.textContent = `Tracks: ${found.kept} kept, ${found.hidden} hidden${unsure}.`;
}

function watchCounts(root) {
  for (const place of root.querySelectorAll(".counts")) visible.observe(place);
}

const hasRunningJob = () => list.querySelector("[data-running]") !== null;

// Tell in the tab's title, and in a notification if the user allowed it, that a job ended or waits while the page was hidden.
function announce(card, what) {
  if (!document.hidden) return;
  ended += 1;
  document.title = `(${ended}) ${title}`;
  if (window.Notification?.permission !== "granted") return;
  const notification = new Notification("De-facer", { body: `${card.dataset.name} ${what}.`, tag: card.id });
  notification.onclick = () => { window.focus(); notification.close(); };
}

function offerNotifications() {
  notify.hidden = window.Notification?.permission !== "default" || !hasRunningJob();
}

function applyChanges({ order, changed, more }) {
  for (const [job, html] of Object.entries(changed)) {
    const old = document.getElementById(`job-${job}`);
    const card = parseCard(html);
    localizeTimes(card);
    watchCounts(card);
    if (!old) list.append(card);
    else {
      if ("running" in old.dataset && !("running" in card.dataset)) announce(card, "is done");
      else if ("waiting" in card.dataset && !("waiting" in old.dataset)) announce(card, "waits for you: choose who stays visible");
      const hadFocus = old.contains(document.activeElement);
      old.replaceWith(card);
      if (hadFocus) (card.querySelector("a, button") ?? list).focus();
    }
  }
  const listed = new Set(order.map((job) => `job-${job}`));
  for (const card of [...list.children]) if (!listed.has(card.id)) card.remove();
  order.forEach((job, index) => {
    const card = document.getElementById(`job-${job}`);
    if (list.children[index] !== card) list.insertBefore(card, list.children[index] ?? null);
  });
  document.getElementById("empty").hidden = order.length > 0 || search !== "";
  document.getElementById("no-match").hidden = order.length > 0 || search === "";
  document.getElementById("searched").textContent = search;
  document.getElementById("more").hidden = !more;
  offerNotifications();
}

async function followChanges(signal) {
  while (!signal.aborted) {
    let pause = RETRY_MS;
    try {
      const response = await post(list.dataset.live, encodeForm({ search, most: list.dataset.most }), {}, signal);
      connection.textContent = "";
      for await (const changes of readJsonLines(response)) applyChanges(changes);
    } catch (error) {
      if (signal.aborted) return;
      connection.textContent = "The connection was lost, so the list is not up to date. Trying again.";
      if (error.status) pause = REFUSED_MS;
    }
    await new Promise((resolve) => { setTimeout(resolve, pause); });
  }
}

function connect() {
  following?.abort();
  following = null;
  if (document.hidden && !hasRunningJob()) return;
  following = new AbortController();
  followChanges(following.signal);
}

function readSearch() {
  search = new URLSearchParams(location.hash.slice(1)).get("search") ?? "";
  document.querySelector("#more a").hash = location.hash;
  if (searchForm) document.getElementById("search").value = search;
}

localizeTimes(list);
watchCounts(list);
list.addEventListener("click", async (event) => {
  const button = event.target.closest(".erase");
  if (!button) return;
  const ran = await askAndRun({
    title: `Erase ${button.closest(".job").dataset.name}?`,
    action: "Erase",
    url: `${button.dataset.url}/erase`,
    fields: {},
    describe: async () => {
      const response = await fetch(`${button.dataset.url}/stored`, { headers: { Accept: "application/json" } });
      const { error } = await response.json();
      if (error) throw new Error(error);
      return { found: "This deletes the video, its result and its report permanently.", choices: [] };
    },
  });
  if (ran) location.reload();
});
notify.onclick = async () => {
  await Notification.requestPermission();
  offerNotifications();
};
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    ended = 0;
    document.title = title;
  }
  if (!following || (document.hidden && !hasRunningJob())) connect();
});
if (searchForm) {
  searchForm.hidden = false;
  searchForm.onsubmit = (event) => {
    event.preventDefault();
    location.hash = encodeForm({ search: document.getElementById("search").value.trim() });
  };
}
window.addEventListener("hashchange", () => { readSearch(); connect(); });
readSearch();
offerNotifications();
connect();
