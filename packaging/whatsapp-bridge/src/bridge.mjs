// The websocket side: who may come in, which dialect they speak, and which messages they still have to ack.
//
//   connect ──▶ stranger ──auth──▶ client, undecided ──hello within 2 s──▶ v2: acked, replayed
//                  │ 4001, 4003           └──anything else───────────────▶ plain N: sent once
//
// One client at a time: a new one replaces the old one (close 4009), because an old connection may be half-open and must
// not lock its owner out.

import http from "node:http";
import { WebSocketServer } from "ws";

import { EXIT, Fault } from "./faults.mjs";
import * as frames from "./frames.mjs";

const HEADER_BYTES_MAX = 8 * 1024;
const HEADERS_MS = 5_000;
const CONNECTIONS_MAX = 64;

export class Bridge {
  #token;
  #limits;
  #queue;
  #outbox;
  #log;
  #fatal;
  #server;
  #sockets;
  #strangers = new Set();
  #client = null;
  #status = "disconnected";
  #qr = null;
  #timers = [];

  constructor({ token, limits, queue, outbox, log, fatal }) {
    this.#token = token;
    this.#limits = limits;
    this.#queue = queue;
    this.#outbox = outbox;
    this.#log = log;
    this.#fatal = fatal;
  }

  /** Resolves with the port. */
  listen(host, port) {
    this.#sockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: this.#limits.FRAME_IN_BYTES_MAX,
      perMessageDeflate: false,
    });
    this.#server = http.createServer({ maxHeaderSize: HEADER_BYTES_MAX, headersTimeout: HEADERS_MS }, (_, response) => {
      response.writeHead(426, { connection: "close" }).end();
    });
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
    this.#every(this.#limits.STATUS_MS, () => this.#status !== "connected" && this.#say(frames.status(this.#status)));
    this.#every(this.#limits.PING_MS, () => this.#ping());
    this.#every(this.#limits.SWEEP_MS, () => this.#queue.expire());
    return new Promise((resolve, reject) => {
      const refuse = (error) => {
        const code = ["EADDRINUSE", "EACCES"].includes(error.code) ? EXIT.BUSY : EXIT.CONFIGURATION;
        reject(new Fault(code, `cannot listen: ${error.code}`));
      };
      this.#server.once("error", refuse);
      this.#server.listen(port, host, () => {
        this.#server.off("error", refuse);
        resolve(this.#server.address().port);
      });
    });
  }

  /** A storage fault inside a timer must end the program like any other. */
  #every(milliseconds, act) {
    this.#timers.push(setInterval(() => this.#guard(act), milliseconds));
  }

  #guard(act) {
    try {
      act();
    } catch (error) {
      this.#fatal(error);
    }
  }

  /** Browsers always send an Origin: a page that somebody has open must not reach the bridge. */
  #upgrade(request, socket, head) {
    socket.on("error", () => {});
    const refusal =
      request.headers.origin !== undefined
        ? "403 Forbidden"
        : this.#strangers.size >= this.#limits.STRANGERS_MAX
          ? "503 Service Unavailable"
          : undefined;
    if (refusal !== undefined) {
      this.#log("client_refused", { reason: refusal });
      socket.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (websocket) => this.#meet(websocket));
  }

  #meet(websocket) {
    const client = { websocket, isV2: false, isDecided: false, isAlive: true, unacked: [], timer: null };
    this.#strangers.add(client);
    client.timer = setTimeout(() => this.#close(client, frames.CLOSE.AUTH_TIMEOUT), this.#limits.AUTH_MS);
    websocket.on("message", (data, isBinary) => this.#guard(() => this.#hear(client, data, isBinary)));
    websocket.on("pong", () => (client.isAlive = true));
    websocket.on("error", () => {});
    websocket.on("close", (code) => this.#left(client, code));
  }

  #hear(client, data, isBinary) {
    client.isAlive = true;
    if (client.isClosing) {
      return;
    }
    if (this.#strangers.has(client)) {
      this.#authenticate(client, data, isBinary);
      return;
    }
    const frame = isBinary ? { kind: "bad", error: "bad_frame" } : this.#parse(client, data);
    if (frame.kind === "hello") {
      client.isV2 ||= frame.isV2;
      this.#decide(client);
      return;
    }
    this.#decide(client);
    if (frame.kind === "ack") {
      this.#ack(client, frame.id);
    } else if (!this.#outbox.add(frame, client, (answer) => this.#answer(client, answer))) {
      this.#close(client, frames.CLOSE.TOO_MANY);
    }
  }

  #parse(client, data) {
    return frames.parse(data.toString("utf8"), client.isV2, this.#limits);
  }

  #authenticate(client, data, isBinary) {
    const isSmall = !isBinary && data.length <= this.#limits.AUTH_BYTES_MAX;
    const token = isSmall ? frames.authToken(data.toString("utf8")) : undefined;
    if (token === undefined || !frames.sameToken(token, this.#token)) {
      this.#log("client_refused", { reason: "token" });
      this.#close(client, frames.CLOSE.AUTH_FAILED);
      return;
    }
    clearTimeout(client.timer);
    this.#strangers.delete(client);
    if (this.#client !== null) {
      this.#close(this.#client, frames.CLOSE.REPLACED);
      this.#strand();
    }
    this.#client = client;
    this.#log("client", { waiting: this.#queue.size });
    this.#say(frames.hello(this.#queue.dropped));
    this.#say(frames.status(this.#status));
    if (this.#qr !== null) {
      this.#say(frames.qr(this.#qr));
    }
    client.timer = setTimeout(() => this.#guard(() => this.#decide(client)), this.#limits.HELLO_MS);
  }

  /** The client's dialect is known now, and messages may go out. A late hello still turns plain N into v2. */
  #decide(client) {
    clearTimeout(client.timer);
    client.isDecided = true;
    this.#pump();
  }

  /** What no client has taken over when its connection ends is for v2 only: plain N replays nothing. */
  #strand() {
    this.#outbox.forget(this.#client);
    this.#client = null;
    for (const entry of this.#queue.entries()) {
      entry.isBacklog = true;
    }
  }

  #ack(client, id) {
    const index = client.unacked.findIndex((entry) => entry.frame.id === id);
    if (index >= 0) {
      const [entry] = client.unacked.splice(index, 1);
      this.#queue.settle(entry);
      this.#pump();
    }
  }

  /** From WhatsApp. On disk first. `missing.find`, if anything is missing, resolves with the whole frame. */
  receive(frame, missing) {
    const entry = this.#queue.put(frame, missing?.waitsFor);
    if (entry === undefined) {
      return;
    }
    entry.isBacklog = this.#client === null;
    if (missing === undefined) {
      this.#pump();
      return;
    }
    missing.find().then((complete) => {
      this.#queue.complete(entry, complete);
      this.#pump();
    }).catch(this.#fatal);
  }

  /** Sends what may be sent, oldest first. What is still missing holds back its own chat only. */
  #pump() {
    const client = this.#client;
    if (client === null || !client.isDecided) {
      return;
    }
    const blocked = new Set();
    for (const entry of [...this.#queue.entries()]) {
      if (client.isV2 && client.unacked.length >= this.#limits.UNACKED_MAX) {
        return;
      }
      if (entry.isBacklog && !client.isV2) {
        continue;
      }
      if (entry.waitsFor !== undefined || blocked.has(entry.frame.sender)) {
        blocked.add(entry.frame.sender);
      } else if (entry.sentTo !== client) {
        this.#deliver(client, entry);
      }
    }
  }

  #deliver(client, entry) {
    if (!this.#answer(client, frames.message(entry.frame, this.#limits))) {
      return;
    }
    if (client.isV2) {
      entry.sentTo = client;
      client.unacked.push(entry);
    } else {
      this.#queue.settle(entry);
    }
  }

  setStatus(value) {
    this.#status = value;
    if (value !== "disconnected") {
      this.#qr = null;
    }
    this.#say(frames.status(value));
  }

  setQr(value) {
    this.#qr = value;
    this.#say(frames.qr(value));
  }

  #say(text) {
    if (this.#client !== null) {
      this.#answer(this.#client, text);
    }
  }

  /** False if the client is gone, or does not read and is cut off. */
  #answer(client, text) {
    const { websocket } = client;
    if (client.isClosing || websocket.readyState !== websocket.OPEN) {
      return false;
    }
    if (websocket.bufferedAmount > this.#limits.UNSENT_BYTES_MAX) {
      this.#log("client_cut", { reason: "does not read" });
      websocket.terminate();
      return false;
    }
    websocket.send(text, () => {});
    return true;
  }

  /** Frees the place of a client that vanished without a close. */
  #ping() {
    const client = this.#client;
    if (client === null) {
      return;
    }
    if (!client.isAlive) {
      this.#log("client_cut", { reason: "does not answer" });
      client.websocket.terminate();
      return;
    }
    client.isAlive = false;
    client.websocket.ping(() => {});
  }

  #close(client, [code, reason]) {
    client.isClosing = true;
    clearTimeout(client.timer);
    client.websocket.close(code, reason);
    client.timer = setTimeout(() => client.websocket.terminate(), this.#limits.CLOSE_MS);
  }

  #left(client, code) {
    clearTimeout(client.timer);
    if (!this.#strangers.delete(client)) {
      this.#log("client_left", { code, unacked: client.unacked.length });
    }
    if (this.#client === client) {
      this.#strand();
    }
  }

  /** Resolves when nobody is connected any more. */
  stop() {
    this.#timers.forEach(clearInterval);
    for (const client of [...this.#strangers, this.#client].filter((one) => one !== null)) {
      this.#close(client, frames.CLOSE.GOING_AWAY);
    }
    return new Promise((resolve) => (this.#server ? this.#server.close(resolve) : resolve()));
  }
}
