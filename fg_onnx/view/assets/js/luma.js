/** The brightness of a pixel, in OpenCV's fixed point: 0..255. */
export function luma(red, green, blue) {
  return (9798 * red + 19235 * green + 3735 * blue + 16384) >> 15;
}
