// Errors that end the program, and the exit codes. They are the codes of rusty-pinch itself where both have the case.

export const EXIT = Object.freeze({
  DONE: 0, // stopped as asked, or linked
  FAILED: 1, // linking failed
  USAGE: 2,
  BUG: 70,
  STORAGE: 74, // the state folder cannot be written or read
  BUSY: 75, // another bridge uses the state folder, or the port is taken
  CONFIGURATION: 78,
});

/** Ends the program with `code`. `message` holds our own words only. */
export class Fault extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export function storageFault(action, error) {
  const reason = typeof error?.code === "string" ? error.code : "unknown";
  return new Fault(EXIT.STORAGE, `${action}: ${reason}`);
}
