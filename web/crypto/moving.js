/** How an identity says that it moved to another key, or is revoked (PROTOCOL.md section 13). */

import { WireError } from "../errors.js";
import { concat } from "../wire/codec.js";
import { Kind, Readers } from "../wire/record.js";
import { dh } from "./naming.js";
import { isEqual } from "./primitives.js";
import { verifyMessage } from "./signing.js";

const EXPIRES_NEVER = 2 ** 32 - 1;
const REVOCATION_SEQ = 2n ** 64n - 1n;
const MOVED_BYTES = 102;
const MOVED_HEAD = Uint8Array.of(0x92, 0xc4, 33); // [bin 33, bin 64], the only shortest form
const MOVED_MIDDLE = Uint8Array.of(0xc4, 64);
const REVOKED = Uint8Array.of(0x90); // []

/** @param {Uint8Array} network @returns {Promise<Uint8Array>} The tag of move records. */
export function moveTag(network) {
  return dh("yz1 move", network);
}

/**
 * @param {Uint8Array} payload
 * @returns {{successor: Uint8Array, signature: Uint8Array} | null} null for a revocation.
 * @throws {WireError} It is neither `[new pk33, signature]` nor `[]`.
 */
export function decodeMove(payload) {
  if (isEqual(payload, REVOKED)) return null;
  const isMove =
    payload.length === MOVED_BYTES &&
    isEqual(payload.subarray(0, 3), MOVED_HEAD) &&
    isEqual(payload.subarray(36, 38), MOVED_MIDDLE);
  if (!isMove) throw new WireError("a move record names a key and its signature, or nothing");
  return { successor: payload.subarray(3, 36), signature: payload.subarray(38) };
}

/**
 * Read a move record that is verified (`verifyRecord`). A revocation is heeded whatever its seq.
 *
 * @param {Uint8Array} network @param {import("../wire/record.js").DecodedRecord} record
 * @returns {Promise<Uint8Array | null>} The successor, 33 bytes; null for a revocation.
 * @throws {WireError | InvalidKey | InvalidSignature}
 */
export async function readMove(network, record) {
  const isOne = record.kind === Kind.MUTABLE && isEqual(record.tag, await moveTag(network));
  if (!isOne || record.expires !== EXPIRES_NEVER) throw new WireError("not a move record");
  if (record.readers !== Readers.PUBLIC || record.isTombstone) {
    throw new WireError("a move record is public, and is never deleted");
  }
  const move = decodeMove(record.payload);
  if (move === null) return null;
  if (record.seq === REVOCATION_SEQ) throw new WireError("a move has the seq of a revocation");
  if (isEqual(move.successor, record.publisher)) throw new WireError("a move leads to where it began");
  const agreed = concat(record.publisher, move.successor);
  await verifyMessage(move.successor, "yz1 move", network, agreed, move.signature);
  return move.successor;
}
