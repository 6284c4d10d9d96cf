/**
 * RPC messages and their bodies: one MessagePack array each, in shortest form (PROTOCOL.md section 5).
 *
 * Carries integers, byte strings, texts, nil, booleans and arrays. Maps, floats and ext types are refused wherever they
 * stand, longer forms than needed too, and nothing may follow the array.
 */

import { UsageError, WireError } from "../errors.js";
import { BODY_DEPTH_MAX, MESSAGE_BYTES_MAX } from "../limits.js";
import { Reader, concat, decodeUtf8, encodeUtf8, u16, u32, u64, u8 } from "./codec.js";

/**
 * @typedef {null | boolean | number | bigint | string | Uint8Array | Value[]} Value An integer is a number up to 2⁵³−1
 *   either way of zero, a bigint beyond.
 */

const U64_MAX = 2n ** 64n - 1n;
const I64_MIN = -(2n ** 63n);

/** @param {Value[]} body @returns {Uint8Array} @throws {UsageError} A value has no form here. */
export function encodeBody(body) {
  if (!Array.isArray(body)) throw new UsageError("a body is an array");
  /** @type {Uint8Array[]} */
  const parts = [];
  append(parts, body, 0);
  return concat(...parts);
}

/** @param {Uint8Array[]} parts @param {Value} value @param {number} depth */
function append(parts, value, depth) {
  if (value === null) parts.push(u8(0xc0));
  else if (typeof value === "boolean") parts.push(u8(value ? 0xc3 : 0xc2));
  else if (typeof value === "number" || typeof value === "bigint") parts.push(encodeInteger(value));
  else if (typeof value === "string") appendText(parts, value);
  else if (value instanceof Uint8Array) parts.push(encodeLength(value.length, [0xc4, 0xc5, 0xc6]), value);
  else if (Array.isArray(value)) appendArray(parts, value, depth);
  else throw new UsageError("a body holds integers, bytes, texts, booleans, null and arrays");
}

/** @param {Uint8Array[]} parts @param {string} text */
function appendText(parts, text) {
  if (/\p{Surrogate}/u.test(text)) throw new UsageError("a text must be valid Unicode");
  const raw = encodeUtf8(text);
  parts.push(raw.length < 32 ? u8(0xa0 | raw.length) : encodeLength(raw.length, [0xd9, 0xda, 0xdb]), raw);
}

/** @param {Uint8Array[]} parts @param {Value[]} items @param {number} depth */
function appendArray(parts, items, depth) {
  if (depth >= BODY_DEPTH_MAX) throw new UsageError("a body is nested too deeply");
  parts.push(items.length < 16 ? u8(0x90 | items.length) : encodeLength(items.length, [null, 0xdc, 0xdd]));
  for (const item of items) append(parts, item, depth + 1);
}

/**
 * The shortest of three forms with 1, 2 and 4 bytes of length.
 *
 * @param {number} length @param {(number | null)[]} codes
 */
function encodeLength(length, [code8, code16, code32]) {
  if (code8 !== null && length < 0x100) return concat(u8(Number(code8)), u8(length));
  if (length < 0x10000) return concat(u8(Number(code16)), u16(length));
  return concat(u8(Number(code32)), u32(length));
}

/** @param {number | bigint} value @returns {Uint8Array} */
function encodeInteger(value) {
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new UsageError("a body holds no fractions", { hint: "use a bigint for integers beyond 2⁵³−1" });
  }
  const integer = BigInt(value);
  if (integer > U64_MAX || integer < I64_MIN) throw new UsageError("an integer does not fit 64 bits");
  if (integer >= -32n && integer < 128n) return u8(Number(integer & 0xffn));
  if (integer > 0n) {
    if (integer < 0x100n) return concat(u8(0xcc), u8(Number(integer)));
    if (integer < 0x10000n) return concat(u8(0xcd), u16(Number(integer)));
    return integer < 0x100000000n ? concat(u8(0xce), u32(Number(integer))) : concat(u8(0xcf), u64(integer));
  }
  if (integer >= -0x80n) return concat(u8(0xd0), u8(Number(integer & 0xffn)));
  if (integer >= -0x8000n) return concat(u8(0xd1), u16(Number(integer & 0xffffn)));
  if (integer >= -0x80000000n) return concat(u8(0xd2), u32(Number(integer & 0xffffffffn)));
  return concat(u8(0xd3), u64(integer & U64_MAX));
}

