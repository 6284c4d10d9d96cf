/** Section 8: records built, opened and refused. */

import { immutableTarget, mutableTarget } from "../../crypto/naming.js";
import { Aead, sha256 } from "../../crypto/primitives.js";
import * as sealing from "../../crypto/sealing.js";
import { CryptoError, DecryptionFailed, InvalidSignature, NotAReader, NotFound, WireError, YzError } from "../../errors.js";
import { concat, u32 } from "../../wire/codec.js";
import {
  Kind,
  Readers,
  StanzaType,
  decodeRecord,
  encodeFixed,
  encodeStanzas,
  encodeUnsigned,
  paddedLength,
} from "../../wire/record.js";
import { flipped, hex, refuses, same } from "../expect.js";
import { identityA, keyOf } from "../fixtures.js";

/** @typedef {import("../fixtures.js").Vectors} Vectors */

const [CREATED, EXPIRES] = [1_700_000_000, 1_700_172_800];

/** @param {Vectors} v @param {string} name */
function caseOf(v, name) {
  const given = v.protocol.records[name];
  const raw = hex(given.record);
  return { given, raw, record: decodeRecord(raw), plaintext: hex(v.protocol.records.plaintext) };
}

/**
 * The slot of a vector, from what is known without its bytes.
 *
 * @param {Vectors} v @param {number} seq @param {string} tag @param {number} [kind]
 */
function slotOf(v, seq, tag, kind = Kind.MUTABLE) {
  const publisher = hex(v.protocol.keys.pk33_A);
  return { kind, readers: 0, created: CREATED, expires: EXPIRES, seq: BigInt(seq), publisher, tag: hex(tag) };
}

/** @param {Vectors} v */
function padding({ protocol: { padding: given } }) {
  for (const [size, padded] of given.P) same(paddedLength(size), padded, `P(${size})`);
  for (const size of [0, 1, 252, 253, 1_000, 61_436]) {
    const plaintext = new Uint8Array(size).fill(7);
    same(sealing.unpad(sealing.pad(plaintext)), plaintext, `${size} bytes`);
  }
}

async function paddingRefused() {
  const good = sealing.pad(Uint8Array.of(1, 2, 3));
  const bad = {
    "a byte that is not zero": flipped(good, -1),
    "another byte that is not zero": flipped(good, 7),
    "a block too many": concat(good, new Uint8Array(16)),
    "a byte too few": good.subarray(0, 255),
    "a length beyond the end": concat(u32(253), new Uint8Array(252)),
    "a huge length": concat(u32(0xffffffff), new Uint8Array(252)),
    "a padded length of a longer text": concat(u32(3), new Uint8Array(268)),
    nothing: new Uint8Array(0),
  };
  for (const [what, padded] of Object.entries(bad)) await refuses(DecryptionFailed, () => sealing.unpad(padded), what);
}

/** @param {Vectors} v */
async function publicRecord(v) {
  const { given, record, plaintext } = caseOf(v, "public");
  const { network, publicKey } = await identityA(v);
  const { tag_public, target_mutable_public } = v.protocol.names;
  same(sealing.buildPublic(slotOf(v, given.seq, tag_public), plaintext), record.unsigned, "unsigned bytes");
  same(await sealing.openPublic(network, record), plaintext, "payload");
  same(await mutableTarget(network, publicKey, record.tag), target_mutable_public, "target");
  same([record.created, record.expires, record.seq], [CREATED, EXPIRES, BigInt(given.seq)], "fields");
}

/** @param {Vectors} v */
async function selfRecord(v) {
  const { given, record, plaintext } = caseOf(v, "self");
  const { network, ownKey } = await identityA(v);
  const seal = { key: ownKey, salt: hex(given.salt24) };
  const built = await sealing.sealSelf(slotOf(v, given.seq, v.protocol.names.tag_own), seal, plaintext);
  same(built, record.unsigned, "unsigned bytes");
  same(await sealing.openSelf(network, record, ownKey), plaintext, "plaintext");
  await refuses(DecryptionFailed, () => sealing.openSelf(network, record, flipped(ownKey, 31)), "another key");
  await refuses(NotAReader, () => sealing.openPublic(network, record), "opened as public");
}

