// Log lines: one JSON object each, on standard error. Names of events, ids, counts and our own words; never the text of
// a message, a token, a key or a linking code.

const FIELD_CHARACTERS_MAX = 200;

/** Everything outside of printable ASCII is escaped: what others wrote cannot move a terminal's cursor. */
function escaped(line) {
  return line.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function short(value) {
  return typeof value === "string" && value.length > FIELD_CHARACTERS_MAX
    ? `${value.slice(0, FIELD_CHARACTERS_MAX)}...`
    : value;
}

export function makeLog(write = (line) => process.stderr.write(line)) {
  return (event, fields = {}) => {
    const record = { time: new Date().toISOString(), event };
    for (const [name, value] of Object.entries(fields)) {
      record[name] = short(value);
    }
    write(`${escaped(JSON.stringify(record))}\n`);
  };
}

/**
 * The Signal library below Baileys prints whole session records, private keys included, with console.info and
 * console.warn. Nothing of ours uses the console, so it is closed.
 */
export function closeConsole() {
  for (const name of ["log", "info", "warn", "error", "debug", "trace", "dir", "table"]) {
    console[name] = () => {};
  }
}
