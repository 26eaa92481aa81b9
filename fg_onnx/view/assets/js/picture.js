// The photo with a map over it, and the strip of the layers' own maps.

import { at, draw, element, visible } from "./elements.js";
import { heatMap, overlay } from "./map.js";

export class Picture {
  #drawing;
  #signed;
  #view;
  #found;
  #names;
  #layer = null;

  /** @param described the page's description of the model. */
  constructor({ drawing, manifest }) {
    this.#drawing = drawing;
    this.#signed = manifest.psi === "signed";
    at("opacity").addEventListener("input", () => this.#fade());
    at("bare").addEventListener("change", () => this.#draw());
  }

  /**
   * @param view the pixels that the model saw.
   * @param found the attribution of a class.
   * @param photo what the photo is called; @param className the class.
   */
  show(view, found, photo, className) {
    this.#view = view;
    this.#found = found;
    this.#names = { photo, className };
    // a layer that was chosen stays so from class to class
    if (!found.layers.some(({ name }) => name === this.#layer)) this.#layer = null;
    draw(at("photo"), view);
    this.#draw();
    this.#showStrip();
    this.#fade();
  }

  #draw() {
    const layer = this.#found.layers.find(({ name }) => name === this.#layer);
    const map = layer?.map ?? this.#found.saliency;
    const bare = at("bare").checked;
    draw(
      at("overlay"),
      bare
        ? heatMap(map, this.#drawing, this.#signed)
        : overlay(this.#view, map, this.#drawing, this.#signed),
    );
    const what = layer ? `Bias-gradient of ${layer.name}` : "FullGrad map";
    const { photo, className } = this.#names;
    at("overlay").setAttribute("aria-label", `${what} for ${className}, over the photo`);
    const { width, height } = this.#view;
    at("shown").textContent = visible(
      `${what} for ${className}, over ${photo} as the model sees it: ${width} × ${height} pixels.`,
    );
  }

  #fade() {
    at("overlay").style.opacity = String(at("opacity").value / 100);
    at("opacity-said").textContent = `${at("opacity").value}%`;
  }

  #showStrip() {
    const { layers } = this.#found;
    at("layers").hidden = !layers.length;
    at("strip").replaceChildren(
      ...layers.map(({ name, map }) => {
        const canvas = element("canvas", { "aria-hidden": "true" });
        draw(canvas, heatMap(map, this.#drawing, this.#signed));
        const button = element(
          "button",
          {
            type: "button",
            title: name,
            "aria-pressed": String(name === this.#layer),
            click: () => this.#choose(name),
          },
          canvas,
          element("span", {}, name),
        );
        return element("li", {}, button);
      }),
    );
  }

  #choose(name) {
    this.#layer = this.#layer === name ? null : name;
    this.#draw();
    for (const button of at("strip").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.title === this.#layer));
    }
  }
}
