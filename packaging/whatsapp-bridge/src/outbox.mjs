// What clients want sent, one after the other: each frame gets one answer, in the order of the frames. With an id
// (v2) a frame is sent once, however often it is repeated, over restarts too.

import { createHash, randomBytes } from "node:crypto";

import * as frames from "./frames.mjs";
import { Fault } from "./faults.mjs";

const WA_ID_PREFIX = "3EB0";
const WA_ID_BYTES = 9;

/**
 * WhatsApp lets the sender choose the id of a message. For a frame with an id it is made from chat and id, so that a
 * repeat after a crash between sending and remembering reaches WhatsApp as the same message.
 */
export function waIdFor(request) {
  const bytes =
    request.id === undefined
      ? randomBytes(WA_ID_BYTES)
      : createHash("sha256").update(JSON.stringify([request.to, request.id])).digest().subarray(0, WA_ID_BYTES);
  return WA_ID_PREFIX + bytes.toString("hex").toUpperCase();
}

export class Outbox {
  #whatsapp;
  #sent;
  #limits;
  #log;
  #fatal;
  #waiting = [];
  #isRunning = false;
  #sendCount = 0;

  constructor({ whatsapp, sent, limits, log, fatal }) {
    this.#whatsapp = whatsapp;
    this.#sent = sent;
    this.#limits = limits;
    this.#log = log;
    this.#fatal = fatal;
  }

  /**
   * Takes a parsed frame of `client`; `answer` gets the text of its answer later. False when too many frames of all clients
   * wait for answers: the connection is to be closed.
   */
  add(request, client, answer) {
    if (this.#waiting.length >= this.#limits.ANSWERS_MAX) {
      return false;
    }
    const isBusy = request.kind !== "bad" && this.#sendCount >= this.#limits.OUTBOX_MAX;
    const kept = isBusy ? { kind: "bad", error: "busy", id: request.id } : request;
    this.#sendCount += kept.kind === "bad" ? 0 : 1;
    const entry = { request: kept, client, answer, outcome: null };
    // What is under way already is not sent once more behind that: nobody's answer would come in time.
    entry.first = this.#waiting.slice(0, 1).find(({ request: { kind, id } }) => kind !== "bad" && id !== undefined && id === kept.id);
    this.#waiting.push(entry);
    this.#run();
    return true;
  }

  /**
   * A client has gone: what it wants sent and is not begun it sends again on its next connection, where the answers are not to wait for
   * this. Without an id nothing is sent again, so that stays.
   */
  forget(client) {
    const [begun, ...rest] = this.#waiting;
    const stays = (entry) => entry.client !== client || entry.request.kind === "bad" || entry.request.id === undefined;
    const kept = rest.filter(stays);
    this.#sendCount -= rest.length - kept.length;
    this.#waiting = begun === undefined ? [] : [begun, ...kept];
  }

  async #run() {
    if (this.#isRunning) {
      return;
    }
    this.#isRunning = true;
    try {
      while (this.#waiting.length > 0) {
        const entry = this.#waiting[0];
        const { request, answer, first } = entry;
        entry.outcome = first?.outcome ?? (await this.#follow(request));
        answer(entry.outcome);
        this.#waiting.shift();
        this.#sendCount -= request.kind === "bad" ? 0 : 1;
      }
    } catch (error) {
      this.#fatal(error);
    } finally {
      this.#isRunning = false;
    }
  }

  async #follow(request) {
    if (request.kind === "bad") {
      return frames.error(request, request.error);
    }
    const known = request.id === undefined ? undefined : this.#sent.find(request.id);
    if (known !== undefined) {
      return frames.sent(request, known);
    }
    const waId = waIdFor(request);
    try {
      await this.#send(request, waId);
    } catch (error) {
      if (error instanceof Fault) {
        throw error;
      }
      const phrase = typeof error?.phrase === "string" ? error.phrase : "send_failed";
      this.#log("send_failed", { id: request.id, error: phrase });
      return frames.error(request, phrase);
    }
    if (request.id !== undefined) {
      this.#sent.remember(request.id, waId);
    }
    return frames.sent(request, waId);
  }

  #send(request, waId) {
    // A repeat of what is confirmed late is not sent again, either.
    const onLate = () => request.id !== undefined && this.#sent.remember(request.id, waId);
    return request.kind === "send"
      ? this.#whatsapp.send(request.to, request.text, waId, onLate)
      : this.#whatsapp.sendMedia(request.to, request.media, waId, onLate);
  }
}
