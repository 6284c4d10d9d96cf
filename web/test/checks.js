/**
 * Every check of the protocol's vectors, the same in Node and in a page.
 *
 * A check is one name and one function over the parsed vector files. The sections that it covers are named, so that a
 * section added to a file without a check here is itself a failure.
 */

import { CHECKS as INVITES } from "./checks/invites.js";
import { CHECKS as GROUPS } from "./checks/groups.js";
import { CHECKS as MESSAGES } from "./checks/messages.js";
import { CHECKS as NAMING } from "./checks/naming.js";
import { CHECKS as SEALING } from "./checks/sealing.js";
import { CHECKS as SESSIONS } from "./checks/sessions.js";
import { CHECKS as TOPICS } from "./checks/topics.js";

/** @typedef {import("./fixtures.js").Vectors} Vectors */

/**
 * @typedef {object} Check
 * @property {string} name
 * @property {string[]} [sections] `file/section`, `file/*` for a whole file.
 * @property {(vectors: Vectors) => unknown} run Throws, or rejects, when it does not hold.
 */

const REMARKS = new Set(["about", "comment"]);

/** @param {Vectors} vectors */
function everySectionIsChecked(vectors) {
  const covered = new Set(CHECKS.flatMap(({ sections = [] }) => sections));
  const present = Object.entries(vectors).flatMap(([file, content]) =>
    Object.keys(content).filter((section) => !REMARKS.has(section)).map((section) => [file, section]),
  );
  const missed = present.filter(([file, section]) => !covered.has(`${file}/${section}`) && !covered.has(`${file}/*`));
  if (missed.length) throw new Error(`no check for ${missed.map((pair) => pair.join("/")).join(", ")}`);
}

/** @type {Check[]} */
export const CHECKS = [
  ...NAMING,
  ...SEALING,
  ...GROUPS,
  ...SESSIONS,
  ...MESSAGES,
  ...TOPICS,
  ...INVITES,
  { name: "every section of the vectors has a check", run: everySectionIsChecked },
];

/**
 * @param {Vectors} vectors
 * @returns {Promise<{name: string, error: string | null}[]>} One line per check, in order.
 */
export async function runAll(vectors) {
  const results = [];
  for (const { name, run } of CHECKS) {
    try {
      await run(vectors);
      results.push({ name, error: null });
    } catch (error) {
      results.push({ name, error: String(error) });
    }
  }
  return results;
}
