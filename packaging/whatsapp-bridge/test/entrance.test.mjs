// Who may come in.

import assert from "node:assert/strict";
import http from "node:http";
import test from "node:test";

import { TOKEN, says, scene, within } from "./support.mjs";

/** The HTTP status of a refused upgrade. */
function refusal(client) {
  return within(client.opened.then(() => "open", (error) => Number(/\d{3}/.exec(error.message)?.[0])), "refusal");
}

test("no auth frame closes with 4001", async (t) => {
  const { connect } = await scene(t, { limits: { AUTH_MS: 30 } });
  assert.deepEqual(await within(connect().closed, "close"), [4001, "Auth timeout"]);
});

test("what is no auth frame with the token closes with 4003", async (t) => {
  const { connect } = await scene(t);
  const wrong = [
    { type: "auth", token: `${TOKEN}x` },
    { type: "auth", token: TOKEN.slice(1) },
    { type: "auth", token: "" },
    { type: "auth", token: [TOKEN] },
    { type: "auth" },
    { type: "hello", v: 2 },
    { type: "send", to: "1@lid", text: "x" },
    [{ type: "auth", token: TOKEN }],
    "null",
    "{",
    "",
    TOKEN,
    JSON.stringify({ type: "auth", token: TOKEN, more: "x".repeat(5000) }),
    Buffer.from(JSON.stringify({ type: "auth", token: TOKEN })),
  ];
  for (const frame of wrong) {
    const client = connect();
    await client.opened;
    client.send(frame);
    assert.deepEqual(await within(client.closed, "close"), [4003, "Auth failed"], JSON.stringify(frame));
    assert.deepEqual(client.frames.all, []);
  }
});

test("any Origin is refused with 403, the right token or not", async (t) => {
  const { connect } = await scene(t);
  for (const origin of ["http://127.0.0.1:3001", "null", "", "file://", "https://example.org"]) {
    assert.equal(await refusal(connect({ headers: { Origin: origin } })), 403, origin);
  }
});

test("plain HTTP gets 426 and no page", async (t) => {
  const { port } = await scene(t);
  const status = await within(new Promise((resolve) => {
    http.get({ port, host: "127.0.0.1" }, (response) => resolve(response.resume().statusCode));
  }), "answer");
  assert.equal(status, 426);
});

test("strangers are limited and free their places", async (t) => {
  const { connect, limits } = await scene(t, { limits: { STRANGERS_MAX: 3 } });
  const strangers = Array.from({ length: limits.STRANGERS_MAX }, () => connect());
  await Promise.all(strangers.map((one) => one.opened));
  assert.equal(await refusal(connect()), 503);
  await strangers[0].close();
  await connect().enter();
});

test("a client that came in outlives the limit for strangers", async (t) => {
  const { connect, follow } = await scene(t, { limits: { AUTH_MS: 60, STATUS_MS: 20 } });
  const client = connect();
  await client.enter();
  for (let count = 0; count < 8; count += 1) {
    await client.next("status");
  }
  follow(says("1", "still there"));
  assert.equal((await client.next("message")).content, "still there");
});

test("a new client replaces the old one, which is told so", async (t) => {
  const { connect, follow } = await scene(t);
  const old = connect();
  await old.enter();
  const young = connect();
  await young.enter();
  assert.deepEqual(await within(old.closed, "close"), [4009, "Replaced by another client"]);
  follow(says("1", "for the young one"));
  assert.equal((await young.next("message")).id, "1");
});

test("a client that vanished is replaced and its connection is cut", async (t) => {
  const { connect, logged } = await scene(t, { limits: { CLOSE_MS: 20 } });
  const vanished = connect();
  await vanished.enter();
  vanished.socket.pause();
  await connect().enter();
  await logged.next((line) => line.event === "client_left");
});

test("a stranger without the token replaces nobody", async (t) => {
  const { connect, follow } = await scene(t);
  const client = connect();
  await client.enter();
  const stranger = connect();
  await stranger.opened;
  stranger.send({ type: "auth", token: "guess-guess-guess-guess" });
  await within(stranger.closed, "close");
  follow(says("1", "hello"));
  assert.equal((await client.next("message")).id, "1");
});

test("hello comes first, the status second, before any message", async (t) => {
  const { connect, follow } = await scene(t);
  follow({ do: "open" }, says("1", "early"));
  const client = connect();
  const order = [];
  client.socket.on("message", (data) => order.push(JSON.parse(data).type));
  const { hello, status } = await client.enter();
  assert.deepEqual(hello, { type: "hello", v: 2, dropped: 0 });
  assert.equal(status, "connected");
  await client.next("message");
  assert.deepEqual(order, ["hello", "status", "message"]);
});

test("a client that answers no ping is cut off, one that answers stays", async (t) => {
  const { connect, logged } = await scene(t, { limits: { PING_MS: 40 } });
  const client = connect({ autoPong: false });
  await client.enter();
  await logged.next((line) => line.event === "client_cut");
  await within(client.closed, "close");
  const good = connect();
  await good.enter();
  for (let count = 0; count < 4; count += 1) {
    await within(new Promise((resolve) => good.socket.once("ping", resolve)), "ping");
  }
  assert.equal(good.socket.readyState, good.socket.OPEN);
});

test("a client that reads nothing is cut off", async (t) => {
  const { connect, follow, logged } = await scene(t, { limits: { UNSENT_BYTES_MAX: 1, UNACKED_MAX: 1000 } });
  const client = connect();
  await client.enter();
  client.socket.pause();
  for (let id = 0; id < 100; id += 1) {
    follow(says(`m${id}`, "x".repeat(60_000)));
  }
  assert.equal((await logged.next((line) => line.event === "client_cut")).reason, "does not read");
});
