/** Sections 5 and 11: RPC bodies and pubsub envelopes. */

import * as groups from "../../crypto/groups.js";
import { CryptoError, InvalidSignature, NotAReader, UsageError, WireError } from "../../errors.js";
import { concat } from "../../wire/codec.js";
import { Mode, decodeEnvelope, pad64, unpad64 } from "../../wire/pubsub.js";
import * as rpc from "../../wire/rpc.js";
import { bytesOf, flipped, hex, refuses, same } from "../expect.js";
import { identityA } from "../fixtures.js";

/** @typedef {import("../fixtures.js").Vectors} Vectors */

/** The JSON view of a body; 2⁵³ itself is still a number there. @param {any} view @returns {import("../../wire/rpc.js").Value} */
function fromView(view) {
  if (Array.isArray(view)) return view.map(fromView);
  if (Number.isInteger(view) && !Number.isSafeInteger(view)) return BigInt(view);
  if (view === null || typeof view !== "object") return view;
  return "bin" in view ? hex(view.bin) : BigInt(view.u64);
}

/** @param {Vectors} v */
async function bodies({ rpc: { cases } }) {
  same(cases.length > 0, true, "there are cases");
  for (const { name, body, encoded } of cases) {
    const value = /** @type {import("../../wire/rpc.js").Value[]} */ (fromView(body));
    same(rpc.encodeBody(value), encoded, name);
    same(rpc.decodeBody(hex(encoded)), value, name);
    await refuses(WireError, () => rpc.decodeBody(hex(`${encoded}00`)), `${name} with a trailing byte`);
    for (let end = 0; end < encoded.length / 2; end += 1 + (encoded.length >> 9)) {
      await refuses(WireError, () => rpc.decodeBody(hex(encoded).subarray(0, end)), `${name}, ${end} bytes`);
    }
  }
}

/** @param {Vectors} v */
function messages({ rpc: { messages: given } }) {
  same(given.length > 0, true, "there are messages");
  for (const { name, kind, id, method, status, body, encoded } of given) {
    const value = /** @type {import("../../wire/rpc.js").Value[]} */ (fromView(body));
    if (kind === "request") {
      same(rpc.encodeRequest(id, method, value), encoded, name);
      same(rpc.decodeRequest(hex(encoded)), { id, method, body: value }, name);
    } else {
      same(rpc.encodeResponse(id, status, value), encoded, name);
      same(rpc.decodeResponse(hex(encoded)), { id, status, body: value }, name);
    }
  }
}

/** @param {Vectors} v */
async function refusedEncodings({ rpc: { refused } }) {
  same(refused.length > 0, true, "there are refused encodings");
  for (const { name, encoded } of refused) await refuses(WireError, () => rpc.decodeBody(hex(encoded)), name);
}

function integers() {
  const cases = {
    "00": 0, "7f": 127, cc80: 128, ccff: 255, cd0100: 256, cdffff: 65_535, ce00010000: 65_536, ceffffffff: 2 ** 32 - 1,
    cf0000000100000000: 2 ** 32, cf001fffffffffffff: 2 ** 53 - 1, cf0020000000000000: 2n ** 53n,
    cfffffffffffffffff: 2n ** 64n - 1n, ff: -1, e0: -32, d0df: -33, d080: -128, d1ff7f: -129, d2ffff7fff: -32_769,
    d3ffffffff7fffffff: -2_147_483_649, d38000000000000000: -(2n ** 63n),
  };
  for (const [encoded, value] of Object.entries(cases)) {
    same(rpc.encodeBody([value]), `91${encoded}`, String(value));
    same(rpc.decodeBody(hex(`91${encoded}`)), [value], encoded);
  }
}

