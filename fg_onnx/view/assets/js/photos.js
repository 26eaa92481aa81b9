// The ways by which a photo comes onto the page: chosen, dropped, pasted, or one of those offered.

import { at, element } from "./elements.js";
import { Sentence } from "./sentence.js";

/**
 * @param offered the photos that lie beside the page.
 * @param onPhoto called with a photo's name and a function that gives its Blob.
 * @param onFailure called with an error.
 */
export function takePhotos(offered, onPhoto, onFailure) {
  const take = (files, missing) => {
    if (files.length) onPhoto(files[0].name || "the pasted image", () => files[0]);
    else onFailure(new Sentence(missing));
  };

  at("pick").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", ({ target }) => {
    if (target.files.length) take(target.files);
    target.value = ""; // the same file may be chosen again
  });

  let depth = 0; // of elements that the mouse drags a file over
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    take(
      event.dataTransfer.files,
      "What was dropped is no file. Save the image first, then drop it here.",
    );
  });

  document.addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    if (event.target instanceof HTMLInputElement && !files.length) return; // text for that field
    take(files, "The clipboard holds no image.");
  });

  at("offered").replaceChildren(
    ...offered.map(({ name, file }) => {
      const read = async () => {
        const response = await fetch(new URL(`../${file}`, import.meta.url)).catch(() => null);
        if (response?.ok) return response.blob();
        throw new Sentence(`“${name}” cannot be read from where this page lies.`);
      };
      const image = element("img", { src: file, alt: "", loading: "lazy" });
      return element(
        "li",
        {},
        element("button", { type: "button", click: () => onPhoto(name, read), "aria-label": `Explain ${name}` }, image),
      );
    }),
  );
}
