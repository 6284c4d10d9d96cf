/**
 * The layout of invite tokens and of what redeems them (PROTOCOL.md section 12). Refuses unknown types, suites, flags
 * and roles, and fields that contradict each other.
 */

import { WireError } from "../errors.js";
import { Reader, concat } from "./codec.js";

export const TokenType = Object.freeze({ NETWORK: 1, GROUP: 2, MAILBOX: 3, DEVICE: 4 });

export const TOKEN_BYTES = 176;
export const SECRET_BYTES = 16;

const VERSION = 0xfb;
const SUITE = 0x01;
const BEARER = 0x01;
const SINGLE_USE = 0x02;
const ROLE_ADMIN = 1;
const KEM_BYTES = 33;

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
 * @property {Uint8Array} raw The whole token.
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
  const decoded = { type, isBearer, isSingleUse, issuer, subject, ...terms, unsigned, signature, raw: token };
  checkCombination(decoded);
  return decoded;
}

/** @param {Token} token */
function checkCombination({ type, isSingleUse, issuer, scope, usesMax, role }) {
  if (issuer[0] !== 2 && issuer[0] !== 3) throw new WireError("a token's issuer is not a compressed point");
  if (isSingleUse && usesMax !== 1) throw new WireError("a token for a single use has one use");
  if (role > ROLE_ADMIN) throw new WireError("a token has an unknown role");
  if (type === TokenType.NETWORK && (role !== 0 || scope.some((byte) => byte !== 0))) {
    throw new WireError("a token of a network has no scope and no role");
  }
}

/**
 * What a joiner hands to the issuer, 225 bytes: token ‖ secret16 ‖ kem33.
 *
 * @param {Token} token
 * @param {Uint8Array | null} secret 16 bytes of a bearer token, null of one that names its invitee.
 * @param {Uint8Array} kem The KEM key that the joiner wants to be sealed to, 33 bytes.
 * @returns {Uint8Array}
 */
export function encodeRedemption(token, secret, kem) {
  const given = secret ?? new Uint8Array(SECRET_BYTES);
  if (given.length !== SECRET_BYTES || kem.length !== KEM_BYTES) throw new RangeError("a secret or a key has a wrong length");
  return concat(token.raw, given, kem);
}
