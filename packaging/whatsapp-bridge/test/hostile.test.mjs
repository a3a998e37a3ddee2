// Frames that nobody should send. None ends the bridge, none is sent to WhatsApp, each gets exactly one answer.

import assert from "node:assert/strict";
import net from "node:net";
import test from "node:test";

import { CHAT, TOKEN, randomFor, says, scene, within } from "./support.mjs";

const to = CHAT;
const deep = (depth) => "[".repeat(depth) + "]".repeat(depth);

/** [frame, phrase]; the frames are of an authenticated v2 client. */
const FRAMES = [
  ["", "bad_frame"],
  [" ", "bad_frame"],
  ["{", "bad_frame"],
  ["}", "bad_frame"],
  ["null", "bad_frame"],
  ["true", "bad_frame"],
  ["0", "bad_frame"],
  ["-1e999", "bad_frame"],
  ['"send"', "bad_frame"],
  ["[]", "bad_frame"],
  ['[{"type":"send"}]', "bad_frame"],
  ["{}{}", "bad_frame"],
  ["\ufeff{}", "bad_frame"],
  ["{'type':'send'}", "bad_frame"],
  ['{"type":"send",}', "bad_frame"],
  ["\0", "bad_frame"],
  [deep(10_000), "bad_frame"],
  [`{"type":${deep(10_000)}}`, "unknown_type"],
  [Buffer.from([0xff, 0x00]), "bad_frame"],
  [Buffer.from(JSON.stringify({ type: "send", to, text: "binary" })), "bad_frame"],
  [Buffer.alloc(0), "bad_frame"],
  ["{}", "unknown_type"],
  [{ type: null }, "unknown_type"],
  [{ type: 5 }, "unknown_type"],
  [{ type: ["send"] }, "unknown_type"],
  [{ type: "SEND", to, text: "x" }, "unknown_type"],
  [{ type: "send ", to, text: "x" }, "unknown_type"],
  [{ type: "auth", token: TOKEN }, "unknown_type"],
  [{ type: "message", to, content: "x" }, "unknown_type"],
  [{ type: "sent", to }, "unknown_type"],
  [{ type: "status", status: "connected" }, "unknown_type"],
  [{ type: "__proto__" }, "unknown_type"],
  [{ type: "constructor" }, "unknown_type"],
  ['{"__proto__":{"type":"send"},"to":"1@lid","text":"x"}', "unknown_type"],
  [{ type: "ack" }, "bad_id"],
  [{ type: "ack", id: null }, "bad_id"],
  [{ type: "ack", id: 7 }, "bad_id"],
  [{ type: "ack", id: "" }, "bad_id"],
  [{ type: "ack", id: "x".repeat(201) }, "bad_id"],
  [{ type: "ack", id: { length: 1 } }, "bad_id"],
  [{ type: "send", id: "", to, text: "x" }, "bad_id"],
  [{ type: "send", id: 1, to, text: "x" }, "bad_id"],
  [{ type: "send", id: "\ud800", to, text: "x" }, "bad_id"],
  [{ type: "send", id: ["a"], to, text: "x" }, "bad_id"],
  [{ type: "send" }, "bad_to"],
  [{ type: "send", to: "", text: "x" }, "bad_to"],
  [{ type: "send", to: 4917, text: "x" }, "bad_to"],
  [{ type: "send", to: [to], text: "x" }, "bad_to"],
  [{ type: "send", to: "4917", text: "x" }, "bad_to"],
  [{ type: "send", to: "status@broadcast", text: "x" }, "bad_to"],
  [{ type: "send", to: "1@newsletter", text: "x" }, "bad_to"],
  [{ type: "send", to: "@s.whatsapp.net", text: "x" }, "bad_to"],
  [{ type: "send", to: "1@s.whatsapp.net\n", text: "x" }, "bad_to"],
  [{ type: "send", to: "1@sxwhatsapp.net", text: "x" }, "bad_to"],
  [{ type: "send", to: `${"1".repeat(80)}@lid`, text: "x" }, "bad_to"],
  [{ type: "send", to: "1:2@s.whatsapp.net", text: "x" }, "bad_to"],
  [{ type: "send", to: "../1@lid", text: "x" }, "bad_to"],
  [{ type: "send", to }, "bad_text"],
  [{ type: "send", to, text: "" }, "bad_text"],
  [{ type: "send", to, text: null }, "bad_text"],
  [{ type: "send", to, text: { toString: 1 } }, "bad_text"],
  [{ type: "send", to, text: "x".repeat(65_537) }, "bad_text"],
  [{ type: "send_media", to }, "bad_media"],
  [{ type: "send_media", to, filePath: "/etc/shadow", mimetype: "text/plain" }, "bad_media"],
  [{ type: "send_media", to, filePath: "https://example.org/x.png", mimetype: "image/png" }, "bad_media"],
  [{ type: "send_media", to, filePath: ["/etc/shadow"], mimetype: "text/plain" }, "bad_media"],
  [{ type: "send_media", filePath: "/x", mimetype: "a/b" }, "bad_to"],
];

