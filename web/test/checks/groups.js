/** Section 10: group states read back, followed and refused; which epoch a group record is sealed in. */

import * as groups from "../../crypto/groups.js";
import { mutableTarget } from "../../crypto/naming.js";
import * as sealing from "../../crypto/sealing.js";
import * as errors from "../../errors.js";
import { GROUP_MEMBERS_MAX, GROUP_PAST_MAX, GROUP_STATE_BYTES_MAX } from "../../limits.js";
import { concat, u32 } from "../../wire/codec.js";
import { decodeGroupState, encodeGroupState } from "../../wire/group_state.js";
import { Kind, Readers, decodeRecord } from "../../wire/record.js";
import { flipped, hex, refuses, same } from "../expect.js";
import { identityA, keyOf } from "../fixtures.js";

/** @typedef {import("../fixtures.js").Vectors} Vectors */

const { CryptoError, GroupStateRefused, InvalidSignature, NotAReader, NotFound, UnknownEpoch, UsageError, WireError } = errors;

/** @param {any} given @returns {import("../../crypto/groups.js").Recorded} */
function stood(given) {
  return { state: decodeGroupState(hex(given.encoded)), hash: hex(given.state_hash), created: given.created };
}

/** @param {Vectors} v @param {string} name */
function stateOf(v, name) {
  return stood(v.project.group_states.states.find((/** @type {any} */ given) => given.name === name));
}

/** @param {Vectors} v */
async function derivations(v) {
  const given = v.project.group_states;
  const { network } = await identityA(v);
  const key = hex(given.group_key);
  const groupId = await groups.groupIdOf(key, network);
  same(groupId, given.group_id16, "group_id16");
  same(groupId, v.protocol.records.group.group_id16, "group_id16 of the protocol's values");
  const tag = await groups.stateTag(groupId, network);
  same(tag, given.state_tag, "tag of the state");
  same(await mutableTarget(network, key, tag), given.state_target, "target of the state");
  same(await groups.adminsTag(groupId, network), given.admins_tag, "tag of the admins");
  for (const { epoch, tag: left } of given.left_tags) {
    same(await groups.leftTag(groupId, epoch, network), left, `tag of the state of epoch ${epoch} that is left`);
  }
  same((await groups.groupKem(hex(given.group_scalar))).publicKey, given.kem, "KEM key of the admins");
}

/** @param {Vectors} v */
async function states(v) {
  const { network } = await identityA(v);
  for (const { name, state: shown, encoded, state_hash: hash, created, rk } of v.project.group_states.states) {
    const state = decodeGroupState(hex(encoded));
    same(encodeGroupState(state), encoded, name);
    same([state.epoch, Number(state.hasHistory), state.nextKey], [shown.epoch, shown.history, shown.next], name);
    same([state.prevHash, state.epochCommit], [shown.prev_state_hash, shown.epoch_commit], name);
    same([state.epochSecret, state.nameSecret], [shown.es, shown.name_secret], name);
    same(state.members.map((m) => [m.publicKey, m.kem, m.role]), shown.members, name);
    same(state.past.map((row) => [row.epoch, row.stateHash, row.recordRoot]), shown.past, name);
    same(state.recent.map((row) => [row.secret, row.created]), shown.recent, name);
    same(await groups.epochCommit(state.epochSecret, network), shown.epoch_commit, name);
    same(await groups.pastRow({ state, hash: hex(hash), created }), { epoch: state.epoch, stateHash: hash, recordRoot: rk }, name);
  }
}

/** @param {Vectors} v */
async function statesRefused(v) {
  const { refused, states: given } = v.project.group_states;
  for (const { name, encoded } of refused) await refuses(WireError, () => decodeGroupState(hex(encoded)), name);
  for (const { name, encoded } of given.slice(1, 3)) {
    const raw = hex(encoded);
    for (let at = 0; at < raw.length; at += 3) {
      await refuses(WireError, () => decodeGroupState(raw.subarray(0, at)), `${name}, ${at} bytes`);
      await isOneEncoding(flipped(raw, at, 1 << at % 8), `${name}, byte ${at}`);
    }
    await refuses(WireError, () => decodeGroupState(concat(raw, new Uint8Array(1))), `${name} with a tail`);
  }
}

