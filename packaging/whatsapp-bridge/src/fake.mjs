// For tests (`--fake`): a scripted stand-in for the library's socket. Everything else is the real program. One JSON
// object a line on standard input says what WhatsApp does; what the bridge does is told on standard output.
//
// in:  {"do":"open"} {"do":"close","code":428} {"do":"qr","qr":"2@…"}
//      {"do":"message","id","from":<chat jid>,"text"?,"participant"?,"alt"?,"timestamp"?,"fromMe"?,"mentions"?:[jid],
//       "replyTo"?:jid,"forwarded"?:true,"media"?:{"mimetype","base64","caption"?},"offline"?:true}
//      {"do":"number","lid","pn"}                   the library learns whose number that is
//      {"do":"raw","message":{…}}                   a message as the library gives it
//      {"do":"confirm","mode":"at_once"|"never"|"error"|"fail"}   what becomes of messages sent from now on
//      {"do":"late","wa_id"}                        WhatsApp confirms this one now
// out: {"event":"listening","port"} {"event":"socket","count"} {"event":"send","to","wa_id","text"?,"bytes"?}
//      {"event":"brought","id"}   the bridge has the message: on disk, if it forwards it
//
// The end of standard input stops the bridge, so that none outlives its test.

import { EventEmitter } from "node:events";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";

export const FAKE_USER = { id: "4915100000000:3@s.whatsapp.net", lid: "99100000000000:3@lid" };

export class FakeWhatsapp {
  #tell;
  #mode = "at_once";
  #count = 0;
  #socket = null;
  #held = [];

  constructor(tell) {
    this.#tell = tell;
  }

  /** In the place of the library's. What the script says before anybody listens waits. */
  makeSocket = async () => {
    this.#count += 1;
    this.#socket = new FakeSocket(this.#tell, () => this.#mode);
    this.#tell({ event: "socket", count: this.#count });
    this.#socket.ev.once("newListener", () => process.nextTick(() => this.#release()));
    return this.#socket;
  };

  #release() {
    const held = this.#held.splice(0);
    held.forEach((step) => this.follow(step));
  }

  follow(step) {
    if (step.do === "confirm") {
      this.#mode = step.mode;
    } else if (this.#socket === null || this.#socket.ev.listenerCount("messages.upsert") === 0) {
      this.#held.push(step);
    } else {
      this.#socket.follow(step);
      if (step.do === "close") {
        this.#socket = null;
      }
    }
  }
}

class FakeSocket {
  ev = new EventEmitter();
  ws = new EventEmitter();
  user = FAKE_USER;
  #tell;
  #mode;
  #numbers = new Map();

  constructor(tell, mode) {
    this.#tell = tell;
    this.#mode = mode;
  }

  follow(step) {
    const update = (change) => this.ev.emit("connection.update", change);
    switch (step.do) {
      case "open":
        return update({ connection: "open" });
      case "qr":
        return update({ qr: step.qr });
      case "close":
        return update({ connection: "close", lastDisconnect: { error: { output: { statusCode: step.code } } } });
      case "message":
        return this.#bring(libraryMessage(step), step.offline ? "append" : "notify");
      case "late":
        return this.ws.emit("CB:ack,class:message", { attrs: { id: step.wa_id } });
      case "number":
        return this.#numbers.set(step.lid, step.pn);
      case "raw":
        return this.#bring(step.message, "notify");
      default:
        return this.#tell({ event: "unknown_step" });
    }
  }

  #bring(message, type) {
    this.ev.emit("messages.upsert", { messages: [message], type });
    this.#tell({ event: "brought", id: message?.key?.id });
  }

  async sendMessage(to, content, { messageId }) {
    const body = content.text === undefined ? { bytes: mediaOf(content).length } : { text: content.text };
    this.#tell({ event: "send", to, wa_id: messageId, ...body });
    const mode = this.#mode();
    if (mode === "fail") {
      throw new Error("as the script says");
    }
    if (mode !== "never") {
      const attrs = { id: messageId, ...(mode === "error" ? { error: "479" } : {}) };
      setImmediate(() => this.ws.emit("CB:ack,class:message", { attrs }));
    }
  }

  async download(message) {
    return Readable.from([Buffer.from(message.fakeBytes, "base64")]);
  }

  async numberOf(lid) {
    return this.#numbers.get(lid) ?? "";
  }

  async requestPairingCode() {
    return "FAKE1234";
  }

  end() {}
}

function mediaOf(content) {
  return content.image ?? content.video ?? content.audio ?? content.document;
}

/** A message as the library gives it. */
export function libraryMessage(step) {
  const isGroup = step.from.endsWith("@g.us");
  const contextInfo = {
    ...(step.mentions ? { mentionedJid: step.mentions } : {}),
    ...(step.replyTo ? { participant: step.replyTo, stanzaId: "3EB0QUOTED" } : {}),
    ...(step.forwarded ? { isForwarded: true } : {}),
  };
  const { media } = step;
  const bytes = media ? Buffer.from(media.base64, "base64").length : 0;
  const kind = media ? (["image", "video", "audio"].find((one) => media.mimetype.startsWith(one)) ?? "document") : "";
  const message = media
    ? { [`${kind}Message`]: { mimetype: media.mimetype, caption: media.caption, fileLength: bytes, contextInfo } }
    : { extendedTextMessage: { text: step.text, contextInfo } };
  return {
    key: {
      id: step.id,
      remoteJid: step.from,
      fromMe: Boolean(step.fromMe),
      ...(isGroup ? { participant: step.participant, participantAlt: step.alt } : { remoteJidAlt: step.alt }),
    },
    messageTimestamp: step.timestamp ?? Math.floor(Date.now() / 1000),
    message,
    ...(media ? { fakeBytes: media.base64 } : {}),
  };
}

/** Follows the lines of standard input until its end. */
export function followScript(fake, input, tell, ended) {
  const lines = createInterface({ input });
  lines.on("line", (line) => {
    try {
      fake.follow(JSON.parse(line));
    } catch {
      tell({ event: "bad_step" });
    }
  });
  lines.on("close", ended);
}
