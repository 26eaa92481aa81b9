// Elements made of text: what a model or a file is called never becomes markup, nor hides anything.

export const at = (id) => document.getElementById(id);

/**
 * @param tag of the element.
 * @param attributes by name; null and false leave one out, a function listens to that event.
 * @param children elements and strings.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.map((child) => (typeof child === "string" ? visible(child) : child)));
  return made;
}

/**
 * A text on which everything can be seen: marks that turn the direction of writing, and other
 * characters without a shape, become escapes.
 */
export function visible(text) {
  return text.replace(/(?![\n\t])[\p{C}\u2028\u2029]/gu, (character) => {
    const code = character.codePointAt(0).toString(16);
    return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`;
  });
}

/** The terms and values of a list. */
export function facts(values) {
  return Object.entries(values).map(([term, value]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, value)),
  );
}

/** Fill a canvas with a picture: an ImageData, or three bytes a pixel. */
export function draw(canvas, picture) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").putImageData(
    picture instanceof ImageData ? picture : opaque(picture),
    0,
    0,
  );
}

function opaque({ width, height, data }) {
  const found = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    found.data.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
    found.data[4 * i + 3] = 255;
  }
  return found;
}
