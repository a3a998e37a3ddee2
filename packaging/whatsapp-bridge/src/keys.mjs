// The keys of the linked device, one file each, mode 0600, in a folder of mode 0700. Whoever has them is this device. A
// file is written beside its place and renamed, because a torn creds.json would mean linking again.

import fs from "node:fs";
import path from "node:path";

import { storageFault } from "./faults.mjs";
import { syncFolder } from "./journal.mjs";
import { openFolder } from "./state.mjs";

const CREDENTIALS = "creds.json";

export class Keys {
  #folder;
  #library;
  #fatal;

  /** `library` is {BufferJSON, initAuthCreds, proto} of Baileys. */
  constructor(folder, library, fatal) {
    this.#folder = folder;
    this.#library = library;
    this.#fatal = fatal;
    openFolder(folder);
  }

  /** What the library calls its authentication state. */
  load() {
    const creds = this.#read(CREDENTIALS) ?? this.#library.initAuthCreds();
    const get = async (type, ids) => this.#orFatal(() => this.#get(type, ids));
    const set = async (data) => this.#orFatal(() => this.#set(data));
    return {
      state: { creds, keys: { get, set } },
      saveCreds: () => this.#write(CREDENTIALS, creds, true),
    };
  }

  /** The library would go on without keys that cannot be read or kept, and refuse each message for good, unseen. */
  #orFatal(act) {
    try {
      return act();
    } catch (error) {
      this.#fatal(error);
      throw error;
    }
  }

  #get(type, ids) {
    const found = {};
    for (const id of ids) {
      const value = this.#read(nameOf(type, id));
      const isSyncKey = type === "app-state-sync-key" && value;
      found[id] = isSyncKey ? this.#library.proto.Message.AppStateSyncKeyData.fromObject(value) : value;
    }
    return found;
  }

  #set(data) {
    for (const [type, values] of Object.entries(data)) {
      for (const [id, value] of Object.entries(values)) {
        const name = nameOf(type, id);
        if (value) {
          this.#write(name, value, false);
        } else {
          fs.rmSync(path.join(this.#folder, name), { force: true });
        }
      }
    }
  }

  #read(name) {
    let text;
    try {
      text = fs.readFileSync(path.join(this.#folder, name), "utf8");
    } catch (error) {
      if (error.code === "ENOENT") {
        return null;
      }
      throw storageFault("cannot read the keys", error);
    }
    try {
      return JSON.parse(text, this.#library.BufferJSON.reviver);
    } catch {
      // A damaged session is made anew by the protocol; damaged credentials are not, and must not be replaced silently.
      if (name === CREDENTIALS) {
        throw storageFault("the keys are damaged: remove the keys folder and link again", { code: "EBADMSG" });
      }
      return null;
    }
  }

  #write(name, value, flush) {
    const place = path.join(this.#folder, name);
    const temporary = `${place}.new`;
    try {
      const text = JSON.stringify(value, this.#library.BufferJSON.replacer);
      fs.writeFileSync(temporary, text, { mode: 0o600, flush });
      fs.renameSync(temporary, place);
      if (flush) {
        syncFolder(this.#folder);
      }
    } catch (error) {
      throw storageFault("cannot write the keys", error);
    }
  }
}

/** Ids hold colons and slashes, and are partly chosen by others. */
function nameOf(type, id) {
  return `${type}-${encodeURIComponent(id)}.json`;
}
