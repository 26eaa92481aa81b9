// Between plain numbers and the types that a model's inputs and outputs have.

import { fromHalf, toHalf } from "./half.js";
import { Sentence } from "./sentence.js";

const ARRAYS = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
};

/** What a tensor of a type holds for these numbers, a Float32Array. */
export function typed(values, type) {
  if (type === "float32") return values;
  if (type === "float64") return Float64Array.from(values);
  if (type === "float16") return Uint16Array.from(values, toHalf);
  const array = ARRAYS[type];
  const found = array
    ? array.from(values)
    : (type === "int64" ? BigInt64Array : BigUint64Array).from(values, (x) =>
        BigInt(Math.trunc(x)),
      );
  if (values.some((value, i) => Number(found[i]) !== value)) {
    throw new Sentence(
      `The model takes pixels as ${type}, and its preprocessing makes numbers that are none. ` +
        "Write the page again with --preprocess none.",
    );
  }
  return found;
}

/** The numbers in a tensor's data. */
export function numbers(data, type) {
  if (type === "float16" && data instanceof Uint16Array) return Float32Array.from(data, fromHalf);
  return typeof data[0] === "bigint" ? Float64Array.from(data, Number) : data;
}
