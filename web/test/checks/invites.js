/** Sections 12 and 13: invites, lists of revocations and move records. */

import { bearerSubject, checkSubject, checkTokenTimes, redeemLink, verifyToken } from "../../crypto/invite.js";
import { decodeMove, readMove } from "../../crypto/moving.js";
import { dh, mutableTarget, networkId, nodeIdOf } from "../../crypto/naming.js";
import { openPublic, verifyRecord } from "../../crypto/sealing.js";
import {
  BadInviteLink,
  CryptoError,
  InvalidSignature,
  InviteExpired,
  InviteForAnother,
  InviteForged,
  InviteNotYetValid,
  WireError,
  WrongInviteSecret,
} from "../../errors.js";
import { concat } from "../../wire/codec.js";
import { decodeInviteLink } from "../../wire/invite_link.js";
import { decodeRecord } from "../../wire/record.js";
import { decodeRevoked } from "../../wire/revocation.js";
import { TokenType, decodeToken, encodeRedemption } from "../../wire/token.js";
import { flipped, hex, refuses, same } from "../expect.js";
import { identityA } from "../fixtures.js";

/** @typedef {import("../fixtures.js").Vectors} Vectors */

const [BEGIN, END] = [1_700_000_000, 1_700_172_800];

/** Who redeems in the vectors. @param {Vectors} v */
function joinerB(v) {
  return { publicKey: hex(v.protocol.keys.pk33_B), kem: hex(v.protocol.keys.pk33_kem_2) };
}

/** @param {Vectors} v */
async function invite(v) {
  const given = v.protocol.invite;
  const { network, publicKey, nodeId } = await identityA(v);
  const token = decodeToken(hex(given.token));
  await verifyToken(network, token);
  same([token.type, token.isBearer, token.isSingleUse], [TokenType.GROUP, true, false], "kind");
  same([token.notBefore, token.notAfter, token.usesMax], [BEGIN, END, 5], "terms");
  same([token.issuer, token.scope], [publicKey, v.protocol.records.group.group_id16], "issuer and scope");
  same(await bearerSubject(network, hex(given.secret16)), token.subject, "subject");
  await checkSubject(network, token, hex(given.secret16), nodeId);
  const wrong = flipped(hex(given.secret16), 0);
  await refuses(WrongInviteSecret, () => checkSubject(network, token, wrong, nodeId), "another secret");
  await refuses(WrongInviteSecret, () => checkSubject(network, token, null, nodeId), "no secret");
}

/** @param {Vectors} v */
async function invitesRefused(v) {
  const raw = hex(v.protocol.invite.token);
  const { network } = await identityA(v);
  for (let at = 0; at < raw.length; at += 1) {
    const bad = flipped(raw, at, 1 << at % 8);
    await refuses([WireError, CryptoError], () => verifyToken(network, decodeToken(bad)), `byte ${at}`);
    await refuses(WireError, () => decodeToken(raw.subarray(0, at)), `${at} bytes`);
  }
  const wrong = {
    "a tail": concat(raw, new Uint8Array(1)),
    "type 0": flipped(raw, 1, 2),
    "type 6": flipped(raw, 1, 4),
    "a network with a scope": flipped(raw, 1, 3),
    "an unknown flag": flipped(raw, 3, 4),
    "a single use of five": flipped(raw, 3, 2),
    "an unknown role": flipped(raw, 95, 2),
    "an issuer that is not compressed": flipped(raw, 4, 6),
  };
  for (const [what, bad] of Object.entries(wrong)) await refuses(WireError, () => decodeToken(bad), what);
}

/** @param {Vectors} v */
async function linksRedeem(v) {
  const { network } = await identityA(v);
  const { golden, named, network: closed } = v.project.invite;
  for (const given of [golden, named, closed]) {
    const link = decodeInviteLink(given.link);
    same(link.token.raw, given.token, "token");
    same(await redeemLink(network, link, joinerB(v), BEGIN), given.redemption, "redemption");
  }
  const fragment = golden.page_link.slice(golden.page_link.indexOf("#"));
  for (const text of [golden.page_link, fragment]) same(decodeInviteLink(text), decodeInviteLink(golden.link), text);
  same(await dh("yz1 redeem", network, decodeToken(hex(golden.token)).id), golden.redeem_tag, "redeem tag");
}

/** @param {Vectors} v */
async function linksRefused(v) {
  const { golden, links_refused: refused } = v.project.invite;
  for (const [what, text] of Object.entries(refused)) await refuses(BadInviteLink, () => decodeInviteLink(text), what);
  const start = golden.link.indexOf("#t=") + 3;
  for (let size = 0; size < golden.link.length; size += 1) {
    const error = await refuses(BadInviteLink, () => decodeInviteLink(golden.link.slice(0, size)), `${size} characters`);
    same(size < start || error.message === "the link is cut short", true, `what is said of ${size} characters`);
  }
}

