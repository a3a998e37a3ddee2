// Messages from WhatsApp to the client: kept until acked, in order, within limits, over restarts and kill -9.

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import test from "node:test";

import { libraryMessage } from "../src/fake.mjs";
import { LIMITS } from "../src/limits.mjs";
import { Media } from "../src/media.mjs";
import { Queue } from "../src/queue.mjs";
import { Whatsapp } from "../src/whatsapp.mjs";
import { CHAT, Client, GROUP, Program, ROUNDS, folder, randomFor, says, scene, within } from "./support.mjs";

const PNG = Buffer.from("89504e470d0a1a0a", "hex").toString("base64");

async function take(client, count) {
  const taken = [];
  for (let index = 0; index < count; index += 1) {
    taken.push(await client.next("message"));
  }
  return taken;
}

const ids = (frames) => frames.map((frame) => frame.id);

test("a message stays until its ack and comes again after a reconnect, in order", async (t) => {
  const { connect, follow, queue } = await scene(t);
  let client = connect();
  await client.enter();
  follow(says("a", "1"), says("b", "2"), says("c", "3"));
  assert.deepEqual(ids(await take(client, 3)), ["a", "b", "c"]);
  client.send({ type: "ack", id: "b" });
  await client.close();
  client = connect();
  await client.enter();
  assert.deepEqual(ids(await take(client, 2)), ["a", "c"]);
  client.send({ type: "ack", id: "a" });
  client.send({ type: "ack", id: "c" });
  await client.close();
  assert.equal(queue.size, 0);
  client = connect();
  await client.enter();
  follow(says("d", "4"));
  assert.deepEqual(ids(await take(client, 1)), ["d"]);
  await client.close();
});

test("an ack that was heard counts after a restart, and a repeat by WhatsApp does not bring the message back", async (t) => {
  const state = folder(t);
  const first = await scene(t, { state });
  const client = first.connect();
  await client.enter();
  first.follow(says("a", "1"), says("b", "2"));
  await take(client, 2);
  client.send({ type: "ack", id: "a" });
  client.send("{");
  await client.next("error");
  first.queue.close();
  const second = await scene(t, { state });
  second.follow(says("a", "1"), says("c", "3"));
  const next = second.connect();
  await next.enter();
  assert.deepEqual(ids(await take(next, 2)), ["b", "c"]);
});

test("within one connection a message is sent once", async (t) => {
  const { connect, follow } = await scene(t);
  const client = connect();
  await client.enter();
  follow(says("a", "1"));
  await client.next("message");
  follow({ do: "close", code: 428 }, says("b", "2"));
  client.send({ type: "hello", v: 2 });
  client.send({ type: "ack", id: "nobody knows" });
  assert.deepEqual(ids(await take(client, 1)), ["b"]);
});

test("plain N gets each message once, and nothing from before", async (t) => {
  const { connect, follow, queue } = await scene(t, { limits: { HELLO_MS: 20 } });
  follow(says("before", "1"));
  let client = connect();
  await client.enter({ v2: false });
  follow(says("now", "2"));
  assert.deepEqual(ids(await take(client, 1)), ["now"]);
  await client.close();
  follow(says("between", "3"));
  client = connect();
  await client.enter({ v2: false });
  follow(says("later", "4"));
  assert.deepEqual(ids(await take(client, 1)), ["later"]);
  await client.close();
  // What was not given to it is still there for a client that can take it over.
  assert.deepEqual([...queue.entries()].map((entry) => entry.frame.id), ["before", "between"]);
  client = connect();
  await client.enter();
  assert.deepEqual(ids(await take(client, 2)), ["before", "between"]);
});

test("a hello that comes late still gets the backlog", async (t) => {
  const { connect, follow } = await scene(t, { limits: { HELLO_MS: 10 } });
  follow(says("before", "1"));
  const client = connect();
  await client.enter({ v2: false });
  follow(says("now", "2"));
  assert.deepEqual(ids(await take(client, 1)), ["now"]);
  client.send({ type: "hello", v: 2 });
  assert.deepEqual(ids(await take(client, 1)), ["before"]);
});

