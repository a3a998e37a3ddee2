// Messages from the client to WhatsApp: one answer for each frame, in order; with an id, sent once.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";

import { CHAT, Client, Program, ROUNDS, folder, randomFor, scene, within } from "./support.mjs";

const send = (id, text = `text of ${id}`, more = {}) => ({ type: "send", id, to: CHAT, text, ...more });

async function answers(client, count) {
  const taken = [];
  for (let index = 0; index < count; index += 1) {
    taken.push(await client.frames.next((frame) => frame.type === "sent" || frame.type === "error", "an answer"));
  }
  return taken;
}

function sends(told) {
  return told.all.filter((record) => record.event === "send");
}

test("a frame with an id is answered with WhatsApp's id, a repeat too, and is sent once", async (t) => {
  const { connect, follow, told } = await scene(t);
  follow({ do: "open" });
  let client = connect();
  await client.enter();
  client.send(send("r1/1"));
  client.send(send("r1/1"));
  const [first, second] = await answers(client, 2);
  assert.deepEqual(first, { type: "sent", id: "r1/1", wa_id: first.wa_id, to: CHAT });
  assert.match(first.wa_id, /^3EB0[0-9A-F]{18}$/);
  assert.deepEqual(second, first);
  await client.close();
  client = connect();
  await client.enter();
  client.send(send("r1/1"));
  assert.deepEqual(await answers(client, 1), [first]);
  assert.equal(sends(told).length, 1);
});

test("answers come in the order of the frames, whatever became of each", async (t) => {
  const { connect, follow } = await scene(t);
  follow({ do: "open" });
  const client = connect();
  await client.enter();
  client.send(send("a"));
  client.send("no json");
  client.send(send("b", ""));
  client.send({ type: "dance", id: "c" });
  client.send(send("d"));
  client.send({ type: "message", to: CHAT, content: "dialect P" });
  const taken = await answers(client, 6);
  assert.deepEqual(
    taken.map(({ type, id, error }) => [type, id, error]),
    [
      ["sent", "a", undefined],
      ["error", undefined, "bad_frame"],
      ["error", "b", "bad_text"],
      ["error", "c", "unknown_type"],
      ["sent", "d", undefined],
      ["error", undefined, "unknown_type"],
    ],
  );
});

test("plain N is answered without ids, and an id of its own means nothing", async (t) => {
  const { connect, follow, told } = await scene(t);
  follow({ do: "open" });
  const client = connect();
  await client.enter({ v2: false });
  client.send(send("same"));
  client.send(send("same"));
  client.send({ type: "ack", id: "x" });
  const taken = await answers(client, 3);
  assert.deepEqual(taken, [
    { type: "sent", to: CHAT },
    { type: "sent", to: CHAT },
    { type: "error", error: "unknown_type" },
  ]);
  assert.equal(sends(told).length, 2);
});

test("what could not be sent is an error, may be repeated, and then has the same id at WhatsApp", async (t) => {
  const { connect, follow, told, limits } = await scene(t, { limits: { SEND_MS: 40 } });
  const client = connect();
  await client.enter();
  const error = async (phrase) => {
    client.send(send("r1/1"));
    assert.deepEqual(await answers(client, 1), [{ type: "error", id: "r1/1", error: phrase }]);
  };
  await error("not_connected");
  follow({ do: "open" }, { do: "confirm", mode: "fail" });
  await error("send_failed");
  follow({ do: "confirm", mode: "error" });
  await error("refused");
  follow({ do: "confirm", mode: "never" });
  assert.ok(limits.SEND_MS < 1000);
  await error("unconfirmed");
  follow({ do: "confirm", mode: "at_once" });
  client.send(send("r1/1"));
  const [{ wa_id: waId }] = await answers(client, 1);
  assert.deepEqual(new Set(sends(told).map((one) => one.wa_id)), new Set([waId]));
});

