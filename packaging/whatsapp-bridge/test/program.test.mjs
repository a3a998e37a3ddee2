// The program: settings, secrets, files, exit codes.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import test from "node:test";

import { checkOwner, containerAddress, hostSetting, phoneSetting, readSettings, readToken } from "../src/config.mjs";
import { Keys } from "../src/keys.mjs";
import { closeConsole, makeLog } from "../src/log.mjs";
import { Media } from "../src/media.mjs";
import { LIMITS } from "../src/limits.mjs";
import { lock } from "../src/state.mjs";
import { Client, Program, TOKEN, folder, says, within } from "./support.mjs";

function codeOf(act) {
  try {
    act();
  } catch (error) {
    return error.code;
  }
  return 0;
}

test("it binds to loopback or one private address, and to nothing else", () => {
  for (const host of ["127.0.0.1", "::1", "10.1.2.3", "172.17.0.2", "192.168.1.5", "fd00::5", "container"]) {
    assert.equal(hostSetting(host), host);
  }
  for (const host of ["0.0.0.0", "::", "8.8.8.8", "172.32.0.1", "localhost", "", "169.254.1.1", "2001:db8::1", "::ffff:8.8.8.8"]) {
    assert.equal(codeOf(() => hostSetting(host)), 78, host);
  }
  const eth0 = [{ address: "172.17.0.2", family: "IPv4", internal: false }, { address: "fe80::1", family: "IPv6", internal: false }];
  const lo = [{ address: "127.0.0.1", family: "IPv4", internal: true }];
  assert.equal(containerAddress({ lo, eth0 }), "172.17.0.2");
  assert.equal(codeOf(() => containerAddress({ lo })), 78);
  assert.equal(codeOf(() => containerAddress({ lo, eth0, eth1: eth0 })), 78);
  assert.equal(codeOf(() => containerAddress({ eth0: [{ address: "8.8.8.8", family: "IPv4", internal: false }] })), 78);
});

test("settings that make no sense end the program with 78, arguments with 2", () => {
  for (const BRIDGE_PORT of ["x", "-1", "65536", "1e3", "80.5", " 80"]) {
    assert.equal(codeOf(() => readSettings({ BRIDGE_PORT })), 78, BRIDGE_PORT);
  }
  for (const BRIDGE_WA_VERSION of ["2", "2.3000", "2.3000.x", "2.3000.1.1"]) {
    assert.equal(codeOf(() => readSettings({ BRIDGE_WA_VERSION })), 78, BRIDGE_WA_VERSION);
  }
  assert.deepEqual(readSettings({ BRIDGE_WA_VERSION: "2.3000.17" }).version, [2, 3000, 17]);
  assert.equal(readSettings({ STATE_DIRECTORY: "/var/lib/x" }).mediaFolder, "/var/lib/x/media");
  assert.equal(phoneSetting("+4917012345"), "4917012345");
  for (const phone of ["", "0170123", "49 170", "abc", "1234567890123456"]) {
    assert.equal(codeOf(() => phoneSetting(phone)), 2, phone);
  }
});

test("there is no bridge without a good token from one private source", (t) => {
  const home = folder(t);
  const file = path.join(home, "token");
  const withFile = (mode, text = `${TOKEN}\n`) => {
    fs.rmSync(file, { force: true });
    fs.writeFileSync(file, text);
    fs.chmodSync(file, mode);
    return { BRIDGE_TOKEN_FILE: file };
  };
  assert.equal(readToken({ BRIDGE_TOKEN: TOKEN }), TOKEN);
  assert.equal(readToken(withFile(0o600)), TOKEN);
  assert.equal(readToken(withFile(0o400)), TOKEN);
  assert.equal(readToken({ CREDENTIALS_DIRECTORY: home }), TOKEN);
  for (const mode of [0o644, 0o604, 0o620, 0o666]) {
    assert.equal(codeOf(() => readToken(withFile(mode))), 78, mode.toString(8));
  }
  for (const text of ["", "short", `${TOKEN} with blanks`, "x".repeat(5000), `${TOKEN}\n\n`]) {
    assert.equal(codeOf(() => readToken(withFile(0o600, text))), 78, text.slice(0, 30));
  }
  assert.equal(codeOf(() => readToken({ ...withFile(0o600), BRIDGE_TOKEN: TOKEN })), 78);
  assert.equal(codeOf(() => readToken({})), 78);
  assert.equal(codeOf(() => readToken({ BRIDGE_TOKEN_FILE: home })), 78);
  assert.equal(codeOf(() => readToken({ BRIDGE_TOKEN_FILE: path.join(home, "none") })), 78);
  fs.symlinkSync(file, path.join(home, "link"));
  assert.equal(codeOf(() => readToken({ BRIDGE_TOKEN_FILE: path.join(home, "link") })), 78);
});

