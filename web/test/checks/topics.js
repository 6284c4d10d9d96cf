/** Section 11: topics, envelopes, what they carry, what peers push. */

import * as topics from "../../crypto/topics.js";
import { CryptoError, InvalidSignature, UnknownEpoch, UsageError, WireError } from "../../errors.js";
import { PUBSUB_DATA_BYTES_MAX, PUBSUB_ENVELOPE_BYTES_MAX } from "../../limits.js";
import { concat } from "../../wire/codec.js";
import * as wire from "../../wire/pubsub.js";
import { bytesOf, flipped, hex, refuses, same } from "../expect.js";
import { identityA } from "../fixtures.js";

/** @typedef {import("../fixtures.js").Vectors} Vectors */

const { Mode, decodeEnvelope } = wire;

/** @param {Vectors} v */
async function pubsubOf(v) {
  const { pubsub: given, records, names } = v.protocol;
  const { network, signer } = await identityA(v);
  const epoch = {
    groupId: hex(records.group.group_id16),
    epochSecret: hex(records.group.es),
    stateHash: hex(given.state_hash),
  };
  const message = { created: 1_700_000_000, type: 0, data: bytesOf("hello") };
  const placeOf = (/** @type {string} */ topic) =>
    ({ topic: hex(topic), sender: signer.publicKey, session: hex(given.session8), index: 258 });
  return { given, network, signer, epoch, message, placeOf, nameSecret: hex(names.name_secret) };
}

/** @param {Vectors} v */
async function keys(v) {
  const { given, network, epoch, nameSecret, placeOf } = await pubsubOf(v);
  const topic = await topics.groupTopic(nameSecret, network, "chat");
  same(topic, given.topic16, "topic16");
  same(await topics.publicTopic(network, "news"), given.public_topic16, "public topic16");
  same(await topics.messageKid(epoch.epochSecret, hex(given.session8)), given.kid8, "kid8");
  same(await topics.messageKey(epoch, placeOf(given.topic16)), given.message_key, "message key");
  for (const name of ["", "a\0b", "\ud800", "x".repeat(1_025)]) {
    await refuses(UsageError, () => topics.groupTopic(nameSecret, network, name), "no name");
    await refuses(UsageError, () => topics.publicTopic(network, name), "no name");
  }
}

/** @param {Vectors} v */
async function owned(v) {
  const { network } = await pubsubOf(v);
  const given = v.project.pubsub.owned;
  const tag = await topics.topicTag(network, given.topic);
  same(tag, given.topic_tag, "tag32");
  same(await topics.ownedTopic(network, hex(given.owner), tag), given.topic16, "owned topic16");
  same(await topics.policyTag(network, tag), given.policy_tag, "tag of the policy");
}

/** @param {Vectors} v */
async function hosts(v) {
  const { given, network } = await pubsubOf(v);
  const { host_target: target, public_host_target: publicTarget } = v.project.pubsub;
  same(await topics.topicHostTarget(hex(given.topic16), network), target, "hosts of chat");
  same(await topics.topicHostTarget(hex(given.public_topic16), network), publicTarget, "hosts of news");
}

/** @param {Vectors} v */
async function groupEnvelope(v) {
  const { given, network, epoch, message, placeOf } = await pubsubOf(v);
  const envelope = decodeEnvelope(hex(given.envelope));
  same([envelope.mode, envelope.index, envelope.topic], [Mode.GROUP, 258, given.topic16], "fields");
  await topics.verifyEnvelope(envelope, network);
  same(await topics.openMessage(envelope, [epoch]), message, "message");
  same(await topics.messageId(envelope), given.message_id, "message id");
  same(await topics.sealMessage(placeOf(given.topic16), message, epoch), envelope.unsigned, "unsigned bytes");
  const other = { ...epoch, epochSecret: flipped(epoch.epochSecret, 0) };
  same(await topics.openMessage(envelope, [other, epoch]), message, "found among others");
  for (const known of [[], [other]]) {
    await refuses(UnknownEpoch, () => topics.openMessage(envelope, known), "another epoch");
  }
  const moved = { ...epoch, stateHash: flipped(epoch.stateHash, 0) };
  await refuses(CryptoError, () => topics.openMessage(envelope, [moved]), "another group state");
  await refuses(WireError, () => topics.readPublic(envelope), "read as public");
}

