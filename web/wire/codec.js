/**
 * A bounded reader over bytes, writers of big-endian integers, and length-prefixed strings
 * (PROTOCOL.md section 1).
 */

import { WireError } from "../errors.js";

const ENCODER = new TextEncoder();
// ignoreBOM: a leading U+FEFF is data here; without it the decoder would drop it and two texts would become one.
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * @param {string} text
 * @returns {Uint8Array} UTF-8.
 */
export function encodeUtf8(text) {
  return ENCODER.encode(text);
}

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 * @throws {WireError} They are not UTF-8.
 */
export function decodeUtf8(bytes) {
  try {
    return DECODER.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) throw new WireError("a text is not UTF-8");
    throw error;
  }
}

/**
 * @param {...Uint8Array} parts
 * @returns {Uint8Array} A fresh copy of all of them in order.
 */
export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** @param {Uint8Array} bytes @returns {string} Lower-case hexadecimal. */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {string} text Hexadecimal digits, an even number.
 * @returns {Uint8Array}
 * @throws {WireError} It is anything else.
 */
export function fromHex(text) {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) throw new WireError("a text is not hexadecimal");
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

/** @param {number} size @param {number | bigint} value @returns {Uint8Array} */
function bigEndian(size, value) {
  const bytes = new Uint8Array(size);
  let rest = BigInt(value);
  for (let i = size - 1; i >= 0; i -= 1) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  if (rest !== 0n) throw new RangeError(`${value} does not fit ${size} bytes`);
  return bytes;
}

/** @param {number} value 0 to 255. */
export const u8 = (value) => bigEndian(1, value);
/** @param {number} value 0 to 65,535. */
export const u16 = (value) => bigEndian(2, value);
/** @param {number} value 0 to 2³²−1. */
export const u32 = (value) => bigEndian(4, value);
/** @param {number | bigint} value 0 to 2⁶⁴−1. */
export const u64 = (value) => bigEndian(8, value);

/**
 * One length byte followed by the text.
 *
 * @param {string | Uint8Array} text At most 255 bytes.
 * @returns {Uint8Array}
 */
export function lp(text) {
  const raw = typeof text === "string" ? encodeUtf8(text) : text;
  return concat(u8(raw.length), raw);
}

/**
 * Reads big-endian fields from the front of `data`; every shortage is a WireError. Pieces are views,
 * not copies.
 */
export class Reader {
  #data;
  #offset = 0;

  /** @param {Uint8Array} data The whole message. */
  constructor(data) {
    this.#data = data;
  }

  /** Bytes not read yet. */
  get remaining() {
    return this.#data.length - this.#offset;
  }

  /** Bytes read so far. */
  get offset() {
    return this.#offset;
  }

  /** @param {number} size @returns {Uint8Array} Exactly `size` bytes. */
  take(size) {
    const end = this.#offset + size;
    if (size < 0 || end > this.#data.length) throw new WireError("message ends too early");
    const piece = this.#data.subarray(this.#offset, end);
    this.#offset = end;
    return piece;
  }

  /** @returns {number} */
  u8() {
    return this.take(1)[0];
  }

  /** @returns {number} */
  u16() {
    return this.take(2).reduce((value, byte) => value * 256 + byte, 0);
  }

  /** @returns {number} */
  u32() {
    return this.take(4).reduce((value, byte) => value * 256 + byte, 0);
  }

  /** @returns {bigint} */
  u64() {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** @returns {Uint8Array} Everything that is left. */
  rest() {
    return this.take(this.remaining);
  }

  /** Refuse trailing bytes. */
  end() {
    if (this.remaining) throw new WireError("message has trailing bytes");
  }
}
