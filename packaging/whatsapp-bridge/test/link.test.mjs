// The link to WhatsApp: what follows each end of a connection, and what the client is told.

import assert from "node:assert/strict";
import test from "node:test";

import { LIMITS } from "../src/limits.mjs";
import { link } from "../src/link.mjs";
import { REASON, afterClose } from "../src/reconnect.mjs";
import { scene } from "./support.mjs";

const fresh = { failures: 0, restarts: 0 };

test("unlinked, refused and replaced are ends until a person acts", () => {
  for (const [code, status] of [[401, "logged_out"], [402, "logged_out"], [403, "logged_out"], [406, "logged_out"], [411, "logged_out"], [440, "replaced"]]) {
    const next = afterClose(code, fresh, LIMITS, Math.random);
    assert.equal(next.status, status);
    assert.ok(next.advice.length > 20);
    assert.equal(next.delayMs, undefined);
  }
});

test("a restart that WhatsApp asks for is at once, but not for ever", () => {
  let row = fresh;
  for (let count = 0; count < LIMITS.RESTARTS_MAX; count += 1) {
    row = afterClose(REASON.restartRequired, row, LIMITS, () => 0.99);
    assert.equal(row.delayMs, 0);
  }
  assert.ok(afterClose(REASON.restartRequired, row, LIMITS, () => 0.99).delayMs > 0);
});

test("every other end waits with full jitter, doubled and capped", () => {
  for (const code of [0, 405, 408, 428, 500, 503, 999, Number.NaN]) {
    let row = fresh;
    let ceiling = LIMITS.RECONNECT_BASE_MS;
    for (let count = 0; count < 2000; count += 1) {
      const most = afterClose(code, row, LIMITS, () => 0.999999);
      assert.ok(most.delayMs <= ceiling && most.delayMs >= ceiling * 0.99, `${code}, ${count}: ${most.delayMs}`);
      assert.equal(afterClose(code, row, LIMITS, () => 0).delayMs, LIMITS.RECONNECT_FLOOR_MS);
      row = most;
      ceiling = Math.min(LIMITS.RECONNECT_CAP_MS, ceiling * 2);
    }
  }
});

/** Timers that fire when the test says so. */
function manualTimers() {
  const set = [];
  const later = (act, milliseconds) => {
    const timer = { act, milliseconds };
    set.push(timer);
    return timer;
  };
  const fire = (milliseconds) => {
    const index = set.findIndex((timer) => timer.milliseconds === milliseconds);
    assert.ok(index >= 0, `no timer of ${milliseconds} in ${set.map((timer) => timer.milliseconds)}`);
    set.splice(index, 1)[0].act();
  };
  return { later, fire, set };
}

const sockets = (told) => told.all.filter((record) => record.event === "socket").length;

test("the client is told each change of the status, and the socket is made anew", async (t) => {
  const timers = manualTimers();
  const { connect, follow, told } = await scene(t, { later: timers.later });
  const client = connect();
  assert.equal((await client.enter()).status, "disconnected");
  const statusIs = async (wanted) => assert.equal((await client.next("status")).status, wanted);
  follow({ do: "qr", qr: "2@abc" });
  assert.equal((await client.next("qr")).qr, "2@abc");
  follow({ do: "close", code: 515 });
  timers.fire(0);
  assert.equal(sockets(told), 2);
  follow({ do: "open" });
  await statusIs("connected");
  follow({ do: "close", code: 428 });
  await statusIs("disconnected");
  timers.fire(LIMITS.RECONNECT_FLOOR_MS);
  follow({ do: "open" });
  await statusIs("connected");
  follow({ do: "close", code: 440 });
  await statusIs("replaced");
  assert.equal(sockets(told), 3);
});

test("after an end for a person nothing is tried again, and the status goes on being said", async (t) => {
  for (const [code, status] of [[401, "logged_out"], [440, "replaced"]]) {
    const timers = manualTimers();
    const { connect, follow, told } = await scene(t, { later: timers.later, limits: { STATUS_MS: 5 } });
    const client = connect();
    await client.enter();
    follow({ do: "open" }, { do: "close", code });
    for (let count = 0; count < 5; count += 1) {
      await client.frames.next((frame) => frame.status === status, status);
    }
    assert.equal(sockets(told), 1);
    assert.deepEqual(timers.set.map((timer) => timer.milliseconds), [LIMITS.STABLE_MS]);
  }
});

