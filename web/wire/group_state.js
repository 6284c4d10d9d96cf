/**
 * GroupState, the payload of a group's state record: bytes ⇄ fields (PROTOCOL.md section 10).
 *
 * Refuses every array that is not exactly section 10's, in shortest form: one state has one encoding. Keys are checked to
 * look compressed, not to be on the curve; whether a state may follow another is for crypto/groups.js.
 */

import { UsageError, WireError } from "../errors.js";
import { GROUP_MEMBERS_MAX, GROUP_PAST_MAX, GROUP_STATE_BYTES_MAX } from "../limits.js";
import { toHex } from "./codec.js";
import { decodeBody, encodeBody } from "./rpc.js";

/** @typedef {import("./rpc.js").Value} Value */

export const Role = Object.freeze({ MEMBER: 0, ADMIN: 1 });
export const EPOCH_FIRST = 1;

const EPOCH_MAX = 2 ** 32 - 1;
const SECONDS_MAX = 2 ** 32 - 1;
const SECRET_BYTES = 32;
const PUBLIC_KEY_BYTES = 33;

/**
 * @typedef {object} Member
 * @property {Uint8Array} publicKey Identity key, 33 bytes.
 * @property {Uint8Array} kem KEM key, 33 bytes.
 * @property {number} role One of Role.
 */

/**
 * @typedef {object} PastEpoch
 * @property {number} epoch
 * @property {Uint8Array} stateHash 32 bytes.
 * @property {Uint8Array} recordRoot rk, 32 bytes.
 */

/**
 * @typedef {object} RecentEpoch
 * @property {Uint8Array} secret es of an earlier epoch, 32 bytes.
 * @property {number} created When the record of its state was made, unix seconds: the epoch before ended then.
 */

/**
 * @typedef {object} GroupState
 * @property {number} epoch 1 to 2³²−1.
 * @property {Uint8Array} prevHash Hash of the record of the state before, 32 bytes; zeros of the first.
 * @property {Uint8Array} epochCommit 32 bytes.
 * @property {Uint8Array} epochSecret es, 32 bytes.
 * @property {Uint8Array} nameSecret 32 bytes.
 * @property {boolean} hasHistory Whether who joined last was given the past; then it goes back to the epochs before.
 * @property {Member[]} members 1 to 255, strictly ascending by identity key, one of them an admin.
 * @property {PastEpoch[]} past At most 64, strictly descending by epoch, that all members may read.
 * @property {RecentEpoch[]} recent What opens the messages of the first of these, in the order of `past` and no more than those.
 * @property {Uint8Array | null} nextKey The group's new key, in the last state under this one.
 */

/** @param {GroupState} state @returns {Uint8Array} @throws {UsageError} It contradicts itself. */
export function encodeGroupState(state) {
  checkState(state, UsageError);
  return encodeBody([
    state.epoch,
    state.prevHash,
    state.epochCommit,
    state.epochSecret,
    state.nameSecret,
    Number(state.hasHistory),
    state.members.map(({ publicKey, kem, role }) => [publicKey, kem, role]),
    state.past.map(({ epoch, stateHash, recordRoot }) => [epoch, stateHash, recordRoot]),
    state.recent.map(({ secret, created }) => [secret, created]),
    state.nextKey,
  ]);
}

/**
 * @param {Uint8Array} data
 * @returns {GroupState} Byte strings are views into `data`.
 * @throws {WireError} Not exactly such an array, or not a state that can be.
 */
export function decodeGroupState(data) {
  if (data.length > GROUP_STATE_BYTES_MAX) throw new WireError("a group state is longer than any can be");
  const fields = exactly(decodeBody(data), 10);
  const [epoch, prevHash, epochCommit, epochSecret, nameSecret, history, members, past, recent, nextKey] = fields;
  if (history !== 0 && history !== 1) throw new WireError("the history of a group state is 0 or 1");
  const state = {
    epoch: integer(epoch),
    prevHash: bytes(prevHash),
    epochCommit: bytes(epochCommit),
    epochSecret: bytes(epochSecret),
    nameSecret: bytes(nameSecret),
    hasHistory: history === 1,
    members: list(members).map(readMember),
    past: list(past).map(readPast),
    recent: list(recent).map(readRecent),
    nextKey: nextKey === null ? null : bytes(nextKey),
  };
  checkState(state, WireError);
  return state;
}

/** @param {Value} row @returns {Member} */
function readMember(row) {
  const [publicKey, kem, role] = exactly(row, 3);
  return { publicKey: bytes(publicKey), kem: bytes(kem), role: integer(role) };
}

/** @param {Value} row @returns {PastEpoch} */
function readPast(row) {
  const [epoch, stateHash, recordRoot] = exactly(row, 3);
  return { epoch: integer(epoch), stateHash: bytes(stateHash), recordRoot: bytes(recordRoot) };
}