/** Whatever opens has this encoding and no other. @param {Uint8Array} raw @param {string} what */
async function isOneEncoding(raw, what) {
  try {
    same(encodeGroupState(decodeGroupState(raw)), raw, what);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
  }
}

/** @param {Vectors} v */
async function largestState(v) {
  const { state } = stateOf(v, "joined");
  const last = 2 ** 32 - 1;
  const key = (/** @type {number} */ number) => concat(Uint8Array.of(2), new Uint8Array(28), u32(number));
  const largest = {
    ...state,
    epoch: last,
    members: Array.from({ length: GROUP_MEMBERS_MAX }, (_, i) => ({ publicKey: key(i), kem: key(i), role: 1 })),
    past: Array.from({ length: GROUP_PAST_MAX }, (_, i) => ({ ...state.past[0], epoch: last - 1 - i })),
    recent: Array.from({ length: GROUP_PAST_MAX }, () => ({ secret: state.epochSecret, created: last })),
    nextKey: key(7),
  };
  largest.past[0].stateHash = state.prevHash;
  const raw = encodeGroupState(largest);
  same(raw.length, GROUP_STATE_BYTES_MAX, "length");
  same(encodeGroupState(decodeGroupState(raw)), raw, "read back");
  const more = { publicKey: key(GROUP_MEMBERS_MAX), kem: key(1), role: 0 };
  await refuses(UsageError, () => encodeGroupState({ ...largest, members: [...largest.members, more] }), "256 members");
  const older = { ...largest.past[0], epoch: 1 };
  await refuses(UsageError, () => encodeGroupState({ ...largest, past: [...largest.past, older] }), "65 epochs");
  const beyond = [...largest.recent, largest.recent[0]];
  await refuses(UsageError, () => encodeGroupState({ ...largest, recent: beyond }), "more than the past");
}

/** @param {Vectors} v */
async function following(v) {
  const { network } = await identityA(v);
  const all = v.project.group_states.states.map(stood);
  const [successor, ...moved] = [...all].reverse();
  const chain = moved.reverse();
  for (let i = 1; i < chain.length; i += 1) {
    await groups.checkFollows(chain[i - 1], chain[i], network);
    for (const known of chain.slice(0, i + 1)) await groups.checkNewer(known, chain[i], network);
    await refuses(errors.StaleGroupState, () => groups.checkNewer(chain[i], chain[i - 1], network), "an older one");
    await refuses(GroupStateRefused, () => groups.checkFollows(chain[i - 1], chain[i], flipped(network, 0)), "elsewhere");
  }
  const last = chain[chain.length - 1].state;
  const nextKey = /** @type {Uint8Array} */ (last.nextKey);
  await groups.checkSuccessor(last, nextKey, successor.state, network);
  const other = { ...successor.state, nameSecret: flipped(last.nameSecret, 0) };
  await refuses(GroupStateRefused, () => groups.checkSuccessor(last, nextKey, other, network), "other names");
  const old = hex(v.project.group_states.group_key);
  await refuses(GroupStateRefused, () => groups.checkSuccessor(last, old, successor.state, network), "the old key");
  await refuses(GroupStateRefused, () => groups.checkSuccessor(chain[0].state, nextKey, successor.state, network), "no move");
}

/** @param {Vectors} v */
async function statesLeft(v) {
  const left = stateOf(v, "promoted");
  const [joined, later] = ["joined without history", "kem changed"].map((name) => stateOf(v, name));
  const { epoch, nameSecret } = left.state;
  groups.checkLeft(joined, left, epoch);
  groups.checkLeft(later, left, epoch);
  const names = { ...left.state, nameSecret: flipped(nameSecret, 0) };
  const wrong = /** @type {[any, any, number, string][]} */ ([
    [joined, stateOf(v, "rotated"), epoch, "another epoch"],
    [joined, left, epoch - 1, "not the one that is missing"],
    [joined, { ...left, hash: flipped(left.hash, 0) }, epoch, "another branch"],
    [later, { ...left, state: names }, epoch, "other names"],
  ]);
  for (const [at, shown, of, what] of wrong) await refuses(GroupStateRefused, () => groups.checkLeft(at, shown, of), what);
}

