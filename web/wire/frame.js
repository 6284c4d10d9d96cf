/**
 * The plaintext of one protected record (PROTOCOL.md section 4): inner types, their length rules and padding.
 *
 * Refuses unknown types, a plaintext without a type, and bit 7 where nothing is ever cut.
 */

import { UsageError, WireError } from "../errors.js";
import { PING_BYTES_MAX, RECORD_DATA_BYTES_MAX, RELAY_DATA_BYTES_MAX } from "../limits.js";
import { concat } from "./codec.js";

export const RecordType = Object.freeze({
  CLOSE: 0x01,
  ALERT: 0x02,
  KEY_UPDATE: 0x03,
  READY: 0x04,
  PING: 0x05,
  PONG: 0x06,
  LINK: 0x07,
  REQUEST: 0x10,
  RESPONSE: 0x11,
  PUBSUB: 0x12,
  RELAY_DATA: 0x13,
  STREAM: 0x14,
  SIGNAL: 0x15,
  CREDIT: 0x16,
});

/** Capability bits that may be sent 1; the others are sent 0 and ignored (section 3.7). */
export const CAPS_IN_USE = 0x1ff1;

const KNOWN_TYPES = new Set(Object.values(RecordType));
const MORE = 0x80;
const FIRST_MESSAGE_TYPE = 0x10;
const NEVER_CUT = new Set([RecordType.RELAY_DATA, RecordType.CREDIT]);
const DATA_LENGTHS = new Map([
  [RecordType.CLOSE, [0, 0]],
  [RecordType.ALERT, [2, 2]],
  [RecordType.KEY_UPDATE, [0, 0]],
  [RecordType.READY, [0, 0]],
  [RecordType.PING, [0, PING_BYTES_MAX]],
  [RecordType.PONG, [0, PING_BYTES_MAX]],
]);

/** @param {number} type @param {boolean} more @returns {boolean} */
function isAllowed(type, more) {
  return KNOWN_TYPES.has(type) && !(more && (type < FIRST_MESSAGE_TYPE || NEVER_CUT.has(type)));
}

/** @param {number} type @returns {number} Bytes of data and pad. */
function boundOf(type) {
  return type === RecordType.RELAY_DATA ? RELAY_DATA_BYTES_MAX : RECORD_DATA_BYTES_MAX;
}

/** @param {number} type @param {number} size @returns {boolean} */
function hasLengthOf(type, size) {
  const [least, most] = DATA_LENGTHS.get(type) ?? [0, boundOf(type)];
  return size >= least && size <= most;
}

/**
 * data ‖ type ‖ 0^pad.
 *
 * @param {number} type @param {Uint8Array} data
 * @param {{pad?: number, more?: boolean}} [options] `more`: all pieces of a cut message but the last.
 * @returns {Uint8Array}
 * @throws {UsageError} The type, length, padding or `more` is not allowed.
 */
export function encodeInner(type, data, { pad = 0, more = false } = {}) {
  if (!isAllowed(type, more)) throw new UsageError("a record of this type is never cut, or does not exist");
  if (!hasLengthOf(type, data.length)) throw new UsageError("a record of this type cannot carry that many bytes");
  if (pad < 0 || data.length + pad > boundOf(type)) throw new UsageError("the padding does not fit in one record");
  return concat(data, Uint8Array.of(more ? type | MORE : type), new Uint8Array(pad));
}

/**
 * @param {Uint8Array} plaintext
 * @returns {{type: number, data: Uint8Array, more: boolean}}
 * @throws {WireError} No type, an unknown one, bit 7 where nothing is cut, or a length that the type does not have.
 */
export function decodeInner(plaintext) {
  let end = plaintext.length - 1;
  while (end >= 0 && plaintext[end] === 0) end -= 1;
  if (end < 0) throw new WireError("a record has no type");
  const more = (plaintext[end] & MORE) !== 0;
  const type = plaintext[end] & ~MORE;
  if (!isAllowed(type, more)) throw new WireError("a record has an unknown type");
  if (plaintext.length > boundOf(type) + 1) throw new WireError("a record is larger than its type allows");
  if (!hasLengthOf(type, end)) throw new WireError("a record has a length that its type does not allow");
  return { type, data: plaintext.subarray(0, end), more };
}
