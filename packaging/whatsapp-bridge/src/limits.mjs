// Every limit of the bridge, by name and with its unit. What happens at a limit is said beside it and in
// docs/whatsapp-bridge.md. Tests pass other values; the running program has no switch for them.

const KIB = 1024;
const MIB = 1024 * KIB;
const DAY_MS = 24 * 60 * 60 * 1000;

export const LIMITS = Object.freeze({
  // The websocket.
  AUTH_MS: 5_000, // no auth frame by then: close 4001
  HELLO_MS: 2_000, // no hello by then: the client speaks plain N until it says hello
  STATUS_MS: 5_000, // the status is repeated while offline
  PING_MS: 30_000, // a client that answered no ping in this time is cut off
  CLOSE_MS: 1_000, // a close frame that is not answered by then: the socket is cut
  FRAME_IN_BYTES_MAX: MIB, // larger: close 1009
  AUTH_BYTES_MAX: 4 * KIB, // larger: close 4003
  FRAME_OUT_BYTES_MAX: 256 * KIB, // the content of a larger message is cut
  UNSENT_BYTES_MAX: 4 * MIB, // a client that does not read this much is cut off
  STRANGERS_MAX: 16, // connections that have not shown the token; more get HTTP 503
  UNACKED_MAX: 64, // v2: messages sent and not acked; the rest waits for acks

  // Messages that wait for their ack, on disk.
  QUEUE_MESSAGES_MAX: 1_000, // the oldest is given up, logged and counted
  QUEUE_BYTES_MAX: 8 * MIB, // the same
  QUEUE_AGE_MS: 7 * DAY_MS, // the same
  SWEEP_MS: 60 * 60 * 1000, // how often ages are looked at
  JOURNAL_BYTES_MAX: 64 * MIB, // a larger file was not written by us: refused at start
  JOURNAL_SLACK: 1_000, // dead lines in a file before it is written anew
  CONTENT_BYTES_MAX: 64 * KIB, // longer content is cut
  SEEN_MAX: 1_000, // messages remembered, so that WhatsApp's own repeats are passed on once

  // Messages to be sent.
  OUTBOX_MAX: 256, // more waiting: answered `busy`
  ANSWERS_MAX: 4_096, // more frames without an answer: close 1008
  SENT_IDS_MAX: 1_000, // remembered on disk, the oldest is forgotten
  ID_CHARACTERS_MAX: 200, // longer: `bad_id`
  TEXT_CHARACTERS_MAX: 65_536, // longer: `bad_text` (WhatsApp's own limit)
  SEND_MS: 20_000, // WhatsApp did not confirm by then: `unconfirmed`

  // Media.
  MEDIA_BYTES_MAX: 20 * MIB, // larger: not stored, and the content says so
  MEDIA_FOLDER_BYTES_MAX: 512 * MIB, // the oldest files are deleted
  MEDIA_AGE_MS: 7 * DAY_MS, // older files are deleted
  MEDIA_MS: 30_000, // not there by then: not stored, and the content says so
  NUMBER_MS: 2_000, // the library does not name the author's number by then: the message goes without
  DOWNLOADS_MAX: 4, // at a time; the rest waits
  DOWNLOADS_WAITING_MAX: 256, // more: not stored, and the content says so

  // The link to WhatsApp.
  RECONNECT_BASE_MS: 2_000, // full jitter, doubled for each failure in a row
  RECONNECT_FLOOR_MS: 500,
  RECONNECT_CAP_MS: 120_000,
  STABLE_MS: 60_000, // a link that lived this long starts the count of failures anew
  RESTARTS_MAX: 3, // restarts at once in a row that WhatsApp asked for; more wait like failures
  GROUPS_MAX: 256, // groups whose members are remembered; the oldest is forgotten
  GROUP_AGE_MS: 5 * 60 * 1000,

  LINK_SETTLE_MS: 10_000, // how long --link stays after the linking, for the first keys

  STOP_MS: 4_000, // after SIGTERM everything ends within this time
});
