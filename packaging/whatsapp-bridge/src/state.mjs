// The state folder: private to the bridge's user, and used by one bridge at a time. Two programs with the same keys would
// spoil the encryption of both.

import fs from "node:fs";
import path from "node:path";

import { EXIT, Fault, storageFault } from "./faults.mjs";

/** Makes the folder with mode 0700, or takes the rights of others away. One of another user is refused. */
export function openFolder(folder) {
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    const found = fs.statSync(folder);
    if (found.uid !== process.geteuid()) {
      throw new Fault(EXIT.CONFIGURATION, "a state or media folder belongs to another user: chown it");
    }
    if ((found.mode & 0o077) !== 0) {
      fs.chmodSync(folder, 0o700);
    }
  } catch (error) {
    throw error instanceof Fault ? error : storageFault("cannot use the state or media folder", error);
  }
}

/** Resolves to the function that unlocks. A lock of a process that is gone does not count. */
export function lock(folder) {
  const file = path.join(folder, "lock");
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      fs.writeFileSync(file, `${process.pid} ${startOf(process.pid)}\n`, { flag: "wx", mode: 0o600 });
      return () => fs.rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== "EEXIST") {
        throw storageFault("cannot lock the state folder", error);
      }
    }
    if (isHeld(file)) {
      throw new Fault(EXIT.BUSY, "another bridge uses this state folder");
    }
    fs.rmSync(file, { force: true });
  }
  throw new Fault(EXIT.BUSY, "another bridge takes this state folder");
}

function isHeld(file) {
  let words = [];
  try {
    words = fs.readFileSync(file, "utf8").trim().split(" ");
  } catch {
    // It went away in this moment: nobody holds it.
  }
  const [id, start] = words;
  return /^[0-9]+$/.test(id ?? "") && Number(id) !== process.pid && start !== "" && start === startOf(id);
}

/** When a process began, in clock ticks since boot: with its id, this is one process and no other. Empty if it is gone. */
function startOf(id) {
  try {
    const stat = fs.readFileSync(`/proc/${id}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}
