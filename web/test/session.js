/** One session of a page with a node, as far as tests need it: channel, handshake, Ready, one request at a time. */

import { Initiator } from "../crypto/handshake.js";
import { networkId } from "../crypto/naming.js";
import { PrivateKey } from "../crypto/primitives.js";
import { RecordLayer } from "../crypto/session.js";
import { KeySigner } from "../crypto/signing.js";
import { RecordType } from "../wire/frame.js";
import { decodeResponse, encodeRequest } from "../wire/rpc.js";

const CAPS_OF_A_CLIENT = 1 | (1 << 11);

/** The messages of a channel, in their order; those that nobody waits for yet are kept. */
class Messages {
  /** @type {(Uint8Array | Error)[]} */
  #come = [];
  /** @type {(() => void) | undefined} */
  #wake;

  /** @param {WebSocket} socket */
  constructor(socket) {
    socket.onmessage = ({ data }) => this.#add(new Uint8Array(data));
    socket.onclose = ({ code }) => this.#add(new Error(`the channel was closed: ${code}`));
  }

  /** @param {Uint8Array | Error} message */
  #add(message) {
    this.#come.push(message);
    this.#wake?.();
  }

  async next() {
    while (!this.#come.length) {
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined);
      });
    }
    const message = /** @type {Uint8Array | Error} */ (this.#come.shift());
    if (message instanceof Error) throw message;
    return message;
  }
}

/** @param {string} url @returns {Promise<WebSocket>} Open. @throws {Error} It cannot be opened; a page is told no more. */
function open(url) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => resolve(socket);
    socket.onclose = ({ code }) => reject(new Error(`the channel does not open: ${code}`));
  });
}

/** A session with the node at an address, of an identity that nobody knew before. */
export class Session {
  #socket;
  #messages;
  /** @type {RecordLayer | undefined} */
  #records;
  #asked = 0;

  /** @param {WebSocket} socket Open. */
  constructor(socket) {
    this.#socket = socket;
    this.#messages = new Messages(socket);
  }

  /** @param {string} url @param {string} network Its name. */
  static async open(url, network) {
    const session = new Session(await open(url));
    await session.#shakeHands(await networkId(network));
    return session;
  }

  /** The node id of the other end, 32 bytes. */
  peer = new Uint8Array(0);

  /** @param {Uint8Array} network NET. */
  async #shakeHands(network) {
    const signer = new KeySigner(await PrivateKey.generate("ECDSA"));
    const initiator = new Initiator({ network, signer, caps: CAPS_OF_A_CLIENT });
    this.#socket.send(await initiator.hello());
    const { proof, established } = await initiator.readWelcome(await this.#messages.next());
    this.#socket.send(proof);
    this.#records = new RecordLayer(established.secretInitiator, established.secretResponder);
    this.peer = established.peerNodeId;
    const { type } = await this.#next();
    if (type !== RecordType.READY) throw new Error(`a record of type ${type} came before Ready`);
  }

  async #next() {
    if (!this.#records) throw new Error("the handshake comes first");
    return this.#records.open(await this.#messages.next());
  }

  /**
   * Ask, and wait for the answer; whatever else comes meanwhile is passed over.
   *
   * @param {number} method @param {import("../wire/rpc.js").Value[]} body
   */
  async ask(method, body) {
    if (!this.#records) throw new Error("the handshake comes first");
    this.#asked += 1;
    this.#socket.send(await this.#records.seal(RecordType.REQUEST, encodeRequest(this.#asked, method, body)));
    for (;;) {
      const { type, data } = await this.#next();
      if (type === RecordType.RESPONSE) return decodeResponse(data);
    }
  }

  close() {
    this.#socket.close();
  }
}
