/**
 * Invite tokens checked by whoever is invited, and redeemed (PROTOCOL.md section 12). How often one was redeemed, and
 * whether it was revoked, is known to its issuer alone.
 */

import {
  InvalidKey,
  InvalidSignature,
  InviteExpired,
  InviteForAnother,
  InviteForged,
  InviteNotYetValid,
  WrongInviteSecret,
} from "../errors.js";
import { CLOCK_SKEW_S } from "../limits.js";
import { SECRET_BYTES, encodeRedemption } from "../wire/token.js";
import { dh, nodeIdOf } from "./naming.js";
import { isEqual } from "./primitives.js";
import { verifyMessage } from "./signing.js";

/** @typedef {import("../wire/token.js").Token} Token */
/** @typedef {import("../wire/invite_link.js").InviteLink} InviteLink */

/** @param {Uint8Array} network @param {Token} token @throws {InviteForged} */
export async function verifyToken(network, token) {
  try {
    await verifyMessage(token.issuer, "yz1 inv", network, token.unsigned, token.signature);
  } catch (error) {
    if (error instanceof InvalidSignature || error instanceof InvalidKey) {
      throw new InviteForged("the invite was changed, or is for another network");
    }
    throw error;
  }
}

/** With ten minutes for clocks that disagree. @param {Token} token @param {number} wallNow Unix seconds. */
export function checkTokenTimes(token, wallNow) {
  if (wallNow < token.notBefore - CLOCK_SKEW_S) throw new InviteNotYetValid("the invite is not valid yet");
  if (wallNow > token.notAfter + CLOCK_SKEW_S) throw new InviteExpired("the invite has expired");
}

/** subject32 of a bearer token. @param {Uint8Array} network @param {Uint8Array} secret 16 bytes. */
export function bearerSubject(network, secret) {
  return dh("yz1 bearer", network, secret);
}

/**
 * Check that a token is for whoever shows it.
 *
 * @param {Uint8Array} network @param {Token} token
 * @param {Uint8Array | null} secret What came with it.
 * @param {Uint8Array} nodeId Who shows it.
 * @throws {WrongInviteSecret | InviteForAnother}
 */
export async function checkSubject(network, token, secret, nodeId) {
  if (token.isBearer) {
    const given = secret ?? new Uint8Array(SECRET_BYTES);
    if (!isEqual(token.subject, await bearerSubject(network, given))) {
      throw new WrongInviteSecret("the secret does not belong to this invite");
    }
  } else if (!isEqual(token.subject, nodeId)) {
    throw new InviteForAnother("the invite is for another identity");
  }
}

/**
 * Check a link as its issuer will, but for the ledger, and build what redeems it.
 *
 * @param {Uint8Array} network @param {InviteLink} link
 * @param {{publicKey: Uint8Array, kem: Uint8Array}} joiner Who wants to join, and its newest KEM key.
 * @param {number} wallNow Unix seconds.
 * @returns {Promise<Uint8Array>} 225 bytes.
 * @throws {InviteRefused} One of its leaves: forged, not yet valid, expired, wrong secret, for another.
 */
export async function redeemLink(network, link, joiner, wallNow) {
  await verifyToken(network, link.token);
  checkTokenTimes(link.token, wallNow);
  await checkSubject(network, link.token, link.secret, await nodeIdOf(joiner.publicKey));
  return encodeRedemption(link.token, link.secret, joiner.kem);
}
