// Runs a model under ONNX Runtime's JavaScript interface: onnxruntime-node, or WebAssembly by
// onnxruntime-web. What to run comes as JSON on stdin; tensors lie in files.
//
//   node run.mjs MODULE < {"model", "feeds": {name: {"type", "dims", "file"}}, "folder"}

import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { text } from "node:stream/consumers";

const ARRAYS = { float32: Float32Array, int64: BigInt64Array };

const loaded = await import(pathToFileURL(process.argv[2]));
const ort = loaded.default ?? loaded;
ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1;

const { model, feeds, folder } = JSON.parse(await text(process.stdin));
const session = await ort.InferenceSession.create(new Uint8Array(await readFile(model)), {
  logSeverityLevel: 3,
});
const fed = {};
for (const [name, { type, dims, file }] of Object.entries(feeds)) {
  const { buffer } = new Uint8Array(await readFile(file));
  fed[name] = new ort.Tensor(type, new ARRAYS[type](buffer), dims);
}
const results = await session.run(fed);
const outputs = [];
for (const [index, name] of session.outputNames.entries()) {
  const { type, dims, data } = results[name];
  const file = `${folder}/${index}.bin`;
  await writeFile(file, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  outputs.push({ name, type, dims, file });
}
process.stdout.write(JSON.stringify(outputs));
