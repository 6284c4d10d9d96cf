/**
 * Every error that the browser client raises on purpose, in one tree; the twin of yzdht/errors.py.
 *
 * An error names a fact and carries a hint (what to try, imperative). Verification errors never say which byte
 * was wrong.
 */

export class YzError extends Error {
  static defaultHint = "";

  /**
   * @param {string} message One sentence that names the fact.
   * @param {{hint?: string}} [options] `hint` replaces the one of the class.
   */
  constructor(message, { hint } = {}) {
    super(message);
    this.name = new.target.name;
    /** @type {string} */
    this.hint = hint ?? /** @type {typeof YzError} */ (new.target).defaultHint;
  }
}

// Ours: the caller asked for something impossible.

/** An argument is out of its documented range. */
export class UsageError extends YzError {}

/** A value is longer than one record can carry. */
export class ValueTooLarge extends UsageError {
  static defaultHint = "split the value; one record carries at most 61,436 bytes";
}

/** A text is not one whole invite link (PROTOCOL.md section 12). */
export class BadInviteLink extends UsageError {
  static defaultHint = "copy the link again, from its first character to its last, as `yz invite` printed it";
}

/** Nothing is stored under this name, or what was there is deleted. */
export class NotFound extends YzError {}

// The peer's: bytes that arrived are not what the protocol allows.

/** Bytes do not parse as the protocol says (PROTOCOL.md). */
export class WireError extends YzError {}

/** A key, a signature or a ciphertext was refused. */
export class CryptoError extends YzError {}

/** A public or private key is not a valid P-256 key in the required form. */
export class InvalidKey extends CryptoError {}

/** A signature does not verify, is high-S or has the wrong length. */
export class InvalidSignature extends CryptoError {
  static defaultHint = "the data was forged or damaged on its way; ask another node";
}

/** A ciphertext, its commitment or its padding was refused. */
export class DecryptionFailed extends CryptoError {
  static defaultHint = "the data was damaged, or sealed under another key";
}

/** The record is sealed for somebody else. */
export class NotAReader extends CryptoError {
  static defaultHint = "ask its publisher to store it again with you among its readers";
}

/** A group record is sealed in an epoch of which this reader knows nothing. */
export class UnknownEpoch extends NotAReader {
  static defaultHint = "get the group's newest state, then try again; if it is the newest, ask an admin for the past";
}

/** A group's state is not one that can follow what is known of the group (PROTOCOL.md section 10). */
export class GroupStateRefused extends CryptoError {
  static defaultHint = "keep to the state that you know, and ask the group's admins";
}

/** Two states of one epoch exist: two admins did not see each other, or one of them cheats. */
export class GroupForked extends GroupStateRefused {
  static defaultHint = "compare both with the group's admins; one of them has to write the group anew";

  /** @param {number} epoch @param {Uint8Array} known Hash of a record. @param {Uint8Array} other Hash of the other. */
  constructor(epoch, known, other) {
    super(`epoch ${epoch} of the group has two states`);
    this.epoch = epoch;
    this.known = known;
    this.other = other;
  }
}

/** A group's state is older than the one that is known. */
export class StaleGroupState extends GroupStateRefused {
  static defaultHint = "try again through other nodes; the newest state may be out of reach";
}

/** The group goes on under another key, and nothing follows under the old one. */
export class GroupMoved extends GroupStateRefused {
  static defaultHint = "get the state of the group's new key";

  /** @param {Uint8Array} nextKey 33 bytes. */
  constructor(nextKey) {
    super("the group has a new key; nothing that is signed with the old one counts");
    this.nextKey = nextKey;
  }
}

/** The session handshake did not complete (PROTOCOL.md section 3). */
export class HandshakeFailed extends CryptoError {
  static defaultHint = "check the network name, the network key and the node id";
}

/** A node answered, but not the one that was dialled. */
export class WrongNodeId extends HandshakeFailed {}

/** A keyfile does not open with this passphrase. */
export class WrongPassphrase extends CryptoError {
  static defaultHint = "try the passphrase again; without it the keys cannot be read";
}

/** An invite does not admit whoever shows it; the leaves say why. */
export class InviteRefused extends CryptoError {
  static defaultHint = "ask whoever invited you for a new link";
}

/** An invite is not signed by its issuer for this network: it was changed, or is another network's. */
export class InviteForged extends InviteRefused {
  static defaultHint = "copy the whole link again, and check the network's name";
}

/** The secret is not the one that a bearer invite asks for. */
export class WrongInviteSecret extends InviteRefused {
  static defaultHint = "copy the whole link again; both of its parts belong to one invite";
}

/** An invite names another identity. */
export class InviteForAnother extends InviteRefused {
  static defaultHint = "use the identity that was invited, or ask for an invite for this one";
}

/** An invite's time has not begun. */
export class InviteNotYetValid extends InviteRefused {
  static defaultHint = "check this machine's clock, or try again when it begins";
}

/** An invite's time is over. */
export class InviteExpired extends InviteRefused {
  static defaultHint = "ask for a new link; if this one should still be good, check this machine's clock";
}

/** A key derivation that WebCrypto does not have (PROTOCOL.md section 13, kdf 1). */
export class UnsupportedKdf extends CryptoError {
  static defaultHint = "make a file that browsers open: run `yz id export` on the machine that holds this one";
}
