// float16 as the bits that a tensor holds; not every browser has an array of them.

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The nearest float16, ties to the even one, as its 16 bits. */
export function toHalf(value) {
  float[0] = value;
  const sign = (bits[0] >>> 16) & 0x8000;
  const size = bits[0] & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00; // not a number
  if (size >= 0x47800000) return sign | 0x7c00; // 2^16 and more: infinite
  if (size >= 0x38800000) {
    // 13 bits are cut off; a carry may reach the exponent, and infinity, as it should
    return sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
  }
  // below 2^-14 float16 counts in steps of 2^-24, and adding 2^-1 leaves float32 the same ones
  float[0] = Math.abs(value) + 0.5;
  return sign | (bits[0] - 0x3f000000);
}

/** The value of 16 bits. */
export function fromHalf(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 31;
  const rest = half & 1023;
  if (exponent === 31) return rest ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + rest / 1024) : sign * 2 ** -24 * rest;
}
