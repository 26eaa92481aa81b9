/** Python's `round`: to the nearest whole number, halves to the even one. */
export function roundHalfEven(x) {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/** The nearest of 0..255. */
export function toByte(x) {
  return Math.min(255, Math.max(0, roundHalfEven(x)));
}