/**
 * @param {Uint8Array} data The whole body.
 * @returns {Value[]} Byte strings are views into `data`.
 * @throws {WireError} Not one array of this form.
 */
export function decodeBody(data) {
  if (data.length > MESSAGE_BYTES_MAX) throw new WireError("a body is too long");
  const reader = new Reader(data);
  const body = readValue(reader, 0);
  reader.end();
  if (!Array.isArray(body)) throw new WireError("a body is one array");
  return body;
}

/** @param {Reader} reader @param {number} depth @returns {Value} */
function readValue(reader, depth) {
  const code = reader.u8();
  if (code < 0x80) return code;
  if (code >= 0xe0) return code - 0x100;
  if (code >= 0xa0 && code < 0xc0) return decodeUtf8(reader.take(code & 0x1f));
  if (code >= 0x90 && code < 0xa0) return readArray(reader, code & 0x0f, depth);
  switch (code) {
    case 0xc0:
      return null;
    case 0xc2:
    case 0xc3:
      return code === 0xc3;
    case 0xc4:
    case 0xc5:
    case 0xc6:
      return reader.take(readLength(reader, code - 0xc4, [0, 0x100, 0x10000]));
    case 0xd9:
    case 0xda:
    case 0xdb:
      return decodeUtf8(reader.take(readLength(reader, code - 0xd9, [32, 0x100, 0x10000])));
    case 0xdc:
    case 0xdd:
      return readArray(reader, readLength(reader, code - 0xdb, [0, 16, 0x10000]), depth);
    default:
      if (code >= 0xcc && code <= 0xd3) return readInteger(reader, code);
      throw new WireError("the body holds a map, a float or an ext type");
  }
}

/**
 * A length of 1, 2 or 4 bytes.
 *
 * @param {Reader} reader @param {number} form 0 to 2. @param {number[]} leasts Per form.
 */
function readLength(reader, form, leasts) {
  const length = [() => reader.u8(), () => reader.u16(), () => reader.u32()][form]();
  if (length < leasts[form]) throw new WireError("the body is not in shortest form");
  return length;
}

/** @param {Reader} reader @param {number} length @param {number} depth @returns {Value[]} */
function readArray(reader, length, depth) {
  // Every item takes a byte at least: a length that cannot be true is refused before anything is allocated.
  if (depth >= BODY_DEPTH_MAX || length > reader.remaining) throw new WireError("a body is nested too deeply, or cut short");
  return Array.from({ length }, () => readValue(reader, depth + 1));
}

/** @param {Reader} reader @param {number} code 0xcc to 0xd3. @returns {number | bigint} */
function readInteger(reader, code) {
  const size = 2 ** (code & 3);
  const raw = reader.take(size).reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
  const integer = code < 0xd0 ? raw : BigInt.asIntN(8 * size, raw);
  if (encodeInteger(integer).length !== size + 1 || (code >= 0xd0 && integer >= 0n)) {
    throw new WireError("the body is not in shortest form");
  }
  return Number.isSafeInteger(Number(integer)) ? Number(integer) : integer;
}

/** `id u32 ‖ method u8 ‖ body`. @param {number} id @param {number} method @param {Value[]} body */
export function encodeRequest(id, method, body) {
  return concat(u32(id), u8(method), encodeBody(body));
}

/** `id u32 ‖ status u16 ‖ body`. @param {number} id @param {number} status @param {Value[]} body */
export function encodeResponse(id, status, body) {
  return concat(u32(id), u16(status), encodeBody(body));
}

/** @param {Uint8Array} message @returns {{id: number, method: number, body: Value[]}} @throws {WireError} */
export function decodeRequest(message) {
  const reader = new Reader(message);
  return { id: reader.u32(), method: reader.u8(), body: decodeBody(reader.rest()) };
}

/** @param {Uint8Array} message @returns {{id: number, status: number, body: Value[]}} @throws {WireError} */
export function decodeResponse(message) {
  const reader = new Reader(message);
  return { id: reader.u32(), status: reader.u16(), body: decodeBody(reader.rest()) };
}
