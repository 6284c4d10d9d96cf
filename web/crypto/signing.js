/**
 * Signatures under a label and a network (PROTOCOL.md section 1, `sig` and `ver`).
 *
 * Refuses high-S signatures, keys that are not compressed points, and anything signed under another label or for
 * another network.
 */

import { concat, lp } from "../wire/codec.js";
import { verify } from "./primitives.js";

/**
 * @typedef {object} Signer Whatever signs for one identity.
 * @property {Uint8Array} publicKey 33 bytes.
 * @property {(label: string, network: Uint8Array, message: Uint8Array) => Promise<Uint8Array>} sign 64 bytes.
 */

/**
 * Check a signature over lp(label) ‖ NET ‖ message.
 *
 * @param {Uint8Array} publicKey @param {string} label @param {Uint8Array} network NET, 8 bytes.
 * @param {Uint8Array} message @param {Uint8Array} signature
 * @throws {InvalidKey} `publicKey` is not a compressed P-256 point.
 * @throws {InvalidSignature} Wrong length, out of range, high-S, or it does not verify.
 */
export async function verifyMessage(publicKey, label, network, message, signature) {
  await verify(publicKey, concat(lp(label), network, message), signature);
}

/** A Signer over a private key that this page holds. @implements {Signer} */
export class KeySigner {
  #key;

  /** @param {import("./primitives.js").PrivateKey} key An ECDSA key. */
  constructor(key) {
    this.#key = key;
  }

  /** The public half, 33 bytes. */
  get publicKey() {
    return this.#key.publicKey;
  }

  /**
   * @param {string} label @param {Uint8Array} network @param {Uint8Array} message
   * @returns {Promise<Uint8Array>}
   */
  sign(label, network, message) {
    return this.#key.sign(concat(lp(label), network, message));
  }
}