/** @param {Vectors} v */
async function notFollowing(v) {
  const { network } = await identityA(v);
  for (const given of v.project.group_states.wrong_followers) {
    const check = () => groups.checkFollows(stateOf(v, given.after), stood(given), network);
    const error = await refuses(GroupStateRefused, check, given.name);
    same(error.name, given.error, given.name);
    same(/** @type {errors.YzError} */ (error).hint.length > 0, true, "a hint");
  }
}

/** @param {Vectors} v */
async function stateRecords(v) {
  const { network, signer } = await identityA(v);
  const given = v.project.group_states;
  const { state } = stateOf(v, "joined");
  const kem = await keyOf(v, "kem_1", "ECDH");
  const slot = {
    kind: Kind.MUTABLE, readers: Readers.PUBLIC, created: 1_700_000_000, expires: 1_700_172_800, seq: 1n,
    publisher: signer.publicKey, tag: hex(given.state_tag),
  };
  const signed = async (/** @type {Uint8Array} */ unsigned) =>
    decodeRecord(concat(unsigned, await signer.sign("yz1 rec", network, unsigned)));
  const record = decodeRecord(hex(given.record));
  same(await groups.openState(network, record, slot.publisher, [kem]), {
    state: stateOf(v, "created").state, hash: await sealing.recordHash(record), created: record.created,
  }, "the state in its record");
  const stranger = [await keyOf(v, "kem_2", "ECDH")];
  await refuses(NotAReader, () => groups.openState(network, record, slot.publisher, stranger), "a stranger");
  const open = (/** @type {any} */ record, key = slot.publisher) => groups.openState(network, record, key, [kem]);
  const inClear = await signed(sealing.buildPublic(slot, encodeGroupState(state)));
  await refuses(GroupStateRefused, () => open(inClear), "a state in the clear");
  await refuses(GroupStateRefused, () => open(inClear, hex(v.protocol.keys.pk33_B)), "another group");
  const elsewhere = await signed(sealing.buildPublic({ ...slot, tag: hex(given.admins_tag) }, encodeGroupState(state)));
  await refuses(GroupStateRefused, () => open(elsewhere), "another tag");
  const deleted = await signed(sealing.buildPublic({ ...slot, isTombstone: true }, new Uint8Array(0)));
  await refuses(NotFound, () => open(deleted), "a tombstone");
  const forged = { ...record, signature: flipped(record.signature, 40) };
  await refuses(InvalidSignature, () => open(forged), "a forged record");
}

/** @param {Vectors} v */
async function epochs(v) {
  const { network, signer } = await identityA(v);
  const groupId = hex(v.project.group_states.group_id16);
  const known = await Promise.all(
    v.project.group_states.states.slice(0, 4).map(async (/** @type {any} */ given) => {
      const { epoch, recordRoot } = await groups.pastRow(stood(given));
      return { groupId, epoch, recordRoot };
    }),
  );
  const slot = {
    kind: Kind.MULTI, readers: Readers.GROUP, created: 1_700_000_000, expires: 1_700_172_800, seq: 1n,
    publisher: signer.publicKey, tag: hex(v.protocol.names.tag_group),
  };
  const value = Uint8Array.of(1, 2, 3);
  const unsigned = await sealing.sealGroup(slot, known[2], value);
  const record = decodeRecord(concat(unsigned, await signer.sign("yz1 rec", network, unsigned)));
  same(await sealing.openGroup(network, record, known), value, "found among others");
  for (const others of [[], [known[0], known[1], known[3]]]) {
    await refuses(UnknownEpoch, () => sealing.openGroup(network, record, others), "an epoch that is not known");
  }
  const renumbered = [{ ...known[2], epoch: 9 }];
  await refuses(CryptoError, () => sealing.openGroup(network, record, renumbered), "another number");
}

/** @type {import("../checks.js").Check[]} */
export const CHECKS = [
  { name: "the ids, tags and targets of a group reproduce", sections: ["project/group_states"], run: derivations },
  { name: "group states reproduce and read back", run: states },
  { name: "group states that cannot be are refused", run: statesRefused },
  { name: "the largest group state is as long as the limit says", run: largestState },
  { name: "each group state follows the one before", run: following },
  { name: "a state that was left is the one that is missing, or refused", run: statesLeft },
  { name: "group states that do not follow are refused with their error", run: notFollowing },
  { name: "only the group's own state record is opened", run: stateRecords },
  { name: "the epoch of a group record is found by its kid", run: epochs },
];
