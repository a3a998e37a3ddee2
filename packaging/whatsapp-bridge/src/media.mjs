// Media on disk: inbound files under one folder with limits, and outbound files from the same folder only, so that a
// client cannot have the bridge's keys sent away. No name that somebody chose becomes a path.

import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

import { storageFault } from "./faults.mjs";

const ENDINGS = {
  "image/jpeg": "jpg",
  "image/png": "png",
  "image/webp": "webp",
  "image/gif": "gif",
  "video/mp4": "mp4",
  "video/3gpp": "3gp",
  "audio/ogg": "ogg",
  "audio/mpeg": "mp3",
  "audio/mp4": "m4a",
  "audio/aac": "aac",
  "application/pdf": "pdf",
  "text/plain": "txt",
};
const OURS = /^[0-9]{10,13}-[0-9a-f]{16}\.[a-z0-9]{3,4}$/;

export class Media {
  #folder;
  #limits;
  #now;
  #waiting = [];
  #running = 0;

  constructor(folder, { limits, now = Date.now }) {
    this.#folder = folder;
    this.#limits = limits;
    this.#now = now;
  }

  /**
   * Fetches and stores; {path}, or {reason} why it is not stored. `open` resolves with a stream of bytes.
   */
  async store(key, media, open) {
    if (media.bytes > this.#limits.MEDIA_BYTES_MAX) {
      return { reason: "too large" };
    }
    if (this.#waiting.length >= this.#limits.DOWNLOADS_WAITING_MAX) {
      return { reason: "too many" };
    }
    await this.#turn();
    let stream;
    let timer;
    const deadline = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Late()), this.#limits.MEDIA_MS);
    });
    deadline.catch(() => {});
    const opening = open().then((opened) => (stream = opened));
    opening.then((late) => timer === null && late.destroy?.(), () => {});
    try {
      await Promise.race([opening, deadline]);
      return await this.#write(this.#nameFor(key, media.mimetype), stream, deadline);
    } catch (error) {
      return { reason: error instanceof Late ? "too slow" : "not available" };
    } finally {
      clearTimeout(timer);
      timer = null;
      stream?.destroy?.();
      this.#pass();
    }
  }

  async #turn() {
    if (this.#running < this.#limits.DOWNLOADS_MAX) {
      this.#running += 1;
    } else {
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
  }

  /** The place goes to the one that waits longest, so that nobody who comes meanwhile takes it as well. */
  #pass() {
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#running -= 1;
    } else {
      next();
    }
  }

  #nameFor(key, mimetype) {
    const digest = createHash("sha256").update(key).digest("hex").slice(0, 16);
    return `${Math.floor(this.#now() / 1000)}-${digest}.${ENDINGS[mimetype.split(";")[0].trim()] ?? "bin"}`;
  }

  async #write(name, stream, deadline) {
    const place = path.join(this.#folder, name);
    const flags = fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_NOFOLLOW;
    const file = await fs.promises.open(place, flags, 0o600);
    let isWhole = false;
    try {
      isWhole = await Promise.race([this.#copy(stream, file), deadline]);
    } finally {
      await file.close();
      if (!isWhole) {
        fs.rmSync(place, { force: true });
      }
    }
    this.sweep(name);
    return isWhole ? { path: place } : { reason: "too large" };
  }

  /** False when more comes than was said and is allowed. */
  async #copy(stream, file) {
    let total = 0;
    for await (const chunk of stream) {
      total += chunk.length;
      if (total > this.#limits.MEDIA_BYTES_MAX) {
        return false;
      }
      await file.writeFile(chunk);
    }
    return true;
  }

  /** Deletes our own old files, then the oldest until the rest fits; `newest` stays. */
  sweep(newest = "") {
    try {
      const names = fs.readdirSync(this.#folder).filter((name) => OURS.test(name) && name !== newest).sort();
      const files = names.map((name) => ({ place: path.join(this.#folder, name), ...sizes(path.join(this.#folder, name)) }));
      let total = files.reduce((sum, file) => sum + file.bytes, 0) + sizes(path.join(this.#folder, newest)).bytes;
      const oldest = this.#now() - this.#limits.MEDIA_AGE_MS;
      for (const { place, bytes, at } of files) {
        if (at < oldest || total > this.#limits.MEDIA_FOLDER_BYTES_MAX) {
          fs.rmSync(place, { force: true });
          total -= bytes;
        }
      }
    } catch (error) {
      throw storageFault("cannot tidy the media folder", error);
    }
  }

  /** The bytes of a file that a client wants sent; nothing if it is not ours to send. */
  read(filePath) {
    let file;
    try {
      const folder = fs.realpathSync(this.#folder);
      const place = fs.realpathSync(filePath);
      if (!place.startsWith(`${folder}${path.sep}`)) {
        return undefined;
      }
      file = fs.openSync(place, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
      const found = fs.fstatSync(file);
      return found.isFile() && found.size <= this.#limits.MEDIA_BYTES_MAX ? fs.readFileSync(file) : undefined;
    } catch {
      return undefined;
    } finally {
      if (file !== undefined) {
        fs.closeSync(file);
      }
    }
  }
}

class Late extends Error {}

function sizes(place) {
  const found = fs.statSync(place, { throwIfNoEntry: false });
  return { bytes: found?.isFile() ? found.size : 0, at: found?.mtimeMs ?? 0 };
}
