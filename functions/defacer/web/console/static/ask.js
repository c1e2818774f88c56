// Talking to the console: each call carries this page's token; an error is a sentence to show.

export const token = document.querySelector('meta[name="csrf"]').content;

export async function ask(address, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(address, { method: "POST", body, headers: { "x-csrf-token": token, Accept: "application/json", ...headers } });
  } catch {
    throw Object.assign(new Error("The console does not answer. Is the connection up?"), { status: 0 });
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(told.error || `The console answered ${answer.status}.`), { status: answer.status });
}

export const form = (values) => new URLSearchParams(values);

export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB"];
  let step = 0;
  for (; count >= 1000 && step < units.length - 1; step += 1) count /= 1000;
  return `${count.toFixed(step && count < 10 ? 1 : 0)} ${units[step]}`;
}

export function lasting(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}
