/**
 * The record layer: one session's two directions of sealed, counted records (PROTOCOL.md section 4).
 *
 * Records open only in the order in which they were sealed: one that is lost, repeated, moved or changed ends the
 * receiving direction for good. WebCrypto is asynchronous, so counters and keys are taken synchronously when a call is
 * made and calls to `open` queue behind each other; the caller sends and receives in the order of its calls.
 */

import { DecryptionFailed, UsageError, WireError } from "../errors.js";
import { KEY_UPDATE_BYTES, KEY_UPDATE_RECORDS, RECORD_OVERHEAD_BYTES, RELAY_DATA_BYTES_MAX } from "../limits.js";
import { u64 } from "../wire/codec.js";
import { RecordType, decodeInner, encodeInner } from "../wire/frame.js";
import { kdf } from "./naming.js";
import { Aead, IV_BYTES, KEY_BYTES } from "./primitives.js";

const NOTHING = new Uint8Array(0);
const MESSAGE_BYTES_MAX = RELAY_DATA_BYTES_MAX + RECORD_OVERHEAD_BYTES;

/**
 * @typedef {object} KeyLimits How much one key may protect; lower ones are for tests.
 * @property {number} records The key update not counted.
 * @property {number} bytes Of sealed records, tags included.
 */

/** @type {KeyLimits} */
const DEFAULT_LIMITS = { records: KEY_UPDATE_RECORDS, bytes: KEY_UPDATE_BYTES };

/** One direction: its secret, the key made of it and what the key has protected. */
class Direction {
  records = 0;
  bytes = 0;
  #secret;
  #keys;

  /** @param {Promise<Uint8Array>} secret 32 bytes. */
  constructor(secret) {
    this.#secret = secret;
    this.#keys = secret.then(keysOf);
    this.#keys.catch(() => {}); // whoever seals or opens next sees the failure; here it must only not go unhandled
  }

  /** @param {(keys: {aead: Aead, iv: Uint8Array}, nonce: Uint8Array) => Promise<Uint8Array>} run */
  async protect(run) {
    const counter = this.records; // before any await: no nonce may ever serve twice
    this.records += 1;
    const keys = await this.#keys;
    return run(keys, nonceOf(keys.iv, counter));
  }

  /** @returns {Direction} With the next secret, from zero. */
  next() {
    return new Direction(this.#secret.then((secret) => kdf(secret, NOTHING, "yz1 upd", NOTHING, KEY_BYTES)));
  }
}

/** @param {Uint8Array} secret */
async function keysOf(secret) {
  const raw = await kdf(secret, NOTHING, "yz1 key", NOTHING, KEY_BYTES + IV_BYTES);
  return { aead: await Aead.fromRaw(raw.subarray(0, KEY_BYTES)), iv: raw.subarray(KEY_BYTES) };
}

/** iv XOR (0⁴ ‖ counter). @param {Uint8Array} iv @param {number} counter */
function nonceOf(iv, counter) {
  const nonce = iv.slice();
  u64(counter).forEach((byte, i) => {
    nonce[4 + i] ^= byte;
  });
  return nonce;
}

/** Seals and opens the records of one session. */
export class RecordLayer {
  #out;
  #in;
  #limits;
  /** @type {Promise<unknown>} */
  #opening = Promise.resolve();
  #isRefused = false;

  /**
   * @param {Uint8Array} secretOut 32 bytes, from the handshake, for what this end sends.
   * @param {Uint8Array} secretIn 32 bytes, for what it receives.
   * @param {KeyLimits} [limits]
   */
  constructor(secretOut, secretIn, limits = DEFAULT_LIMITS) {
    this.#out = new Direction(Promise.resolve(secretOut));
    this.#in = new Direction(Promise.resolve(secretIn));
    this.#limits = limits;
  }

  /** True when the sending key has protected as much as it may: call `updateKey` first. */
  get isKeyUpdateDue() {
    return this.#out.records >= this.#limits.records || this.#out.bytes >= this.#limits.bytes;
  }

  /**
   * Seal one record.
   *
   * @param {number} type Inner type; key updates are made by `updateKey` alone.
   * @param {Uint8Array} data
   * @param {{pad?: number, more?: boolean}} [options]
   * @returns {Promise<Uint8Array>} ciphertext‖tag, 17 bytes longer than data and pad.
   * @throws {UsageError} The record is not allowed, or the key is used up.
   */
  async seal(type, data, options) {
    if (type === RecordType.KEY_UPDATE) throw new UsageError("key updates are made by updateKey");
    if (this.isKeyUpdateDue) {
      throw new UsageError("the sending key is used up", { hint: "call updateKey before sealing" });
    }
    return this.#seal(encodeInner(type, data, options));
  }

  /**
   * Change the sending key; the caller does so when it is due, and hourly.
   *
   * @returns {Promise<Uint8Array>} A sealed key_update, to be sent before any record that is sealed later.
   */
  updateKey() {
    const message = this.#seal(encodeInner(RecordType.KEY_UPDATE, NOTHING));
    this.#out = this.#out.next();
    return message;
  }

  /**
   * Open the next record of the other end; a key_update is applied before it is returned.
   *
   * @param {Uint8Array} message ciphertext‖tag.
   * @returns {Promise<{type: number, data: Uint8Array, more: boolean}>}
   * @throws {DecryptionFailed} It is not the next genuine record, or an earlier one was refused.
   * @throws {WireError} It is too long, its plaintext is not a record, or its key had protected too much already.
   */
  open(message) {
    const opened = this.#opening.then(() => this.#open(message));
    this.#opening = opened.catch(() => {}); // the caller sees it; #isRefused refuses what follows
    return opened;
  }

  /** @param {Uint8Array} message */
  async #open(message) {
    if (this.#isRefused) throw new DecryptionFailed("an earlier record of this session was refused");
    this.#isRefused = true; // until this one has passed
    if (message.length > MESSAGE_BYTES_MAX) throw new WireError("a record is longer than any may be");
    const isUsedUp = this.#in.records >= this.#limits.records || this.#in.bytes >= this.#limits.bytes;
    const opened = decodeInner(await this.#in.protect(({ aead }, nonce) => aead.open(nonce, message)));
    if (opened.type === RecordType.KEY_UPDATE) {
      this.#in = this.#in.next();
    } else if (isUsedUp) {
      throw new WireError("the other end did not change its key in time");
    } else {
      this.#in.bytes += message.length;
    }
    this.#isRefused = false;
    return opened;
  }

  /** @param {Uint8Array} plaintext */
  #seal(plaintext) {
    this.#out.bytes += plaintext.length + RECORD_OVERHEAD_BYTES - 1;
    return this.#out.protect(({ aead }, nonce) => aead.seal(nonce, plaintext));
  }
}