test("a message that is confirmed later than anybody waits is not sent again when it is repeated", async (t) => {
  for (const mode of ["never", "fail"]) {
    const { connect, follow, told } = await scene(t, { limits: { SEND_MS: 40 } });
    follow({ do: "open" }, { do: "confirm", mode });
    const client = connect();
    await client.enter();
    client.send(send("r1/1"));
    assert.equal((await answers(client, 1))[0].type, "error");
    const [{ wa_id: waId }] = sends(told);
    follow({ do: "late", wa_id: waId }, { do: "late", wa_id: waId }, { do: "late" });
    client.send(send("r1/1"));
    assert.equal((await answers(client, 1))[0].wa_id, waId);
    assert.equal(sends(told).length, 1);
  }
});

test("a link that ends leaves the message unconfirmed", async (t) => {
  const { connect, follow, told } = await scene(t);
  follow({ do: "open" }, { do: "confirm", mode: "never" });
  const client = connect();
  await client.enter();
  client.send(send("r1/1"));
  await told.next((record) => record.event === "send");
  follow({ do: "close", code: 428 });
  assert.equal((await answers(client, 1))[0].error, "unconfirmed");
});

test("the answers of a client that comes back do not wait for what the connection before left", async (t) => {
  // A client gives up a connection on which no answer comes for 30 s, one and a half times what a send may take.
  const limits = { SEND_MS: 300 };
  const { connect, follow, told } = await scene(t, { limits });
  follow({ do: "open" }, { do: "confirm", mode: "never" });
  const all = ["a", "b", "c", "d", "e"];
  let client = connect();
  await client.enter();
  all.forEach((id) => client.send(send(id)));
  await told.next((record) => record.event === "send");
  await client.close();
  client = connect();
  await client.enter();
  const begun = Date.now();
  all.forEach((id) => client.send(send(id)));
  const [first] = await answers(client, 1);
  assert.deepEqual([first.id, first.error], ["a", "unconfirmed"]);
  assert.ok(Date.now() - begun < limits.SEND_MS * 1.5, "it took the outcome of the one under way");
  follow({ do: "confirm", mode: "at_once" });
  assert.deepEqual((await answers(client, 4)).map(({ id }) => id), ["b", "c", "d", "e"]);
  assert.deepEqual(sends(told).map(({ text }) => text.at(-1)).sort(), ["b", "c", "d", "e"]);
});

test("what a client without v2 wants sent is sent when it has gone, too", async (t) => {
  const { connect, follow, told } = await scene(t, { limits: { SEND_MS: 50 } });
  follow({ do: "open" }, { do: "confirm", mode: "never" });
  const client = connect();
  await client.enter({ v2: false });
  ["a", "b", "c"].forEach((id) => client.send(send(id)));
  await told.next((record) => record.event === "send");
  await client.close();
  for (let count = 0; count < 2; count += 1) {
    await told.next((record) => record.event === "send");
  }
});

test("the last 1000 ids are remembered over kill -9, so nothing is sent twice", async (t) => {
  const state = folder(t);
  const texts = [];
  for (let round = 0; round < 3; round += 1) {
    const program = new Program(state);
    program.follow({ do: "open" });
    const client = new Client(await program.port());
    const { status } = await client.enter();
    if (status !== "connected") {
      await client.frames.next((frame) => frame.status === "connected", "connected");
    }
    client.send(send("r1/1"));
    client.send(send(`r${round}/2`));
    assert.deepEqual((await answers(client, 2)).map((answer) => answer.type), ["sent", "sent"]);
    assert.equal(await program.kill(), "SIGKILL");
    texts.push(...sends(program.told).map((one) => one.text));
    assert.ok(!program.stderr.includes("text of"), "the log holds no text");
  }
  assert.deepEqual(texts, ["text of r1/1", "text of r0/2", "text of r1/2", "text of r2/2"]);
});

