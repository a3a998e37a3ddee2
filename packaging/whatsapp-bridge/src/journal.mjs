// A file of JSON lines that survives kill -9 and power cuts: what `append` was told to flush is there after a restart. A
// last line without its end was being written when the power went: it was never promised to anybody, and is cut off.

import fs from "node:fs";
import path from "node:path";

import { storageFault } from "./faults.mjs";

const MODE = 0o600;

export class Journal {
  #path;
  #file = null;
  lineCount = 0;

  /** Opens the file; `#path` may not exist yet. */
  constructor(file) {
    this.#path = file;
  }

  /** Every readable record, oldest first. Lines that are no JSON are passed over: `damaged` counts them. */
  load(bytesMax) {
    try {
      fs.mkdirSync(path.dirname(this.#path), { recursive: true, mode: 0o700 });
      this.#file = fs.openSync(this.#path, fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_NOFOLLOW, MODE);
      if (fs.fstatSync(this.#file).size > bytesMax) {
        throw Object.assign(new Error(), { code: "EFBIG" });
      }
      const bytes = fs.readFileSync(this.#file);
      const end = bytes.lastIndexOf(0x0a) + 1;
      if (end < bytes.length) {
        fs.ftruncateSync(this.#file, end);
      }
      return this.#parse(bytes.toString("utf8", 0, end));
    } catch (error) {
      throw storageFault("cannot read the state", error);
    }
  }

  #parse(text) {
    const records = [];
    let damaged = 0;
    for (const line of text.split("\n").slice(0, -1)) {
      try {
        records.push(JSON.parse(line));
      } catch {
        damaged += 1;
      }
    }
    this.lineCount = records.length + damaged;
    return { records, damaged };
  }

  /** With `flush`, the record is on the disk when this returns. */
  append(record, flush) {
    try {
      const { size } = fs.fstatSync(this.#file);
      writeAll(this.#file, `${JSON.stringify(record)}\n`, size);
      if (flush) {
        fs.fdatasyncSync(this.#file);
      }
      this.lineCount += 1;
    } catch (error) {
      throw storageFault("cannot write the state", error);
    }
  }

  /** Puts these records in the place of all others: a crash leaves either the old file or the new one. */
  replace(records) {
    const temporary = `${this.#path}.new`;
    try {
      const file = fs.openSync(temporary, "w+", MODE);
      writeAll(file, records.map((record) => `${JSON.stringify(record)}\n`).join(""), 0);
      fs.fdatasyncSync(file);
      fs.renameSync(temporary, this.#path);
      syncFolder(path.dirname(this.#path));
      fs.closeSync(this.#file);
      this.#file = file;
      this.lineCount = records.length;
    } catch (error) {
      throw storageFault("cannot write the state", error);
    }
  }

  close() {
    if (this.#file !== null) {
      fs.closeSync(this.#file);
      this.#file = null;
    }
  }
}

/** A full disk may take a part of a write and say so. */
function writeAll(file, text, position) {
  const bytes = Buffer.from(text, "utf8");
  for (let done = 0; done < bytes.length; ) {
    done += fs.writeSync(file, bytes, done, bytes.length - done, position + done);
  }
}

export function syncFolder(folder) {
  const handle = fs.openSync(folder, "r");
  try {
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}