test("a hello of another version is plain N", async (t) => {
  const { connect, follow, queue } = await scene(t);
  for (const [index, v] of [1, 0, -2, "2", null, 2.5, undefined, [2]].entries()) {
    const client = connect();
    await client.enter({ v2: false });
    client.send({ type: "hello", v });
    follow(says(`m${index}`, "x"));
    await client.next("message");
    await client.close();
    assert.equal(queue.size, 0, `${v}`);
  }
});

test("no more than 64 messages wait for acks", async (t) => {
  const { connect, follow, limits } = await scene(t);
  const client = connect();
  await client.enter();
  for (let id = 0; id < limits.UNACKED_MAX + 2; id += 1) {
    follow(says(`m${id}`, "x"));
  }
  await take(client, limits.UNACKED_MAX);
  // An answer that comes now proves that nothing else was under way before it.
  client.send("{");
  await client.next("error");
  assert.equal(client.frames.all.filter((frame) => frame.type === "message").length, 0);
  client.send({ type: "ack", id: "m5" });
  assert.deepEqual(ids(await take(client, 1)), [`m${limits.UNACKED_MAX}`]);
});

test("at the limits the oldest are given up, counted, and the count survives", async (t) => {
  const state = folder(t);
  const first = await scene(t, { state, limits: { QUEUE_MESSAGES_MAX: 3 } });
  first.follow(...["a", "b", "c", "d", "e"].map((id) => says(id, "x")));
  assert.equal(first.queue.dropped, 2);
  first.queue.close();
  const second = await scene(t, { state, limits: { QUEUE_MESSAGES_MAX: 3 } });
  const client = second.connect();
  const { hello } = await client.enter();
  assert.equal(hello.dropped, 2);
  assert.deepEqual(ids(await take(client, 3)), ["c", "d", "e"]);
});

test("bytes and age are limits too", async (t) => {
  const { follow, queue, logged } = await scene(t, { limits: { QUEUE_BYTES_MAX: 3000 } });
  follow(...["a", "b", "c", "d"].map((id) => says(id, "x".repeat(1000))));
  assert.deepEqual([...queue.entries()].map((entry) => entry.frame.id), ["c", "d"]);
  assert.deepEqual(logged.all.filter((line) => line.limit === "bytes").map((line) => line.id), ["a", "b"]);
  const aged = await scene(t, { limits: { QUEUE_AGE_MS: -1 } });
  aged.follow(says("old", "x"));
  aged.queue.expire();
  assert.equal(aged.queue.size, 0);
  assert.equal(aged.logged.all.find((line) => line.limit === "age").id, "old");
});

test("WhatsApp's own repeats are passed on once, another author's equal id is another message", async (t) => {
  const { connect, follow } = await scene(t);
  const client = connect();
  await client.enter();
  const inGroup = (participant) => ({ ...says("same", "x"), from: GROUP, participant });
  follow(says("same", "1"), says("same", "1"), inGroup("491@s.whatsapp.net"), inGroup("492@s.whatsapp.net"));
  assert.deepEqual(ids(await take(client, 3)), ["same", "same", "same"]);
  for (let count = 0; count < 3; count += 1) {
    client.send({ type: "ack", id: "same" });
  }
  client.send("{");
  await client.next("error");
  follow(says("same", "1"), says("next", "2"));
  assert.deepEqual(ids(await take(client, 1)), ["next"]);
});

test("media is stored, listed by path, and keeps the order of its chat only", async (t) => {
  const { connect, follow, mediaFolder } = await scene(t);
  const client = connect();
  await client.enter();
  follow(
    { do: "message", id: "photo", from: CHAT, media: { mimetype: "image/png", base64: PNG, caption: "../../etc/passwd" } },
    says("after", "text"),
  );
  const [photo, after] = await take(client, 2);
  assert.deepEqual([photo.id, after.id, photo.content], ["photo", "after", "../../etc/passwd"]);
  assert.equal(path.dirname(photo.media[0]), mediaFolder);
  assert.equal(fs.readFileSync(photo.media[0]).toString("base64"), PNG);
  assert.equal(fs.statSync(photo.media[0]).mode & 0o777, 0o600);
});

