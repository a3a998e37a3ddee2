// What follows the end of a connection to WhatsApp: a pure decision. The numbers are WhatsApp's, as Baileys names them; it has
// no names for the two bans.

export const REASON = Object.freeze({
  loggedOut: 401,
  bannedForAWhile: 402,
  forbidden: 403,
  banned: 406,
  connectionLost: 408,
  multideviceMismatch: 411,
  connectionClosed: 428,
  connectionReplaced: 440,
  badSession: 500,
  unavailableService: 503,
  restartRequired: 515,
});

/** Until a person acts, another try would only be refused again: {status, advice}. */
const TERMINAL = new Map([
  [REASON.loggedOut, ["logged_out", "the device was unlinked: remove the keys folder and link again"]],
  [REASON.bannedForAWhile, ["logged_out", "WhatsApp has banned this account for a while: restart this bridge when that is over"]],
  [REASON.banned, ["logged_out", "WhatsApp has banned this account: look at the phone"]],
  [REASON.forbidden, ["logged_out", "WhatsApp refuses this account; it may be banned: look at the phone"]],
  [REASON.multideviceMismatch, ["logged_out", "this account cannot have linked devices: update the app on the phone"]],
  [REASON.connectionReplaced, ["replaced", "another program uses the same keys: stop it, then restart this bridge"]],
]);

/**
 * `state` is {failures, restarts} in a row. Gives {status, advice} for an end, or {delayMs, failures, restarts}. `random`
 * gives a number in [0, 1).
 */
export function afterClose(code, state, limits, random) {
  if (TERMINAL.has(code)) {
    const [status, advice] = TERMINAL.get(code);
    return { status, advice };
  }
  if (code === REASON.restartRequired && state.restarts < limits.RESTARTS_MAX) {
    return { delayMs: 0, failures: state.failures, restarts: state.restarts + 1 };
  }
  const ceiling = Math.min(limits.RECONNECT_CAP_MS, limits.RECONNECT_BASE_MS * 2 ** Math.min(state.failures, 30));
  const delayMs = Math.max(limits.RECONNECT_FLOOR_MS, Math.floor(random() * ceiling));
  return { delayMs, failures: state.failures + 1, restarts: state.restarts };
}
