/**
 * Groups: what follows from their keys, states opened and checked against the one that is known (PROTOCOL.md section 10).
 *
 * Pages read groups and do not change them. What members say to each other is crypto/topics.js's.
 */

import { GroupForked, GroupMoved, GroupStateRefused, StaleGroupState } from "../errors.js";
import { GROUP_PAST_MAX } from "../limits.js";
import { u32 } from "../wire/codec.js";
import { decodeGroupState } from "../wire/group_state.js";
import { Kind, Readers } from "../wire/record.js";
import { dh, kdf } from "./naming.js";
import { PrivateKey, isEqual } from "./primitives.js";
import { openPublic, openRecipients, recordHash, recordRoot } from "./sealing.js";

/** @typedef {import("../wire/group_state.js").GroupState} GroupState */
/** @typedef {import("../wire/group_state.js").PastEpoch} PastEpoch */
/** @typedef {import("../wire/group_state.js").RecentEpoch} RecentEpoch */
/**
 * A state, and of the record that it stands in the hash and when it was made, unix seconds.
 *
 * @typedef {{state: GroupState, hash: Uint8Array, created: number}} Recorded
 */

const NOTHING = new Uint8Array(0);
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

/**
 * Tag of the record in which the state of an epoch is left for members who have not seen it.
 *
 * @param {Uint8Array} groupId @param {number} epoch @param {Uint8Array} network
 */
export function leftTag(groupId, epoch, network) {
  return dh("yz1 group left", network, groupId, u32(epoch));
}

/** epoch_commit32. @param {Uint8Array} epochSecret @param {Uint8Array} network */
export function epochCommit(epochSecret, network) {
  return dh("yz1 epoch", network, epochSecret);
}

/** What a later state hands over of this one. @param {Recorded} at @returns {Promise<PastEpoch>} */
export async function pastRow({ state, hash }) {
  return { epoch: state.epoch, stateHash: hash, recordRoot: await recordRoot(state.epochSecret) };
}

/** What opens the messages of this state, as a later one hands it over. @param {Recorded} at */
export function recentRow({ state, created }) {
  return { secret: state.epochSecret, created };
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
  await checkRecent(state);
  return { state, hash: await recordHash(record), created: record.created };
}

/** @param {GroupState} state @param {Uint8Array} network @throws {GroupStateRefused} It commits to another secret. */
export async function checkCommit(state, network) {
  if (!isEqual(state.epochCommit, await epochCommit(state.epochSecret, network))) {
    throw new GroupStateRefused("the commitment of the group's state is not that of its secret");
  }
}

/** @param {GroupState} state @throws {GroupStateRefused} What it hands over to open messages is not of its past. */
export async function checkRecent({ past, recent }) {
  for (const [i, { secret }] of recent.entries()) {
    if (!isEqual(await recordRoot(secret), past[i].recordRoot)) {
      throw new GroupStateRefused("the group's state gives a secret that is not its epoch's");
    }
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
  const recent = [recentRow(at), ...at.state.recent];
  if (!after.recent.length || after.recent.some((row, i) => !isSameRow(row, recent[i]))) {
    throw new GroupStateRefused("the group's state hands over other secrets than those of the states before it");
  }
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
  await checkRecent(after);
}

/** @param {RecentEpoch} row @param {RecentEpoch | undefined} known */
function isSameRow(row, known) {
  return known !== undefined && row.created === known.created && isEqual(row.secret, known.secret);
}

/**
 * Check an earlier state that was left for members who have not seen it.
 *
 * @param {Recorded} at The newest known. @param {Recorded} left Shown. @param {number} epoch Of which it has to be.
 * @throws {GroupStateRefused} It is another's, uses other names, or is not the one that `at` follows.
 */
export function checkLeft(at, left, epoch) {
  const isBefore = epoch === at.state.epoch - 1;
  if (left.state.epoch !== epoch || (isBefore && !isEqual(left.hash, at.state.prevHash))) {
    throw new GroupStateRefused("the state that was left is not the one that is missing");
  }
  if (!isEqual(left.state.nameSecret, at.state.nameSecret)) {
    throw new GroupStateRefused("the group's state changes the secret of its names");
  }
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
