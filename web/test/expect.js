/** What a check may say: the same bytes, or refused with this error. Works in Node and in a page. */

import { fromHex, toHex } from "../wire/codec.js";

/**
 * @param {unknown} value
 * @returns {unknown} Bytes as hexadecimal, large integers as text: comparable and readable.
 */
function plain(value) {
  if (value instanceof Uint8Array) return toHex(value);
  if (typeof value === "bigint" || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
    return `${BigInt(/** @type {number} */ (value))}n`; // JSON has no bigints: 2⁵³ may come as either
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  }
  return value;
}

/**
 * @param {unknown} actual @param {unknown} expected Bytes may be given as hexadecimal.
 * @param {string} [what]
 */
export function same(actual, expected, what = "value") {
  const [is, shouldBe] = [JSON.stringify(plain(actual)), JSON.stringify(plain(expected))];
  if (is !== shouldBe) throw new Error(`${what}: is ${is}, should be ${shouldBe}`);
}

/**
 * @param {Function | Function[]} kinds The error classes that may leave `run`.
 * @param {() => unknown} run @param {string} [what]
 * @returns {Promise<Error>} The error.
 */
export async function refuses(kinds, run, what = "input") {
  const allowed = [kinds].flat();
  try {
    await run();
  } catch (error) {
    if (allowed.some((kind) => error instanceof kind)) return /** @type {Error} */ (error);
    throw error;
  }
  throw new Error(`${what}: was not refused with ${allowed.map((kind) => kind.name).join(" or ")}`);
}

/**
 * @param {Uint8Array} bytes @param {number} at Negative counts from the end. @param {number} [mask]
 * @returns {Uint8Array}
 */
export function flipped(bytes, at, mask = 1) {
  const copy = bytes.slice();
  copy[at < 0 ? copy.length + at : at] ^= mask;
  return copy;
}

export const hex = fromHex;
export const bytesOf = (/** @type {string} */ text) => new TextEncoder().encode(text);