/** @param {Vectors} v */
async function recipientsRecord(v) {
  const { given, record, plaintext } = caseOf(v, "recipients");
  const { network, ownKey } = await identityA(v);
  const { stanzas } = record.header;
  same(stanzas.map((stanza) => stanza.type), [StanzaType.HPKE, StanzaType.HPKE], "stanza types");
  for (const name of ["kem_1", "kem_2"]) {
    const kemKeys = [await keyOf(v, name, "ECDH")];
    same(await sealing.openRecipients(network, record, { kemKeys }), plaintext, name);
  }
  const seal = { key: hex(given.cek), salt: hex(given.salt24), stanzas };
  const built = await sealing.sealStanzas(slotOf(v, given.seq, v.protocol.names.tag_public), seal, plaintext);
  same(built, record.unsigned, "unsigned bytes around the given stanzas");
  const foreign = { kemKeys: [await keyOf(v, "ephemeral_I", "ECDH")], selfKey: ownKey };
  await refuses(NotAReader, () => sealing.openRecipients(network, record, foreign), "a stranger");
}

/** A stanza for oneself has no vector: wrapped here as section 8 says. @param {Vectors} v */
async function selfStanza(v) {
  const { network, ownKey, signer } = await identityA(v);
  const { given, plaintext } = caseOf(v, "recipients");
  const [salt, cek] = [hex(given.salt24), hex(given.cek)];
  const slot = slotOf(v, 12, v.protocol.names.tag_public);
  const body = await sealing.wrapForSelf(cek, { selfKey: ownKey, slot, salt });
  const unsigned = await sealing.sealStanzas(slot, { key: cek, salt, stanzas: [{ type: StanzaType.SELF, body }] }, plaintext);
  const record = decodeRecord(concat(unsigned, await signer.sign("yz1 rec", network, unsigned)));
  same(await sealing.openRecipients(network, record, { selfKey: ownKey }), plaintext, "plaintext");
  await refuses(NotAReader, () => sealing.openRecipients(network, record, { selfKey: flipped(ownKey, 0) }), "another self");
}

/** @param {Vectors} v */
async function groupRecord(v) {
  const { given, record, plaintext } = caseOf(v, "group");
  const { network } = await identityA(v);
  const root = await sealing.recordRoot(hex(given.es));
  same(root, given.rk, "rk");
  const group = { groupId: hex(given.group_id16), epoch: given.epoch, recordRoot: root };
  same(await sealing.groupRecordKey(group), given.K, "K");
  same(await sealing.groupRecordKid(root, hex(given.salt24)), given.kid8, "kid8");
  const slot = slotOf(v, given.seq, v.protocol.names.tag_group, record.kind);
  same(await sealing.sealGroup(slot, group, plaintext, hex(given.salt24)), record.unsigned, "unsigned bytes");
  same(await sealing.openGroup(network, record, [group]), plaintext, "plaintext");
  await refuses(NotAReader, () => sealing.openGroup(network, record, []), "no epoch");
  const wrong = { ...group, epoch: given.epoch + 1 };
  await refuses(DecryptionFailed, () => sealing.openGroup(network, record, [wrong]), "another epoch number");
}

/** @param {Vectors} v */
async function identityRecord(v) {
  const { given, record } = caseOf(v, "identity_kind");
  const { network } = await identityA(v);
  same(record.kind, Kind.IDENTITY, "kind");
  const slot = slotOf(v, given.seq, "00".repeat(32), Kind.IDENTITY);
  same(sealing.buildPublic(slot, hex(given.payload)), record.unsigned, "unsigned bytes");
  same(await sealing.openPublic(network, record), given.payload, "payload");
}

