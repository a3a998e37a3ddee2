// The program: reads settings, wires the parts, and ends. Usage and settings are in README.md.

import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { Bridge } from "./bridge.mjs";
import { containerAddress, phoneSetting, readSettings, readToken } from "./config.mjs";
import { EXIT, Fault } from "./faults.mjs";
import { FakeWhatsapp, followScript } from "./fake.mjs";
import { LIMITS } from "./limits.mjs";
import { link } from "./link.mjs";
import { closeConsole, makeLog } from "./log.mjs";
import { Media } from "./media.mjs";
import { Outbox } from "./outbox.mjs";
import { Queue } from "./queue.mjs";
import { Sent } from "./sent.mjs";
import { lock, openFolder } from "./state.mjs";
import { withoutMedia } from "./translate.mjs";
import { Whatsapp } from "./whatsapp.mjs";

const USAGE = `usage: node src/main.mjs                       run the bridge
       node src/main.mjs --link [--phone N]   link this device, by QR code or by pairing code
       node src/main.mjs --fake               for tests: WhatsApp is a script on standard input
`;

const log = makeLog();

function readArguments() {
  try {
    const options = {
      link: { type: "boolean" },
      phone: { type: "string" },
      fake: { type: "boolean" },
      help: { type: "boolean" },
    };
    return parseArgs({ options, allowPositionals: false }).values;
  } catch {
    process.stderr.write(USAGE);
    throw new Fault(EXIT.USAGE, "unknown arguments");
  }
}

/** Tests shorten limits; a program that talks to WhatsApp has the ones of limits.mjs. */
function limitsFor(isFake) {
  return isFake && process.env.BRIDGE_TEST_LIMITS
    ? { ...LIMITS, ...JSON.parse(process.env.BRIDGE_TEST_LIMITS) }
    : LIMITS;
}

function tell(record) {
  process.stdout.write(`${JSON.stringify(record)}\n`);
}

let unlock = () => {};

function exit(code) {
  unlock();
  process.exit(code);
}

function fatal(error) {
  if (error instanceof Fault) {
    log("end", { code: error.code, reason: error.message });
    exit(error.code);
  }
  // The message may hold what others wrote; the place is ours.
  const place = String(error?.stack ?? "").split("\n").find((line) => line.includes("at ")) ?? "";
  log("end", { code: EXIT.BUG, reason: "bug", kind: error?.constructor?.name ?? typeof error, place: place.trim() });
  exit(EXIT.BUG);
}

async function makeSocketMaker(settings, limits, fake) {
  // Also where its socket is scripted: a program that is shown to work has all of its parts.
  const { socketMaker } = await import("./baileys.mjs").catch(() => {
    throw new Fault(EXIT.CONFIGURATION, "the library cannot be loaded: install it with npm ci");
  });
  if (fake) {
    return fake.makeSocket;
  }
  const keysFolder = path.join(settings.stateFolder, "keys");
  return socketMaker({ keysFolder, version: settings.version, limits, fatal });
}

function openQueue(settings, limits) {
  const queue = new Queue(path.join(settings.stateFolder, "queue.jsonl"), { limits, log });
  queue.load((frame) => withoutMedia(frame, undefined, "the bridge was restarted"));
  return queue;
}

async function runLink({ settings, makeSocket, media, limits, fake, phone }) {
  const queue = openQueue(settings, limits);
  let latest = null;
  const making = async () => (latest = await makeSocket());
  making.latest = () => latest;
  const { default: qrcode } = await import("qrcode-terminal");
  const show = (line) => process.stdout.write(`${line}\n`);
  const whatsapp = new Whatsapp({ makeSocket: making, media, limits, log, fatal });
  // What comes in the first seconds has its receipt, and no other place: it waits for the bridge.
  whatsapp.onMessage = (frame, missing) => queue.put(frame, missing?.waitsFor);
  if (fake) {
    followScript(fake, process.stdin, tell, () => {});
  }
  const showQr = (text) => qrcode.generate(text, { small: true }, (picture) => show(picture));
  const code = await link({ makeSocket: making, whatsapp, phone, show, showQr, settleMs: limits.LINK_SETTLE_MS });
  whatsapp.stop();
  exit(code);
}

async function runBridge({ settings, token, makeSocket, media, limits, fake }) {
  const queue = openQueue(settings, limits);
  const sent = new Sent(path.join(settings.stateFolder, "sent.jsonl"), { limits });
  sent.load();
  const whatsapp = new Whatsapp({ makeSocket, media, limits, log, fatal });
  const outbox = new Outbox({ whatsapp, sent, limits, log, fatal });
  const bridge = new Bridge({ token, limits, queue, outbox, log, fatal });
  whatsapp.onMessage = (frame, missing) => bridge.receive(frame, missing);
  whatsapp.onStatus = (status) => bridge.setStatus(status);
  whatsapp.onQr = (qr) => bridge.setQr(qr);
  const host = settings.host === "container" ? containerAddress(os.networkInterfaces()) : settings.host;
  const port = await bridge.listen(host, settings.port);
  log("start", { host, port, waiting: queue.size });
  const stop = once(() => stopAll({ whatsapp, bridge, queue, limits }));
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  whatsapp.start();
  if (fake) {
    tell({ event: "listening", port });
    followScript(fake, process.stdin, tell, stop);
  }
}

function once(act) {
  let isDone = false;
  return () => {
    if (!isDone) {
      isDone = true;
      act();
    }
  };
}

/** Ends within STOP_MS, whoever does not answer. What is promised is on disk already: nothing is to be closed. */
async function stopAll({ whatsapp, bridge, queue, limits }) {
  setTimeout(() => exit(EXIT.DONE), limits.STOP_MS);
  whatsapp.stop();
  await bridge.stop();
  log("end", { code: EXIT.DONE, waiting: queue.size });
  exit(EXIT.DONE);
}

async function main() {
  process.umask(0o077);
  closeConsole();
  process.on("uncaughtException", fatal);
  // The library forgets some of its promises when a connection ends; that is no reason to stop.
  process.on("unhandledRejection", (error) => (error instanceof Fault ? fatal(error) : log("library_fault")));
  const given = readArguments();
  if (given.help) {
    process.stdout.write(USAGE);
    exit(EXIT.DONE);
  }
  const settings = readSettings(process.env);
  const phone = given.phone === undefined ? undefined : phoneSetting(given.phone);
  const token = given.link ? undefined : readToken(process.env);
  const limits = limitsFor(given.fake);
  openFolder(settings.stateFolder);
  unlock = lock(settings.stateFolder);
  openFolder(settings.mediaFolder);
  const fake = given.fake ? new FakeWhatsapp(tell) : undefined;
  const makeSocket = await makeSocketMaker(settings, limits, fake);
  const media = new Media(settings.mediaFolder, { limits });
  await (given.link
    ? runLink({ settings, makeSocket, media, limits, fake, phone })
    : runBridge({ settings, token, makeSocket, media, limits, fake }));
}

main().catch(fatal);
