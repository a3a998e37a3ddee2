// Dialect N with v2 as values: text from a client becomes one of a few kinds, and what is said becomes text. No socket, no
// clock. docs/whatsapp-bridge.md is the specification.

import { createHash, timingSafeEqual } from "node:crypto";

export const VERSION = 2;

export const CLOSE = Object.freeze({
  GOING_AWAY: [1001, "Bridge stops"],
  TOO_MANY: [1008, "Too many frames without an answer"],
  AUTH_TIMEOUT: [4001, "Auth timeout"],
  AUTH_FAILED: [4003, "Auth failed"],
  REPLACED: [4009, "Replaced by another client"],
});

const TO = /^[0-9][0-9-]{0,62}@(s\.whatsapp\.net|g\.us|lid)$/;
const MIME_TYPE = /^[a-z0-9][a-z0-9.+-]{0,62}\/[a-z0-9][a-z0-9.+-]{0,126}$/;
const PATH_CHARACTERS_MAX = 4096;
const NAME_CHARACTERS_MAX = 255;

/** Takes the same time whatever the token is: both sides are hashed to one length first. */
export function sameToken(given, wanted) {
  const digest = (text) => createHash("sha256").update(text, "utf8").digest();
  return timingSafeEqual(digest(given), digest(wanted));
}

/** The token of an auth frame, or nothing if this is none. */
export function authToken(text) {
  const frame = parseObject(text);
  return frame?.type === "auth" && typeof frame.token === "string" ? frame.token : undefined;
}

function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * One frame of an authenticated client. `isV2` says whether the client's ids count. A frame that cannot be followed is
 * {kind:"bad", error, id}: it gets exactly one answer, as a good one does, because plain N matches answers by order.
 */
export function parse(text, isV2, limits) {
  const frame = parseObject(text);
  if (frame === undefined) {
    return { kind: "bad", error: "bad_frame" };
  }
  if (frame.type === "hello") {
    return { kind: "hello", isV2: Number.isInteger(frame.v) && frame.v >= VERSION };
  }
  const hasId = isV2 && frame.id !== undefined;
  if (hasId && !isId(frame.id, limits)) {
    return { kind: "bad", error: "bad_id" };
  }
  const id = hasId ? frame.id : undefined;
  switch (frame.type) {
    case "ack":
      return isV2 ? (id === undefined ? { kind: "bad", error: "bad_id" } : { kind: "ack", id }) : unknown(id);
    case "send":
      return send(frame, id, limits);
    case "send_media":
      return sendMedia(frame, id, limits);
    default:
      return unknown(id);
  }
}

function unknown(id) {
  return { kind: "bad", error: "unknown_type", id };
}

function isId(id, limits) {
  return isText(id, limits.ID_CHARACTERS_MAX) && id.isWellFormed();
}

function isText(value, charactersMax) {
  return typeof value === "string" && value.length > 0 && value.length <= charactersMax;
}

function send(frame, id, limits) {
  if (typeof frame.to !== "string" || !TO.test(frame.to)) {
    return { kind: "bad", error: "bad_to", id };
  }
  if (!isText(frame.text, limits.TEXT_CHARACTERS_MAX)) {
    return { kind: "bad", error: "bad_text", id, to: frame.to };
  }
  return { kind: "send", id, to: frame.to, text: frame.text };
}

function sendMedia(frame, id, limits) {
  if (typeof frame.to !== "string" || !TO.test(frame.to)) {
    return { kind: "bad", error: "bad_to", id };
  }
  const { to, filePath, mimetype, caption, fileName } = frame;
  const isOptionalText = (value, charactersMax) => value === undefined || value === "" || isText(value, charactersMax);
  const isGood =
    isText(filePath, PATH_CHARACTERS_MAX) &&
    typeof mimetype === "string" &&
    MIME_TYPE.test(mimetype) &&
    isOptionalText(caption, limits.TEXT_CHARACTERS_MAX) &&
    isOptionalText(fileName, NAME_CHARACTERS_MAX);
  return isGood
    ? { kind: "send_media", id, to, media: { filePath, mimetype, caption, fileName } }
    : { kind: "bad", error: "bad_media", id, to };
}

export const hello = (dropped) => JSON.stringify({ type: "hello", v: VERSION, dropped });
export const status = (value) => JSON.stringify({ type: "status", status: value });
export const qr = (value) => JSON.stringify({ type: "qr", qr: value });
export const sent = ({ id, to }, waId) =>
  JSON.stringify(id === undefined ? { type: "sent", to } : { type: "sent", id, wa_id: waId, to });
export const error = ({ id }, phrase) =>
  JSON.stringify(id === undefined ? { type: "error", error: phrase } : { type: "error", id, error: phrase });

/** An inbound message within the size of a frame: control characters can make a text six times as long in JSON. */
export function message(frame, limits) {
  let fitting = { type: "message", ...frame };
  for (;;) {
    const text = JSON.stringify(fitting);
    if (Buffer.byteLength(text) <= limits.FRAME_OUT_BYTES_MAX || fitting.content.length < 64) {
      return text;
    }
    fitting = { ...fitting, content: cut(fitting.content, fitting.content.length / 2), truncated: true };
  }
}

/** At most `bytes` bytes of UTF-8, whole characters only. */
export function cut(text, bytes) {
  const limit = Math.floor(bytes);
  const all = Buffer.from(text, "utf8");
  if (all.length <= limit) {
    return text;
  }
  let end = limit;
  while (end > 0 && (all[end] & 0xc0) === 0x80) {
    end -= 1;
  }
  return all.toString("utf8", 0, end);
}
