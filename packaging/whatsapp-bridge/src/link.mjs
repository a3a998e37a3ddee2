// `--link`: links this device to an account once, at a terminal, by QR code or pairing code. Codes go to standard output
// only, never to a log.

import { EXIT } from "./faults.mjs";

/** Resolves with an exit code. `show` prints a line, `showQr` a QR code. */
export function link({ makeSocket, whatsapp, phone, show, showQr, settleMs }) {
  return new Promise((resolve) => {
    let asked = null;
    whatsapp.onQr = (qr) => {
      if (phone === undefined) {
        showQr(qr);
        show("On the phone: Settings, Linked devices, Link a device.");
      } else if (asked !== makeSocket.latest()) {
        // The first QR code says that WhatsApp is ready for a pairing code as well.
        asked = makeSocket.latest();
        askForCode(asked, phone, show).catch(() => {
          show("WhatsApp gave no pairing code. Try again later, or link by QR code.");
          resolve(EXIT.FAILED);
        });
      }
    };
    whatsapp.onStatus = (status) => {
      if (status === "connected") {
        show("Linked. Start the bridge when this program has ended.");
        // The phone sends the first keys in these seconds.
        setTimeout(() => resolve(EXIT.DONE), settleMs);
      } else if (status !== "disconnected") {
        show("WhatsApp refused: remove the keys folder and try again.");
        resolve(EXIT.FAILED);
      }
    };
    whatsapp.start();
  });
}

async function askForCode(socket, phone, show) {
  const code = await socket.requestPairingCode(phone);
  show(`On the phone: Settings, Linked devices, Link with phone number. Code: ${code.slice(0, 4)}-${code.slice(4)}`);
}
