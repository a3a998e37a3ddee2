// The real library: that it is what src/baileys.mjs takes it for. No test here leaves this machine.

import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import test from "node:test";
import { WebSocketServer } from "ws";

import { socketMaker } from "../src/baileys.mjs";
import { Keys } from "../src/keys.mjs";
import { LIMITS } from "../src/limits.mjs";
import { Media } from "../src/media.mjs";
import { REASON } from "../src/reconnect.mjs";
import { translate } from "../src/translate.mjs";
import { Whatsapp } from "../src/whatsapp.mjs";
import { Arrivals, folder, within } from "./support.mjs";

test("its reasons for an end have the numbers that we know, and no others", async () => {
  const { DisconnectReason } = await import("baileys");
  const theirs = Object.entries(DisconnectReason).filter(([, value]) => typeof value === "number");
  for (const [name, value] of theirs) {
    assert.equal(name === "timedOut" ? REASON.connectionLost : REASON[name], value, name);
  }
  assert.ok(theirs.length >= 9);
});

test("its socket connects where it is told, tells the end, and is made anew; keys are stored", async (t) => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => server.once("listening", resolve));
  t.after(() => server.close());
  const knocks = new Arrivals();
  server.on("connection", (websocket) => {
    knocks.add(websocket);
    // Its first words are of the Noise handshake; what answers is no WhatsApp.
    websocket.once("message", (data) => {
      assert.equal(data.subarray(0, 2).toString(), "WA");
      websocket.terminate();
    });
  });
  const keysFolder = path.join(folder(t), "keys");
  const log = new Arrivals();
  const fatal = (error) => assert.fail(error);
  const options = { waWebSocketUrl: `ws://127.0.0.1:${server.address().port}` };
  const limits = { ...LIMITS, RECONNECT_FLOOR_MS: 1 };
  const makeSocket = socketMaker({ keysFolder, version: undefined, limits, fatal, options });
  const whatsapp = new Whatsapp({
    makeSocket, media: undefined, limits, log: (event, fields) => log.add({ event, ...fields }), fatal, random: () => 0,
  });
  t.after(() => whatsapp.stop());
  whatsapp.start();
  for (let count = 0; count < 3; count += 1) {
    await knocks.next(() => true, "a connection");
    const end = await log.next((line) => line.status === "disconnected", "an end");
    assert.equal(end.code, 428);
  }
  await assert.rejects(whatsapp.send("1@lid", "x", "3EB0"), { phrase: "not_connected" });
  assert.equal(fs.statSync(keysFolder).mode & 0o777, 0o700);
});

test("it has the parts that the bridge uses, and finds what a message is made of as we do", async () => {
  const library = await import("baileys");
  for (const name of ["makeCacheableSignalKeyStore", "initAuthCreds", "getMediaKeys", "extractMessageContent", "getContentType"]) {
    assert.equal(typeof library[name], "function", name);
  }
  const creds = library.initAuthCreds();
  const { replacer, reviver } = library.BufferJSON;
  const back = JSON.parse(JSON.stringify(creds, replacer), reviver);
  assert.deepEqual(back.noiseKey.private, Buffer.from(creds.noiseKey.private));
  const encoded = library.proto.Message.encode({ extendedTextMessage: { text: "hi", contextInfo: { isForwarded: true } } }).finish();
  const decoded = library.proto.Message.decode(encoded);
  assert.deepEqual([decoded.extendedTextMessage.text, decoded.extendedTextMessage.contextInfo.isForwarded], ["hi", true]);
});

test("a text is sent without fetching what it links to, under the id that we choose", async () => {
  const library = await import("baileys");
  const getUrlInfo = () => assert.fail("a preview was asked for");
  const settings = { userJid: "1@s.whatsapp.net", messageId: "3EB0AA", getUrlInfo, logger: undefined };
  const made = await library.generateWAMessage("2@s.whatsapp.net", { text: "see https://example.org", linkPreview: null }, settings);
  assert.equal(made.key.id, "3EB0AA");
  assert.equal(made.message.extendedTextMessage?.text ?? made.message.conversation, "see https://example.org");
});

/** A socket of the library, and the server that it believes to be WhatsApp. */
async function socketOf(t, keysFolder = path.join(folder(t), "keys")) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => server.once("listening", resolve));
  t.after(() => server.close());
  const options = { waWebSocketUrl: `ws://127.0.0.1:${server.address().port}` };
  const fatal = (error) => assert.fail(error);
  const socket = await socketMaker({ keysFolder, limits: LIMITS, fatal, options })();
  t.after(() => socket.end(undefined));
  return { socket, server };
}

