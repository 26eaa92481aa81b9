// The thread that runs the model, so that the page can be used meanwhile.

const RUNTIMES = new URL("../ort/", import.meta.url).href;
const MODULES = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };

let ort;
let session;

/** Load the runtime and the model. */
async function open({ url, backend, threads }, id) {
  ort = await import(RUNTIMES + MODULES[backend]);
  ort.env.wasm.wasmPaths = RUNTIMES;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  const model = await fetched(url, (loaded) => postMessage({ id, loaded }));
  session = await ort.InferenceSession.create(model, {
    executionProviders: [backend],
    logSeverityLevel: 3,
  });
}

async function fetched(url, onProgress) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`the model's file cannot be fetched (${response.status})`);
  const chunks = [];
  let size = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    size += value.length;
    onProgress(size);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** One run. Tensors come and go as {type, data, dims}. */
async function run({ feeds, outputs }) {
  const fed = Object.entries(feeds).map(([name, { type, data, dims }]) => [
    name,
    new ort.Tensor(type, data, dims),
  ]);
  const start = performance.now();
  const found = await session.run(Object.fromEntries(fed), outputs);
  const took = performance.now() - start;
  const tensors = Object.entries(found).map(([name, { type, data, dims }]) => [
    name,
    { type, data, dims },
  ]);
  return { took, outputs: Object.fromEntries(tensors) };
}

const COMMANDS = { open, run };

let last = Promise.resolve(); // a session runs one thing at a time

onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};

async function answer({ id, command, args }) {
  try {
    postMessage({ id, found: await COMMANDS[command](args, id) });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error), memory: isOfMemory(error) });
  }
}

function isOfMemory(error) {
  return (
    error instanceof RangeError ||
    /bad_alloc|out of (memory|bounds)|allocat|OOM|integer overflow/i.test(String(error?.message))
  );
}

postMessage({ id: 0 });
