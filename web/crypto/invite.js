/**
 * Invite tokens checked (PROTOCOL.md section 12). Times, uses and revocation are judged by whoever
 * takes the token.
 */

import { InvalidSignature } from "../errors.js";
import { dh } from "./naming.js";
import { isEqual } from "./primitives.js";
import { verifyMessage } from "./signing.js";

/** @typedef {import("../wire/token.js").Token} Token */

/** @param {Uint8Array} network @param {Token} token @throws {InvalidSignature | InvalidKey} */
export async function verifyToken(network, token) {
  await verifyMessage(token.issuer, "yz1 inv", network, token.unsigned, token.signature);
}

/** subject32 of a bearer token. @param {Uint8Array} network @param {Uint8Array} secret 16 bytes. */
export function bearerSubject(network, secret) {
  return dh("yz1 bearer", network, secret);
}

/**
 * Check that `secret` is what a bearer token asks for.
 *
 * @param {Uint8Array} network @param {Token} token @param {Uint8Array} secret
 */
export async function checkBearer(network, token, secret) {
  if (!token.isBearer || !isEqual(token.subject, await bearerSubject(network, secret))) {
    throw new InvalidSignature("the secret does not belong to this invite", { hint: "ask for the whole link again" });
  }
}