test("kill -9 at random moments: an answered id is never sent again, an unanswered one only under its first id", async (t) => {
  const random = randomFor(t);
  const state = folder(t);
  const waIds = new Map();
  const answered = new Set();
  for (let round = 0; round < ROUNDS; round += 1) {
    const program = new Program(state);
    const client = new Client(await program.port());
    await client.enter();
    program.follow({ do: "open" });
    await client.frames.next((frame) => frame.status === "connected", "connected");
    const before = new Set(answered);
    const open = Array.from({ length: 6 }, (_, index) => `r${Math.max(0, round * 3 + index - 3)}/1`);
    open.forEach((id) => client.send(send(id)));
    for (let enough = random(7); enough > 0; enough -= 1) {
      const [answer] = await answers(client, 1);
      assert.equal(answer.type, "sent");
      answered.add(answer.id);
    }
    await program.kill();
    for (const { text, wa_id: waId } of sends(program.told)) {
      const id = text.replace("text of ", "");
      assert.ok(!before.has(id), `${id} is sent again`);
      assert.equal(waIds.get(id) ?? waId, waId, `${id} has two ids`);
      waIds.set(id, waId);
    }
  }
  assert.ok([...answered].every((id) => waIds.has(id)), "answered and never sent");
});

test("the memory of ids is bounded, in the file too", async (t) => {
  const { connect, follow, state, sent } = await scene(t, { limits: { SENT_IDS_MAX: 5, JOURNAL_SLACK: 10 } });
  follow({ do: "open" });
  const client = connect();
  await client.enter();
  for (let id = 0; id < 40; id += 1) {
    client.send(send(`r${id}/1`));
  }
  await answers(client, 40);
  assert.deepEqual([sent.find("r34/1"), typeof sent.find("r35/1")], [undefined, "string"]);
  const lines = fs.readFileSync(path.join(state, "sent.jsonl"), "utf8").split("\n").length;
  assert.ok(lines <= 17, `${lines} lines`);
});

test("too many to send are answered busy in their place, too many frames end the connection", async (t) => {
  const { connect, follow } = await scene(t, { limits: { OUTBOX_MAX: 2, ANSWERS_MAX: 5, SEND_MS: 60 } });
  follow({ do: "open" }, { do: "confirm", mode: "never" });
  const client = connect();
  await client.enter();
  for (const id of ["a", "b", "c"]) {
    client.send(send(id));
  }
  const errors = (await answers(client, 3)).map(({ id, error }) => [id, error]);
  assert.deepEqual(errors, [["a", "unconfirmed"], ["b", "unconfirmed"], ["c", "busy"]]);
  for (let count = 0; count < 6; count += 1) {
    client.send(send(`d${count}`));
  }
  assert.equal((await within(client.closed, "close"))[0], 1008);
});

test("media is sent from the media folder only", async (t) => {
  const { connect, follow, mediaFolder, state, told } = await scene(t, { limits: { MEDIA_BYTES_MAX: 100 } });
  follow({ do: "open" });
  const client = connect();
  await client.enter();
  const inside = path.join(mediaFolder, "voice.ogg");
  fs.writeFileSync(inside, "OggS");
  fs.writeFileSync(path.join(mediaFolder, "large"), Buffer.alloc(101));
  fs.writeFileSync(path.join(state, "keys.json"), "secret");
  fs.symlinkSync(path.join(state, "keys.json"), path.join(mediaFolder, "link"));
  const media = (filePath, more) => ({ type: "send_media", id: filePath, to: CHAT, filePath, mimetype: "audio/ogg", ...more });
  client.send(media(inside, { caption: "c", fileName: "f" }));
  assert.equal((await answers(client, 1))[0].type, "sent");
  assert.equal(sends(told)[0].bytes, 4);
  const wrong = [
    path.join(mediaFolder, "large"),
    path.join(mediaFolder, "link"),
    path.join(mediaFolder, "..", "keys.json"),
    path.join(state, "keys.json"),
    "/etc/passwd",
    "/dev/zero",
    mediaFolder,
    "voice.ogg",
    "\0",
  ];
  for (const filePath of wrong) {
    client.send(media(filePath));
    assert.equal((await answers(client, 1))[0].error, "bad_media", filePath);
  }
  for (const more of [{ mimetype: "x" }, { mimetype: 5 }, { caption: 5 }, { fileName: "x".repeat(300) }, { filePath: "" }]) {
    client.send({ ...media(inside), id: "m", ...more });
    assert.equal((await answers(client, 1))[0].error, "bad_media", JSON.stringify(more));
  }
  assert.equal(sends(told).length, 1);
});