test("media that is too large, too slow or gone is said in the content", async (t) => {
  const photo = (id, bytes) => ({
    do: "message", id, from: CHAT, media: { mimetype: "image/png", base64: Buffer.alloc(bytes).toString("base64") },
  });
  const { connect, follow, mediaFolder } = await scene(t, { limits: { MEDIA_BYTES_MAX: 100 } });
  const client = connect();
  await client.enter();
  follow(photo("small", 100), photo("large", 101));
  const [small, large] = await take(client, 2);
  assert.equal(small.media.length, 1);
  assert.deepEqual([large.content, large.media], ["[image not stored: too large]", undefined]);
  // The size that the sender claims is not believed.
  follow({ do: "raw", message: {
    key: { id: "liar", remoteJid: CHAT }, messageTimestamp: { low: 5, high: 0 }, fakeBytes: Buffer.alloc(500).toString("base64"),
    message: { documentMessage: { mimetype: "x/../../y", fileLength: { low: 1, high: 0 }, caption: "see" } },
  } });
  const [liar] = await take(client, 1);
  assert.deepEqual([liar.content, liar.timestamp], ["see\n[document not stored: too large]", 5]);
  follow({ do: "raw", message: { key: { id: "gone", remoteJid: CHAT }, message: { audioMessage: { mimetype: "audio/ogg" } } } });
  assert.equal((await take(client, 1))[0].content, "[audio not stored: not available]");
  assert.equal(fs.readdirSync(mediaFolder).length, 1);
});

test("downloads are limited: late ones are given up, and more than may wait are not begun", async (t) => {
  const limits = { ...LIMITS, DOWNLOADS_MAX: 1, DOWNLOADS_WAITING_MAX: 2, MEDIA_MS: 30 };
  const media = new Media(folder(t), { limits });
  const image = { kind: "image", mimetype: "image/png", bytes: 1 };
  const opened = [];
  const stalls = () => new Promise((resolve) => opened.push(resolve));
  const all = [1, 2, 3, 4].map((key) => media.store(String(key), image, stalls));
  assert.deepEqual(await Promise.all(all), ["too slow", "too slow", "too slow", "too many"].map((reason) => ({ reason })));
  assert.equal(opened.length, 3);
  const late = Readable.from(["x"]);
  opened[0](late);
  await new Promise((resolve) => late.once("close", resolve));
});

test("a place that becomes free has one taker", async (t) => {
  const media = new Media(folder(t), { limits: { ...LIMITS, DOWNLOADS_MAX: 1 } });
  const image = { kind: "image", mimetype: "image/png", bytes: 1 };
  let [running, most, third] = [0, 0, undefined];
  const open = async () => {
    running += 1;
    most = Math.max(most, running);
    // Its end is the moment between two: here comes a third.
    const destroy = () => {
      running -= 1;
      third ?? queueMicrotask(() => (third = media.store("3", image, open)));
    };
    return { destroy, async *[Symbol.asyncIterator]() { yield Buffer.from("x"); } };
  };
  const stored = await Promise.all([media.store("1", image, open), media.store("2", image, open)]);
  assert.ok([...stored, await third].every(({ path: place }) => place !== undefined));
  assert.equal(most, 1);
});

