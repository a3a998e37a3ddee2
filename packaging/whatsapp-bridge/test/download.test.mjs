// The media of a message: from which address it is taken, and that only a whole file is one.

import assert from "node:assert/strict";
import { createCipheriv, createHmac } from "node:crypto";
import test from "node:test";
import * as library from "baileys";

import { addressOf, downloader } from "../src/download.mjs";
import { LIMITS } from "../src/limits.mjs";

test("only WhatsApp's hosts are asked, over TLS, whatever the author of the message wrote", () => {
  const path = "/v/t62.7118-24/x.enc?ccb=11-4";
  const check = (file, want) => assert.equal(String(addressOf(file)), want);
  check({ directPath: path }, `https://mmg.whatsapp.net${path}`);
  check({ directPath: path, url: "https://media-fra3-1.cdn.whatsapp.net/old" }, `https://media-fra3-1.cdn.whatsapp.net${path}`);
  check({ url: "https://mmg.whatsapp.net/a?b" }, "https://mmg.whatsapp.net/a?b");
  const strange = [
    "https://192.168.1.1/", "https://whatsapp.net.example/", "https://mmg.whatsapp.net:8443/", "https://example/whatsapp.net",
    "https://xwhatsapp.net/", "http://mmg.whatsapp.net/", "file:///etc/passwd", "no address", "",
  ];
  for (const url of strange) {
    assert.throws(() => addressOf({ url }), undefined, url);
    check({ directPath: "/x", url }, "https://mmg.whatsapp.net/x");
  }
  for (const directPath of ["//192.168.1.1/x", "https://192.168.1.1/x", "http://mmg.whatsapp.net/x", "\\\\192.168.1.1/x"]) {
    assert.throws(() => addressOf({ directPath }), undefined, directPath);
  }
  check({ directPath: "@192.168.1.1/x" }, "https://mmg.whatsapp.net/@192.168.1.1/x");
});

const PLAIN = Buffer.from("a picture of some length ".repeat(400));
const KEY = Buffer.alloc(32, 7);
const message = { message: { ephemeralMessage: { message: { imageMessage: { directPath: "/x", mediaKey: KEY } } } } };

async function encrypted() {
  const { cipherKey, iv, macKey } = await library.getMediaKeys(KEY, "image");
  const cipher = createCipheriv("aes-256-cbc", cipherKey, iv);
  const body = Buffer.concat([cipher.update(PLAIN), cipher.final()]);
  return Buffer.concat([body, createHmac("sha256", macKey).update(iv).update(body).digest().subarray(0, 10)]);
}

/** A body that comes in pieces. */
function inPieces(bytes, size) {
  return new ReadableStream({
    pull(controller) {
      const piece = bytes.subarray(0, size);
      bytes = bytes.subarray(size);
      return piece.length > 0 ? controller.enqueue(new Uint8Array(piece)) : controller.close();
    },
  });
}

async function read(answers, reupload = () => assert.fail("a file is there")) {
  const get = async (_, { redirect }) => {
    assert.equal(redirect, "error");
    return answers.shift();
  };
  const all = [];
  for await (const chunk of await downloader({ library, limits: LIMITS, reupload, get })(message)) {
    all.push(chunk);
  }
  return Buffer.concat(all);
}

test("a file is decrypted, in whatever pieces it comes", async () => {
  const whole = await encrypted();
  for (const size of [1, 7, 16, 4096, whole.length]) {
    assert.deepEqual(await read([new Response(inPieces(whole, size))]), PLAIN, `${size}`);
  }
});

test("a file that is cut, spoilt or of another key is none", async () => {
  const whole = await encrypted();
  const spoilt = Buffer.from(whole);
  spoilt[100] ^= 1;
  for (const bytes of [whole.subarray(0, -1), whole.subarray(0, -16), whole.subarray(0, 5), Buffer.alloc(0), spoilt]) {
    await assert.rejects(read([new Response(inPieces(bytes, 64))]), undefined, `${bytes.length}`);
  }
  await assert.rejects(read([new Response("", { status: 403 })]));
});

test("the author's phone is asked once for a file that WhatsApp has no more", async () => {
  const whole = await encrypted();
  const gone = () => new Response("", { status: 410 });
  let count = 0;
  const reupload = async (asked) => ((count += 1), asked);
  assert.deepEqual(await read([gone(), new Response(inPieces(whole, 999))], reupload), PLAIN);
  await assert.rejects(read([gone(), gone()], reupload));
  assert.equal(count, 2);
});
