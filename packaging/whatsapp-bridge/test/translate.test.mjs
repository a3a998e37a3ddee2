// From the library's message to a frame: a table.

import assert from "node:assert/strict";
import test from "node:test";

import { LIMITS } from "../src/limits.mjs";
import { plainJid, translate } from "../src/translate.mjs";

const ME = { id: "4915100000000:3@s.whatsapp.net", lid: "991@lid" };
const PHONE = "4917012345@s.whatsapp.net";
const LID = "8812345@lid";
const GROUP = "120363000000000000@g.us";

function check(key, message, want, more = {}) {
  const found = translate({ key: { id: "ID", ...key }, message, messageTimestamp: 7, ...more }, ME, LIMITS);
  const { timestamp, id, ...frame } = found.frame;
  assert.deepEqual([id, timestamp], ["ID", 7]);
  assert.deepEqual(frame, want);
  return found;
}

const text = { conversation: "hi" };
const direct = { sender: PHONE, pn: PHONE, content: "hi", isGroup: false };

test("a direct chat by number, with a device, and by the old server's name", () => {
  check({ remoteJid: PHONE }, text, direct);
  check({ remoteJid: "4917012345:12@s.whatsapp.net" }, text, direct);
  check({ remoteJid: "4917012345@c.us", remoteJidAlt: LID }, text, direct);
});

test("a hidden number: the chat is the LID, and the number is told if it is known", () => {
  check({ remoteJid: LID, remoteJidAlt: PHONE }, text, { ...direct, sender: LID });
  check({ remoteJid: LID }, text, { ...direct, sender: LID, pn: "" });
});

test("a group names its author", () => {
  const want = { sender: GROUP, pn: PHONE, content: "hi", isGroup: true, participant: LID, wasMentioned: false, isReplyToBot: false };
  check({ remoteJid: GROUP, participant: LID, participantAlt: PHONE }, text, want);
  check({ remoteJid: GROUP, participant: "4917012345:9@s.whatsapp.net" }, text, { ...want, participant: PHONE });
});

test("mentions and replies of us, by number or LID, and of others", () => {
  const group = (contextInfo) => {
    const message = { extendedTextMessage: { text: "hi", contextInfo } };
    const { frame } = translate({ key: { id: "I", remoteJid: GROUP, participant: LID }, message }, ME, LIMITS);
    return [frame.wasMentioned, frame.isReplyToBot, frame.isForwarded];
  };
  assert.deepEqual(group({ mentionedJid: ["991@lid"] }), [true, false, undefined]);
  assert.deepEqual(group({ mentionedJid: [PHONE, "4915100000000@s.whatsapp.net"] }), [true, false, undefined]);
  assert.deepEqual(group({ mentionedJid: [PHONE] }), [false, false, undefined]);
  assert.deepEqual(group({ mentionedJid: "991@lid" }), [false, false, undefined]);
  assert.deepEqual(group({ mentionedJid: [null, 5, {}] }), [false, false, undefined]);
  assert.deepEqual(group({ participant: "991:4@lid", stanzaId: "Q" }), [false, true, undefined]);
  assert.deepEqual(group({ participant: "991@lid" }), [false, false, undefined]);
  assert.deepEqual(group({ participant: PHONE, stanzaId: "Q", isForwarded: true }), [false, false, true]);
});

test("nobody is us while the account is unknown", () => {
  const message = { extendedTextMessage: { text: "hi", contextInfo: { mentionedJid: ["", "@lid"], stanzaId: "Q", participant: "" } } };
  const { frame } = translate({ key: { id: "I", remoteJid: GROUP, participant: LID }, message }, undefined, LIMITS);
  assert.deepEqual([frame.wasMentioned, frame.isReplyToBot], [false, false]);
});

test("envelopes are opened, to a depth", () => {
  const wrapped = (depth) => (depth === 0 ? text : { ephemeralMessage: { message: wrapped(depth - 1) } });
  check({ remoteJid: PHONE }, { viewOnceMessageV2: { message: text } }, direct);
  check({ remoteJid: PHONE }, wrapped(5), direct);
  assert.equal(translate({ key: { id: "I", remoteJid: PHONE }, message: wrapped(6) }, ME, LIMITS), undefined);
});

test("kinds of contents", () => {
  const caption = { imageMessage: { caption: "hi", mimetype: "image/jpeg", fileLength: { low: 9, high: 0, toNumber: () => 9 } } };
  assert.deepEqual(check({ remoteJid: PHONE }, caption, direct).media, { kind: "image", mimetype: "image/jpeg", bytes: 9 });
  const document = { documentWithCaptionMessage: { message: { documentMessage: { caption: "hi", fileLength: "12" } } } };
  assert.deepEqual(check({ remoteJid: PHONE }, document, direct).media, { kind: "document", mimetype: "", bytes: 12 });
  assert.equal(check({ remoteJid: PHONE }, { ptvMessage: { mimetype: "video/mp4" } }, { ...direct, content: "" }).media.kind, "video");
  check({ remoteJid: PHONE }, { audioMessage: {} }, { ...direct, content: "" });
  check({ remoteJid: PHONE }, { buttonsResponseMessage: { selectedDisplayText: "hi" } }, direct);
  check({ remoteJid: PHONE }, { contactMessage: {} }, { ...direct, content: "[contact]" });
  const place = { locationMessage: { degreesLatitude: 1.5, degreesLongitude: "x\u001b" } };
  check({ remoteJid: PHONE }, place, { ...direct, content: "[location 1.5, NaN]" });
});

test("jids without sense are empty", () => {
  for (const jid of [undefined, null, 5, "", "4917", {}]) {
    assert.equal(plainJid(jid), "");
  }
});
