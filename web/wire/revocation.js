/** The list of tokens that the issuer of a closed network took back (PROTOCOL.md section 12). */

import { WireError } from "../errors.js";
import { REVOKED_TOKENS_MAX } from "../limits.js";
import { toHex } from "./codec.js";
import { decodeBody } from "./rpc.js";

const TOKEN_ID_BYTES = 16;

/**
 * @param {Uint8Array} payload Of a record that is verified.
 * @returns {Set<string>} Token ids in hexadecimal.
 * @throws {WireError} It is not one array of ids in ascending order, in shortest form.
 */
export function decodeRevoked(payload) {
  const ids = decodeBody(payload).map((id) => {
    if (!(id instanceof Uint8Array) || id.length !== TOKEN_ID_BYTES) throw new WireError("a token id has 16 bytes");
    return toHex(id);
  });
  if (ids.length > REVOKED_TOKENS_MAX || ids.some((id, at) => at > 0 && id <= ids[at - 1])) {
    throw new WireError("a list of revocations is not in its one form");
  }
  return new Set(ids);
}
