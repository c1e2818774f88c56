// The page Jobs: cards change as the server says, one by one; whoever has the focus in one keeps it.
const list = document.getElementById("jobs");
const line = document.getElementById("line");
let source = null;

function made(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim(); // the server's own page piece, escaped there
  return template.content.firstElementChild;
}

// As people here write it; without this script it is said in UTC.
function tellTimes(root) {
  for (const time of root.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  }
}

function take({ order, changed }) {
  for (const [job, html] of Object.entries(changed)) {
    const old = document.getElementById(`job-${job}`);
    const card = made(html);
    tellTimes(card);
    if (!old) list.append(card);
    else {
      const focused = old.contains(document.activeElement);
      old.replaceWith(card);
      if (focused) (card.querySelector("a, button") ?? list).focus();
    }
  }
  const wanted = new Set(order.map((job) => `job-${job}`));
  for (const card of [...list.children]) if (!wanted.has(card.id)) card.remove();
  order.forEach((job, place) => {
    const card = document.getElementById(`job-${job}`);
    if (list.children[place] !== card) list.insertBefore(card, list.children[place] ?? null);
  });
  document.getElementById("none").hidden = order.length > 0;
}

function listen() {
  source?.close();
  source = null;
  if (document.hidden) return;
  source = new EventSource(list.dataset.live);
  source.onopen = () => { line.textContent = ""; };
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.onerror = () => { line.textContent = "The list is not live at the moment. Trying again."; };
}

tellTimes(list);
document.addEventListener("visibilitychange", listen);
listen();