/** @param {Vectors} v */
async function publicEnvelope(v) {
  const { given, network, epoch, message, placeOf } = await pubsubOf(v);
  const envelope = decodeEnvelope(hex(given.public_envelope));
  await topics.verifyEnvelope(envelope, network);
  same(topics.readPublic(envelope), message, "message");
  same(topics.publicMessage(placeOf(given.public_topic16), message), envelope.unsigned, "unsigned bytes");
  await refuses(InvalidSignature, () => topics.verifyEnvelope(envelope, flipped(network, 0)), "another network");
  await refuses(WireError, () => topics.openMessage(envelope, [epoch]), "opened as a group's");
}

/** @param {Vectors} v */
async function ownEnvelopes(v) {
  const { network, signer, epoch, placeOf } = await pubsubOf(v);
  const place = { ...placeOf("00".repeat(16)), index: wire.INDEX_MAX };
  const message = { created: 2 ** 32 - 1, type: 255, data: new Uint8Array(PUBSUB_DATA_BYTES_MAX).fill(7) };
  for (const unsigned of [topics.publicMessage(place, message), await topics.sealMessage(place, message, epoch)]) {
    const raw = await topics.signEnvelope(unsigned, signer, network);
    same(raw.length <= PUBSUB_ENVELOPE_BYTES_MAX && raw.length + 80 > PUBSUB_ENVELOPE_BYTES_MAX, true, "it just fits");
    const envelope = decodeEnvelope(raw);
    await topics.verifyEnvelope(envelope, network);
    same(envelope.mode === Mode.PUBLIC ? topics.readPublic(envelope) : await topics.openMessage(envelope, [epoch]), message);
  }
  const beyond = { ...place, index: wire.INDEX_MAX + 1 };
  await refuses(UsageError, () => topics.publicMessage(beyond, message), "an index without a next one");
  const stranger = { ...place, sender: new Uint8Array(33).fill(255).fill(2, 0, 1) };
  const nobody = concat(topics.publicMessage(stranger, message), new Uint8Array(64).fill(1));
  await refuses(InvalidSignature, () => topics.verifyEnvelope(decodeEnvelope(nobody), network), "no point of the curve");
}

/** @param {Vectors} v */
async function envelopesRefused(v) {
  const { given, network, epoch } = await pubsubOf(v);
  const open = async (/** @type {Uint8Array} */ raw) => {
    const envelope = decodeEnvelope(raw);
    await topics.verifyEnvelope(envelope, network);
    return envelope.mode === Mode.GROUP ? topics.openMessage(envelope, [epoch]) : topics.readPublic(envelope);
  };
  for (const raw of [hex(given.envelope), hex(given.public_envelope)]) {
    for (let at = 0; at < raw.length; at += 1) {
      await refuses([WireError, CryptoError], () => open(flipped(raw, at, 1 << at % 8)), `byte ${at}`);
      await refuses([WireError, CryptoError], () => open(raw.subarray(0, at)), `${at} bytes`);
    }
    for (const tail of [1, 64]) await refuses([WireError, CryptoError], () => open(concat(raw, new Uint8Array(tail))), "a tail");
  }
  for (const { name, encoded } of v.project.pubsub.refused_envelopes) {
    await refuses(WireError, () => decodeEnvelope(hex(encoded)), name);
  }
  const long = concat(hex(given.public_envelope), new Uint8Array(65_536));
  await refuses(WireError, () => decodeEnvelope(long), "an envelope that is too long");
}

