/**
 * Groups: what follows from their keys, states opened and checked against the one that is known (PROTOCOL.md section 10);
 * group messages: topics, message keys, and envelopes opened and verified (section 11).
 *
 * Pages read groups and do not change them. Membership, replay windows and the age of a key are the receiver's own state and are judged above this module.
 */

import {
  DecryptionFailed,
  GroupForked,
  GroupMoved,
  GroupStateRefused,
  NotAReader,
  StaleGroupState,
  WireError,
} from "../errors.js";
import { GROUP_PAST_MAX } from "../limits.js";
import { concat, lp, u32 } from "../wire/codec.js";
import { decodeGroupState } from "../wire/group_state.js";
import { Mode, decodeMessage, encodeEnvelopeHeader, encodeMessage, pad64, unpad64 } from "../wire/pubsub.js";
import { Kind, Readers } from "../wire/record.js";
import { dh, kdf, normaliseName } from "./naming.js";
import { Aead, IV_BYTES, KEY_BYTES, PrivateKey, hmac, isEqual, sha256 } from "./primitives.js";
import { openPublic, openRecipients, recordHash, recordRoot } from "./sealing.js";
import { verifyMessage } from "./signing.js";

/** @typedef {import("../wire/pubsub.js").Envelope} Envelope */
/** @typedef {import("../wire/pubsub.js").EnvelopeHeader} EnvelopeHeader */
/** @typedef {import("../wire/pubsub.js").Message} Message */
/** @typedef {import("../wire/group_state.js").GroupState} GroupState */
/** @typedef {import("../wire/group_state.js").PastEpoch} PastEpoch */
/** @typedef {{state: GroupState, hash: Uint8Array}} Recorded A state, and the hash of the record it stands in. */

/**
 * @typedef {object} MessageEpoch What a member holds of one epoch.
 * @property {Uint8Array} groupId 16 bytes.
 * @property {Uint8Array} epochSecret es, 32 bytes.
 * @property {Uint8Array} stateHash 32 bytes.
 */

const NOTHING = new Uint8Array(0);
const ZERO_IV = new Uint8Array(IV_BYTES);
const MESSAGE_ID_BYTES = 20;
const KEM_SEED_BYTES = 48; // 16 more than the order has: no scalar is likelier than another

// What follows from keys and secrets (section 10)

/** group_id16. @param {Uint8Array} groupKey 33 bytes. @param {Uint8Array} network */
export async function groupIdOf(groupKey, network) {
  return (await dh("yz1 gid", network, groupKey)).subarray(0, 16);
}

/**
 * The KEM key that a group's admins share without a word.
 *
 * @param {Uint8Array} scalar That of the group's key, 32 bytes. @returns {Promise<PrivateKey>}
 */
export async function groupKem(scalar) {
  return PrivateKey.fromSeed(await kdf(scalar, NOTHING, "yz1 group kem", NOTHING, KEM_SEED_BYTES), "ECDH");
}

/** Tag of the record that holds the state. @param {Uint8Array} groupId @param {Uint8Array} network */
export function stateTag(groupId, network) {
  return dh("yz1 group", network, groupId);
}

/** Tag of the record in which admins share the group's key. @param {Uint8Array} groupId @param {Uint8Array} network */
export function adminsTag(groupId, network) {
  return dh("yz1 admins", network, groupId);
}

/** epoch_commit32. @param {Uint8Array} epochSecret @param {Uint8Array} network */
export function epochCommit(epochSecret, network) {
  return dh("yz1 epoch", network, epochSecret);
}

/** What a later state hands over of this one. @param {Recorded} at @returns {Promise<PastEpoch>} */
export async function pastRow({ state, hash }) {
  return { epoch: state.epoch, stateHash: hash, recordRoot: await recordRoot(state.epochSecret) };
}

// States opened and checked

/**
 * Open a group's state record.
 *
 * @param {Uint8Array} network @param {import("../wire/record.js").DecodedRecord} record
 * @param {Uint8Array} groupKey @param {import("./primitives.js").PrivateKey[]} kemKeys
 * @returns {Promise<Recorded>}
 * @throws {GroupStateRefused} It is another record, or its commitment is not that of its secret.
 * @throws {NotFound | NotAReader | InvalidSignature | InvalidKey | DecryptionFailed | WireError}
 */
export async function openState(network, record, groupKey, kemKeys) {
  const tag = await stateTag(await groupIdOf(groupKey, network), network);
  const isOwn = record.kind === Kind.MUTABLE && isEqual(record.publisher, groupKey) && isEqual(record.tag, tag);
  if (!isOwn) throw new GroupStateRefused("the record is not this group's");
  if (record.isTombstone) await openPublic(network, record); // raises NotFound
  if (record.readers !== Readers.STANZAS) throw new GroupStateRefused("a group's own records are sealed for its members");
  const state = decodeGroupState(await openRecipients(network, record, { kemKeys }));
  await checkCommit(state, network);
  return { state, hash: await recordHash(record) };
}

