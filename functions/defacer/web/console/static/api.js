// Requests to the console: each carries this page's token. An error's message is a sentence for the user.

export const token = document.querySelector('meta[name="csrf"]').content;

export async function post(url, body, headers = {}, signal = null) {
  let response;
  try {
    response = await fetch(url, { method: "POST", body, headers: { "x-csrf-token": token, Accept: "application/json", ...headers }, signal });
  } catch {
    throw Object.assign(new Error("The console can't be reached. Check the network connection and try again. If you were signed out, load the page again."), { status: 0 });
  }
  if (response.ok) return response;
  const result = await response.json().catch(() => ({}));
  const message = result.error || `The console answered with status ${response.status}. Try again.`;
  throw Object.assign(new Error(message), { status: response.status });
}

// Yield the objects of a response that has one JSON object per line. Empty lines only show that the server is alive.
export async function* readJsonLines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (text + part.value).split("\n");
    text = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}

export const encodeForm = (values) => new URLSearchParams(values);

export function formatBytes(count) {
  const units = ["bytes", "kB", "MB", "GB"];
  let step = 0;
  for (; count >= 1000 && step < units.length - 1; step += 1) count /= 1000;
  return `${count.toFixed(step && count < 10 ? 1 : 0)} ${units[step]}`;
}

export function formatDuration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}
