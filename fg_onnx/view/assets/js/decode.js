// From a file to pixels as OpenCV reads them: upright, no colour management, transparency on white.

import { Sentence } from "./sentence.js";

const TILE = 2048; // pixels; a canvas as large as a photo is more than some browsers have

/**
 * @param file a Blob.
 * @param name that a person knows it by.
 * @param most pixels that it may have.
 * @returns {Promise<{width: number, height: number, data: Uint8Array}>} three bytes a pixel.
 * @throws Sentence where it is no image, or too large.
 */
export async function decode(file, name, most) {
  if (file.size === 0) throw new Sentence(`“${name}” is empty.`);
  const [width, height] = await measured(file, name);
  if (width * height > most) {
    throw new Sentence(
      `“${name}” has ${width} × ${height} pixels, and at most ${Math.round(most / 1e6)} million ` +
        "can be read. Make it smaller and try again.",
    );
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Sentence(
      `“${name}” (${width} × ${height} pixels) cannot be decoded: it is no photograph, is ` +
        "damaged, or is too large for this browser.",
    );
  }
  try {
    return pixels(bitmap);
  } catch (error) {
    throw error instanceof RangeError
      ? new Sentence(`“${name}” has too many pixels for the memory of this browser.`)
      : error;
  } finally {
    bitmap.close();
  }
}

/** Width and height as the file tells them, before any pixel is decoded. */
async function measured(file, name) {
  const url = URL.createObjectURL(file);
  const image = new Image();
  try {
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
      image.src = url;
    });
  } catch {
    throw new Sentence(
      `“${name}” is not an image that this browser can read. Give a JPEG, PNG, WebP, GIF or BMP ` +
        "file.",
    );
  } finally {
    URL.revokeObjectURL(url);
  }
  return [image.naturalWidth, image.naturalHeight];
}

function pixels(bitmap) {
  const { width, height } = bitmap;
  const data = new Uint8Array(width * height * 3);
  const canvas = new OffscreenCanvas(Math.min(width, TILE), Math.min(height, TILE));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  for (let top = 0; top < height; top += TILE) {
    for (let left = 0; left < width; left += TILE) {
      const [w, h] = [Math.min(TILE, width - left), Math.min(TILE, height - top)];
      context.fillRect(0, 0, w, h);
      context.drawImage(bitmap, left, top, w, h, 0, 0, w, h);
      const tile = context.getImageData(0, 0, w, h).data;
      for (let y = 0; y < h; y++) {
        let to = ((top + y) * width + left) * 3;
        for (let from = y * w * 4; from < (y + 1) * w * 4; from += 4) {
          data[to++] = tile[from];
          data[to++] = tile[from + 1];
          data[to++] = tile[from + 2];
        }
      }
    }
  }
  return { width, height, data };
}
