// From a photograph's pixels to what the model is fed: `fg_onnx.prepare`, in the browser.

import { luma } from "./luma.js";
import { placement, wanted, wantsGray } from "./placement.js";
import { resizeLikeOpenCV } from "./sampling.js";
import { resizeSmoothly, SMOOTHING } from "./smoothing.js";

/**
 * @param image {{width: number, height: number, data: Uint8Array}} three bytes a pixel.
 * @param described the page's description of the model.
 * @returns {{array: Float32Array, dims: number[], view: object}} what is fed, and the pixels behind
 *   it, as an image like the first.
 */
export function prepare(image, described) {
  const { preprocessing, limits } = described;
  const take = wanted(preprocessing, described.input.shape, described.manifest.layout);
  const gray = wantsGray(preprocessing, take.channels);
  const placed = placement([image.height, image.width], preprocessing, take.size, limits.fed);
  const view = SMOOTHING.includes(preprocessing.interpolation)
    ? resizeSmoothly(image, placed, preprocessing.interpolation)
    : resizeLikeOpenCV(image, placed, preprocessing.interpolation);
  if (gray) makeGray(view.data);
  const channels = gray ? 1 : 3;
  const [height, width] = placed.target;
  return {
    array: normalised(view, preprocessing, channels, take.layout),
    dims: take.layout === "nchw" ? [1, channels, height, width] : [1, height, width, channels],
    view,
  };
}

/** The luma in each of the three channels. */
function makeGray(data) {
  for (let i = 0; i < data.length; i += 3) {
    data.fill(luma(data[i], data[i + 1], data[i + 2]), i, i + 3);
  }
}

function normalised({ width, height, data }, preprocessing, channels, layout) {
  const { mean, std, scale } = preprocessing;
  const order = preprocessing.channels === "bgr" ? [2, 1, 0] : [0, 1, 2];
  const pixels = width * height;
  const array = new Float32Array(pixels * channels);
  for (let c = 0; c < channels; c++) {
    // in float64, of which one rounding to float32 is left
    const [shift, spread] = [mean[mean.length > 1 ? c : 0], std[std.length > 1 ? c : 0]];
    const values = Float64Array.from({ length: 256 }, (_, x) => (x * scale - shift) / spread);
    for (let i = 0; i < pixels; i++) {
      const at = layout === "nchw" ? c * pixels + i : i * channels + c;
      array[at] = values[data[3 * i + order[c]]];
    }
  }
  return array;
}