test("a token file is ours alone, or root's with a group of ours", () => {
  const us = { user: 1000, groups: [1000, 50] };
  const code = (uid, gid, mode) => codeOf(() => checkOwner({ uid, gid, mode: 0o100000 | mode }, us));
  for (const [uid, gid, mode] of [[1000, 1000, 0o600], [1000, 9, 0o400], [0, 0, 0o600], [0, 50, 0o640], [0, 1000, 0o440]]) {
    assert.equal(code(uid, gid, mode), 0, `${uid} ${gid} ${mode.toString(8)}`);
  }
  for (const [uid, gid, mode] of [
    [1001, 1000, 0o600], [1000, 1000, 0o640], [1000, 1000, 0o620], [1000, 1000, 0o604], [0, 0, 0o640], [0, 50, 0o660], [0, 50, 0o644],
  ]) {
    assert.equal(code(uid, gid, mode), 78, `${uid} ${gid} ${mode.toString(8)}`);
  }
});

test("exit codes are the documented ones, and SIGTERM ends it in time with a client connected", async (t) => {
  const state = folder(t);
  const ends = async (options) => within(new Program(folder(t), options).ended, "end");
  assert.equal(await ends({ args: ["--nonsense"] }), 2);
  assert.equal(await ends({ environment: { BRIDGE_TOKEN: "" } }), 78);
  assert.equal(await ends({ environment: { BRIDGE_HOST: "0.0.0.0" } }), 78);
  const program = new Program(state);
  const port = await program.port();
  const second = new Program(state);
  assert.equal(await within(second.ended, "end"), 75, "the folder is taken");
  assert.equal(await ends({ environment: { BRIDGE_PORT: String(port) } }), 75, "the port is taken");
  const client = new Client(port);
  await client.enter();
  client.socket._socket.pause();
  const begin = Date.now();
  assert.equal(await program.kill("SIGTERM"), 0);
  assert.ok(Date.now() - begin < 5000);
  const next = new Program(state);
  await next.port();
  next.child.stdin.end();
  assert.equal(await within(next.ended, "end"), 0, "the end of the script ends it");
});

test("a state that cannot be written ends it with 74", async (t) => {
  const state = folder(t);
  fs.mkdirSync(path.join(state, "queue.jsonl"));
  const program = new Program(state);
  assert.equal(await within(program.ended, "end"), 74);
  assert.ok(!program.stderr.includes(state), "no path of others in the log");
});

test("every file and folder it makes is private", async (t) => {
  const state = path.join(folder(t), "deep", "state");
  const program = new Program(state);
  const client = new Client(await program.port());
  await client.enter();
  program.follow(says("a", "x"));
  await client.next("message");
  for (const name of ["", "media", "queue.jsonl", "sent.jsonl", "lock"]) {
    const { mode } = fs.statSync(path.join(state, name));
    assert.equal(mode & 0o077, 0, name);
  }
  await program.kill("SIGTERM");
  assert.ok(!fs.existsSync(path.join(state, "lock")));
});

test("a lock of a process that is gone, or of another that got its number, is no lock", (t) => {
  const state = folder(t);
  for (const text of ["", "x", "999999999 1\n", `${process.ppid} 1\n`, `${process.pid} 1\n`]) {
    fs.writeFileSync(path.join(state, "lock"), text);
    lock(state)();
  }
});

