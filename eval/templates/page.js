"use strict";
// Enlarging pictures: with the mouse, or Tab and Enter.
const dialog = document.querySelector("dialog");
function enlarge(picture) {
  const frame = picture.closest(".seen");
  const shown = (frame ?? picture).cloneNode(true);
  for (const name of ["role", "tabindex", "aria-label"]) {
    shown.removeAttribute(name);
    shown.querySelector("img")?.removeAttribute(name);
  }
  dialog.querySelector("div").replaceChildren(shown);
  dialog.showModal();
}
for (const picture of document.querySelectorAll("main img")) {
  picture.tabIndex = 0;
  picture.setAttribute("role", "button");
  picture.setAttribute("aria-label", "enlarge this picture");
  picture.addEventListener("click", () => enlarge(picture));
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); enlarge(picture); }
  });
}
dialog.addEventListener("click", () => dialog.close());
// Filters: a box shows the items that have what each of its lists names.
for (const box of document.querySelectorAll("[data-filtered]")) {
  const lists = [...box.querySelectorAll("select[data-of]")];
  const apply = () => {
    let shown = 0;
    for (const item of box.querySelectorAll("[data-item]")) {
      const out = lists.some((list) => list.value && item.dataset[list.dataset.of] !== list.value);
      item.classList.toggle("shut-out", out);
      if (!out) { shown += 1; }
    }
    box.querySelector("output").value = `${shown} shown`;
  };
  for (const list of lists) { list.addEventListener("change", apply); }
  apply();
}
