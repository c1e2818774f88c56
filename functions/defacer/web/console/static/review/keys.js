// Single-key shortcuts, and the dialog that lists them. The user can switch them off (WCAG 2.1.4).

const SETTING = "defacer-shortcuts";
const TYPING = "input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]";
const PRESSABLE = "button, a, summary, input[type=checkbox]";

// `keys` are rows { keys: ["k", " "], shown: "Space", text, run }. `dialog` contains a list (`dl`) and a checkbox.
export class Shortcuts {
  constructor(rows, dialog) {
    this.rows = rows;
    this.dialog = dialog;
    const toggle = dialog.querySelector("input[type=checkbox]");
    toggle.checked = this.isOn;
    toggle.onchange = () => localStorage.setItem(SETTING, toggle.checked ? "on" : "off");
    addEventListener("keydown", (event) => this.#press(event));
  }

  get isOn() { return localStorage.getItem(SETTING) !== "off"; }

  showHelp() {
    this.dialog.querySelector("dl").replaceChildren(...this.rows.map(({ shown, text }) => {
      const [row, name, meaning, key] = ["div", "dt", "dd", "kbd"].map((tag) => document.createElement(tag));
      key.textContent = shown;
      meaning.textContent = text;
      name.append(key);
      row.append(name, meaning);
      return row;
    }));
    this.dialog.showModal();
  }

  #press(event) {
    if (!this.isOn || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]") || event.target.closest?.(TYPING)) return;
    if (event.key === " " && event.target.closest?.(PRESSABLE)) return;
    const key = nameKey(event);
    const row = this.rows.find(({ keys }) => keys.includes(key));
    if (!row) return;
    event.preventDefault();
    row.run(event);
  }
}

// Return the name of a pressed key, such as "k", "Shift+k", "Shift+ArrowLeft", "?" or " ".
export function nameKey({ key, shiftKey }) {
  if (key.length === 1 && key.toLowerCase() === key.toUpperCase()) return key; // no letter: Shift is part of it
  return `${shiftKey ? "Shift+" : ""}${key.length === 1 ? key.toLowerCase() : key}`;
}