test("hostile frames get one error each, and the connection goes on", async (t) => {
  assert.ok(FRAMES.length >= 60);
  const { connect, follow, told } = await scene(t);
  follow({ do: "open" });
  const client = connect();
  await client.enter();
  for (const [frame, phrase] of FRAMES) {
    client.send(frame);
    const answer = await client.frames.next(({ type }) => type === "error" || type === "sent", "an answer");
    assert.equal(answer.error, phrase, typeof frame === "string" ? frame.slice(0, 80) : JSON.stringify(frame).slice(0, 80));
  }
  assert.ok(told.all.every((record) => record.event !== "send"));
  follow(says("after", "still here"));
  assert.equal((await client.next("message")).id, "after");
  assert.equal(client.frames.all.filter(({ type }) => type === "error").length, 0);
});

test("what breaks the websocket protocol ends that connection and no other thing", async (t) => {
  const { connect, port, follow } = await scene(t);
  const tooLarge = connect();
  await tooLarge.enter();
  tooLarge.send(`"${"x".repeat(1024 * 1024)}"`);
  assert.equal((await within(tooLarge.closed, "close"))[0], 1009);
  const upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
  const raw = [
    Buffer.from("\0\0\0\0"),
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    Buffer.from(`GET / HTTP/1.1\r\nX: ${"x".repeat(20_000)}\r\n\r\n`),
    Buffer.from(upgrade.replace("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Key: x")),
    Buffer.from(upgrade.replace("Version: 13", "Version: 5")),
    // Unmasked, reserved bits, a reserved operation, a fragmented ping, a text that is not UTF-8, a length of 2^63.
    ...["8102 7b7d", "f180 00000000", "8b80 00000000", "0980 00000000", "8182 00000000 fffe", "81ff ffffffffffffffff"].map(
      (bytes) => Buffer.concat([Buffer.from(upgrade), Buffer.from(bytes.replaceAll(" ", ""), "hex")]),
    ),
  ];
  for (const bytes of raw) {
    const socket = net.connect(port, "127.0.0.1", () => socket.write(bytes));
    socket.on("error", () => {});
    socket.resume();
    await within(new Promise((resolve) => socket.once("close", resolve)), `the end of ${bytes.toString("latin1").slice(-20)}`);
  }
  const client = connect();
  await client.enter();
  follow(says("after", "still here"));
  assert.equal((await client.next("message")).id, "after");
});

test("random bytes and cut frames never end the bridge", async (t) => {
  const random = randomFor(t);
  const { connect, follow } = await scene(t, { limits: { ANSWERS_MAX: 100_000 } });
  const client = connect();
  await client.enter();
  const good = JSON.stringify({ type: "send", id: "r/1", to, text: "x" });
  for (let count = 0; count < 1000; count += 1) {
    const bytes = Buffer.from(good);
    for (let change = random(4); change >= 0; change -= 1) {
      bytes[random(bytes.length)] = 32 + random(95);
    }
    client.send(bytes.toString("latin1", 0, random(bytes.length + 1)));
  }
  for (let count = 0; count < 1000; count += 1) {
    await client.frames.next(({ type }) => type === "error" || type === "sent", "an answer");
  }
  follow(says("after", "still here"));
  assert.equal((await client.next("message")).id, "after");
});
