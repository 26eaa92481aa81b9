// Resizing that smooths when it shrinks: Pillow's bilinear and bicubic, as fg-onnx has them.

/** Kernel, and the distance beyond which it is 0. */
const KERNELS = {
  bilinear: [(x) => Math.max(1 - x, 0), 1],
  bicubic: [cubic, 2],
};

/** Keys' cubic convolution with a = -0.5. */
function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

export const SMOOTHING = Object.keys(KERNELS);

/**
 * The window of an image that was resized.
 *
 * @param image {{width: number, height: number, data: Uint8Array}} three bytes a pixel.
 * @param placed as `placement` gives it.
 * @returns the same, of the size of the window.
 */
export function resizeSmoothly(image, placed, interpolation) {
  const [height, width] = placed.target;
  const rows = weightsOf(image.height, placed.resized[0], placed.top, height, interpolation);
  const columns = weightsOf(image.width, placed.resized[1], placed.left, width, interpolation);
  // the width first, and rounded in between; of the rows only those that are used after it
  const narrowed = new Uint8Array((rows.last - rows.first) * width * 3);
  for (let y = rows.first; y < rows.last; y++) {
    const from = y * image.width * 3;
    const to = (y - rows.first) * width * 3;
    for (let x = 0; x < width; x++) {
      addUp(image.data, from, 3, columns, x, narrowed, to + 3 * x);
    }
  }
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * x - rows.first * width * 3;
      addUp(narrowed, from, 3 * width, rows, y, data, (y * width + x) * 3);
    }
  }
  return { width, height, data };
}

function addUp(data, from, stride, { starts, weights }, position, into, at) {
  const own = weights[position];
  // in float32 and one by one, as a BLAS does: where a sum is a tie, its rounding decides
  let [red, green, blue] = [0, 0, 0];
  let place = from + starts[position] * stride;
  for (let tap = 0; tap < own.length; tap++, place += stride) {
    red = Math.fround(red + own[tap] * data[place]);
    green = Math.fround(green + own[tap] * data[place + 1]);
    blue = Math.fround(blue + own[tap] * data[place + 2]);
  }
  // half up, as Pillow
  into[at] = Math.min(255, Math.max(0, Math.floor(red + 0.5)));
  into[at + 1] = Math.min(255, Math.max(0, Math.floor(green + 0.5)));
  into[at + 2] = Math.min(255, Math.max(0, Math.floor(blue + 0.5)));
}

/** For each position of the window: where its taps start along the axis, and their weights. */
function weightsOf(length, resized, start, count, interpolation) {
  const starts = new Int32Array(count);
  const weights = [];
  if (resized === length) {
    for (let i = 0; i < count; i++) {
      starts[i] = start + i;
      weights.push(Float32Array.of(1));
    }
    return { starts, weights, first: start, last: start + count };
  }
  const [kernel, support] = KERNELS[interpolation];
  const step = length / resized;
  const reach = Math.max(step, 1);
  let [first, last] = [length, 0];
  for (let i = 0; i < count; i++) {
    const centre = (start + i + 0.5) * step;
    const low = Math.max(0, Math.floor(centre - support * reach));
    const high = Math.min(length, Math.floor(centre + support * reach) + 1);
    const own = Array.from({ length: high - low }, (_, k) =>
      kernel(Math.abs(low + k + 0.5 - centre) / reach),
    );
    const sum = own.reduce((total, weight) => total + weight, 0);
    starts[i] = low;
    weights.push(Float32Array.from(own, (weight) => weight / sum));
    first = Math.min(first, low);
    last = Math.max(last, high);
  }
  return { starts, weights, first, last };
}