/** @param {GroupState} state @param {Uint8Array} network @throws {GroupStateRefused} It commits to another secret. */
export async function checkCommit(state, network) {
  if (!isEqual(state.epochCommit, await epochCommit(state.epochSecret, network))) {
    throw new GroupStateRefused("the commitment of the group's state is not that of its secret");
  }
}

/**
 * Check a state that has to be the very next one.
 *
 * @param {Recorded} at Known. @param {Recorded} following Shown. @param {Uint8Array} network
 * @throws {GroupMoved} Nothing follows the known one.
 * @throws {StaleGroupState} It is older, or the known one again.
 * @throws {GroupForked} It is of the known one's epoch, or names another state before it.
 * @throws {GroupStateRefused} It is of a later epoch, its commitment, its secrets or its past are wrong.
 */
export async function checkFollows(at, following, network) {
  await checkLater(at, following, network);
  const { state: after } = following;
  if (after.epoch !== at.state.epoch + 1) throw new GroupStateRefused("the group's state is not the next one");
  if (!isEqual(after.prevHash, at.hash)) throw new GroupForked(at.state.epoch, at.hash, after.prevHash);
  if (!after.past.length && !after.hasHistory) return; // somebody joined who is given nothing of the past
  if (after.hasHistory && !at.state.hasHistory) return; // it is granted: the writer may add older epochs
  // What both pasts name agrees, as was checked, and both go down strictly: the same epochs are the same rows.
  const epochs = [at.state, ...at.state.past].map(({ epoch }) => epoch).slice(0, GROUP_PAST_MAX);
  if (after.hasHistory !== at.state.hasHistory || epochs.join() !== after.past.map(({ epoch }) => epoch).join()) {
    throw new GroupStateRefused("the group's state leaves out some of the past, or changes it");
  }
}

/**
 * Check a state that may be any later one: who was away has not seen those between.
 *
 * @param {Recorded} at Known. @param {Recorded} later Shown; the known one itself is fine. @param {Uint8Array} network
 * @throws {GroupMoved | StaleGroupState | GroupForked | GroupStateRefused} As `checkFollows`.
 */
export async function checkNewer(at, later, network) {
  if (isEqual(at.hash, later.hash)) return;
  await (later.state.epoch === at.state.epoch + 1 ? checkFollows : checkLater)(at, later, network);
}

/** @param {Recorded} at @param {Recorded} later @param {Uint8Array} network */
async function checkLater(at, later, network) {
  const [state, after] = [at.state, later.state];
  const isSame = isEqual(at.hash, later.hash);
  if (after.epoch === state.epoch && !isSame) throw new GroupForked(state.epoch, at.hash, later.hash);
  if (after.epoch <= state.epoch) throw new StaleGroupState(`epoch ${state.epoch} of the group was seen before`);
  if (state.nextKey) throw new GroupMoved(state.nextKey);
  await checkCommit(after, network);
  if (isEqual(after.epochSecret, state.epochSecret)) {
    throw new GroupStateRefused("the group's state uses an epoch secret again");
  }
  if (!isEqual(after.nameSecret, state.nameSecret)) {
    throw new GroupStateRefused("the group's state changes the secret of its names");
  }
  checkPast([await pastRow(at), ...state.past], after.past);
}

/** Check that a past says of no epoch anything else than what is known. @param {PastEpoch[]} known @param {PastEpoch[]} shown */
function checkPast(known, shown) {
  const byEpoch = new Map(known.map((row) => [row.epoch, row]));
  for (const row of shown) {
    const mine = byEpoch.get(row.epoch) ?? row;
    if (!isEqual(mine.stateHash, row.stateHash)) throw new GroupForked(row.epoch, mine.stateHash, row.stateHash);
    if (!isEqual(mine.recordRoot, row.recordRoot)) {
      throw new GroupStateRefused("the group's state gives another key for an epoch that is known");
    }
  }
}

/**
 * Check a state under the new key of a group, whichever epoch it has there.
 *
 * @param {GroupState} last The last one under the old key. @param {Uint8Array} groupKey Who signed the successor.
 * @param {GroupState} successor @param {Uint8Array} network
 * @throws {GroupStateRefused}
 */
export async function checkSuccessor(last, groupKey, successor, network) {
  if (!last.nextKey || !isEqual(last.nextKey, groupKey)) throw new GroupStateRefused("the group did not move to this key");
  await checkCommit(successor, network);
  if (!isEqual(successor.nameSecret, last.nameSecret)) {
    throw new GroupStateRefused("the group's state changes the secret of its names");
  }
}

// Messages (section 11)

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
