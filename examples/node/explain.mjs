// Explains a photograph with an instrumented model: onnxruntime-node, and nothing else.
//
//   fg-onnx instrument model.onnx --runtime web
//   npm ci --ignore-scripts
//   node explain.mjs model.fg.onnx photo.ppm map.pgm [CLASS]
//
// The photograph is a binary PPM (or PGM, for a model of one channel) without comments, in the size
// that the model takes; the map is a PGM. Without CLASS the predicted class is explained.

import { readFile, writeFile } from "node:fs/promises";
import { InferenceSession, Tensor } from "onnxruntime-node";

// What the model was trained with, for pixels from 0 to 1. ImageNet's, as torchvision has it, are
// [0.485, 0.456, 0.406] and [0.229, 0.224, 0.225].
const MEAN = [0, 0, 0];
const STD = [1, 1, 1];

function readImage(bytes) {
  const header = /^(P[56])\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString("latin1", 0, 64));
  if (!header) throw new Error("the photograph is no binary PPM or PGM of 8 bits");
  const channels = header[1] === "P6" ? 3 : 1;
  const [width, height] = [Number(header[2]), Number(header[3])];
  const size = width * height;
  const pixels = bytes.subarray(header[0].length);
  if (pixels.length < channels * size) throw new Error("the photograph is cut short");
  const image = new Float32Array(channels * size);
  for (let i = 0; i < size; i++)
    for (let c = 0; c < channels; c++)
      image[c * size + i] = (pixels[i * channels + c] / 255 - MEAN[c]) / STD[c];
  return new Tensor("float32", image, [1, channels, height, width]);
}

function pgm(map, [, , height, width]) {
  const most = map.reduce((a, b) => Math.max(a, b), 1e-30);
  const bytes = Uint8Array.from(map, (value) => Math.round((255 * Math.max(value, 0)) / most));
  return Buffer.concat([Buffer.from(`P5\n${width} ${height}\n255\n`), bytes]);
}

async function main([model, photo, map, target = "-1"]) { // -1: the predicted class
  if (!map) throw new Error("usage: node explain.mjs MODEL PHOTO MAP [CLASS]");
  if (!/^-?\d+$/.test(target)) throw new Error("CLASS is the number of a class");
  const session = await InferenceSession.create(model);
  // Fed to an input with a default it would be left aside, without a word.
  if (!session.inputNames.includes("fg_target"))
    throw new Error("the model takes no fg_target: instrument it with --runtime web");
  const found = await session.run({
    [session.inputNames[0]]: readImage(await readFile(photo)), // the source's own inputs come first
    fg_target: new Tensor("int64", [BigInt(target)], [1]),
  });
  const sum = found.fg_contributions.data.reduce((a, b) => a + b, 0);
  console.log(`class ${found.fg_explained.data[0]}`);
  console.log(`score ${found.fg_score.data[0].toPrecision(6)}`);
  console.log(`contributions ${sum.toPrecision(6)}`);
  await writeFile(map, pgm(found.fg_saliency.data, found.fg_saliency.dims));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 2;
});
