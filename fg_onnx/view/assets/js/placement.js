// What of a photograph is fed, and at what size: the rules of `fg_onnx.prepare`.

import { roundHalfEven } from "./rounding.js";
import { Sentence } from "./sentence.js";
import { SMOOTHING } from "./smoothing.js";

/**
 * What the model's input takes.
 *
 * @param shape of the input, four dimensions; null for a free one.
 * @param layout of the model's input as its manifest has it, or null.
 * @returns {{layout: string, channels: ?number, size: (?number)[]}}
 */
export function wanted(preprocessing, shape, layout) {
  const found = preprocessing.layout ?? layout ?? guessedLayout(shape);
  const fixed = shape.map((dim) => (Number.isInteger(dim) && dim > 0 ? dim : null));
  return found === "nchw"
    ? { layout: found, channels: fixed[1], size: [fixed[2], fixed[3]] }
    : { layout: found, channels: fixed[3], size: [fixed[1], fixed[2]] };
}

function guessedLayout(shape) {
  const isColour = (dim) => dim === 1 || dim === 3;
  return isColour(shape[3]) && !isColour(shape[1]) ? "nhwc" : "nchw";
}

/** Whether one channel is fed. */
export function wantsGray(preprocessing, channels) {
  const gray = preprocessing.channels === "gray";
  if (channels === null || channels === (gray ? 1 : 3)) return gray;
  // without numbers that belong to red, green and blue, gray is what such a model can only mean
  if (channels === 1 && preprocessing.mean.length === 1 && preprocessing.std.length === 1) return true;
  throw new Sentence(
    `The model's input has ${channels} ${channels === 1 ? "channel" : "channels"}, and its ` +
      `preprocessing makes ${gray ? 1 : 3}.`,
  );
}

/**
 * Where a photograph comes to lie.
 *
 * @param image height and width of the photograph.
 * @param model height and width that the model takes, null for any.
 * @param mostFed pixels that a resized photograph may have.
 * @returns {{resized: number[], top: number, left: number, target: number[]}} the whole photograph
 *   after resizing, and the part of it that is fed; heights first.
 */
export function placement(image, preprocessing, model, mostFed) {
  const size = targetSize(image, preprocessing.size, model);
  const resized =
    preprocessing.fit === "stretch"
      ? (size ?? image)
      : sizeBeforeCrop(image, size, preprocessing.resize);
  const target = size ?? resized;
  const whole = SMOOTHING.includes(preprocessing.interpolation) ? target : resized;
  if (whole[0] * whole[1] > mostFed) {
    throw new Sentence(
      `This photo of ${image[1]} × ${image[0]} pixels would be resized to ${whole[1]} × ` +
        `${whole[0]}, which is too large. Crop it and try again.`,
    );
  }
  return {
    resized,
    top: roundHalfEven((resized[0] - target[0]) / 2),
    left: roundHalfEven((resized[1] - target[1]) / 2),
    target,
  };
}

function targetSize(image, size, model) {
  if (size === null) {
    if (model[0] === null && model[1] === null) return null;
    return [model[0] ?? image[0], model[1] ?? image[1]];
  }
  if (model.some((own, i) => own !== null && own !== size[i])) {
    throw new Sentence(
      `The model takes ${model[1] ?? "any"} × ${model[0] ?? "any"} pixels, and its ` +
        `preprocessing makes ${size[1]} × ${size[0]}.`,
    );
  }
  return size;
}

function sizeBeforeCrop(size, target, resize) {
  const short = Math.min(size[0], size[1]);
  if (resize !== null) {
    // the long side is cut down to whole pixels
    const resized = size.map((side) => Math.floor((resize * side) / short));
    if (target === null || (resized[0] >= target[0] && resized[1] >= target[1])) return resized;
  }
  if (target === null) return size;
  const factor = Math.max(target[0] / size[0], target[1] / size[1]);
  return size.map((side, i) => Math.max(target[i], roundHalfEven(side * factor)));
}
