// What a run found, by the names of the contract of instrumented models.

import { numbers } from "./tensors.js";

const LAYER_MAP = "fg_layer_map/";

/** The outputs that the page reads, of those that the model has. */
export function outputsToRead({ outputs, manifest }) {
  const own = ["fg_score", "fg_explained", "fg_contributions", "fg_saliency", manifest.ranking];
  return outputs.filter((name) => own.includes(name) || name.startsWith(LAYER_MAP));
}

/**
 * @param outputs by name, {type, data, dims} each.
 * @param manifest of the model.
 */
export function attribution(outputs, manifest) {
  const values = (name) => Array.from(numbers(outputs[name].data, outputs[name].type));
  const [score] = values("fg_score");
  const contributions = values("fg_contributions");
  const ranking = outputs[manifest.ranking];
  return {
    score,
    target: values("fg_explained")[0],
    terms: contributions.map((value, i) => {
      const site = manifest.sites[i - 1];
      return { name: site?.name ?? "input", kind: site?.kind ?? "input", op: site?.op ?? "", value };
    }),
    sum: contributions.reduce((total, value) => total + value, 0),
    residual: residual(score, contributions),
    saliency: map(outputs.fg_saliency),
    layers: manifest.sites
      .filter((site) => outputs[LAYER_MAP + site.name])
      .map((site) => ({ name: site.name, map: map(outputs[LAYER_MAP + site.name]) })),
    ranking: ranking && {
      data: numbers(ranking.data, ranking.type),
      dims: ranking.dims.slice(1),
    },
  };
}

/** `|f - sum c| / max(|f|, sum |c|)`; 0 where both are 0. */
export function residual(score, contributions) {
  const sum = contributions.reduce((total, value) => total + value, 0);
  const magnitudes = contributions.reduce((total, value) => total + Math.abs(value), 0);
  const scale = Math.max(Math.abs(score), magnitudes);
  const gap = Math.abs(score - sum);
  return scale === 0 ? gap : gap / scale;
}

/** {width, height, data} of the one map that a tensor [1, (1,) height, width] holds. */
function map({ type, data, dims }) {
  const [height, width] = dims.slice(-2);
  return { width, height, data: Float64Array.from(numbers(data, type)) };
}
