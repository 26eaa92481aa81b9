// Resizing as OpenCV does it, in its fixed and floating point: INTER_LINEAR and INTER_AREA.

import { roundHalfEven, toByte } from "./rounding.js";

const ONE = 2048; // the weight 1 of INTER_LINEAR

/**
 * The window of an image that was resized.
 *
 * @param image {{width: number, height: number, data: Uint8Array}} three bytes a pixel.
 * @param placed as `placement` gives it.
 * @param interpolation `area` or `opencv-bilinear`.
 * @returns the same, of the size of the window.
 */
export function resizeLikeOpenCV(image, placed, interpolation) {
  const [height, width] = placed.resized;
  if (height === image.height && width === image.width) return cut(image, placed);
  const shrinks = height <= image.height && width <= image.width;
  return interpolation === "area" && shrinks ? averaged(image, placed) : interpolated(image, placed);
}

function cut(image, { top, left, target }) {
  const [height, width] = target;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(start, start + width * 3), y * width * 3);
  }
  return { width, height, data };
}

// --- INTER_LINEAR ------------------------------------------------------------------------------

function interpolated(image, { resized, top, left, target }) {
  const [height, width] = target;
  const rows = taps(image.height, resized[0], top, height);
  const columns = taps(image.width, resized[1], left, width);
  // beyond the border a column is taken whole, a row in two parts, each of which is cut off
  for (const column of columns) if (column[0] === column[1]) column[2] = 0;
  const data = new Uint8Array(width * height * 3);
  const { data: from, width: across } = image;
  for (let y = 0; y < height; y++) {
    const [upper, lower, share] = rows[y];
    const [a, b] = [upper * across * 3, lower * across * 3];
    for (let x = 0; x < width; x++) {
      const [west, east, part] = columns[x];
      for (let c = 0; c < 3; c++) {
        const [l, r] = [west * 3 + c, east * 3 + c];
        const above = from[a + l] * (ONE - part) + from[a + r] * part;
        const below = from[b + l] * (ONE - part) + from[b + r] * part;
        const sum = (((ONE - share) * (above >> 4)) >> 16) + ((share * (below >> 4)) >> 16);
        data[(y * width + x) * 3 + c] = (sum + 2) >> 2;
      }
    }
  }
  return { width, height, data };
}

/** For each position: the two pixels that it lies between, and the weight of the second. */
function taps(length, resized, start, count) {
  const step = 1 / (resized / length);
  return Array.from({ length: count }, (_, i) => {
    const place = Math.fround((start + i + 0.5) * step - 0.5);
    const below = Math.floor(place);
    const within = (at) => Math.min(length - 1, Math.max(0, at));
    const share = roundHalfEven(Math.fround(place - below) * ONE);
    return [within(below), within(below + 1), share];
  });
}

// --- INTER_AREA --------------------------------------------------------------------------------

function averaged(image, placed) {
  const [high, wide] = [image.height / placed.resized[0], image.width / placed.resized[1]];
  return Number.isInteger(high) && Number.isInteger(wide)
    ? averagedWhole(image, placed, high, wide)
    : averagedParts(image, placed);
}

/** Blocks of whole pixels, added up in integers. */
function averagedWhole(image, { top, left, target }, high, wide) {
  const [height, width] = target;
  const data = new Uint8Array(width * height * 3);
  const share = Math.fround(1 / (high * wide));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let v = 0; v < high; v++) {
          let place = (((top + y) * high + v) * image.width + (left + x) * wide) * 3 + c;
          for (let u = 0; u < wide; u++, place += 3) sum += image.data[place];
        }
        data[(y * width + x) * 3 + c] =
          high === 2 && wide === 2 ? (sum + 2) >> 2 : toByte(Math.fround(sum * share));
      }
    }
  }
  return { width, height, data };
}

/** Pixels by the part of them that is covered. */
function averagedParts(image, { resized, top, left, target }) {
  const [height, width] = target;
  const rows = shares(image.height, resized[0], top, height);
  const columns = shares(image.width, resized[1], left, width);
  const data = new Uint8Array(width * height * 3);
  const line = new Float32Array(width * 3);
  const sums = new Float32Array(width * 3);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (const [row, weight] of rows[y]) {
      line.fill(0);
      for (let x = 0; x < width; x++) {
        for (const [column, part] of columns[x]) {
          const place = (row * image.width + column) * 3;
          for (let c = 0; c < 3; c++) line[3 * x + c] += Math.fround(image.data[place + c] * part);
        }
      }
      for (let i = 0; i < sums.length; i++) sums[i] += Math.fround(weight * line[i]);
    }
    for (let i = 0; i < sums.length; i++) data[y * width * 3 + i] = toByte(sums[i]);
  }
  return { width, height, data };
}

/** For each position: the pixels that it covers, each with its share. */
function shares(length, resized, start, count) {
  const scale = 1 / (resized / length);
  const least = 1e-3; // of a pixel; less is left out
  return Array.from({ length: count }, (_, i) => {
    const from = (start + i) * scale;
    const to = from + scale;
    const covered = Math.min(scale, length - from);
    const last = Math.min(Math.floor(to), length - 1);
    const first = Math.min(Math.ceil(from), last);
    const found = [];
    if (first - from > least) found.push([first - 1, Math.fround((first - from) / covered)]);
    for (let at = first; at < last; at++) found.push([at, Math.fround(1 / covered)]);
    if (to - last > least) {
      found.push([last, Math.fround(Math.min(to - last, 1, covered) / covered)]);
    }
    return found;
  });
}