/** @param {Vectors} v */
async function redemptionsRefused(v) {
  const { network, publicKey } = await identityA(v);
  const { golden, named } = v.project.invite;
  const link = decodeInviteLink(golden.link);
  const other = await networkId("other");
  await refuses(InviteForged, () => redeemLink(other, link, joinerB(v), BEGIN), "another network");
  const forged = decodeToken(flipped(hex(golden.token), 94, 2));
  await refuses(InviteForged, () => redeemLink(network, { ...link, token: forged }, joinerB(v), BEGIN), "more uses");
  await refuses(InviteNotYetValid, () => redeemLink(network, link, joinerB(v), BEGIN - 601), "early");
  await refuses(InviteExpired, () => redeemLink(network, link, joinerB(v), END + 601), "late");
  for (const wallNow of [BEGIN - 600, END + 600]) checkTokenTimes(link.token, wallNow);
  const notInvited = { publicKey, kem: joinerB(v).kem };
  await refuses(InviteForAnother, () => redeemLink(network, decodeInviteLink(named.link), notInvited, BEGIN), "for B");
  await refuses(RangeError, () => encodeRedemption(link.token, link.secret, new Uint8Array(32)), "a short key");
}

/** @param {Vectors} v */
async function membership(v) {
  const { network } = await identityA(v);
  const { membership: given, network: closed } = v.project.invite;
  const token = decodeToken(hex(given.token));
  const nodeId = await nodeIdOf(joinerB(v).publicKey);
  await verifyToken(network, token);
  same([token.type, token.isBearer, token.isSingleUse, token.usesMax], [TokenType.NETWORK, false, false, 0], "form");
  same(token.subject, nodeId, "subject");
  const derived = await dh("yz1 member", network, decodeToken(hex(closed.token)).id, nodeId);
  same([token.id, derived.subarray(0, 16)], [given.id, given.id], "id");
}

/** @param {Vectors} v */
async function revocations(v) {
  const { network, publicKey } = await identityA(v);
  const given = v.project.revoked;
  const record = decodeRecord(hex(given.record));
  const payload = await openPublic(network, record);
  same(payload, given.payload, "payload");
  same([...decodeRevoked(payload)], [...given.ids].sort(), "ids");
  same(record.tag, await dh("yz1 revoked", network), "tag");
  same(await mutableTarget(network, publicKey, record.tag), given.target, "target");
  const [a, b] = [hex(`c410${"01".repeat(16)}`), hex(`c410${"02".repeat(16)}`)];
  const wrong = {
    "the other order": concat(hex("92"), b, a),
    "one twice": concat(hex("92"), a, a),
    "a short id": hex(`91c40f${"01".repeat(15)}`),
    "a text": hex(`91b0${"41".repeat(16)}`),
    "a tail": concat(hex("91"), a, hex("00")),
    "nothing": new Uint8Array(0),
  };
  for (const [what, bad] of Object.entries(wrong)) await refuses(WireError, () => decodeRevoked(bad), what);
}

/** @param {Vectors} v */
async function moves(v) {
  const { network } = await identityA(v);
  const given = v.project.move;
  const [moved, revoked] = [decodeRecord(hex(given.moved)), decodeRecord(hex(given.revoked))];
  for (const record of [moved, revoked]) await verifyRecord(network, record);
  same([moved.seq, moved.payload], [BigInt(given.seq), given.payload], "move");
  same(await readMove(network, moved), v.protocol.keys.pk33_B, "successor");
  same([await readMove(network, revoked), revoked.seq], [null, 2n ** 64n - 1n], "revocation");
  const last = { ...moved, seq: revoked.seq };
  await refuses(WireError, () => readMove(network, last), "a move that nothing could supersede");
  await refuses(WireError, () => readMove(network, { ...moved, expires: END }), "a move that ends");
  await refuses(WireError, () => readMove(network, { ...moved, tag: moved.publisher.subarray(1) }), "another tag");
  const forged = { ...moved, payload: flipped(moved.payload, -1) };
  await refuses(InvalidSignature, () => readMove(network, forged), "a successor that did not agree");
  for (let size = 0; size < moved.payload.length; size += 1) {
    await refuses(WireError, () => decodeMove(moved.payload.subarray(0, size)), `${size} bytes`);
  }
  await refuses(WireError, () => decodeMove(concat(moved.payload, new Uint8Array(1))), "a tail");
}

/** @type {import("../checks.js").Check[]} */
export const CHECKS = [
  { name: "the invite verifies", sections: ["protocol/invite"], run: invite },
  { name: "invites flipped, cut short or with a tail are refused", run: invitesRefused },
  { name: "links are read and redeemed", sections: ["project/invite"], run: linksRedeem },
  { name: "links that are cut or spelled otherwise are refused", run: linksRefused },
  { name: "invites that admit nobody are not redeemed", run: redemptionsRefused },
  { name: "a membership is its member's", run: membership },
  { name: "lists of revocations are read", sections: ["project/revoked"], run: revocations },
  { name: "moves and revocations are read", sections: ["project/move"], run: moves },
];
