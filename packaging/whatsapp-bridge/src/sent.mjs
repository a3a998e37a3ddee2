// Which outbound ids were sent already: the last 1000, on disk, so that a repeated frame is answered and not sent twice.

import { Journal } from "./journal.mjs";

export class Sent {
  #journal;
  #limits;
  #ids = new Map();

  constructor(file, { limits }) {
    this.#journal = new Journal(file);
    this.#limits = limits;
  }

  load() {
    for (const record of this.#journal.load(this.#limits.JOURNAL_BYTES_MAX).records) {
      if (typeof record?.id === "string" && typeof record.wa_id === "string") {
        this.#keep(record.id, record.wa_id);
      }
    }
    this.#compact(0);
  }

  /** WhatsApp's id of the message that was sent for this id. */
  find(id) {
    return this.#ids.get(id);
  }

  /** On disk when it returns. */
  remember(id, waId) {
    this.#journal.append({ id, wa_id: waId }, true);
    this.#keep(id, waId);
    this.#compact(this.#limits.JOURNAL_SLACK);
  }

  close() {
    this.#journal.close();
  }

  #keep(id, waId) {
    this.#ids.delete(id);
    this.#ids.set(id, waId);
    if (this.#ids.size > this.#limits.SENT_IDS_MAX) {
      this.#ids.delete(this.#ids.keys().next().value);
    }
  }

  #compact(slack) {
    if (this.#journal.lineCount > this.#ids.size + slack) {
      this.#journal.replace([...this.#ids].map(([id, waId]) => ({ id, wa_id: waId })));
    }
  }
}
