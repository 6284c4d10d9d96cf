/** Runs every check in Node: `node --test web/test/vectors.test.js`. */

import { readFile } from "node:fs/promises";
import test from "node:test";

import { CHECKS } from "./checks.js";
import { loadVectors } from "./fixtures.js";

const FOLDER = new URL("../../tests/vectors/", import.meta.url);
const vectors = await loadVectors((file) => readFile(new URL(file, FOLDER), "utf8"));

for (const { name, run } of CHECKS) test(name, () => run(vectors));
