// One image in the whole window: its picture, and over it the map or that of one layer.
document.addEventListener("DOMContentLoaded", () => {
  const at = (id) => document.getElementById(id);
  const viewer = at("viewer");
  const body = at("viewed");
  let card = null;

  const around = (step) => {
    const cards = Array.from(document.querySelectorAll("#cards > li:not([hidden])"));
    return cards[cards.indexOf(card) + step];
  };

  const lay = (button, source) => {
    for (const each of body.querySelectorAll(".strip button")) {
      each.setAttribute("aria-pressed", String(each === button));
    }
    body.querySelector(".overlay")?.setAttribute("src", source);
  };

  // Every map of the strip becomes a button that lays it over the picture; the whole map is first.
  const offer = (strip, overlay) => {
    const whole = document.createElement("li");
    const said = document.createElement("span");
    said.textContent = "all layers";
    const map = overlay.cloneNode();
    map.className = "";
    whole.append(map, said);
    strip.prepend(whole);
    for (const item of strip.children) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...item.childNodes);
      item.append(button);
      const { src } = button.querySelector("img");
      button.addEventListener("click", () => lay(button, src));
    }
    lay(whole.firstChild, overlay.getAttribute("src"));
  };

  const show = (next) => {
    card = next;
    const copy = card.firstElementChild.cloneNode(true);
    copy.removeAttribute("aria-labelledby");
    for (const each of copy.querySelectorAll("[id]")) each.removeAttribute("id");
    copy.querySelector(".enlarge")?.remove();
    for (const image of copy.querySelectorAll("img")) image.loading = "eager";
    const [title, strip] = [copy.querySelector("h3"), copy.querySelector(".strip")];
    const overlay = copy.querySelector(".overlay");
    at("viewer-title").replaceChildren(...title.childNodes);
    title.remove();
    body.replaceChildren(copy);
    if (strip && overlay) offer(strip, overlay);
    at("before").disabled = !around(-1);
    at("after").disabled = !around(1);
  };

  const turn = (step) => {
    const next = around(step);
    if (next) show(next);
  };

  const fade = () => {
    at("opacity").value = at("viewer-opacity").value;
    at("opacity").dispatchEvent(new Event("input"));
  };

  at("cards").addEventListener("click", (event) => {
    const chosen = event.target.closest(".shot")?.closest("li.card");
    if (!chosen) return;
    at("viewer-opacity").value = at("opacity").value;
    show(chosen);
    viewer.showModal();
  });
  viewer.addEventListener("close", () => card.querySelector(".enlarge").focus());
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && event.target !== at("viewer-opacity")) turn(step);
  });
  at("viewer-opacity").addEventListener("input", fade);
  at("before").addEventListener("click", () => turn(-1));
  at("after").addEventListener("click", () => turn(1));
  at("close").addEventListener("click", () => viewer.close());
});
