/** Section 5: RPC bodies. */

import { UsageError, WireError } from "../../errors.js";
import * as rpc from "../../wire/rpc.js";
import { hex, refuses, same } from "../expect.js";

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

/** @type {import("../checks.js").Check[]} */
export const CHECKS = [
  { name: "RPC bodies reproduce and read back", sections: ["rpc/cases"], run: bodies },
  { name: "RPC messages reproduce and read back", sections: ["rpc/messages"], run: messages },
  { name: "RPC encodings that must be refused are", sections: ["rpc/refused"], run: refusedEncodings },
  { name: "integers take their shortest form", run: integers },
  { name: "lengths take their shortest form", run: lengths },
  { name: "bodies outside the subset are refused", run: bodiesRefused },
  { name: "requests and responses are framed", run: rpcFrames },
];
