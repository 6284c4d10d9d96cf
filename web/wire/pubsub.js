/**
 * The layout of pubsub envelopes and of what they carry (PROTOCOL.md section 11). Keys and signatures are crypto/'s.
 *
 * Refuses unknown modes and suites, a kid in a public envelope, padding that is not zero or not the shortest.
 */

import { WireError } from "../errors.js";
import { RECORD_BYTES_MAX } from "../limits.js";
import { Reader, concat, u32, u8 } from "./codec.js";

export const Mode = Object.freeze({ GROUP: 0, PUBLIC: 1 });

const VERSION = 0xfa;
const SUITE = 0x01;
const HEADER_BYTES = 73;
const SIGNATURE_BYTES = 64;
const GCM_TAG_BYTES = 16;
const BLOCK_BYTES = 64;
const LENGTH_BYTES = 4;

/**
 * @typedef {object} EnvelopeHeader
 * @property {number} mode
 * @property {Uint8Array} topic 16 bytes.
 * @property {Uint8Array} kid 8 bytes, zero when public.
 * @property {Uint8Array} sender 33 bytes.
 * @property {Uint8Array} session 8 bytes.
 * @property {number} index u32.
 */

/**
 * @typedef {EnvelopeHeader & {header: Uint8Array, content: Uint8Array, unsigned: Uint8Array, signature: Uint8Array}} Envelope
 */

/** @param {EnvelopeHeader} fields @returns {Uint8Array} 73 bytes, the aad of the content. */
export function encodeEnvelopeHeader({ mode, topic, kid, sender, session, index }) {
  return concat(Uint8Array.of(VERSION, mode, SUITE, 0), topic, kid, sender, session, u32(index));
}

/**
 * @param {Uint8Array} envelope
 * @returns {Envelope}
 * @throws {WireError}
 */
export function decodeEnvelope(envelope) {
  if (envelope.length > RECORD_BYTES_MAX) throw new WireError("an envelope is too long");
  const reader = new Reader(envelope);
  const [version, mode, suite, reserved] = reader.take(4);
  if (version !== VERSION || mode > Mode.PUBLIC || suite !== SUITE || reserved !== 0) {
    throw new WireError("not an envelope of this version");
  }
  const [topic, kid, sender, session] = [16, 8, 33, 8].map((size) => reader.take(size));
  const index = reader.u32();
  const content = reader.take(reader.remaining - SIGNATURE_BYTES);
  const unsigned = envelope.subarray(0, reader.offset);
  if (sender[0] !== 2 && sender[0] !== 3) throw new WireError("an envelope's sender is not a compressed point");
  if (mode === Mode.PUBLIC && kid.some((byte) => byte !== 0)) throw new WireError("a public envelope has no kid");
  const padded = content.length - (mode === Mode.GROUP ? GCM_TAG_BYTES : 0);
  if (padded <= 0 || padded % BLOCK_BYTES) throw new WireError("an envelope's content has an impossible length");
  const header = envelope.subarray(0, HEADER_BYTES);
  return { mode, topic, kid, sender, session, index, header, content, unsigned, signature: reader.rest() };
}

/** u32 |x| ‖ x ‖ zeros to a multiple of 64. @param {Uint8Array} plaintext */
export function pad64(plaintext) {
  const used = LENGTH_BYTES + plaintext.length;
  return concat(u32(plaintext.length), plaintext, new Uint8Array((BLOCK_BYTES - (used % BLOCK_BYTES)) % BLOCK_BYTES));
}

/**
 * @param {Uint8Array} padded
 * @returns {Uint8Array}
 * @throws {WireError} The padding is longer than needed, or not zero.
 */
export function unpad64(padded) {
  const reader = new Reader(padded);
  const plaintext = reader.take(reader.u32());
  const rest = reader.rest();
  if (padded.length % BLOCK_BYTES || rest.length >= BLOCK_BYTES || rest.some((byte) => byte !== 0)) {
    throw new WireError("an envelope's padding was refused");
  }
  return plaintext;
}

/**
 * @typedef {{created: number, type: number, data: Uint8Array}} Message `created` in unix seconds, `type` the application's.
 */

/** @param {Message} message @returns {Uint8Array} */
export function encodeMessage({ created, type, data }) {
  return concat(u32(created), u8(type), data);
}

/** @param {Uint8Array} plaintext @returns {Message} @throws {WireError} */
export function decodeMessage(plaintext) {
  const reader = new Reader(plaintext);
  return { created: reader.u32(), type: reader.u8(), data: reader.rest() };
}
