// The page: what it is told, what a person does, and what is shown for it.

import { attribution, outputsToRead } from "./attribution.js";
import { decode } from "./decode.js";
import { at, element, facts, visible } from "./elements.js";
import { figure, inUnits } from "./figures.js";
import { className, showBars, showClasses, showCompleteness } from "./findings.js";
import { findLabel } from "./labels.js";
import { takePhotos } from "./photos.js";
import { Picture } from "./picture.js";
import { prepare } from "./preprocess.js";
import { best, classOf } from "./ranking.js";
import { findGpu, NAMES, Runner, threadsHere } from "./runner.js";
import { Sentence } from "./sentence.js";
import { typed } from "./tensors.js";

const LISTED = 5; // classes
const PREDICTED = -1;

/** What is shown: the photo's name, what the model is fed of it, and its attribution. */
export const shown = {};

const described = await read();
const runner = new Runner(described.model);
const picture = new Picture(described);
let latest = 0; // of the requests for an explanation; an older one is not shown any more
let ranking = null; // of the photo that is shown

introduce();
takePhotos(described.images, explainPhoto, fail);
await offerBackends();
if (described.model.bytes > described.limits.large) askFirst();
else again();

// --- the model ---------------------------------------------------------------------------------

async function read() {
  at("unserved").remove();
  try {
    const response = await fetch(new URL("../view.json", import.meta.url), { cache: "no-store" });
    return await response.json();
  } catch (error) {
    fail(new Sentence("view.json cannot be read: the folder of this page is not complete."));
    throw error;
  }
}

function introduce() {
  const { model, manifest, labels, runtime, tool_version: version } = described;
  document.title = visible(`${model.name}: fg-onnx view`);
  at("title").textContent = visible(model.name);
  const [height, width] = described.preprocessing.size ?? [];
  at("about").replaceChildren(
    ...facts({
      ...(width && { Input: `${width} × ${height}` }),
      ...(labels && { Labels: String(labels.length) }),
      Sites: String(manifest.sites.length),
      Map: manifest.psi,
      File: inUnits(model.bytes),
    }),
  );
  at("labels").replaceChildren(...(labels ?? []).map((label) => element("option", { value: label })));
  at("foot").textContent =
    `Written by fg-onnx ${version}. ${runtime.name} ${runtime.version} runs the model; ` +
    "no photo leaves this browser, and the page fetches nothing but its own files.";
  at("choose").hidden = false;
  at("of-layers").addEventListener("change", ({ target }) =>
    showBars(shown.found.terms, target.checked),
  );
  at("other").addEventListener("submit", (event) => {
    event.preventDefault();
    explainNamed(at("wanted").value);
  });
}

