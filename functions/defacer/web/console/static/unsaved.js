// Forms whose changes are lost when the page is left: the browser asks before that, except when the form is sent.

function differs(field) {
  if (field.type === "radio" || field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.type === "select-one") {
    const first = [...field.options].find((option) => option.defaultSelected) ?? field.options[0];
    return first !== field.options[field.selectedIndex];
  }
  if (field.type === "range" || field.type === "number") return Number(field.value) !== Number(field.defaultValue);
  return field.type !== "file" && field.value.toLowerCase() !== field.defaultValue.toLowerCase(); // a colour is lowercased
}

// Call `show(changed)` now, at each change, and when the browser restores the form after "Back".
// `changed` are the fields with a `name` whose value is not the one that the server sent.
export function watch(form, show) {
  let sent = false;
  const changed = () => [...form.elements].filter((field) => field.name && differs(field));
  const update = () => show(changed());
  form.addEventListener("input", update);
  form.addEventListener("change", update);
  form.addEventListener("submit", () => { sent = true; });
  addEventListener("pageshow", () => { sent = false; update(); });
  addEventListener("beforeunload", (event) => { if (!sent && changed().length) event.preventDefault(); });
  update();
}
