/**
 * The bytes of a keyfile (PROTOCOL.md section 13), for kdf 0 (none) and kdf 2 (PBKDF2).
 *
 * WebCrypto has no Argon2: kdf 1 is answered with a hint. Reads only; a browser's own export comes with its keys.
 */

import { DecryptionFailed, UnsupportedKdf, UsageError, WireError, WrongPassphrase } from "../errors.js";
import {
  ARGON2_M_KIB_MAX,
  ARGON2_M_KIB_MIN,
  ARGON2_P_MAX,
  ARGON2_T_MAX,
  KEM_KEYS_KEPT_MAX,
  KEYFILE_BYTES_MAX,
  PASSPHRASE_BYTES_MAX,
  PBKDF2_ITERATIONS_MAX,
  PBKDF2_ITERATIONS_MIN,
} from "../limits.js";
import { Reader, encodeUtf8 } from "../wire/codec.js";
import { kdf } from "./naming.js";
import { Aead, IV_BYTES, KEY_BYTES, isEqual, pbkdf2, sha256 } from "./primitives.js";

const MAGIC = 0x595a4b31; // "YZK1"
const Kdf = Object.freeze({ NONE: 0, ARGON2ID: 1, PBKDF2: 2 });
const Entry = Object.freeze({ IDENTITY: 1, KEM: 2, STORAGE_SECRET: 3 });
const COMMIT_BYTES = 32;

/**
 * @typedef {object} KeyfileContent
 * @property {Uint8Array} identity PKCS8 of sk_id.
 * @property {{notAfter: number, pkcs8: Uint8Array}[]} kemKeys `notAfter` in unix seconds.
 * @property {Uint8Array} storageSecret S, 32 bytes.
 */

/**
 * Open a keyfile down to its TLV bytes.
 *
 * @param {Uint8Array} file @param {string} [passphrase] Not looked at where the file has none.
 * @returns {Promise<Uint8Array>}
 * @throws {WireError} It is not a keyfile.
 * @throws {UnsupportedKdf} It is locked with Argon2id.
 * @throws {WrongPassphrase} Another passphrase, or damaged bytes: the two look the same.
 * @throws {DecryptionFailed} It needs no passphrase and is damaged.
 * @throws {UsageError} The passphrase is empty, too long or not valid Unicode.
 */
export async function openContainer(file, passphrase = "") {
  if (file.length > KEYFILE_BYTES_MAX) throw new WireError("a keyfile is too long");
  const reader = new Reader(file);
  if (reader.u32() !== MAGIC) throw new WireError("not a keyfile of this version");
  const [method, cost, t, p, salt] = [reader.u8(), reader.u32(), reader.u8(), reader.u8(), reader.take(16)];
  const header = file.subarray(0, reader.offset);
  const lock = { method, cost, t, p, salt };
  if (!isAllowed(lock)) throw new WireError("a keyfile has an unknown kdf, or one whose cost is out of bounds");
  const [commit, sealed] = [reader.take(COMMIT_BYTES), reader.rest()];
  const unlock = await passphraseKey(lock, passphrase);
  const raw = await kdf(unlock, salt, "yz1 keyfile", await sha256(header), KEY_BYTES + IV_BYTES + COMMIT_BYTES);
  try {
    if (!isEqual(raw.subarray(KEY_BYTES + IV_BYTES), commit)) throw new DecryptionFailed("the commitment was refused");
    const aead = await Aead.fromRaw(raw.subarray(0, KEY_BYTES));
    return await aead.open(raw.subarray(KEY_BYTES, KEY_BYTES + IV_BYTES), sealed, header);
  } catch (error) {
    if (!(error instanceof DecryptionFailed)) throw error;
    if (method === Kdf.NONE) throw new DecryptionFailed("the keyfile is damaged", { hint: "restore it from a copy" });
    throw new WrongPassphrase("the passphrase does not open this keyfile");
  }
}

/**
 * @typedef {{method: number, cost: number, t: number, p: number, salt: Uint8Array}} Lock `cost` is the m_kib field.
 */

/** @param {Lock} lock @returns {boolean} Within the bounds of section 13. */
function isAllowed({ method, cost, t, p }) {
  switch (method) {
    case Kdf.NONE:
      return cost === 0 && t === 0 && p === 0;
    case Kdf.ARGON2ID:
      return cost >= ARGON2_M_KIB_MIN && cost <= ARGON2_M_KIB_MAX && isBetween(t, ARGON2_T_MAX) && isBetween(p, ARGON2_P_MAX);
    case Kdf.PBKDF2:
      return cost >= PBKDF2_ITERATIONS_MIN && cost <= PBKDF2_ITERATIONS_MAX && t === 0 && p === 0;
    default:
      return false;
  }
}

/** @param {number} value @param {number} most */
const isBetween = (value, most) => value >= 1 && value <= most;

/** @param {Lock} lock Allowed. @param {string} passphrase @returns {Promise<Uint8Array>} 32 bytes. */
async function passphraseKey({ method, cost, salt }, passphrase) {
  if (method === Kdf.NONE) return new Uint8Array(KEY_BYTES);
  if (method === Kdf.ARGON2ID) throw new UnsupportedKdf("this keyfile is locked with Argon2, which browsers do not have");
  if (!passphrase) throw new UsageError("the passphrase is empty");
  if (/\p{Surrogate}/u.test(passphrase)) throw new UsageError("a passphrase must be valid Unicode");
  const raw = encodeUtf8(passphrase.normalize("NFC"));
  if (raw.length > PASSPHRASE_BYTES_MAX) throw new UsageError("a passphrase is at most 1,024 bytes");
  return pbkdf2(raw, salt, cost);
}

/**
 * @param {Uint8Array} content TLV: types ascending, 1 and 3 exactly once.
 * @returns {KeyfileContent}
 * @throws {WireError} It is anything else.
 */
export function decodeContent(content) {
  const reader = new Reader(content);
  const bodies = new Map([Entry.IDENTITY, Entry.KEM, Entry.STORAGE_SECRET].map((type) => [type, /** @type {Uint8Array[]} */ ([])]));
  let last = 0;
  while (reader.remaining) {
    const type = reader.u8();
    if (type < last || !bodies.has(type)) throw new WireError("a keyfile holds entries out of order, or unknown ones");
    last = type;
    bodies.get(type)?.push(reader.take(reader.u16()));
  }
  const [identities, kemKeys, secrets] = [...bodies.values()];
  const isWhole = identities.length === 1 && secrets.length === 1 && kemKeys.length <= KEM_KEYS_KEPT_MAX;
  if (!isWhole || secrets[0].length !== 32) throw new WireError("a keyfile lacks one of its keys, or holds too many");
  return { identity: identities[0], kemKeys: kemKeys.map(decodeKemKey), storageSecret: secrets[0] };
}

/** @param {Uint8Array} body notAfter u32 ‖ PKCS8. */
function decodeKemKey(body) {
  const reader = new Reader(body);
  return { notAfter: reader.u32(), pkcs8: reader.rest() };
}

/**
 * Both steps at once.
 *
 * @param {Uint8Array} file @param {string} [passphrase]
 * @returns {Promise<KeyfileContent>}
 */
export async function openKeyfile(file, passphrase) {
  return decodeContent(await openContainer(file, passphrase));
}