test("media of a group is fetched only from messages that mean the account", async (t) => {
  const { connect, follow, mediaFolder } = await scene(t);
  const client = connect();
  await client.enter();
  const media = { mimetype: "image/png", base64: PNG, caption: "look" };
  const shown = { do: "message", id: "shown", from: GROUP, participant: CHAT, media };
  follow(shown, { ...shown, id: "meant", mentions: ["4915100000000@s.whatsapp.net"] });
  const [first, second] = await take(client, 2);
  assert.deepEqual([first.content, first.media], ["look\n[image not stored: not for this account]", undefined]);
  assert.deepEqual([second.content, second.media.length], ["look", 1]);
  assert.equal(fs.readdirSync(mediaFolder).length, 1);
});

test("the number of an author who hides it is looked up once the message is on disk", async (t) => {
  const { connect, follow } = await scene(t);
  const client = connect();
  await client.enter();
  const lid = "8812345@lid";
  follow(
    { do: "message", id: "stranger", from: lid, text: "hi" },
    { do: "number", lid, pn: CHAT },
    { do: "message", id: "known", from: lid, text: "hi" },
    { do: "message", id: "meant", from: GROUP, participant: lid, text: "hi", mentions: ["4915100000000@s.whatsapp.net"] },
    { do: "message", id: "aside", from: GROUP, participant: lid, text: "hi" },
  );
  const got = await take(client, 4);
  assert.deepEqual(got.map(({ id, pn }) => [id, pn]), [["stranger", ""], ["known", CHAT], ["meant", CHAT], ["aside", ""]]);
});

test("a number that is not found in time does not hold a message up", async (t) => {
  const socket = { ev: new EventEmitter(), ws: new EventEmitter(), numberOf: () => new Promise(() => {}), end: () => {} };
  const fatal = (error) => assert.fail(error);
  const limits = { ...LIMITS, NUMBER_MS: 20 };
  const whatsapp = new Whatsapp({ makeSocket: async () => socket, media: undefined, limits, log: () => {}, fatal });
  const got = new Promise((resolve) => (whatsapp.onMessage = (frame, missing) => resolve({ frame, missing })));
  await whatsapp.start();
  t.after(() => whatsapp.stop());
  socket.ev.emit("messages.upsert", { messages: [libraryMessage({ id: "A", from: "8812345@lid", text: "hi" })] });
  const { frame, missing } = await got;
  assert.equal(missing.waitsFor, "number");
  assert.deepEqual(await within(missing.find(), "the frame"), frame);
});

test("after a restart a message that waited for a number is whole, and one that waited for media says so", async (t) => {
  const file = path.join(folder(t), "queue.jsonl");
  const log = (event) => assert.fail(event);
  const queue = new Queue(file, { limits: LIMITS, log });
  queue.load(() => assert.fail("nothing is there"));
  const frame = (id) => ({ id, sender: "8812345@lid", pn: "", content: "hi", timestamp: 1, isGroup: false });
  queue.put(frame("named"), "number");
  queue.put(frame("shown"), "media");
  queue.close();
  const next = new Queue(file, { limits: LIMITS, log });
  next.load((one) => ({ ...one, content: "lost" }));
  t.after(() => next.close());
  assert.deepEqual([...next.entries()].map((entry) => entry.frame.content), ["hi", "lost"]);
});

test("long and awkward contents fit in a frame of 256 KiB and say that they were cut", async (t) => {
  const { connect, follow, limits } = await scene(t);
  const client = connect();
  await client.enter();
  let longest = 0;
  client.socket.on("message", (data) => (longest = Math.max(longest, data.length)));
  follow(says("long", "ä".repeat(50_000)), says("escapes", "\u0001".repeat(65_536)), says("emoji", "🪶\ud800 end"));
  const [long, escapes, emoji] = await take(client, 3);
  assert.deepEqual([long.content.length, long.truncated], [32_768, true]);
  assert.ok(escapes.truncated && escapes.content.length >= 32_000);
  assert.equal(emoji.content.slice(0, 2), "🪶");
  assert.ok(longest <= limits.FRAME_OUT_BYTES_MAX);
});

