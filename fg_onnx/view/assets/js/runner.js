// The model in its thread: opened where it is to run, asked, and opened again when it broke down.

import { Thread } from "./thread.js";

const MOST_THREADS = 8;

export const NAMES = { wasm: "WebAssembly", webgpu: "WebGPU" };

/** Whether there is a GPU that a page may use, and whether it is a real one. */
export async function findGpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (!adapter) return { usable: false, real: false };
  return { usable: true, real: !adapter.info?.isFallbackAdapter };
}

/** Threads that WebAssembly may have here: several only where the server isolates the page. */
export function threadsHere() {
  return self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
}

export class Runner {
  #model;
  #thread = null;
  #opened = null;

  /** @param model as the page's description has it. */
  constructor(model) {
    this.#model = model;
    this.backend = "wasm";
  }

  /** Choose `wasm` or `webgpu`; the model is loaded again when it is needed. */
  choose(backend) {
    this.#close(this.#thread);
    this.backend = backend;
  }

  /** Whether the model is loaded, or about to be. */
  get isOpen() {
    return this.#opened !== null;
  }

  /** Load the model, unless it is loaded; `onProgress` is told the bytes that have arrived. */
  open(onProgress) {
    this.#opened ??= this.#open(onProgress);
    return this.#opened;
  }

  async #open(onProgress) {
    const thread = new Thread();
    this.#thread = thread;
    const model = new URL(`../${this.#model.file}`, import.meta.url);
    model.search = this.#model.sha256.slice(0, 16); // another model is another address
    const args = { url: model.href, backend: this.backend, threads: threadsHere() };
    try {
      await thread.ready;
      await thread.ask("open", args, onProgress);
    } catch (error) {
      this.#close(thread);
      throw error;
    }
    return thread;
  }

  /** Run the model once: {took, outputs}, as the worker has it. */
  async run(feeds, outputs) {
    const thread = await this.open();
    try {
      return await thread.ask("run", { feeds, outputs });
    } catch (error) {
      this.#close(thread); // what has failed once may be in any state
      throw error;
    }
  }

  #close(thread) {
    thread?.end();
    if (thread !== this.#thread) return; // another one has taken its place
    this.#thread = null;
    this.#opened = null;
  }
}
