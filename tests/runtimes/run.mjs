// Runs models under ONNX Runtime's JavaScript interface: onnxruntime-node, or onnxruntime-web's
// WebAssembly. One line of JSON on stdin is one run; its answer is one line on stdout.
//
//   node run.mjs MODULE THREADS

import { readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const NUMBERS = {
  float32: Float32Array,
  float64: Float64Array,
  int64: BigInt64Array,
};

const [module, threads] = process.argv.slice(2);
const loaded = await import(pathToFileURL(module));
const ort = loaded.default?.InferenceSession ? loaded.default : loaded;
ort.env.logLevel = "error";
ort.env.wasm.numThreads = Number(threads);

async function tensor({ type, dims, file }) {
  const bytes = await readFile(file);
  const numbers = new NUMBERS[type](bytes.buffer, bytes.byteOffset, bytes.byteLength / NUMBERS[type].BYTES_PER_ELEMENT);
  return new ort.Tensor(type, numbers.slice(), dims);
}

async function run({ model, feeds, folder }) {
  const session = await ort.InferenceSession.create(new Uint8Array(await readFile(model)), {
    intraOpNumThreads: Number(threads),
    logSeverityLevel: 3,
  });
  const fed = {};
  for (const [name, feed] of Object.entries(feeds)) fed[name] = await tensor(feed);
  const results = await session.run(fed);
  const outputs = [];
  for (const [index, name] of session.outputNames.entries()) {
    const { type, dims, data } = results[name];
    const file = `${folder}/${index}.bin`;
    await writeFile(file, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    outputs.push({ name, type, dims, file });
  }
  await session.release();
  return { inputs: session.inputNames, outputs };
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await run(JSON.parse(line));
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