function lengths() {
  for (const size of [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
    const [bytes, text, list] = [new Uint8Array(size).fill(1), "t".repeat(size), new Array(size).fill(null)];
    same(rpc.decodeBody(rpc.encodeBody([bytes, text, list, true, false])), [bytes, text, list, true, false], `${size}`);
  }
  same(rpc.encodeBody([new Uint8Array(256)]).subarray(0, 4), "91c50100", "bin 16");
  same(rpc.encodeBody(["\u00e9".repeat(16)]).subarray(0, 3), "91d920", "lengths count bytes, not letters");
}

async function bodiesRefused() {
  const long = {
    "a small integer in two bytes": "91cc7f", "one byte in two": "91cd00ff", "two in four": "91ce0000ffff",
    "four in eight": "91cf00000000ffffffff", "a positive integer as signed": "91d10100", "a signed one too wide": "91d1ffff",
    "a text of 31 as str 8": `91d91f${"61".repeat(31)}`, "a text of 255 as str 16": `91da00ff${"61".repeat(255)}`,
    "bytes of 1 as bin 16": "91c5000161", "bytes of 1 as bin 32": "91c60000000161", "an array of 1 as array 16": "dc0001c0",
    "an array of 16 as array 32": `dd00000010${"c0".repeat(16)}`,
  };
  const foreign = {
    "a map": "9180", "a map 16": "91de0000", "a map 32": "91df00000000", "a float": "91ca00000000", "a double": "91cb0000000000000000",
    "an ext": "91d40100", "an ext 8": "91c70101ff", "the unused byte": "91c1", "no array": "c0", "a number": "05", nothing: "",
    "two arrays": "9090", "a broken text": "91a1ff", "an overlong text": "91a2c080", "a surrogate": "91a3eda080",
    "an array longer than the body": "ddffffffff", "bytes longer than the body": "91c6ffffffff", "deep nesting": "91".repeat(40) + "c0",
  };
  for (const [what, text] of Object.entries({ ...long, ...foreign })) {
    await refuses(WireError, () => rpc.decodeBody(hex(text)), what);
  }
  const values = [1.5, NaN, 2 ** 60, 2n ** 64n, -(2n ** 63n) - 1n, undefined, {}, "\ud800"];
  for (const value of values) await refuses(UsageError, () => rpc.encodeBody([/** @type {any} */ (value)]), String(value));
  await refuses(UsageError, () => rpc.encodeBody(/** @type {any} */ ("text")), "no array");
}

async function rpcFrames() {
  same(rpc.encodeRequest(7, 0x02, [hex("aa"), 20]), "000000070292c401aa14", "request");
  same(rpc.decodeRequest(hex("000000070292c401aa14")), { id: 7, method: 2, body: [hex("aa"), 20] }, "request read");
  same(rpc.encodeResponse(7, 301, [3]), "00000007012d9103", "response");
  same(rpc.decodeResponse(hex("00000007012d9103")), { id: 7, status: 301, body: [3] }, "response read");
  for (const text of ["", "00000007", "000000079"]) await refuses(WireError, () => rpc.decodeRequest(hex(text)), text);
  await refuses(WireError, () => rpc.decodeResponse(hex("0000000700")), "a short response");
}

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
  return { given, network, signer, epoch, message, nameSecret: hex(names.name_secret) };
}

/** @param {Vectors} v */
async function pubsubKeys(v) {
  const { given, network, signer, epoch, nameSecret } = await pubsubOf(v);
  const topic = await groups.groupTopic(nameSecret, network, "chat");
  same(topic, given.topic16, "topic16");
  same(await groups.publicTopic(network, "news"), given.public_topic16, "public topic16");
  const session = hex(given.session8);
  same(await groups.messageKid(epoch.epochSecret, session), given.kid8, "kid8");
  const of = { sender: signer.publicKey, session, topic, index: 258 };
  same(await groups.messageKey(epoch, of), given.message_key, "message key");
}

/** @param {Vectors} v */
async function groupEnvelope(v) {
  const { given, network, signer, epoch, message } = await pubsubOf(v);
  const envelope = decodeEnvelope(hex(given.envelope));
  same([envelope.mode, envelope.index, envelope.topic], [Mode.GROUP, 258, given.topic16], "fields");
  same(await groups.openGroupEnvelope(network, envelope, [epoch]), message, "message");
  same(await groups.messageId(envelope), given.message_id, "message id");
  const [topic, kid, session] = [given.topic16, given.kid8, given.session8].map(hex);
  const fields = { mode: Mode.GROUP, topic, kid, sender: signer.publicKey, session, index: 258 };
  same(await groups.buildEnvelope(fields, message, epoch), envelope.unsigned, "unsigned bytes");
  const other = { ...epoch, epochSecret: flipped(epoch.epochSecret, 0) };
  await refuses(NotAReader, () => groups.openGroupEnvelope(network, envelope, [other]), "another epoch");
  const moved = { ...epoch, stateHash: flipped(epoch.stateHash, 0) };
  await refuses(CryptoError, () => groups.openGroupEnvelope(network, envelope, [moved]), "another group state");
  await refuses(NotAReader, () => groups.openPublicEnvelope(network, envelope), "opened as public");
}

