/**
 * The layout of invite tokens (PROTOCOL.md section 12): 176 bytes. Refuses unknown types, suites and
 * flags.
 */

import { WireError } from "../errors.js";
import { Reader } from "./codec.js";

export const TokenType = Object.freeze({ NETWORK: 1, GROUP: 2, MAILBOX: 3, DEVICE: 4 });

const VERSION = 0xfb;
const SUITE = 0x01;
const BEARER = 0x01;
const SINGLE_USE = 0x02;

/**
 * @typedef {object} Token
 * @property {number} type
 * @property {boolean} isBearer Whoever holds the secret may redeem it.
 * @property {boolean} isSingleUse
 * @property {Uint8Array} issuer 33 bytes.
 * @property {Uint8Array} subject 32 bytes.
 * @property {Uint8Array} scope 16 bytes.
 * @property {number} notBefore Unix seconds.
 * @property {number} notAfter Unix seconds.
 * @property {number} usesMax u16.
 * @property {number} role u8.
 * @property {Uint8Array} id 16 bytes.
 * @property {Uint8Array} unsigned Everything before the signature.
 * @property {Uint8Array} signature 64 bytes.
 */

/** @param {Uint8Array} token @returns {Token} @throws {WireError} */
export function decodeToken(token) {
  const reader = new Reader(token);
  const [version, type, suite, flags] = reader.take(4);
  if (version !== VERSION || type < TokenType.NETWORK || type > TokenType.DEVICE || suite !== SUITE) {
    throw new WireError("not a token of this version");
  }
  if (flags & ~(BEARER | SINGLE_USE)) throw new WireError("a token has unknown flags");
  const [issuer, subject, scope] = [reader.take(33), reader.take(32), reader.take(16)];
  const [notBefore, notAfter] = [reader.u32(), reader.u32()];
  const [usesMax, role, id] = [reader.u16(), reader.u8(), reader.take(16)];
  const unsigned = token.subarray(0, reader.offset);
  const signature = reader.take(64);
  reader.end();
  const [isBearer, isSingleUse] = [(flags & BEARER) !== 0, (flags & SINGLE_USE) !== 0];
  const terms = { scope, notBefore, notAfter, usesMax, role, id };
  return { type, isBearer, isSingleUse, issuer, subject, ...terms, unsigned, signature };
}
