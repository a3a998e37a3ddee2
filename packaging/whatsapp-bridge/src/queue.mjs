// The messages that WhatsApp brought and no client has taken over yet, in the order of their arrival, on disk. A message
// stays until it is acked, until a plain N client got it, or until a limit gives it up. `queue.jsonl` holds
// {"put":frame,"at","ready"}, {"gone":key} and {"dropped":count}; not ready is a frame without its media.

import { Journal } from "./journal.mjs";

/** A message id is its author's choice: it names a message only together with chat and author. */
export function keyOf(frame) {
  return JSON.stringify([frame.sender, frame.participant ?? "", frame.id]);
}

function recordOf({ frame, at, waitsFor }) {
  return { put: frame, at, ready: waitsFor !== "media" };
}

export class Queue {
  #journal;
  #limits;
  #now;
  #log;
  #entries = new Map();
  #seen = new Set();
  #bytes = 0;
  /** Messages given up since this state folder began. */
  dropped = 0;

  constructor(file, { limits, log, now = Date.now }) {
    this.#journal = new Journal(file);
    this.#limits = limits;
    this.#now = now;
    this.#log = log;
  }

  /** Reads what the last run left. Media that was still being fetched then is lost: `finish` completes such frames. */
  load(finish) {
    const { records, damaged } = this.#journal.load(this.#limits.JOURNAL_BYTES_MAX);
    for (const record of records) {
      this.#replay(record, finish);
    }
    if (damaged > 0) {
      this.#log("state_damaged", { file: "queue", lines: damaged });
    }
    this.expire();
    this.#compact(0);
  }

  #replay(record, finish) {
    if (typeof record?.put?.id === "string" && typeof record.at === "number") {
      const frame = record.ready ? record.put : finish(record.put);
      this.#insert(keyOf(frame), frame, record.at, undefined);
    } else if (typeof record?.gone === "string") {
      this.#remove(record.gone);
      this.#remember(record.gone);
    } else if (Number.isSafeInteger(record?.dropped)) {
      this.dropped += record.dropped;
    }
  }

  get size() {
    return this.#entries.size;
  }

  entries() {
    return this.#entries.values();
  }

  /**
   * On disk when it returns. Nothing, if this message is known already. `waitsFor` is "media" or "number" while something
   * is missing: `complete` brings it. Without the number a frame is whole for the next run, without its media it is not.
   */
  put(frame, waitsFor) {
    const key = keyOf(frame);
    if (this.#entries.has(key) || this.#seen.has(key)) {
      return undefined;
    }
    const at = this.#now();
    const entry = this.#insert(key, frame, at, waitsFor);
    this.#journal.append(recordOf(entry), true);
    this.#shrink();
    return this.#entries.has(key) ? entry : undefined;
  }

  /** The same message with what was still missing; its place in the order stays. */
  complete(entry, frame) {
    if (this.#entries.get(entry.key) !== entry) {
      return;
    }
    this.#insert(entry.key, frame, entry.at, undefined);
    this.#journal.append(recordOf(entry), true);
    this.#shrink();
  }

  /** A client has it. Not flushed: after a crash the message is sent once more, and the client knows it already. */
  settle(entry) {
    if (this.#entries.get(entry.key) === entry) {
      this.#journal.append({ gone: entry.key }, false);
      this.#remove(entry.key);
      this.#remember(entry.key);
      this.#compact(this.#limits.JOURNAL_SLACK);
    }
  }

  expire() {
    const oldest = this.#now() - this.#limits.QUEUE_AGE_MS;
    for (const entry of [...this.#entries.values()]) {
      if (entry.at < oldest) {
        this.#giveUp(entry, "age");
      }
    }
  }

  close() {
    this.#journal.close();
  }

  #insert(key, frame, at, waitsFor) {
    const bytes = Buffer.byteLength(JSON.stringify(frame));
    const known = this.#entries.get(key);
    if (known) {
      this.#bytes += bytes - known.bytes;
      return Object.assign(known, { frame, bytes, waitsFor });
    }
    const entry = { key, frame, bytes, at, waitsFor, sentTo: null, isBacklog: true };
    this.#entries.set(key, entry);
    this.#bytes += bytes;
    return entry;
  }

  #remove(key) {
    this.#bytes -= this.#entries.get(key)?.bytes ?? 0;
    this.#entries.delete(key);
  }

  #remember(key) {
    this.#seen.add(key);
    if (this.#seen.size > this.#limits.SEEN_MAX) {
      this.#seen.delete(this.#seen.values().next().value);
    }
  }

  /** The newest messages are worth more to a person than the oldest, and WhatsApp takes none of them back. */
  #shrink() {
    while (this.#entries.size > this.#limits.QUEUE_MESSAGES_MAX) {
      this.#giveUp(this.#entries.values().next().value, "messages");
    }
    while (this.#bytes > this.#limits.QUEUE_BYTES_MAX) {
      this.#giveUp(this.#entries.values().next().value, "bytes");
    }
  }

  #giveUp(entry, limit) {
    this.#journal.append({ gone: entry.key }, false);
    this.#journal.append({ dropped: 1 }, false);
    this.#remove(entry.key);
    this.#remember(entry.key);
    this.dropped += 1;
    this.#log("message_dropped", { id: entry.frame.id, limit, dropped: this.dropped });
    this.#compact(this.#limits.JOURNAL_SLACK);
  }

  #compact(slack) {
    const kept = this.#entries.size + this.#seen.size + 1;
    if (this.#journal.lineCount <= kept + slack) {
      return;
    }
    const gone = [...this.#seen].map((key) => ({ gone: key }));
    const put = [...this.#entries.values()].map(recordOf);
    this.#journal.replace([{ dropped: this.dropped }, ...gone, ...put]);
  }
}
