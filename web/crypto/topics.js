/**
 * Topics: what follows from their names, and messages sealed, verified and opened (PROTOCOL.md section 11).
 *
 * Whether a sender is a member, whether a message was seen before and whether it comes in time is the receiver's own state
 * and judged above this module. There is one key for each message: whoever seals must never use a session and an index twice.
 */

import { DecryptionFailed, InvalidKey, InvalidSignature, UnknownEpoch, WireError } from "../errors.js";
import { concat, lp, u32 } from "../wire/codec.js";
import { KID_BYTES, Mode, TOPIC_BYTES, decodeMessage, encodeEnvelopeHeader, encodeMessage } from "../wire/pubsub.js";
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
const ENVELOPE_LABEL = "yz1 pub";

// Names

/**
 * topic16 that only the members of a group can compute.
 *
 * @param {Uint8Array} nameSecret @param {Uint8Array} network @param {string} topic
 */
export async function groupTopic(nameSecret, network, topic) {
  return (await hmac(nameSecret, concat(lp("yz1 topic"), network, normaliseName(topic)))).subarray(0, TOPIC_BYTES);
}

/**
 * topic16 that everybody who knows the name can compute.
 *
 * @param {Uint8Array} network @param {string} topic
 */
export async function publicTopic(network, topic) {
  return (await dh("yz1 pubtopic", network, normaliseName(topic))).subarray(0, TOPIC_BYTES);
}

/**
 * tag32 of a public topic's name.
 *
 * @param {Uint8Array} network @param {string} topic
 */
export function topicTag(network, topic) {
  return dh("yz1 pubtopic", network, normaliseName(topic));
}

/**
 * topic16 of a public topic that has an owner.
 *
 * @param {Uint8Array} network @param {Uint8Array} owner 33 bytes. @param {Uint8Array} tag tag32 of its name.
 */
export async function ownedTopic(network, owner, tag) {
  return (await dh("yz1 ownedtopic", network, owner, tag)).subarray(0, TOPIC_BYTES);
}

/** Under which the owner keeps the policy of a topic. @param {Uint8Array} network @param {Uint8Array} tag tag32 of its name. */
export function policyTag(network, tag) {
  return dh("yz1 topicpolicy", network, tag);
}

/** The nodes nearest to this are a topic's hosts. @param {Uint8Array} topic 16 bytes. @param {Uint8Array} network */
export function topicHostTarget(topic, network) {
  return dh("yz1 topic host", network, topic);
}

// Keys

/** kid8 of one sender's session in an epoch. @param {Uint8Array} epochSecret @param {Uint8Array} session */
export async function messageKid(epochSecret, session) {
  const key = await kdf(epochSecret, NOTHING, "yz1 pkid", NOTHING, KEY_BYTES);
  return (await hmac(key, session)).subarray(0, KID_BYTES);
}

/**
 * mk of one message.
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

// Writing

/**
 * What everybody can read, up to its signature.
 *
 * @param {Omit<EnvelopeHeader, "mode" | "kid">} place @param {Message} message @returns {Uint8Array}
 * @throws {UsageError} The data is too long, or a number is out of range.
 */
export function publicMessage(place, message) {
  const header = encodeEnvelopeHeader({ ...place, mode: Mode.PUBLIC, kid: new Uint8Array(KID_BYTES) });
  return concat(header, encodeMessage(message));
}

/**
 * What the members of a group can read, up to its signature.
 *
 * @param {Omit<EnvelopeHeader, "mode" | "kid">} place Never used before in this epoch. @param {Message} message
 * @param {MessageEpoch} epoch @returns {Promise<Uint8Array>}
 * @throws {UsageError} The data is too long, or a number is out of range.
 */
export async function sealMessage(place, message, epoch) {
  const kid = await messageKid(epoch.epochSecret, place.session);
  const header = encodeEnvelopeHeader({ ...place, mode: Mode.GROUP, kid });
  const aead = await Aead.fromRaw(await messageKey(epoch, place));
  return concat(header, await aead.seal(ZERO_IV, encodeMessage(message), header));
}

/**
 * An envelope that its sender, who is named in it, has signed.
 *
 * @param {Uint8Array} unsigned @param {import("./signing.js").KeySigner} signer @param {Uint8Array} network
 */
export async function signEnvelope(unsigned, signer, network) {
  return concat(unsigned, await signer.sign(ENVELOPE_LABEL, network, unsigned));
}

// Reading

/**
 * @param {Envelope} envelope @param {Uint8Array} network
 * @throws {InvalidSignature} Its sender did not sign it for this network, or is no key that could have.
 */
export async function verifyEnvelope(envelope, network) {
  try {
    await verifyMessage(envelope.sender, ENVELOPE_LABEL, network, envelope.unsigned, envelope.signature);
  } catch (error) {
    if (error instanceof InvalidKey) throw new InvalidSignature("an envelope's sender is no key that could have signed it");
    throw error;
  }
}

/**
 * What a public envelope says that was verified.
 *
 * @param {Envelope} envelope @returns {Message}
 * @throws {WireError} It is sealed.
 */
export function readPublic(envelope) {
  if (envelope.mode !== Mode.PUBLIC) throw new WireError("the envelope is sealed for a group");
  return decodeMessage(envelope.content);
}

/**
 * What a group's envelope says that was verified; its epoch is found by its kid.
 *
 * @param {Envelope} envelope @param {MessageEpoch[]} epochs Those that are held, the newest first.
 * @returns {Promise<Message>}
 * @throws {WireError} It is public.
 * @throws {UnknownEpoch} No epoch has this kid.
 * @throws {DecryptionFailed} It does not open, or its padding is refused.
 */
export async function openMessage(envelope, epochs) {
  if (envelope.mode !== Mode.GROUP) throw new WireError("the envelope is not sealed for a group");
  for (const epoch of epochs) {
    if (!isEqual(await messageKid(epoch.epochSecret, envelope.session), envelope.kid)) continue;
    const aead = await Aead.fromRaw(await messageKey(epoch, envelope));
    return unpadMessage(await aead.open(ZERO_IV, envelope.content, envelope.header));
  }
  throw new UnknownEpoch("the envelope is sealed in an epoch of the group that is not known");
}

/** @param {Uint8Array} padded @returns {Message} */
function unpadMessage(padded) {
  try {
    return decodeMessage(padded);
  } catch (error) {
    if (error instanceof WireError) throw new DecryptionFailed("the padding of a message was refused");
    throw error;
  }
}
