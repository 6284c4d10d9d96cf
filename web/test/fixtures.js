/** The vector files, and the keys that most checks start from. */

import { networkId, nodeIdOf, selfKey } from "../crypto/naming.js";
import { PrivateKey } from "../crypto/primitives.js";
import { KeySigner } from "../crypto/signing.js";
import { hex } from "./expect.js";

/**
 * Parsed vector files by name; hexadecimal stays text. @typedef {Record<string, any>} Vectors
 */

export const FILES = Object.freeze({
  protocol: "protocol-v1.json",
  project: "project-v1.json",
  session: "project-session.json",
  rpc: "rpc-v1.json",
  salamander: "salamander.txt",
});

/**
 * @param {(file: string) => Promise<string>} read Text of one file of tests/vectors/.
 * @returns {Promise<Vectors>}
 */
export async function loadVectors(read) {
  const entries = Object.entries(FILES).map(async ([name, file]) => {
    const text = await read(file);
    return [name, file.endsWith(".json") ? JSON.parse(text) : parseLines(text)];
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** name=hex, one a line. @param {string} text */
function parseLines(text) {
  return Object.fromEntries(text.trim().split("\n").map((line) => line.split("=")));
}

/** @param {Vectors} v @param {string} name @param {import("../crypto/primitives.js").KeyUse} use */
export function keyOf(v, name, use) {
  return PrivateKey.fromScalar(hex(v.protocol.keys[name]), use);
}

/** What A knows about itself. @param {Vectors} v */
export async function identityA(v) {
  const network = await networkId(v.protocol.conventions.network);
  const publicKey = hex(v.protocol.keys.pk33_A);
  const nodeId = await nodeIdOf(publicKey);
  const signer = new KeySigner(await keyOf(v, "sk_A", "ECDSA"));
  return { network, publicKey, nodeId, signer, ownKey: await selfKey(hex(v.protocol.identity.S), nodeId) };
}
