// A worker that is asked and answers.

import { Sentence } from "./sentence.js";

const WORKER = new URL("./worker.js", import.meta.url).href;

export class Thread {
  #worker;
  #waiting = new Map();
  #last = 0;

  constructor() {
    // a worker made of a blob is held to the page's policy, one of a file only to the server's
    const blob = new Blob([`import ${JSON.stringify(WORKER)};`], { type: "text/javascript" });
    const url = URL.createObjectURL(blob);
    this.#worker = new Worker(url, { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onerror = () =>
      this.#fail(new Sentence("The thread that runs the model has ended. Reload the page."));
    /** Resolves when it can be asked. */
    this.ready = this.#answer(0).finally(() => URL.revokeObjectURL(url));
  }

  /** The answer to a command; `onProgress` is told the bytes that have arrived meanwhile. */
  ask(command, args, onProgress) {
    const id = ++this.#last;
    const answer = this.#answer(id, onProgress);
    this.#worker.postMessage({ id, command, args });
    return answer;
  }

  /** End it; what is waited for fails. */
  end() {
    this.#worker.terminate();
    this.#fail(new Sentence("The model was closed."));
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
    else waiting.reject(new Sentence(memory ? TOO_LARGE : `The model does not run here: ${error}`));
  }

  #fail(error) {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
  }
}

const TOO_LARGE =
  "The model needs more memory than a browser gives it (4 GB at most). Try a smaller photo or " +
  "model, or `fg-onnx explain` on the command line.";
