"use strict";
document.documentElement.classList.add("js");
document.addEventListener("DOMContentLoaded", () => {
  const at = (id) => document.getElementById(id);
  const list = at("cards");
  const all = Array.from(list.children);
  let page = 0;
  let found = all;

  // What has no number comes last, whichever way the others are sorted.
  const number = (card, key) => (card.dataset[key] === undefined ? NaN : Number(card.dataset[key]));
  const by = (key, sign) => (a, b) => {
    const [x, y] = [number(a, key), number(b, key)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sign * (x - y);
  };
  const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true });
  const order = (key) =>
    key === "name" ? byName : key.endsWith("-up") ? by(key.slice(0, -3), 1) : by(key, -1);

  const size = () => Number(at("size").value);
  const pages = () => Math.max(1, Math.ceil(found.length / size()));

  const show = () => {
    page = Math.min(Math.max(page, 0), pages() - 1);
    const first = page * size();
    const shown = new Set(found.slice(first, first + size()));
    for (const card of all) card.hidden = !shown.has(card);
    const text = found.length
      ? `${first + 1} to ${first + shown.size} of ${found.length}`
      : "No image fits.";
    at("count").textContent = text;
    at("page").textContent = `Page ${page + 1} of ${pages()}`;
    at("previous").disabled = page === 0;
    at("next").disabled = page === pages() - 1;
  };

  const choose = () => {
    const ofClass = at("of-class").value;
    const ofFinding = at("of-finding")?.value ?? "";
    found = all.filter((card) =>
      (ofClass === "" || card.dataset.class === ofClass) &&
      (ofFinding === "" || (card.dataset.findings ?? "").split(" ").includes(ofFinding)));
    found.sort(order(at("sort").value));
    list.append(...found); // and before them, unseen, those that do not fit
    show();
  };

  const restart = () => {
    page = 0;
    choose();
  };

  const turn = (step) => {
    page += step;
    show();
    at("gallery").scrollIntoView();
  };

  // A link to an image leads to its page, whatever is filtered.
  const follow = () => {
    const card = all.find((each) => `#${each.id}` === location.hash);
    if (!card) return;
    if (!found.includes(card)) {
      at("of-class").value = "";
      if (at("of-finding")) at("of-finding").value = "";
      choose();
    }
    page = Math.floor(found.indexOf(card) / size());
    show();
    card.scrollIntoView({ block: "center" });
    card.focus({ preventScroll: true });
  };

  const fade = () => {
    const value = `${at("opacity").value}%`;
    document.documentElement.style.setProperty("--overlay", at("opacity").value / 100);
    at("opacity-said").textContent = value;
    at("opacity").setAttribute("aria-valuetext", value);
  };

  // A picture of few pixels is shown as such, a larger one is smoothed.
  const sharpen = (image) => {
    if (image.naturalWidth && image.naturalWidth <= 96) image.classList.add("pixels");
  };
  for (const image of document.images) {
    if (image.complete) sharpen(image);
    else image.addEventListener("load", () => sharpen(image), { once: true });
  }

  at("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["of-class", "of-finding", "sort", "size"]) {
    at(id)?.addEventListener("change", restart);
  }
  at("opacity").addEventListener("input", fade);
  at("previous").addEventListener("click", () => turn(-1));
  at("next").addEventListener("click", () => turn(1));
  for (const button of document.querySelectorAll("button.choose")) {
    const known = Array.from(at("of-class").options).some((o) => o.value === button.dataset.class);
    button.disabled = !known;
    button.addEventListener("click", () => {
      at("of-class").value = button.dataset.class;
      restart();
      at("gallery").scrollIntoView();
      at("of-class").focus({ preventScroll: true });
    });
  }
  window.addEventListener("hashchange", follow);

  // On paper everything is open.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    for (const each of opened) each.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const each of opened) each.open = false;
  });

  fade();
  choose();
  follow();
});
