// Which classes win: one score for each, or of a dense output the largest of each.

/**
 * @param ranking {data, dims} of one image's scores.
 * @param manifest of the model.
 * @param count how many.
 * @returns {{index: number, kind: number, value: number}[]} best first: the flat index of the
 *   score, its class, and its value.
 */
export function best(ranking, manifest, count) {
  const found = new Map();
  ranking.data.forEach((value, index) => {
    const kind = classOf(index, manifest, ranking.dims);
    const own = found.get(kind);
    if (own === undefined || value > own.value) found.set(kind, { index, kind, value });
  });
  // ties as the command line has them: the first one first
  return [...found.values()].sort((a, b) => b.value - a.value || a.index - b.index).slice(0, count);
}

/** The class of a flat index among an image's scores, whose dimensions are given where known. */
export function classOf(index, manifest, dims = manifest.score_shape) {
  const known = manifest.score_shape !== null && dims.every(Number.isInteger);
  if (!known || dims.length < 2) return index;
  const axis = manifest.class_axis ?? 0;
  const inner = dims.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  return Math.floor(index / inner) % dims[axis];
}