/** @param {Vectors} v */
async function publicEnvelope(v) {
  const { given, network, signer, message } = await pubsubOf(v);
  const envelope = decodeEnvelope(hex(given.public_envelope));
  same(await groups.openPublicEnvelope(network, envelope), message, "message");
  const [topic, session] = [hex(given.public_topic16), hex(given.session8)];
  const fields = { mode: Mode.PUBLIC, topic, kid: new Uint8Array(8), sender: signer.publicKey, session, index: 258 };
  same(await groups.buildEnvelope(fields, message), envelope.unsigned, "unsigned bytes");
  await refuses(InvalidSignature, () => groups.openPublicEnvelope(flipped(network, 0), envelope), "another network");
}

/** @param {Vectors} v */
async function envelopesRefused(v) {
  const { given, network, epoch } = await pubsubOf(v);
  const open = (/** @type {Uint8Array} */ raw) => {
    const envelope = decodeEnvelope(raw);
    return envelope.mode === Mode.GROUP
      ? groups.openGroupEnvelope(network, envelope, [epoch])
      : groups.openPublicEnvelope(network, envelope);
  };
  for (const raw of [hex(given.envelope), hex(given.public_envelope)]) {
    for (let at = 0; at < raw.length; at += 1) {
      await refuses([WireError, CryptoError], () => open(flipped(raw, at, 1 << at % 8)), `byte ${at}`);
      await refuses([WireError, CryptoError], () => open(raw.subarray(0, at)), `${at} bytes`);
    }
    for (const tail of [1, 64]) await refuses([WireError, CryptoError], () => open(concat(raw, new Uint8Array(tail))), "a tail");
  }
  const reserved = flipped(hex(given.public_envelope), 3);
  await refuses(WireError, () => decodeEnvelope(reserved), "the reserved byte");
  await refuses(WireError, () => decodeEnvelope(flipped(hex(given.public_envelope), 20)), "a kid in a public envelope");
  await refuses(WireError, () => decodeEnvelope(flipped(hex(given.public_envelope), 1, 3)), "mode 2");
}

async function pubsubPadding() {
  for (const size of [0, 1, 59, 60, 61, 1_000]) {
    const padded = pad64(new Uint8Array(size).fill(1));
    same([padded.length % 64, unpad64(padded).length], [0, size], `${size} bytes`);
  }
  const good = pad64(Uint8Array.of(9));
  const bad = [flipped(good, -1), concat(good, new Uint8Array(64)), good.subarray(0, 63), flipped(good, 0), new Uint8Array(0)];
  for (const padded of bad) await refuses(WireError, () => unpad64(padded), "padding");
}

/** @type {import("../checks.js").Check[]} */
export const CHECKS = [
  { name: "RPC bodies reproduce and read back", sections: ["rpc/cases"], run: bodies },
  { name: "RPC messages reproduce and read back", sections: ["rpc/messages"], run: messages },
  { name: "RPC encodings that must be refused are", sections: ["rpc/refused"], run: refusedEncodings },
  { name: "integers take their shortest form", run: integers },
  { name: "lengths take their shortest form", run: lengths },
  { name: "bodies outside the subset are refused", run: bodiesRefused },
  { name: "requests and responses are framed", run: rpcFrames },
  { name: "topics, kids and message keys reproduce", sections: ["protocol/pubsub"], run: pubsubKeys },
  { name: "the group envelope reproduces and opens", run: groupEnvelope },
  { name: "the public envelope reproduces and verifies", run: publicEnvelope },
  { name: "envelopes flipped, cut short or with a tail are refused", run: envelopesRefused },
  { name: "padding of messages is exact", run: pubsubPadding },
];