test("kill -9 at random moments loses no message that the bridge has, and keeps the order", async (t) => {
  const random = randomFor(t);
  const state = folder(t);
  const brought = [];
  const acked = new Set();
  const life = async (program, steps, isOver) => {
    const client = new Client(await program.port());
    await client.enter();
    program.follow(...steps);
    const seen = [];
    while (!isOver(seen)) {
      const { id } = await client.next("message");
      seen.push(id);
      if (isOver === toTheEnd || random(3) === 0) {
        client.send({ type: "ack", id });
        acked.add(id);
      }
    }
    return seen;
  };
  const toTheEnd = (seen) => seen.at(-1) === "last";
  for (let round = 0; round < ROUNDS; round += 1) {
    const program = new Program(state);
    const steps = Array.from({ length: 8 }, (_, index) => says(`m${round * 8 + index}`, `text of ${index}`));
    const enough = random(9);
    await life(program, steps, (seen) => seen.length >= enough);
    assert.equal(await program.kill(), "SIGKILL");
    brought.push(...program.told.all.filter((record) => record.event === "brought").map((record) => record.id));
    assert.ok(!program.stderr.includes("text of"), "the log holds no text");
  }
  const program = new Program(state);
  const seen = await life(program, [says("last", "x")], toTheEnd);
  assert.deepEqual(brought.filter((id) => !acked.has(id) && !seen.includes(id)), [], "lost");
  const numbers = seen.slice(0, -1).map((id) => Number(id.slice(1)));
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b), "order, each once");
  assert.equal(await program.kill("SIGTERM"), 0);
});

test("a torn last line and damaged lines do not keep the rest from being read", async (t) => {
  const state = folder(t);
  const first = await scene(t, { state });
  first.follow(says("a", "1"), says("b", "2"));
  first.queue.close();
  const file = path.join(state, "queue.jsonl");
  const text = fs.readFileSync(file, "utf8");
  fs.writeFileSync(file, `{"put":\nnull\n[]\n{"put":{"id":5},"at":1}\n${text}{"put":{"type":"mess`);
  const second = await scene(t, { state });
  second.follow(says("c", "3"));
  const client = second.connect();
  await client.enter();
  assert.deepEqual(ids(await take(client, 3)), ["a", "b", "c"]);
  assert.equal(second.logged.all.find((line) => line.event === "state_damaged").lines, 1);
});

test("the file of the queue does not grow with what went through it", async (t) => {
  const { connect, follow, state } = await scene(t, { limits: { JOURNAL_SLACK: 50, SEEN_MAX: 10 } });
  const client = connect();
  await client.enter();
  for (let id = 0; id < 120; id += 1) {
    follow(says(`m${id}`, "x"));
    await client.next("message");
    client.send({ type: "ack", id: `m${id}` });
  }
  client.send("{");
  await client.next("error");
  const lines = fs.readFileSync(path.join(state, "queue.jsonl"), "utf8").split("\n").length;
  assert.ok(lines < 70, `${lines} lines`);
});

test("our own messages, status posts, channels, reactions and edits are not forwarded", async (t) => {
  const { connect, follow } = await scene(t);
  const client = connect();
  await client.enter();
  const raw = (id, message, more = {}) => ({ do: "raw", message: { key: { id, remoteJid: CHAT, ...more }, message } });
  const text = { conversation: "x" };
  follow(
    says("own", "x", { fromMe: true }),
    raw("status", text, { remoteJid: "status@broadcast", participant: CHAT }),
    raw("channel", text, { remoteJid: "120363@newsletter" }),
    raw("reaction", { reactionMessage: { text: "+" } }),
    raw("deleted", { protocolMessage: { type: 0 } }),
    raw("edited", { editedMessage: { message: { protocolMessage: { editedMessage: text } } } }),
    raw("undecryptable", undefined),
    raw("no participant", text, { remoteJid: GROUP }),
    raw("bad\u001bid", text),
    raw("", text),
    { do: "raw", message: {} },
    { do: "raw", message: null },
    raw("last", text),
  );
  assert.deepEqual(ids(await take(client, 1)), ["last"]);
});
