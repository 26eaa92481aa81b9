// From a map to colours: `fg_onnx.pictures.render`, in the browser.

import { luma } from "./luma.js";
import { toByte, roundHalfEven } from "./rounding.js";

const STRONGEST = 0.85; // how much of the photo the strongest colour covers

/**
 * The map alone, as an ImageData of its own size.
 *
 * @param map {{width: number, height: number, data: Float64Array}}
 * @param drawing of the page's description: the palette, and the percentile that is clipped.
 * @param signed whether 0 is the middle.
 */
export function heatMap(map, drawing, signed) {
  const strengths = strengthsOf(map.data, drawing.percentile, signed);
  const found = new ImageData(map.width, map.height);
  strengths.forEach((strength, i) => {
    found.data.set(colourOf(strength, drawing.palette, signed), 4 * i);
    found.data[4 * i + 3] = 255;
  });
  return found;
}

/** The map over the photo: what does not matter fades, what matters glows. */
export function overlay(view, map, drawing, signed) {
  const resized = resize(map, view, signed);
  const strengths = strengthsOf(resized.data, drawing.percentile, signed);
  const found = new ImageData(view.width, view.height);
  strengths.forEach((strength, i) => {
    const colour = colourOf(strength, drawing.palette, signed);
    const size = Math.abs(strength);
    // steep where it starts, flat where it ends
    const cover = STRONGEST * size * size * (3 - 2 * size);
    const photo = view.data.subarray(3 * i, 3 * i + 3);
    const gray = luma(...photo);
    for (let c = 0; c < 3; c++) {
      const faded = (gray + (photo[c] - gray) * (0.5 + 0.5 * size)) * (0.7 + 0.3 * size);
      found.data[4 * i + c] = toByte(faded * (1 - cover) + colour[c] * cover);
    }
    found.data[4 * i + 3] = 255;
  });
  return found;
}

function colourOf(strength, palette, signed) {
  if (!signed) return palette[roundHalfEven(strength * (palette.length - 1))];
  const place = ((strength + 1) / 2) * (palette.length - 1);
  const below = Math.min(Math.floor(place), palette.length - 2);
  return palette[below].map((low, c) =>
    toByte(low + (palette[below + 1][c] - low) * (place - below)),
  );
}

// --- from values to strengths ------------------------------------------------------------------

function strengthsOf(values, percentile, signed) {
  return signed ? signedStrengths(values, percentile) : plainStrengths(values, percentile);
}

/** 0..1 between the low and the high percentile; 0 where not finite. */
function plainStrengths(values, percentile) {
  const sorted = values.filter(Number.isFinite).sort();
  if (!sorted.length) return new Float64Array(values.length);
  let [low, high] = [quantile(sorted, 100 - percentile), quantile(sorted, percentile)];
  // nearly all pixels are equal: the few that are not are then all there is
  if (high <= low) [low, high] = [sorted[0], sorted[sorted.length - 1]];
  if (high <= low) return new Float64Array(values.length);
  return values.map((value) =>
    Number.isFinite(value) ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0,
  );
}

/** -1..1, with 0 staying 0: divided by the percentile of the magnitude. */
function signedStrengths(values, percentile) {
  const sorted = values.filter(Number.isFinite).map(Math.abs).sort();
  if (!sorted.length) return new Float64Array(values.length);
  const high = quantile(sorted, percentile) || sorted[sorted.length - 1];
  if (high === 0) return new Float64Array(values.length);
  return values.map((value) =>
    Number.isFinite(value) ? Math.min(1, Math.max(-1, value / high)) : 0,
  );
}

/** Of sorted values, interpolated as NumPy does. */
function quantile(sorted, percentile) {
  const place = ((sorted.length - 1) * percentile) / 100;
  const below = Math.floor(place);
  const low = sorted[below];
  return low + (sorted[Math.min(below + 1, sorted.length - 1)] - low) * (place - below);
}

// --- size --------------------------------------------------------------------------------------

/** Bilinear, as OpenCV; what is not finite counts as of no importance. */
function resize(map, { width, height }, signed) {
  if (map.width === width && map.height === height) return map;
  const finite = map.data.filter(Number.isFinite);
  const nothing = signed || !finite.length ? 0 : finite.reduce((a, b) => Math.min(a, b));
  const values = map.data.map((value) => (Number.isFinite(value) ? value : nothing));
  const rows = taps(map.height, height);
  const columns = taps(map.width, width);
  const data = new Float64Array(width * height);
  for (let y = 0; y < height; y++) {
    const [upper, lower, share] = rows[y];
    for (let x = 0; x < width; x++) {
      const [west, east, part] = columns[x];
      const along = (row) =>
        values[row * map.width + west] * (1 - part) + values[row * map.width + east] * part;
      data[y * width + x] = along(upper) * (1 - share) + along(lower) * share;
    }
  }
  return { width, height, data };
}

function taps(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const place = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    const below = Math.floor(place);
    return [below, Math.min(below + 1, from - 1), place - below];
  });
}
