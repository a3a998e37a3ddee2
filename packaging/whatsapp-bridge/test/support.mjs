// What the tests share: a bridge in this process with a scripted WhatsApp, the real program with the same, and a client
// that is a real websocket. Waiting is for a condition, with a ceiling; nothing sleeps.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import WebSocket from "ws";

import { Bridge } from "../src/bridge.mjs";
import { FakeWhatsapp } from "../src/fake.mjs";
import { LIMITS } from "../src/limits.mjs";
import { Media } from "../src/media.mjs";
import { Outbox } from "../src/outbox.mjs";
import { Queue } from "../src/queue.mjs";
import { Sent } from "../src/sent.mjs";
import { withoutMedia } from "../src/translate.mjs";
import { Whatsapp } from "../src/whatsapp.mjs";

export const TOKEN = "token-of-the-tests-5c1d";
export const CHAT = "4917012345@s.whatsapp.net";
export const GROUP = "120363000000000000@g.us";
const CEILING_MS = 15_000;
const MAIN = new URL("../src/main.mjs", import.meta.url).pathname;

/** A folder that goes with its test. */
export function folder(test) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), "bridge-"));
  test.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

/** Things that arrive one by one, and somebody who waits for the next that fits. */
export class Arrivals {
  #kept = [];
  #news = new EventEmitter();

  add(one) {
    this.#kept.push(one);
    this.#news.emit("news");
  }

  get all() {
    return [...this.#kept];
  }

  /** Takes the first that fits; what came before it stays. */
  next(fits, what = fits.toString()) {
    const taken = new Promise((resolve) => {
      const look = () => {
        const index = this.#kept.findIndex(fits);
        if (index >= 0) {
          this.#news.off("news", look);
          resolve(this.#kept.splice(index, 1)[0]);
        }
      };
      this.#news.on("news", look);
      look();
    });
    return within(taken, () => `${what}: ${JSON.stringify(this.#kept).slice(0, 2000)}`);
  }
}

export function within(promise, what, milliseconds = CEILING_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not in time: ${typeof what === "function" ? what() : what}`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export class Client {
  frames = new Arrivals();

  constructor(port, options = {}) {
    this.socket = new WebSocket(`ws://127.0.0.1:${port}`, options);
    this.socket.on("message", (data) => this.frames.add(JSON.parse(data.toString())));
    this.opened = new Promise((resolve, reject) => {
      this.socket.once("open", resolve);
      this.socket.once("error", reject);
    });
    this.opened.catch(() => {});
    this.closed = new Promise((resolve) => this.socket.once("close", (code, reason) => resolve([code, reason.toString()])));
    this.socket.on("error", () => {});
  }

  send(frame) {
    this.socket.send(typeof frame === "string" || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  next(type) {
    return this.frames.next((frame) => frame.type === type, type);
  }

  /** Authenticated, with the first two frames taken. `v2` answers the hello. */
  async enter({ v2 = true } = {}) {
    await within(this.opened, "open");
    this.send({ type: "auth", token: TOKEN });
    const hello = await this.next("hello");
    const { status } = await this.next("status");
    if (v2) {
      this.send({ type: "hello", v: 2 });
    }
    return { hello, status };
  }

  close() {
    this.socket.close();
    return within(this.closed, "close");
  }
}

/** Every part of the bridge but the process. Nothing else differs from main.mjs. */
export async function scene(test, { limits: changed = {}, state = folder(test), later = setTimeout, random = () => 0 } = {}) {
  const limits = { ...LIMITS, ...changed };
  const logged = new Arrivals();
  const log = (event, fields = {}) => logged.add({ event, ...fields });
  const faults = [];
  const fatal = (error) => faults.push(error);
  const told = new Arrivals();
  const fake = new FakeWhatsapp((record) => told.add(record));
  const queue = new Queue(path.join(state, "queue.jsonl"), { limits, log });
  const sent = new Sent(path.join(state, "sent.jsonl"), { limits });
  queue.load((frame) => withoutMedia(frame, undefined, "the bridge was restarted"));
  sent.load();
  const mediaFolder = path.join(state, "media");
  fs.mkdirSync(mediaFolder, { recursive: true });
  const media = new Media(mediaFolder, { limits });
  const whatsapp = new Whatsapp({ makeSocket: fake.makeSocket, media, limits, log, fatal, later, random });
  const outbox = new Outbox({ whatsapp, sent, limits, log, fatal });
  const bridge = new Bridge({ token: TOKEN, limits, queue, outbox, log, fatal });
  whatsapp.onMessage = (frame, missing) => bridge.receive(frame, missing);
  whatsapp.onStatus = (status) => bridge.setStatus(status);
  whatsapp.onQr = (qr) => bridge.setQr(qr);
  const port = await bridge.listen("127.0.0.1", 0);
  await whatsapp.start();
  const clients = [];
  test.after(async () => {
    whatsapp.stop();
    clients.forEach((client) => client.socket.terminate());
    await bridge.stop();
    assert.deepEqual(faults, []);
  });
  const connect = (options) => {
    const client = new Client(port, options);
    clients.push(client);
    return client;
  };
  const follow = (...steps) => steps.forEach((step) => fake.follow(step));
  return { port, connect, follow, told, logged, queue, sent, whatsapp, bridge, mediaFolder, state, limits };
}

/** A step of the script: somebody writes. */
export function says(id, text, more = {}) {
  return { do: "message", id, from: CHAT, text, ...more };
}

/** How often the tests with real crashes do it, 4 to 200: RP_TEST_CASES. */
export const ROUNDS = Math.max(4, Math.min(200, Number(process.env.RP_TEST_CASES) || 0));

/** Numbers below `below` from RP_TEST_SEED, which is printed. */
export function randomFor(test) {
  const seed = Number(process.env.RP_TEST_SEED) || Date.now() % 1_000_000;
  test.diagnostic(`seed ${seed}`);
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** The real program with `--fake`. */
export class Program {
  told = new Arrivals();
  stderr = "";

  constructor(state, { limits = {}, environment = {}, args = ["--fake"] } = {}) {
    this.child = spawn(process.execPath, [MAIN, ...args], {
      env: {
        PATH: process.env.PATH,
        BRIDGE_TOKEN: TOKEN,
        BRIDGE_PORT: "0",
        BRIDGE_STATE_DIR: state,
        BRIDGE_TEST_LIMITS: JSON.stringify(limits),
        ...environment,
      },
    });
    createInterface({ input: this.child.stdout }).on("line", (line) => this.told.add(parsed(line)));
    this.child.stderr.on("data", (data) => (this.stderr += data));
    this.child.stdin.on("error", () => {});
    this.ended = new Promise((resolve) => this.child.once("close", (code, signal) => resolve(code ?? signal)));
  }

  async port() {
    return (await this.told.next((record) => record.event === "listening", "listening")).port;
  }

  follow(...steps) {
    this.child.stdin.write(steps.map((step) => `${JSON.stringify(step)}\n`).join(""));
  }

  async kill(signal = "SIGKILL") {
    this.child.kill(signal);
    return within(this.ended, `end after ${signal}`);
  }
}

function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return { line };
  }
}