test("it tells the number that it has learned for a LID, and nothing that it has not", async (t) => {
  const keysFolder = path.join(folder(t), "keys");
  new Keys(keysFolder, await import("baileys"), assert.fail).load().state.keys.set({ "lid-mapping": { "8812345_reverse": "4917012345" } });
  const { socket } = await socketOf(t, keysFolder);
  assert.equal(await socket.numberOf("8812345@lid"), CHAT);
  assert.equal(await socket.numberOf("999@lid"), "");
});

const CHAT = "4917012345@s.whatsapp.net";
const held = (id, text) => ({ type: "append", messages: [{ key: { id, remoteJid: CHAT, fromMe: false }, message: { conversation: text } }] });

test("what the library holds back while it catches up gets out when the connection ends", async (t) => {
  // WhatsApp has the receipts of such messages, and never sends them again.
  const { socket, server } = await socketOf(t);
  const got = new Arrivals();
  socket.ev.on("messages.upsert", ({ messages }) => messages.forEach((message) => got.add(message)));
  const closed = new Promise((resolve) => socket.ev.on("connection.update", ({ connection }) => connection === "close" && resolve()));
  server.on("connection", (websocket) => websocket.once("message", () => websocket.terminate()));
  socket.ev.buffer();
  socket.ev.emit("messages.upsert", held("A", "hi"));
  await within(closed, "the end");
  assert.deepEqual(got.all.map((message) => message.key.id), ["A"]);
});

test("a message that was edited while the library held it back is forwarded as it is now", async (t) => {
  const { socket } = await socketOf(t);
  const got = new Arrivals();
  socket.ev.on("messages.upsert", ({ messages }) => messages.forEach((message) => got.add(message)));
  socket.ev.buffer();
  socket.ev.emit("messages.upsert", held("A", "helo"));
  const update = { message: { editedMessage: { message: { conversation: "hello" } } }, messageTimestamp: 7 };
  socket.ev.emit("messages.update", [{ key: { id: "A", remoteJid: CHAT, fromMe: false }, update }]);
  socket.ev.flush();
  assert.deepEqual(got.all.map((message) => translate(message, undefined, LIMITS)?.frame.content), ["hello"]);
});

test("a download that breaks off is media that is not stored, and does not end the program", async (t) => {
  const { proto } = await import("baileys");
  const server = http.createServer((_, response) => {
    response.writeHead(200, { "content-length": 100_000 });
    response.write(Buffer.alloc(5_000));
    setImmediate(() => response.socket.resetAndDestroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const asked = [];
  const real = globalThis.fetch;
  globalThis.fetch = (address, settings) => {
    asked.push(String(address));
    return real(`http://127.0.0.1:${server.address().port}`, { ...settings, dispatcher: undefined });
  };
  t.after(() => ((globalThis.fetch = real), server.close()));
  const { socket } = await socketOf(t);
  const imageMessage = { url: "https://192.168.1.1/admin", directPath: "/v/x", mimetype: "image/png", mediaKey: Buffer.alloc(32, 7) };
  const message = { key: { id: "A", remoteJid: CHAT }, message: proto.Message.fromObject({ imageMessage }) };
  const media = new Media(folder(t), { limits: LIMITS });
  const stored = await media.store("A", { kind: "image", mimetype: "image/png", bytes: 9 }, () => socket.download(message));
  assert.deepEqual(stored, { reason: "not available" });
  assert.deepEqual(asked, ["https://mmg.whatsapp.net/v/x"], "no host that the author chose");
});

test("keys that cannot be kept or read end the program: the library would go on without them", async (t) => {
  const library = await import("baileys");
  const place = path.join(folder(t), "keys");
  const faults = [];
  const { state } = new Keys(place, library, (fault) => faults.push(fault.code)).load();
  await state.keys.set({ session: { a: { x: 1 } } });
  assert.deepEqual(await state.keys.get("session", ["a", "b"]), { a: { x: 1 }, b: null });
  fs.rmSync(place, { recursive: true });
  fs.writeFileSync(place, "");
  await assert.rejects(state.keys.set({ session: { a: { x: 2 } } }));
  await assert.rejects(state.keys.get("session", ["a"]));
  assert.deepEqual(faults, [74, 74]);
});
