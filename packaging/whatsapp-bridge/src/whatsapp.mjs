// The link to WhatsApp: one socket of the library at a time, made anew when it ends, until an end that only a person can
// mend. The library comes in through `makeSocket`, so that tests and --fake drive this very code.
//
// Interface: start, stop, send, sendMedia; onMessage(frame, missing), onStatus(status), onQr(text).
// 'missing' is {waitsFor: "media" | "number", find} of a frame that is not whole yet; find() resolves with the whole one.

import { Fault } from "./faults.mjs";
import { afterClose } from "./reconnect.mjs";
import { keyOf } from "./queue.mjs";
import { authorOf, isMeant, translate, withoutMedia } from "./translate.mjs";

/** An answer to the client: one of the phrases of docs/whatsapp-bridge.md. */
class Refusal extends Error {
  constructor(phrase) {
    super(phrase);
    this.phrase = phrase;
  }
}

export class Whatsapp {
  #makeSocket;
  #media;
  #limits;
  #log;
  #fatal;
  #random;
  #later;
  #connection = null;
  #status = "disconnected";
  #row = { failures: 0, restarts: 0 };
  #timer = null;
  #stableTimer = null;
  #isStopped = false;
  onMessage = () => {};
  onStatus = () => {};
  onQr = () => {};

  constructor({ makeSocket, media, limits, log, fatal, random = Math.random, later = setTimeout }) {
    this.#makeSocket = makeSocket;
    this.#media = media;
    this.#limits = limits;
    this.#log = log;
    this.#fatal = fatal;
    this.#random = random;
    this.#later = later;
  }

  async start() {
    const connection = { socket: null, isOpen: false, isOver: false, confirmations: new Map() };
    this.#connection = connection;
    try {
      const socket = await this.#makeSocket();
      connection.socket = socket;
      if (this.#isStopped) {
        socket.end(undefined);
        return;
      }
      socket.ev.on("connection.update", (update) => this.#guard(() => this.#changed(connection, update)));
      socket.ev.on("messages.upsert", ({ messages }) => this.#guard(() => this.#arrived(connection, messages)));
      socket.ws.on("CB:ack,class:message", ({ attrs }) => this.#guard(() => this.#confirmed(connection, attrs)));
    } catch (error) {
      if (error instanceof Fault) {
        this.#fatal(error);
      } else {
        this.#ended(connection, 0);
      }
    }
  }

  #guard(act) {
    try {
      act();
    } catch (error) {
      this.#fatal(error);
    }
  }

  #changed(connection, { connection: state, lastDisconnect, qr }) {
    if (connection.isOver || this.#isStopped) {
      return;
    }
    if (typeof qr === "string") {
      this.onQr(qr);
    }
    if (state === "open") {
      connection.isOpen = true;
      this.#log("whatsapp", { status: "connected" });
      this.#stableTimer = this.#later(() => (this.#row = { failures: 0, restarts: 0 }), this.#limits.STABLE_MS);
      this.#setStatus("connected");
    } else if (state === "close") {
      this.#ended(connection, Number(lastDisconnect?.error?.output?.statusCode ?? 0));
    }
  }

  #ended(connection, code) {
    connection.isOver = true;
    connection.isOpen = false;
    clearTimeout(this.#stableTimer);
    for (const confirm of [...connection.confirmations.values()]) {
      confirm(new Refusal("unconfirmed"));
    }
    const next = afterClose(code, this.#row, this.#limits, this.#random);
    if (next.status !== undefined) {
      this.#log("whatsapp", { status: next.status, code, advice: next.advice });
      this.#setStatus(next.status);
      return;
    }
    this.#log("whatsapp", { status: "disconnected", code, retry_ms: next.delayMs });
    this.#row = { failures: next.failures, restarts: next.restarts };
    this.#setStatus("disconnected");
    this.#timer = this.#later(() => this.start(), next.delayMs);
  }

  #setStatus(status) {
    if (this.#status !== status) {
      this.#status = status;
      this.onStatus(status);
    }
  }

  /** Kinds `notify` and `append` alike: what came while the bridge was away is `append`. */
  #arrived({ socket }, messages) {
    for (const message of messages) {
      const found = translate(message, socket.user, this.#limits);
      if (found) {
        this.onMessage(...this.#split(socket, message, found));
      }
    }
  }

  /**
   * What is known of a message, and how the rest is found once that is on disk. Whatever else people show each other in a
   * group would go through the line and onto the card, for nobody.
   */
  #split(socket, message, { frame, media }) {
    if (!isMeant(frame)) {
      return [media === undefined ? frame : withoutMedia(frame, media, "not for this account"), undefined];
    }
    const find = async () => {
      const named = frame.pn === "" ? { ...frame, pn: await this.#numberOf(socket, authorOf(frame)) } : frame;
      return media === undefined ? named : this.#withMedia(socket, message, { frame: named, media });
    };
    const isWhole = media === undefined && frame.pn !== "";
    return [frame, isWhole ? undefined : { waitsFor: media === undefined ? "number" : "media", find }];
  }

  /** The number of an author who hides it, if the library has learned it; it does not ask WhatsApp. */
  async #numberOf(socket, lid) {
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, this.#limits.NUMBER_MS, "")));
    return Promise.race([socket.numberOf(lid).catch(() => ""), late]).finally(() => clearTimeout(timer));
  }

  async #withMedia(socket, message, { frame, media }) {
    const stored = await this.#media.store(keyOf(frame), media, () => socket.download(message));
    if (stored.path === undefined) {
      this.#log("media_not_stored", { id: frame.id, reason: stored.reason });
      return withoutMedia(frame, media, stored.reason);
    }
    return { ...frame, media: [stored.path] };
  }

