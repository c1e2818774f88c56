// Forms with unsaved changes: the browser asks before the user leaves the page, except when the form is submitted.

function isChanged(field) {
  if (field.type === "radio" || field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.type === "select-one") {
    const initial = [...field.options].find((option) => option.defaultSelected) ?? field.options[0];
    return initial !== field.options[field.selectedIndex];
  }
  if (field.type === "range" || field.type === "number") return Number(field.value) !== Number(field.defaultValue);
  return field.type !== "file" && field.value.toLowerCase() !== field.defaultValue.toLowerCase(); // browsers lowercase colors
}

// Call `show(changed)` now, at each change, and when the browser restores the form after "Back".
// `changed` are the fields with a `name` whose value differs from the server's.
export function watchForm(form, show) {
  let submitted = false;
  const findChanged = () => [...form.elements].filter((field) => field.name && isChanged(field));
  const update = () => show(findChanged());
  form.addEventListener("input", update);
  form.addEventListener("change", update);
  form.addEventListener("submit", () => { submitted = true; });
  addEventListener("pageshow", () => { submitted = false; update(); });
  addEventListener("beforeunload", (event) => { if (!submitted && findChanged().length) event.preventDefault(); });
  update();
}