test("the status is repeated while offline and not while connected", async (t) => {
  const { connect, follow } = await scene(t, { limits: { STATUS_MS: 5 } });
  const client = connect();
  await client.enter();
  for (let count = 0; count < 3; count += 1) {
    assert.equal((await client.next("status")).status, "disconnected");
  }
  follow({ do: "open" });
  await client.frames.next((frame) => frame.status === "connected", "connected");
  // Twenty repeats of the interval, counted by the clock that the bridge uses, bring nothing.
  await new Promise((resolve) => {
    let count = 0;
    const timer = setInterval(() => (count += 1) === 20 && (clearInterval(timer), resolve()), 5);
  });
  assert.deepEqual(client.frames.all, []);
});

test("only a stable connection starts the count of failures anew", async (t) => {
  const timers = manualTimers();
  const { follow } = await scene(t, { later: timers.later, random: () => 0.999999 });
  const waits = [];
  for (let count = 0; count < 4; count += 1) {
    follow({ do: "open" });
    follow({ do: "close", code: 428 });
    const wait = timers.set.map((timer) => timer.milliseconds).find((milliseconds) => milliseconds !== LIMITS.STABLE_MS);
    waits.push(wait);
    timers.fire(wait);
    await new Promise(setImmediate);
  }
  assert.ok(waits.every((wait, index) => index === 0 || wait > waits[index - 1]), `${waits}`);
  timers.set.length = 0;
  follow({ do: "open" });
  timers.fire(LIMITS.STABLE_MS);
  follow({ do: "close", code: 428 });
  assert.ok(timers.set.at(-1).milliseconds <= LIMITS.RECONNECT_BASE_MS);
});

test("a qr code is kept for a client that comes later, until it was used", async (t) => {
  const { connect, follow } = await scene(t);
  follow({ do: "qr", qr: "2@first" }, { do: "qr", qr: "2@second" });
  const client = connect();
  await client.enter();
  assert.equal((await client.next("qr")).qr, "2@second");
  follow({ do: "open" });
  await client.close();
  const next = connect();
  await next.enter();
  next.send("{");
  await next.next("error");
  assert.deepEqual(next.frames.all.filter((frame) => frame.type === "qr"), []);
});

/** `link` with a WhatsApp that is only its events. */
function linking(phone) {
  const shown = [];
  const whatsapp = { start() {} };
  const sockets = [{ requestPairingCode: async (number) => `CODE${number.slice(0, 4)}` }];
  const makeSocket = { latest: () => sockets.at(-1) };
  const show = (line) => shown.push(line);
  const result = link({ makeSocket, whatsapp, phone, show, showQr: (qr) => shown.push(`qr ${qr}`), settleMs: 0 });
  return { shown, whatsapp, result, sockets };
}

test("linking shows qr codes until the device is linked", async () => {
  const { shown, whatsapp, result } = linking(undefined);
  whatsapp.onQr("a");
  whatsapp.onQr("b");
  whatsapp.onStatus("disconnected");
  whatsapp.onStatus("connected");
  assert.equal(await result, 0);
  assert.deepEqual(shown.filter((line) => line.startsWith("qr")), ["qr a", "qr b"]);
});

test("linking by number asks once a socket for a code, and says when there is none", async () => {
  const good = linking("4917012345");
  good.whatsapp.onQr("a");
  good.whatsapp.onQr("b");
  await new Promise(setImmediate);
  assert.deepEqual(good.shown.filter((line) => line.includes("CODE-4917")).length, 1);
  const bad = linking("4917012345");
  bad.sockets[0].requestPairingCode = async () => {
    throw new Error("upstream words");
  };
  bad.whatsapp.onQr("a");
  assert.equal(await bad.result, 1);
  assert.ok(!bad.shown.join().includes("upstream words"));
  const refused = linking(undefined);
  refused.whatsapp.onStatus("logged_out");
  assert.equal(await refused.result, 1);
});
