// The only file that names the library. It makes sockets the way whatsapp.mjs wants them.

import makeWASocket, * as library from "baileys";

import { downloader } from "./download.mjs";
import { Keys } from "./keys.mjs";
import { phoneOf, plainJid } from "./translate.mjs";

/** The library logs keys and texts at its lower levels. Nothing of it is kept. */
const silent = { level: "silent", trace() {}, debug() {}, info() {}, warn() {}, error() {}, fatal() {}, child: () => silent };

/** Members of groups are asked for before each message to a group; WhatsApp limits who asks too often. */
class Groups {
  #limits;
  #known = new Map();

  constructor(limits) {
    this.#limits = limits;
  }

  get(jid) {
    const found = this.#known.get(jid);
    return found !== undefined && Date.now() - found.at < this.#limits.GROUP_AGE_MS ? found.members : undefined;
  }

  put(jid, members) {
    this.#known.delete(jid);
    this.#known.set(jid, { members, at: Date.now() });
    if (this.#known.size > this.#limits.GROUPS_MAX) {
      this.#known.delete(this.#known.keys().next().value);
    }
  }

  forget(jid) {
    this.#known.delete(jid);
  }
}

/**
 * Gives the function that makes a socket. `options` of tests point it at another server.
 */
export function socketMaker({ keysFolder, version, limits, fatal, options = {} }) {
  const keys = new Keys(keysFolder, library, fatal);
  const groups = new Groups(limits);
  // One for all sockets: an older one must not save what a newer one has replaced.
  const { state, saveCreds } = keys.load();
  return async () => {
    const socket = makeWASocket({
      ...(version === undefined ? {} : { version }),
      auth: { creds: state.creds, keys: library.makeCacheableSignalKeyStore(state.keys, silent) },
      logger: silent,
      // The phone keeps its notifications, and no history is fetched: the bridge has no use for it.
      markOnlineOnConnect: false,
      syncFullHistory: false,
      shouldSyncHistoryMessage: () => false,
      cachedGroupMetadata: async (jid) => groups.get(jid),
      ...options,
    });
    socket.ev.on("creds.update", () => {
      try {
        saveCreds();
      } catch (error) {
        fatal(error);
      }
    });
    // The library forgets what it holds back when a connection ends, and WhatsApp has its receipts already.
    socket.ev.on("connection.update", ({ connection }) => connection === "close" && socket.ev.flush());
    watchGroups(socket, groups);
    return adapt(socket, groups, limits);
  };
}

function watchGroups(socket, groups) {
  socket.ev.on("groups.update", (updates) => updates.forEach(({ id }) => groups.forget(id)));
  socket.ev.on("group-participants.update", ({ id }) => groups.forget(id));
}

function adapt(socket, groups, limits) {
  return {
    ev: socket.ev,
    ws: socket.ws,
    get user() {
      return socket.user;
    },
    async sendMessage(to, content, settings) {
      if (to.endsWith("@g.us") && groups.get(to) === undefined) {
        groups.put(to, await socket.groupMetadata(to));
      }
      return socket.sendMessage(to, content, settings);
    },
    download: downloader({ library, limits, reupload: (message) => socket.updateMediaMessage(message) }),
    numberOf: async (lid) => phoneOf([plainJid(await socket.signalRepository.lidMapping.getPNForLID(lid))]),
    requestPairingCode: (phone) => socket.requestPairingCode(phone),
    end(error) {
      // Messages that the library holds back while it catches up are receipted already: they must get out.
      socket.ev.flush();
      socket.end(error);
    },
  };
}