/** @param {Vectors} v */
async function immutableRecord(v) {
  const { given, raw, record, plaintext } = caseOf(v, "immutable_self");
  const { network, ownKey } = await identityA(v);
  same(await sealing.sealImmutable({ key: ownKey, salt: hex(given.salt24) }, plaintext), raw, "record");
  same(await sealing.openSelf(network, record, ownKey), plaintext, "plaintext");
  same(await immutableTarget(network, raw), v.protocol.names.target_immutable, "target");
  same(await sealing.recordHash(record), await sha256(raw), "hash");
}

/** @param {Vectors} v */
async function chunk(v) {
  const { given, raw, record } = caseOf(v, "chunk");
  const [key, salt] = [hex(given.object_key32), hex(given.salt24)];
  const position = { index: given.i, isLast: given.last === 1 };
  same(await sealing.sealImmutable({ key, salt, position }, hex(given.data)), raw, "record");
  same(await sealing.openChunk(record, key, position), given.data, "data");
  for (const wrong of [{ index: 2, isLast: true }, { index: 3, isLast: false }]) {
    await refuses(DecryptionFailed, () => sealing.openChunk(record, key, wrong), "another place");
  }
  const { network } = await identityA(v);
  await refuses(DecryptionFailed, () => sealing.openSelf(network, record, key), "a chunk read as a value");
}

/** @param {Vectors} v */
async function tombstone(v) {
  const given = v.project.tombstone;
  const record = decodeRecord(hex(given.record));
  const { network } = await identityA(v);
  same([record.isTombstone, record.seq], [true, BigInt(given.seq)], "fields");
  same(await sealing.recordHash(record), given.hash, "hash");
  const slot = { ...slotOf(v, given.seq, v.protocol.names.tag_public), isTombstone: true };
  same(sealing.buildPublic(slot, new Uint8Array(0)), record.unsigned, "unsigned bytes");
  await sealing.verifyRecord(network, record);
  await refuses(NotFound, () => sealing.openPublic(network, record), "a read");
}

/** Open with everything A holds; errors other than the documented ones are bugs. @param {Vectors} v */
async function openerOf(v) {
  const { network, ownKey } = await identityA(v);
  const kemKeys = [await keyOf(v, "kem_1", "ECDH")];
  const { group_id16, epoch, rk } = v.protocol.records.group;
  const group = { groupId: hex(group_id16), epoch, recordRoot: hex(rk) };
  const chunkCase = v.protocol.records.chunk;
  return async (/** @type {Uint8Array} */ raw, isChunk = false) => {
    const record = decodeRecord(raw);
    if (isChunk) return sealing.openChunk(record, hex(chunkCase.object_key32), { index: chunkCase.i, isLast: true });
    if (record.readers === Readers.PUBLIC) return sealing.openPublic(network, record);
    if (record.readers === Readers.SELF) return sealing.openSelf(network, record, ownKey);
    if (record.readers === Readers.STANZAS) return sealing.openRecipients(network, record, { kemKeys });
    return sealing.openGroup(network, record, [group]);
  };
}

/**
 * @param {Vectors} v
 * @returns {[string, Uint8Array][]} Every golden record that is bound to an address or a signature.
 */
function goldenRecords(v) {
  const cases = Object.entries(v.protocol.records).filter(([, given]) => given.record);
  return cases.map(([name, given]) => [name, hex(given.record)]);
}

/** @param {Vectors} v */
async function recordsFlipped(v) {
  const open = await openerOf(v);
  for (const [name, raw] of goldenRecords(v)) {
    await open(raw, name === "chunk");
    const step = raw.length > 400 ? 5 : 1;
    for (let at = 0; at < raw.length; at += step) {
      const mask = 1 << at % 8;
      await refuses([WireError, CryptoError], () => open(flipped(raw, at, mask), name === "chunk"), `${name}, byte ${at}`);
    }
  }
}

