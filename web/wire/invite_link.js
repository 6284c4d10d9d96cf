/**
 * The link that invites: `<base>#t=<token>&s=<secret>` (PROTOCOL.md section 12).
 *
 * A page reads the part from `#` on from its own address (`location.hash`), which no browser sends to a server. Refuses
 * every other spelling, so that two texts never name one invite, and parts that it does not know.
 */

import { BadInviteLink, WireError } from "../errors.js";
import { INVITE_LINK_CHARS_MAX } from "../limits.js";
import { decodeToken } from "./token.js";

const TOKEN_CHARS = 235;
const SECRET_CHARS = 22;
const BASE = /^(?:yz-invite:|https?:\/\/[A-Za-z0-9._~:/%[\]-]{1,512})?$/;
const FRAGMENT = /^t=([^&]*)(?:&s=([^&]*))?$/;
const FRAGMENT_CUT = /^t=[^&]*&s?$/;
const CUT_HINT = "copy the whole line, and put it in quotes: a shell ends a word at the & inside it";

/**
 * @typedef {object} InviteLink
 * @property {import("./token.js").Token} token Neither its signature nor its times are checked.
 * @property {Uint8Array | null} secret 16 bytes of a bearer token.
 */

/**
 * @param {string} text A whole link, or its part from `#` on.
 * @returns {InviteLink}
 * @throws {BadInviteLink} It is anything else; the hint says what may have happened.
 */
export function decodeInviteLink(text) {
  if (text.length > INVITE_LINK_CHARS_MAX) throw new BadInviteLink("an invite link is not that long");
  const mark = text.indexOf("#");
  const fragment = text.slice(mark + 1);
  if (mark < 0 || !BASE.test(text.slice(0, mark)) || !fragment.startsWith("t=")) {
    throw new BadInviteLink("this is not an invite link");
  }
  const match = FRAGMENT.exec(fragment);
  if (match === null) {
    throw FRAGMENT_CUT.test(fragment) ? cut() : new BadInviteLink("the link has a part that this version does not know");
  }
  const token = tokenOf(decodeBase64Url(match[1], TOKEN_CHARS));
  const secret = match[2] === undefined ? null : decodeBase64Url(match[2], SECRET_CHARS);
  if (token.isBearer && secret === null) throw cut();
  if (!token.isBearer && secret !== null) throw new BadInviteLink("the link has a secret, and its invite asks for none");
  return { token, secret };
}

function cut() {
  return new BadInviteLink("the link is cut short", { hint: CUT_HINT });
}

/** @param {Uint8Array} raw */
function tokenOf(raw) {
  try {
    return decodeToken(raw);
  } catch (error) {
    if (error instanceof WireError) throw new BadInviteLink(`the link is damaged: ${error.message}`);
    throw error;
  }
}

/** @param {string} text @param {number} chars How many it must have. @returns {Uint8Array} */
function decodeBase64Url(text, chars) {
  if (text.length > chars || !/^[A-Za-z0-9_-]*$/.test(text)) {
    throw new BadInviteLink("an invite link has characters that do not belong to it");
  }
  if (text.length < chars) throw cut();
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const again = btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  if (again !== text) throw new BadInviteLink("the link is damaged"); // atob drops stray bits
  return Uint8Array.from(binary, (symbol) => symbol.charCodeAt(0));
}
