// The page Jobs: replace each card that the server reports as changed, and keep the keyboard focus.
const list = document.getElementById("jobs");
const connection = document.getElementById("connection");
let source = null;

function parseCard(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim(); // the server has escaped all values
  return template.content.firstElementChild;
}

// Show times in the user's time zone and format. Without JavaScript they are in UTC.
function localizeTimes(root) {
  for (const time of root.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  }
}

function applyChanges({ order, changed }) {
  for (const [job, html] of Object.entries(changed)) {
    const old = document.getElementById(`job-${job}`);
    const card = parseCard(html);
    localizeTimes(card);
    if (!old) list.append(card);
    else {
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
  document.getElementById("empty").hidden = order.length > 0;
}

function connect() {
  source?.close();
  source = null;
  if (document.hidden) return;
  source = new EventSource(list.dataset.live);
  source.onopen = () => { connection.textContent = ""; };
  source.onmessage = (event) => applyChanges(JSON.parse(event.data));
  source.onerror = () => { connection.textContent = "The connection was lost, so the list is not up to date. Trying again."; };
}

localizeTimes(list);
document.addEventListener("visibilitychange", connect);
connect();