test("keys are private, survive, and damage of the credentials is not answered with new ones", async (t) => {
  const place = path.join(folder(t), "keys");
  const library = {
    BufferJSON: { replacer: (_, value) => value, reviver: (_, value) => value },
    initAuthCreds: () => ({ fresh: true }),
    proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => ({ made: value }) } } },
  };
  const { state, saveCreds } = new Keys(place, library).load();
  assert.deepEqual(state.creds, { fresh: true });
  state.creds.me = "me";
  saveCreds();
  await state.keys.set({ session: { "1/2:3": { a: 1 }, "../x": { b: 2 } }, "app-state-sync-key": { k: { c: 3 } } });
  const { state: again } = new Keys(place, library).load();
  assert.deepEqual(again.creds, { fresh: true, me: "me" });
  assert.deepEqual(await again.keys.get("session", ["1/2:3", "../x", "none"]), { "1/2:3": { a: 1 }, "../x": { b: 2 }, none: null });
  assert.deepEqual(await again.keys.get("app-state-sync-key", ["k"]), { k: { made: { c: 3 } } });
  await again.keys.set({ session: { "1/2:3": null } });
  assert.deepEqual(await again.keys.get("session", ["1/2:3"]), { "1/2:3": null });
  assert.equal(fs.statSync(place).mode & 0o777, 0o700);
  for (const name of fs.readdirSync(place)) {
    assert.equal(fs.statSync(path.join(place, name)).mode & 0o077, 0, name);
  }
  fs.writeFileSync(path.join(place, "session-z.json"), "{torn");
  assert.deepEqual(await again.keys.get("session", ["z"]), { z: null });
  fs.writeFileSync(path.join(place, "creds.json"), "{torn");
  assert.equal(codeOf(() => new Keys(place, library).load()), 74);
});

test("old media goes by age and by size, and files of others stay", (t) => {
  const place = folder(t);
  const named = (second) => path.join(place, `${1_700_000_000 + second}-0123456789abcdef.jpg`);
  for (let second = 0; second < 5; second += 1) {
    fs.writeFileSync(named(second), Buffer.alloc(100));
  }
  fs.writeFileSync(path.join(place, "of others.jpg"), Buffer.alloc(1000));
  new Media(place, { limits: { ...LIMITS, MEDIA_FOLDER_BYTES_MAX: 250 } }).sweep();
  assert.equal(fs.readdirSync(place).length, 3);
  assert.ok(fs.existsSync(named(4)) && fs.existsSync(named(3)));
  new Media(place, { limits: { ...LIMITS, MEDIA_AGE_MS: -1000 } }).sweep();
  assert.deepEqual(fs.readdirSync(place), ["of others.jpg"]);
});

test("a log line is one line of printable ASCII, and the console says nothing", () => {
  const lines = [];
  makeLog((line) => lines.push(line))("test", { id: "a\nb\u001b[2J\u202e\u009bé🪶", long: "x".repeat(1000) });
  assert.equal(lines.length, 1);
  assert.match(lines[0], /^[\x20-\x7e]+\n$/);
  assert.equal(JSON.parse(lines[0]).id, "a\nb\u001b[2J\u202e\u009bé🪶");
  assert.ok(lines[0].length < 500);
  const kept = { ...console };
  closeConsole();
  try {
    assert.equal(console.info("keys"), undefined);
    assert.notEqual(console.info, kept.info);
  } finally {
    Object.assign(console, kept);
  }
});

test("without the library it does not start, not even with a scripted WhatsApp", (t) => {
  const place = folder(t);
  fs.cpSync(new URL("../src", import.meta.url).pathname, path.join(place, "src"), { recursive: true });
  fs.mkdirSync(path.join(place, "node_modules"));
  fs.symlinkSync(path.dirname(createRequire(import.meta.url).resolve("ws/package.json")), path.join(place, "node_modules/ws"));
  const env = { BRIDGE_TOKEN: TOKEN, BRIDGE_PORT: "0", BRIDGE_STATE_DIR: path.join(place, "state") };
  const ended = spawnSync(process.execPath, [path.join(place, "src/main.mjs"), "--fake"], { env, input: "", encoding: "utf8" });
  assert.equal(ended.status, 78);
  assert.match(ended.stderr, /npm ci/);
});

test("what arrives in the moments after the linking waits for the bridge", async (t) => {
  const state = folder(t);
  const linking = new Program(state, { limits: { LINK_SETTLE_MS: 1 }, args: ["--link", "--fake"] });
  linking.follow(says("first", "hello"), { do: "open" });
  assert.equal(await within(linking.ended, "linked"), 0);
  const program = new Program(state);
  t.after(() => program.child.kill("SIGKILL"));
  const client = new Client(await program.port());
  t.after(() => client.socket.terminate());
  await client.enter();
  assert.equal((await client.next("message")).id, "first");
  assert.equal(await program.kill("SIGTERM"), 0);
});