/** @param {Vectors} v */
async function recordsCut(v) {
  const open = await openerOf(v);
  for (const [name, raw] of goldenRecords(v)) {
    const ends = [...Array(100).keys()].concat(raw.length - 65, raw.length - 64, raw.length - 1);
    for (const end of ends) {
      const cut = () => open(raw.subarray(0, end), name === "chunk");
      await refuses([WireError, CryptoError], cut, `${name}, ${end} bytes`);
    }
    for (const tail of [1, 16, 64]) {
      const longer = () => open(concat(raw, new Uint8Array(tail)), name === "chunk");
      await refuses([WireError, CryptoError], longer, `${name}, ${tail} bytes more`);
    }
  }
}

/** @param {Vectors} v */
async function recordsElsewhere(v) {
  const { network } = await identityA(v);
  const { record } = caseOf(v, "public");
  await refuses(InvalidSignature, () => sealing.openPublic(flipped(network, 0), record), "another network");
  const raw = caseOf(v, "identity_kind").raw;
  await refuses(InvalidSignature, () => sealing.openPublic(network, decodeRecord(flipped(raw, 12))), "another seq");
}

/** Sealed records that are wrong in one length only. @param {Vectors} v @returns {Record<string, Uint8Array>} */
function sealedLayouts(v) {
  const slot = { ...slotOf(v, 1, v.protocol.names.tag_own), readers: Readers.STANZAS };
  const record = (/** @type {Uint8Array} */ prefix, /** @type {number} */ padded) =>
    concat(encodeUnsigned(encodeFixed(slot), concat(prefix, new Uint8Array(56)), new Uint8Array(padded + 16)), new Uint8Array(64));
  const stanza = (/** @type {number} */ type, /** @type {number} */ size) => ({ type, body: new Uint8Array(size) });
  const [hpke, passphrase] = [stanza(StanzaType.HPKE, 113), stanza(StanzaType.PASSPHRASE, 71)];
  decodeRecord(record(encodeStanzas([hpke]), 256));
  decodeRecord(record(encodeStanzas([passphrase]), 61_440));
  return {
    "no stanza at all": record(encodeStanzas([]), 256),
    "a passphrase in company": record(encodeStanzas([passphrase, hpke]), 256),
    "a length that no padding makes": record(encodeStanzas([hpke]), 257),
    "no payload": record(encodeStanzas([hpke]), 0),
    "a value too long": record(encodeStanzas([hpke]), 63_488),
  };
}

/** @param {Vectors} v */
async function layoutRefused(v) {
  const raw = (/** @type {string} */ name) => caseOf(v, name).raw;
  const bad = {
    "another version": flipped(raw("public"), 0, 3),
    "kind 4": flipped(raw("public"), 1, 5),
    "reserved bit 4": flipped(raw("public"), 1, 0x10),
    "reserved bit 7": flipped(raw("public"), 1, 0x80),
    "a tombstone with a payload": flipped(raw("public"), 1, 0x08),
    "an identity with a tag": flipped(raw("public"), 1, 2),
    "suite 2": flipped(raw("public"), 2, 3),
    "readers 4": flipped(raw("public"), 3, 4),
    "a public record with a header": flipped(raw("public"), 86, 1),
    "an uncompressed publisher": flipped(raw("public"), 20, 6),
    "a self record with a group header": flipped(raw("group"), 3, 2),
    "a group record with a self header": flipped(raw("self"), 3, 2),
    "no stanza": flipped(raw("recipients"), 87, 2),
    "a stanza too many": flipped(raw("recipients"), 87, 1),
    "an unknown stanza": flipped(raw("recipients"), 88, 1 | 2),
    "a passphrase stanza of another length": flipped(raw("recipients"), 88, 6),
    "a stanza of another length": flipped(raw("recipients"), 90, 1),
    "an immutable tombstone": flipped(raw("immutable_self"), 1, 8),
    "a record too long": new Uint8Array(65_537).fill(0xf9, 0, 1),
    nothing: new Uint8Array(0),
    ...sealedLayouts(v),
  };
  for (const [what, record] of Object.entries(bad)) await refuses(WireError, () => decodeRecord(record), what);
}

