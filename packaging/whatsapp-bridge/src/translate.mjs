// From WhatsApp's message, as the library gives it, to a frame of dialect N. Pure: no library, no clock, no file.

import { cut } from "./frames.mjs";

/**
 * Envelopes around the message that a person wrote. An edit on its own holds a protocol message, which is no message; one that the
 * library has put in the place of a message that it still held back holds the new text, which is all that is left of it.
 */
const ENVELOPES = [
  "editedMessage",
  "ephemeralMessage",
  "viewOnceMessage",
  "viewOnceMessageV2",
  "viewOnceMessageV2Extension",
  "documentWithCaptionMessage",
];
const ENVELOPES_MAX = 5;
const MEDIA_KINDS = ["image", "video", "ptv", "audio", "document", "sticker"];
const KIND_NAMES = { ptv: "video" };
const ID = /^[\x21-\x7e]{1,200}$/;
const CHAT = /^[0-9][0-9-]{0,62}@(s\.whatsapp\.net|g\.us|lid)$/;

/** Without the device: 4917@s.whatsapp.net for 4917:12@s.whatsapp.net, and the old name of the same server. */
export function plainJid(jid) {
  if (typeof jid !== "string") {
    return "";
  }
  const [user, server] = jid.split("@");
  return server === undefined ? "" : `${user.split(/[:_]/)[0]}@${server === "c.us" ? "s.whatsapp.net" : server}`;
}

function unwrap(message) {
  let content = message;
  for (let depth = 0; depth < ENVELOPES_MAX; depth += 1) {
    const name = ENVELOPES.find((one) => content?.[one]?.message);
    if (name === undefined) {
      break;
    }
    content = content[name].message;
  }
  return content ?? {};
}

/** {content, context, media}: media is {kind, mimetype, bytes} of what is to be fetched. Nothing for what is no message. */
function read(content) {
  if (typeof content.conversation === "string" && content.conversation !== "") {
    return { content: content.conversation, context: content.messageContextInfo };
  }
  if (content.extendedTextMessage?.text) {
    return { content: content.extendedTextMessage.text, context: content.extendedTextMessage.contextInfo };
  }
  const kind = MEDIA_KINDS.find((one) => content[`${one}Message`]);
  if (kind !== undefined) {
    const body = content[`${kind}Message`];
    const media = { kind: KIND_NAMES[kind] ?? kind, mimetype: String(body.mimetype ?? ""), bytes: number(body.fileLength) };
    return { content: body.caption ?? "", context: body.contextInfo, media };
  }
  return readRest(content);
}

function readRest(content) {
  const reply = content.buttonsResponseMessage ?? content.listResponseMessage ?? content.templateButtonReplyMessage;
  const text = reply?.selectedDisplayText ?? reply?.title;
  if (typeof text === "string" && text !== "") {
    return { content: text, context: reply.contextInfo };
  }
  if (content.locationMessage) {
    const { degreesLatitude, degreesLongitude, contextInfo } = content.locationMessage;
    return { content: `[location ${Number(degreesLatitude)}, ${Number(degreesLongitude)}]`, context: contextInfo };
  }
  return content.contactMessage ? { content: "[contact]", context: content.contactMessage.contextInfo } : undefined;
}

/** The library gives 64-bit numbers as numbers, as texts or as {low, high}. */
function number(value) {
  const plain = typeof value?.toNumber === "function" ? value.toNumber() : Number(value?.low ?? value);
  return Number.isFinite(plain) && plain >= 0 ? Math.floor(plain) : 0;
}

/**
 * {frame, media}, or nothing for what is not forwarded: our own messages, status posts, channels, reactions, protocol
 * messages, and messages that could not be decrypted. `me` is {id, lid} of the linked account.
 */
export function translate(message, me, limits) {
  const { key } = message ?? {};
  const sender = plainJid(key?.remoteJid);
  if (!key || key.fromMe || !CHAT.test(sender) || !ID.test(key.id ?? "")) {
    return undefined;
  }
  const found = read(unwrap(message.message));
  if (found === undefined) {
    return undefined;
  }
  const isGroup = sender.endsWith("@g.us");
  const author = isGroup ? plainJid(key.participant) : sender;
  if (isGroup && !CHAT.test(author)) {
    return undefined;
  }
  const content = cut(String(found.content), limits.CONTENT_BYTES_MAX);
  const frame = {
    id: key.id,
    sender,
    pn: phoneOf([author, plainJid(isGroup ? key.participantAlt : key.remoteJidAlt)]),
    content,
    timestamp: number(message.messageTimestamp),
    isGroup,
    ...(isGroup ? { participant: author } : {}),
    ...(content.length < String(found.content).length ? { truncated: true } : {}),
    ...contextOf(found.context, me, isGroup),
  };
  return { frame, media: found.media };
}

/** The first of them that is a number, or "". */
export function phoneOf(jids) {
  return jids.find((jid) => jid.endsWith("@s.whatsapp.net")) ?? "";
}

function contextOf(context, me, isGroup) {
  const own = [plainJid(me?.id), plainJid(me?.lid)].filter((jid) => jid !== "");
  const isOwn = (jid) => own.includes(plainJid(jid));
  const mentioned = Array.isArray(context?.mentionedJid) && context.mentionedJid.some(isOwn);
  const replied = Boolean(context?.stanzaId) && isOwn(context?.participant);
  return {
    ...(isGroup ? { wasMentioned: mentioned, isReplyToBot: replied } : {}),
    ...(context?.isForwarded ? { isForwarded: true } : {}),
  };
}

/** Who wrote it: a number or a LID. */
export function authorOf(frame) {
  return frame.participant ?? frame.sender;
}

/** Whether the linked account is meant: always by a direct message, in a group by a mention or a reply. */
export function isMeant(frame) {
  return !frame.isGroup || frame.wasMentioned || frame.isReplyToBot;
}

/** What a message says when its media is not there. */
export function withoutMedia(frame, media, reason) {
  const note = `[${media?.kind ?? "media"} not stored: ${reason}]`;
  return { ...frame, content: frame.content === "" ? note : `${frame.content}\n${note}` };
}
