// The real library: that it is what src/baileys.mjs takes it for. No test here leaves this machine.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { WebSocketServer } from "ws";

import { socketMaker } from "../src/baileys.mjs";
import { LIMITS } from "../src/limits.mjs";
import { REASON } from "../src/reconnect.mjs";
import { Whatsapp } from "../src/whatsapp.mjs";
import { Arrivals, folder } from "./support.mjs";

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
  for (const name of ["makeCacheableSignalKeyStore", "initAuthCreds", "downloadMediaMessage", "normalizeMessageContent"]) {
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