  /** `onLate` is called if a message is confirmed after this was rejected. */
  send(to, text, waId, onLate) {
    // Without a preview: making one would fetch whatever address a model wrote.
    return this.#deliver(to, { text, linkPreview: null }, waId, onLate);
  }

  sendMedia(to, { filePath, mimetype, caption, fileName }, waId, onLate) {
    const bytes = this.#media.read(filePath);
    if (bytes === undefined) {
      return Promise.reject(new Refusal("bad_media"));
    }
    const kind = ["image", "video", "audio"].find((one) => mimetype.startsWith(`${one}/`)) ?? "document";
    const extra = kind === "document" ? { fileName: fileName || "file" } : {};
    return this.#deliver(to, { [kind]: bytes, mimetype, ...(caption ? { caption } : {}), ...extra }, waId, onLate);
  }

  /** Resolves when WhatsApp's server has confirmed the message, which is later than the library's own promise. */
  #deliver(to, content, waId, onLate) {
    const connection = this.#connection;
    if (!connection?.isOpen) {
      return Promise.reject(new Refusal("not_connected"));
    }
    return new Promise((resolve, reject) => {
      const settle = (error) => {
        clearTimeout(timer);
        return error === undefined ? resolve() : reject(error);
      };
      const giveUp = (error) => {
        if (connection.confirmations.get(waId) === settle) {
          connection.confirmations.set(waId, (refusal) => refusal === undefined && onLate());
        }
        settle(error);
      };
      const timer = setTimeout(() => giveUp(new Refusal("unconfirmed")), this.#limits.SEND_MS);
      connection.confirmations.set(waId, settle);
      if (connection.confirmations.size > this.#limits.SENT_IDS_MAX) {
        connection.confirmations.delete(connection.confirmations.keys().next().value);
      }
      connection.socket.sendMessage(to, content, { messageId: waId }).catch((error) => {
        giveUp(error instanceof Fault ? error : new Refusal("send_failed"));
      });
    });
  }

  #confirmed(connection, attrs) {
    const confirm = this.#isStopped ? undefined : connection.confirmations.get(attrs?.id);
    connection.confirmations.delete(attrs?.id);
    confirm?.(attrs.error === undefined ? undefined : new Refusal("refused"));
  }

  /** Ends the connection; the device stays linked. */
  stop() {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#stableTimer);
    this.#connection?.socket?.end(undefined);
  }
}