async function messages() {
  for (const size of [0, 1, 54, 55, 56, 1_000]) {
    const message = { created: 7, type: 9, data: new Uint8Array(size).fill(1) };
    const padded = wire.encodeMessage(message);
    same([padded.length % 64, padded.length - size - 9 < 64], [0, true], `${size} bytes`);
    same(wire.decodeMessage(padded), message, `${size} bytes`);
  }
  const good = wire.encodeMessage({ created: 0, type: 0, data: new Uint8Array(0) });
  const bad = [flipped(good, -1), flipped(good, 3), flipped(good, 0), concat(good, new Uint8Array(64))];
  bad.push(good.subarray(0, 63), new Uint8Array(64), new Uint8Array(0));
  for (const padded of bad) await refuses(WireError, () => wire.decodeMessage(padded), "padding");
  const data = new Uint8Array(0);
  for (const [created, type] of [[2 ** 32, 0], [-1, 0], [0, 256], [0, 0.5]]) {
    await refuses(UsageError, () => wire.encodeMessage({ created, type, data }), "a number out of range");
  }
  const long = { created: 0, type: 0, data: new Uint8Array(PUBSUB_DATA_BYTES_MAX + 1) };
  await refuses(UsageError, () => wire.encodeMessage(long), "a message that is too long");
}

/** As the vectors show it. @param {import("../../wire/pubsub.js").Push} push */
function shown(push) {
  if (push.kind === wire.PushKind.DELIVERY) return { envelopes: push.envelopes };
  const rows = (/** @type {import("../../wire/pubsub.js").SummaryRow[]} */ given) =>
    given.map(({ sender, session, first, next, holes }) => [sender, session, first, next, holes]);
  return { changes: push.changes.map(({ topic, rows: of }) => [topic, rows(of)]) };
}

/** @param {import("../../wire/pubsub.js").Push} push */
const encoded = (push) =>
  push.kind === wire.PushKind.DELIVERY ? wire.encodeDelivery(push.envelopes) : wire.encodeAnnouncement(push.changes);

/** @param {Vectors} v */
function pushes(v) {
  const { pushes: given, other_versions: others } = v.project.pubsub;
  for (const { name, encoded: raw, ...view } of [...given, ...others]) {
    same(shown(wire.decodePush(hex(raw))), view, name);
  }
  for (const { name, encoded: raw } of given) same(encoded(wire.decodePush(hex(raw))), raw, name);
}

/** @param {Vectors} v */
async function pushesRefused(v) {
  const { pushes: given, refused_bodies: refused } = v.project.pubsub;
  for (const { name, encoded: raw } of refused) await refuses(WireError, () => wire.decodePush(hex(raw)), name);
  for (const { name, encoded: raw } of given) {
    const whole = hex(raw);
    for (let end = 0; end < whole.length; end += 1) {
      await refuses(WireError, () => wire.decodePush(whole.subarray(0, end)), `${name}, ${end} bytes`);
    }
  }
}

/** @type {import("../checks.js").Check[]} */
export const CHECKS = [
  { name: "topics, kids and message keys reproduce", sections: ["protocol/pubsub"], run: keys },
  { name: "topics with an owner reproduce", sections: ["project/pubsub"], run: owned },
  { name: "the targets of topic hosts reproduce", sections: ["project/pubsub"], run: hosts },
  { name: "the group envelope reproduces and opens", run: groupEnvelope },
  { name: "the public envelope reproduces and verifies", run: publicEnvelope },
  { name: "the longest message of the last index is sealed and opens", run: ownEnvelopes },
  { name: "envelopes flipped, cut short or with a tail are refused", run: envelopesRefused },
  { name: "padding of messages is exact", run: messages },
  { name: "what peers push reproduces and reads back", run: pushes },
  { name: "what peers must not push is refused", run: pushesRefused },
];
