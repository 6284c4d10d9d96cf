/** Bounds of the protocol that this half enforces; the same names and values as yzdht/limits. */

// Section 3: handshake

export const HELLO_BYTES_MAX = 4_095;
export const HANDSHAKE_MESSAGE_BYTES_MAX = 4_095;
export const OFFERS_MAX = 8;

// Section 4: record layer

export const RECORD_DATA_BYTES_MAX = 16_000;
export const RELAY_DATA_BYTES_MAX = 16_100;
export const RECORD_OVERHEAD_BYTES = 17;
export const PING_BYTES_MAX = 64;
export const KEY_UPDATE_RECORDS = 2 ** 24;
export const KEY_UPDATE_BYTES = 2 ** 36;

// Section 5: RPC

export const MESSAGE_BYTES_MAX = 2 ** 20;
export const BODY_DEPTH_MAX = 32;
export const BODY_EXTRA_BYTES_MAX = 4_096;
export const ENVELOPES_PER_ANSWER_MAX = 4_096;
export const SUMMARY_ROWS_MAX = 256;
export const HOLES_MAX = 64;

// Section 7: names

export const NAME_BYTES_MAX = 1_024;
export const NETWORK_NAME_BYTES_MAX = 64;

// Section 8: records

export const RECORD_BYTES_MAX = 65_536;
export const VALUE_BYTES_MAX = 61_436;
export const HEADER_BYTES_MAX = 60_000;
export const CLOCK_SKEW_S = 600;

// Section 12: invites

export const INVITE_LINK_CHARS_MAX = 1_024;
export const REVOKED_TOKENS_MAX = 3_000;

// Section 10: groups

export const GROUP_MEMBERS_MAX = 255;
export const GROUP_PAST_MAX = 64;
export const GROUP_STATE_BYTES_MAX = 25_843;

// Section 11: pubsub

export const PUBSUB_ENVELOPE_BYTES_MAX = 65_536;
export const PUBSUB_DATA_BYTES_MAX = 65_335;
export const TOPICS_PER_ANNOUNCEMENT_MAX = 256;

// Section 13: keyfile

export const KEYFILE_BYTES_MAX = 65_536;
export const KEM_KEYS_KEPT_MAX = 16;
export const PASSPHRASE_BYTES_MAX = 1_024;
export const ARGON2_M_KIB_MIN = 19 * 1_024;
export const ARGON2_M_KIB_MAX = 2 ** 20;
export const ARGON2_T_MAX = 10;
export const ARGON2_P_MAX = 16;
export const PBKDF2_ITERATIONS_MIN = 600_000;
export const PBKDF2_ITERATIONS_MAX = 10_000_000;