/** @param {Value} row @returns {RecentEpoch} */
function readRecent(row) {
  const [secret, created] = exactly(row, 2);
  return { secret: bytes(secret), created: integer(created) };
}

/** @param {Value} value @returns {Value[]} */
function list(value) {
  if (!Array.isArray(value)) throw new WireError("a group state is not the array that it has to be");
  return value;
}

/** @param {Value} value @param {number} length @returns {Value[]} */
function exactly(value, length) {
  if (list(value).length !== length) throw new WireError("a group state is not the array that it has to be");
  return list(value);
}

/** @param {Value} value @returns {Uint8Array} */
function bytes(value) {
  if (!(value instanceof Uint8Array)) throw new WireError("hashes, secrets and keys of a group state are bytes");
  return value;
}

/** @param {Value} value @returns {number} */
function integer(value) {
  if (typeof value !== "number") throw new WireError("epochs, roles and times of a group state are small integers");
  return value;
}

/** @param {GroupState} state @param {typeof WireError | typeof UsageError} Refusal */
function checkState(state, Refusal) {
  checkLengths(state, Refusal);
  if (!Number.isInteger(state.epoch) || state.epoch < EPOCH_FIRST || state.epoch > EPOCH_MAX) {
    throw new Refusal("an epoch is a number from 1 to 2³²−1");
  }
  if ((state.epoch === EPOCH_FIRST) !== state.prevHash.every((byte) => byte === 0)) {
    throw new Refusal("the first state of a group, and no other, names no state before it");
  }
  checkMembers(state, Refusal);
  checkPast(state, Refusal);
  checkRecent(state, Refusal);
}

/** @param {GroupState} state @param {typeof WireError | typeof UsageError} Refusal */
function checkLengths({ prevHash, epochCommit, epochSecret, nameSecret, members, past, recent, nextKey }, Refusal) {
  const ofPast = past.flatMap(({ stateHash, recordRoot }) => [stateHash, recordRoot]);
  const ofRecent = recent.map(({ secret }) => secret);
  for (const secret of [prevHash, epochCommit, epochSecret, nameSecret, ...ofPast, ...ofRecent]) {
    if (secret.length !== SECRET_BYTES) throw new Refusal("hashes and secrets of a group state have 32 bytes");
  }
  const keys = members.flatMap(({ publicKey, kem }) => [publicKey, kem]).concat(nextKey ?? []);
  for (const key of keys) {
    if (key.length !== PUBLIC_KEY_BYTES || (key[0] !== 2 && key[0] !== 3)) {
      throw new Refusal("the keys of a group state are compressed points");
    }
  }
}

/** @param {GroupState} state @param {typeof WireError | typeof UsageError} Refusal */
function checkMembers({ members }, Refusal) {
  if (members.length < 1 || members.length > GROUP_MEMBERS_MAX) throw new Refusal("a group has 1 to 255 members");
  const keys = members.map(({ publicKey }) => toHex(publicKey));
  if (keys.some((key, i) => i > 0 && keys[i - 1] >= key)) {
    throw new Refusal("the members of a group stand in order, each of them once");
  }
  if (members.some(({ role }) => role !== Role.MEMBER && role !== Role.ADMIN)) throw new Refusal("a role is 0 or 1");
  if (members.every(({ role }) => role !== Role.ADMIN)) throw new Refusal("a group has an admin");
}

/** @param {GroupState} state @param {typeof WireError | typeof UsageError} Refusal */
function checkPast({ epoch, prevHash, hasHistory, past }, Refusal) {
  if (past.length > GROUP_PAST_MAX) {
    throw new Refusal("a group state hands over 64 earlier epochs at most");
  }
  const epochs = [epoch, ...past.map((row) => row.epoch)];
  if (epochs.some((number, i) => number < EPOCH_FIRST || (i > 0 && epochs[i - 1] <= number))) {
    throw new Refusal("the past of a group goes back from the epoch before its state's own");
  }
  if (!past.length && (!hasHistory || epoch === EPOCH_FIRST)) return;
  if (past[0]?.epoch !== epoch - 1 || toHex(past[0].stateHash) !== toHex(prevHash)) {
    throw new Refusal("the past that a group state hands over begins with the state before it");
  }
}

/** @param {GroupState} state @param {typeof WireError | typeof UsageError} Refusal */
function checkRecent({ past, recent }, Refusal) {
  if (recent.length > past.length) {
    throw new Refusal("a group state opens messages of no other epochs than those of its past");
  }
  if (recent.some(({ created }) => !Number.isInteger(created) || created < 0 || created > SECONDS_MAX)) {
    throw new Refusal("the times of a group state are seconds from 0 to 2³²−1");
  }
}
