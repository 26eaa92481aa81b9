// Numbers as people read them.

/** Six significant digits at most, as the command line has them. */
export function figure(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);
}

/** `1.2e-7`, and 0 as it is. */
export function tiny(value) {
  return value === 0 ? "0" : value.toExponential(1);
}

export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