async function offerBackends() {
  const gpu = await findGpu();
  const threads = threadsHere();
  const wasm = `${NAMES.wasm}, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  at("runs").replaceChildren(
    element("option", { value: "wasm" }, wasm),
    element(
      "option",
      { value: "webgpu", disabled: !gpu.usable },
      gpu.usable ? NAMES.webgpu : `${NAMES.webgpu}: none here`,
    ),
  );
  if (gpu.real) runner.choose("webgpu");
  at("runs").value = runner.backend;
  at("runs").addEventListener("change", () => {
    runner.choose(at("runs").value);
    again();
  });
}

function askFirst() {
  say(
    `This model has ${inUnits(described.model.bytes)}, and needs several times that in memory, of ` +
      "which a browser gives at most 4 GB. On a phone it will likely fail.",
  );
  at("confirm").hidden = false;
  at("load").addEventListener("click", () => again());
}

async function load() {
  at("confirm").hidden = true;
  const { bytes } = described.model;
  if (!runner.isOpen) work(`Loading the model, ${inUnits(bytes)}`);
  at("loading").hidden = false;
  try {
    await onWhatRuns(() =>
      runner.open((loaded) => {
        at("loading").value = loaded / bytes;
      }),
    );
  } finally {
    at("loading").hidden = true;
  }
}

/** Do it where it was chosen to run; where WebGPU fails, in WebAssembly. */
async function onWhatRuns(action) {
  const { backend } = runner;
  try {
    return await action();
  } catch (error) {
    if (backend !== "webgpu") throw error;
    if (runner.backend === backend) {
      runner.choose("wasm");
      at("runs").value = "wasm";
      at("fallback").textContent = `WebGPU failed, and WebAssembly runs the model. ${error.message}`;
    }
    return await action();
  }
}

// --- a photo -----------------------------------------------------------------------------------

/** @param name of the photo; @param read gives its Blob. */
function explainPhoto(name, read) {
  return latestOnly(async (isLatest) => {
    work(`Reading ${name}`);
    const image = await decode(await read(), name, described.limits.decoded);
    await explain({ name, prepared: prepare(image, described) }, PREDICTED, isLatest);
  });
}

/** Load the model; and explain the same photo once more, another class of it or elsewhere. */
function again(target = shown.found?.target) {
  return latestOnly(async (isLatest) => {
    if (shown.prepared) return explain(shown, target, isLatest);
    await load();
    if (isLatest()) say("The model is ready. Choose a photo.");
  });
}

/** Do what was asked for; once something else is asked for, its end is of no interest. */
async function latestOnly(action) {
  const own = ++latest;
  try {
    await action(() => own === latest);
  } catch (error) {
    if (own === latest) fail(error);
  }
}

async function explain({ name, prepared }, target, isLatest) {
  await load();
  if (!isLatest()) return;
  work(`Explaining ${name}`);
  const feeds = {
    [described.manifest.pixels ?? described.manifest.input]: {
      type: described.input.type,
      data: typed(prepared.array, described.input.type),
      dims: prepared.dims,
    },
    fg_target: { type: "int64", data: BigInt64Array.of(BigInt(target)), dims: [1] },
  };
  const { took, outputs } = await onWhatRuns(() => runner.run(feeds, outputsToRead(described)));
  if (!isLatest()) return;
  const found = attribution(outputs, described.manifest);
  Object.assign(shown, { name, prepared, found });
  show(took);
}

function show(took) {
  const { name, prepared, found } = shown;
  const { manifest, labels, tolerance } = described;
  ranking = found.ranking;
  const kind = classOf(found.target, manifest, ranking?.dims);
  const title = className(kind, labels);
  at("result").hidden = false;
  at("explained").textContent = visible(title);
  picture.show(prepared.view, found, name, title);
  showCompleteness(found, tolerance);
  at("classes-note").textContent = ranking
    ? `The best by the model's output ${manifest.ranking}. Choose one to explain it.`
    : "No output of the model ranks its classes.";
  const ranked = ranking ? best(ranking, manifest, LISTED) : [];
  showClasses(ranked, kind, labels, (index) => again(index));
  showBars(found.terms, at("of-layers").checked);
  say(
    `${name}: ${title}, score ${figure(found.score)}; explained in ${Math.round(took)} ms by ` +
      `${NAMES[runner.backend]}.`,
  );
}

/** Explain the class that a person has typed. */
function explainNamed(text) {
  const { labels, manifest } = described;
  try {
    if (!shown.found) throw new Sentence("Choose a photo first.");
    const ranked = ranking && best(ranking, manifest, Infinity);
    const kind = findLabel(text, labels, ranked?.length ?? manifest.scores);
    again(ranked ? ranked.find((each) => each.kind === kind).index : kind);
  } catch (error) {
    fail(error);
  }
}

// --- what is said ------------------------------------------------------------------------------

function say(text) {
  at("main").ariaBusy = "false";
  at("said").textContent = visible(text);
  at("failed").textContent = "";
}

/** Say what is being done, until `say` or `fail` ends it. */
function work(text) {
  say(text);
  at("main").ariaBusy = "true";
}

function fail(error) {
  say("");
  at("failed").textContent = visible(
    error instanceof Sentence ? error.message : `Something unforeseen happened: ${error.message}`,
  );
  if (!(error instanceof Sentence)) console.error(error);
}