/** @param {Vectors} v */
async function salamander(v) {
  const { k1, k2, iv, ct, pt1, pt2 } = v.salamander;
  for (const [key, plaintext] of [[k1, pt1], [k2, pt2]]) {
    same(await (await Aead.fromRaw(hex(key))).open(hex(iv), hex(ct)), plaintext, "the bare cipher");
  }
  const { record } = caseOf(v, "self");
  const hdr0 = record.fixed;
  for (const committed of [k1, k2]) {
    const { commit } = await sealing.sealBox({ key: hex(committed), salt: record.header.salt, hdr0 }, new Uint8Array(0));
    for (const key of [k1, k2]) {
      const open = () => sealing.openBox({ key: hex(key), salt: record.header.salt, hdr0 }, commit, hex(ct));
      await refuses(DecryptionFailed, open, "the box");
    }
  }
}

/** @param {Vectors} v */
async function commitment(v) {
  const { record, plaintext } = caseOf(v, "self");
  const { ownKey } = await identityA(v);
  const input = { key: ownKey, salt: record.header.salt, hdr0: record.fixed };
  const sealed = await sealing.sealBox(input, plaintext);
  same(await sealing.openBox(input, sealed.commit, sealed.payload), plaintext, "opened");
  // The ciphertext is genuine, only the commitment is another key's: a box that skipped the check would open it.
  const other = await sealing.sealBox({ ...input, key: flipped(ownKey, 0) }, plaintext);
  const error = await refuses(DecryptionFailed, () => sealing.openBox(input, other.commit, sealed.payload), "commitment");
  same(error.message, "the commitment was refused", "refused before decryption");
}

/** @param {Vectors} v */
async function limits(v) {
  const { ownKey } = await identityA(v);
  const slot = slotOf(v, 1, v.protocol.names.tag_own);
  const seal = { key: ownKey, salt: new Uint8Array(24) };
  const largest = await sealing.sealSelf(slot, seal, new Uint8Array(61_436));
  decodeRecord(concat(largest, new Uint8Array(64)));
  await refuses(YzError, () => sealing.sealSelf(slot, seal, new Uint8Array(61_437)), "a value too long");
  const overlong = concat(encodeFixed({ ...slot, readers: 0 }), new Uint8Array(2 + 61_437 + 64));
  await refuses(WireError, () => decodeRecord(overlong), "a public value too long");
}

/** @type {import("../checks.js").Check[]} */
export const CHECKS = [
  { name: "padding reproduces", sections: ["protocol/padding"], run: padding },
  { name: "wrong padding is refused", run: paddingRefused },
  { name: "the public record reproduces and verifies", sections: ["protocol/records"], run: publicRecord },
  { name: "the self record reproduces and opens", run: selfRecord },
  { name: "the record for recipients opens with each key", run: recipientsRecord },
  { name: "a stanza for oneself opens", run: selfStanza },
  { name: "the group record reproduces and opens", run: groupRecord },
  { name: "the identity record reproduces and verifies", run: identityRecord },
  { name: "the immutable record reproduces and opens", run: immutableRecord },
  { name: "the chunk reproduces and opens in its place only", run: chunk },
  { name: "the tombstone reproduces and reads as not found", sections: ["project/tombstone"], run: tombstone },
  { name: "records with a flipped bit are refused", run: recordsFlipped },
  { name: "records cut short or with a tail are refused", run: recordsCut },
  { name: "records of another network or seq are refused", run: recordsElsewhere },
  { name: "layouts that section 8 does not name are refused", run: layoutRefused },
  { name: "the salamander is refused", sections: ["salamander/*"], run: salamander },
  { name: "a foreign commitment is refused before decryption", run: commitment },
  { name: "the largest value fits and no larger", run: limits },
];
