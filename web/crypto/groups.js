/**
 * Group messages: topics, message keys, and envelopes opened and verified (PROTOCOL.md sections 10 and 11).
 *
 * Membership, replay windows and the age of a key are the receiver's own state and are judged above this module.
 */

import { DecryptionFailed, NotAReader, WireError } from "../errors.js";
import { concat, lp, u32 } from "../wire/codec.js";
import { Mode, decodeMessage, encodeEnvelopeHeader, encodeMessage, pad64, unpad64 } from "../wire/pubsub.js";
import { dh, kdf, normaliseName } from "./naming.js";
import { Aead, IV_BYTES, KEY_BYTES, hmac, isEqual, sha256 } from "./primitives.js";
import { verifyMessage } from "./signing.js";

/** @typedef {import("../wire/pubsub.js").Envelope} Envelope */
/** @typedef {import("../wire/pubsub.js").EnvelopeHeader} EnvelopeHeader */
/** @typedef {import("../wire/pubsub.js").Message} Message */

/**
 * @typedef {object} MessageEpoch What a member holds of one epoch.
 * @property {Uint8Array} groupId 16 bytes.
 * @property {Uint8Array} epochSecret es, 32 bytes.
 * @property {Uint8Array} stateHash 32 bytes.
 */

const NOTHING = new Uint8Array(0);
const ZERO_IV = new Uint8Array(IV_BYTES);
const MESSAGE_ID_BYTES = 20;

/** topic16 of a group. @param {Uint8Array} nameSecret @param {Uint8Array} network @param {string} topic */
export async function groupTopic(nameSecret, network, topic) {
  return (await hmac(nameSecret, concat(lp("yz1 topic"), network, normaliseName(topic)))).subarray(0, 16);
}

/**
 * topic16 that everybody who knows the name can compute.
 *
 * @param {Uint8Array} network @param {string} topic
 */
export async function publicTopic(network, topic) {
  return (await dh("yz1 pubtopic", network, normaliseName(topic))).subarray(0, 16);
}

/** kid8 of one sender's session in an epoch. @param {Uint8Array} epochSecret @param {Uint8Array} session */
export async function messageKid(epochSecret, session) {
  const key = await kdf(epochSecret, NOTHING, "yz1 pkid", NOTHING, KEY_BYTES);
  return (await hmac(key, session)).subarray(0, 8);
}

/**
 * mk_i.
 *
 * @param {MessageEpoch} epoch
 * @param {Pick<EnvelopeHeader, "sender" | "session" | "topic" | "index">} of
 * @returns {Promise<Uint8Array>} 32 bytes.
 */
export async function messageKey({ groupId, epochSecret, stateHash }, { sender, session, topic, index }) {
  const context = await sha256(sender, session, topic, stateHash);
  const root = await kdf(epochSecret, groupId, "yz1 sender", context, KEY_BYTES);
  return hmac(root, u32(index));
}

/** SHA(envelope without signature)[0:20]. @param {Envelope} envelope */
export async function messageId(envelope) {
  return (await sha256(envelope.unsigned)).subarray(0, MESSAGE_ID_BYTES);
}

/**
 * Everything before the signature ("yz1 pub").
 *
 * @param {EnvelopeHeader} fields @param {Message} message @param {MessageEpoch} [epoch] Mode 0 only.
 * @returns {Promise<Uint8Array>}
 */
export async function buildEnvelope(fields, message, epoch) {
  const header = encodeEnvelopeHeader(fields);
  const padded = pad64(encodeMessage(message));
  if (!epoch) return concat(header, padded);
  const aead = await Aead.fromRaw(await messageKey(epoch, fields));
  return concat(header, await aead.seal(ZERO_IV, padded, header));
}

/** @param {Uint8Array} network @param {Envelope} envelope @throws {InvalidSignature | InvalidKey} */
export async function verifyEnvelope(network, envelope) {
  await verifyMessage(envelope.sender, "yz1 pub", network, envelope.unsigned, envelope.signature);
}

/** @param {Uint8Array} network @param {Envelope} envelope @returns {Promise<Message>} */
export async function openPublicEnvelope(network, envelope) {
  await verifyEnvelope(network, envelope);
  if (envelope.mode !== Mode.PUBLIC) throw new NotAReader("the envelope is sealed for a group");
  return decodeMessage(unpad64(envelope.content));
}

/**
 * Verify, find the epoch by its kid, decrypt.
 *
 * @param {Uint8Array} network @param {Envelope} envelope @param {MessageEpoch[]} epochs Those that are held.
 * @returns {Promise<Message>}
 * @throws {NotAReader} No epoch has this kid.
 * @throws {InvalidSignature | InvalidKey | DecryptionFailed}
 */
export async function openGroupEnvelope(network, envelope, epochs) {
  await verifyEnvelope(network, envelope);
  if (envelope.mode !== Mode.GROUP) throw new NotAReader("the envelope is not sealed for a group");
  for (const epoch of epochs) {
    if (!isEqual(await messageKid(epoch.epochSecret, envelope.session), envelope.kid)) continue;
    const aead = await Aead.fromRaw(await messageKey(epoch, envelope));
    return unpadMessage(await aead.open(ZERO_IV, envelope.content, envelope.header));
  }
  throw new NotAReader("the envelope is sealed under a group key that is not held");
}

/** @param {Uint8Array} padded @returns {Message} */
function unpadMessage(padded) {
  try {
    return decodeMessage(unpad64(padded));
  } catch (error) {
    if (error instanceof WireError) throw new DecryptionFailed("the padding was refused");
    throw error;
  }
}
