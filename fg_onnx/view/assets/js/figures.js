// Numbers as people read them.

/** Six significant digits at most, as the command line has them. */
export function figure(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);
}

/** `1.2e-7`, and 0 as it is. */
export function tiny(value) {
  return value === 0 ? "0" : value.toExponential(1);
}

/** A number of bytes, as the command line has them. */
export function inUnits(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes >= 100_000 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e3).toFixed(1)} kB`;
}
