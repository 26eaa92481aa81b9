// The model in its worker: opened where it runs best, asked, and reopened when it broke down.

import { Sentence } from "./sentence.js";

const MOST_THREADS = 8;
const WORKER = new URL("./worker.js", import.meta.url).href;

export const NAMES = { wasm: "WebAssembly", webgpu: "WebGPU" };

/** Whether there is a GPU that a page may use, and whether it is a real one. */
export async function findGpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (!adapter) return { usable: false, real: false };
  return { usable: true, real: !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter) };
}

/** Threads that WebAssembly may have here: several only where the server isolates the page. */
export function threadsHere() {
  return self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
}

export class Runner {
  #model;
  #worker = null;
  #waiting = new Map();
  #last = 0;
  #opened = null;

  /** @param model as the page's description has it. */
  constructor(model) {
    this.#model = model;
    this.backend = "wasm";
  }

  /** Choose `wasm` or `webgpu`; the model is loaded again when it is needed. */
  choose(backend) {
    this.close();
    this.backend = backend;
  }

  /**
   * Load the model, unless it is loaded.
   *
   * @param onProgress told the bytes that have arrived.
   */
  open(onProgress = () => {}) {
    this.#opened ??= this.#open(onProgress).catch((error) => {
      this.close();
      throw error;
    });
    return this.#opened;
  }

  async #open(onProgress) {
    // a worker made of a blob is held to the page's policy, one of a file only to the server's
    const blob = new Blob([`import ${JSON.stringify(WORKER)};`], { type: "text/javascript" });
    const url = URL.createObjectURL(blob);
    const worker = new Worker(url, { type: "module" });
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = () => this.#fail(new Sentence("The thread that runs the model has ended."));
    try {
      await this.#answer(0);
    } finally {
      URL.revokeObjectURL(url);
    }
    const model = new URL(`../${this.#model.file}`, import.meta.url);
    model.search = this.#model.sha256.slice(0, 16); // another model is another address
    await this.#ask(
      "open",
      { url: model.href, backend: this.backend, threads: threadsHere() },
      onProgress,
    );
  }

  /** Run the model once: {took, outputs}, as the worker has it. */
  async run(feeds, outputs) {
    await this.open();
    try {
      return await this.#ask("run", { feeds, outputs });
    } catch (error) {
      this.close(); // what has failed once may be in any state
      throw error;
    }
  }

  close() {
    this.#worker?.terminate();
    this.#worker = null;
    this.#opened = null;
    this.#fail(new Sentence("The model was closed."));
  }

  #ask(command, args, onProgress) {
    const id = ++this.#last;
    const answer = this.#answer(id, onProgress);
    this.#worker.postMessage({ id, command, args });
    return answer;
  }

  #answer(id, onProgress) {
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject, onProgress }));
  }

  #receive({ id, loaded, found, error, memory }) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    if (loaded !== undefined) {
      waiting.onProgress?.(loaded);
      return;
    }
    this.#waiting.delete(id);
    if (error === undefined) waiting.resolve(found);
    else waiting.reject(this.#said(error, memory));
  }

  #said(error, memory) {
    if (memory) {
      return new Sentence(
        "The model needs more memory than a browser gives it (at most 4 GB). Try a smaller photo, " +
          "a smaller model, or `fg-onnx explain` on the command line.",
      );
    }
    return new Sentence(`The model does not run here: ${error}`);
  }

  #fail(error) {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
  }
}
