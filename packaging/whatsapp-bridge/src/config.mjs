// What the operator decided, checked once. Settings come from the environment; a fault ends the program with 78 and one
// sentence.

import fs from "node:fs";
import net from "node:net";
import path from "node:path";

import { EXIT, Fault } from "./faults.mjs";

const PORT_DEFAULT = 3001;
const TOKEN_CHARACTERS_MIN = 16;
const TOKEN_BYTES_MAX = 4096;
const PHONE = /^[1-9][0-9]{6,14}$/;

function wrong(sentence) {
  return new Fault(EXIT.CONFIGURATION, sentence);
}

export function readSettings(environment) {
  const state = environment.BRIDGE_STATE_DIR || environment.STATE_DIRECTORY?.split(":")[0] || "state";
  const stateFolder = path.resolve(state);
  return {
    host: hostSetting(environment.BRIDGE_HOST || "127.0.0.1"),
    port: portSetting(environment.BRIDGE_PORT),
    stateFolder,
    mediaFolder: path.resolve(environment.BRIDGE_MEDIA_DIR || path.join(stateFolder, "media")),
    version: versionSetting(environment.BRIDGE_WA_VERSION),
  };
}

function portSetting(text) {
  const port = text ? Number(text) : PORT_DEFAULT;
  if (!Number.isInteger(port) || port < 0 || port > 65_535 || !/^[0-9]*$/.test(text ?? "")) {
    throw wrong("BRIDGE_PORT is no port number");
  }
  return port;
}

/** WhatsApp refuses clients that say an old version (405); three numbers here are said instead of the library's. */
function versionSetting(text) {
  if (!text) {
    return undefined;
  }
  if (!/^[0-9]{1,9}(\.[0-9]{1,12}){2}$/.test(text)) {
    throw wrong("BRIDGE_WA_VERSION is not of the form 2.3000.1043857760");
  }
  return text.split(".").map(Number);
}

const NEAR = new net.BlockList();
NEAR.addSubnet("127.0.0.0", 8, "ipv4");
NEAR.addSubnet("10.0.0.0", 8, "ipv4");
NEAR.addSubnet("172.16.0.0", 12, "ipv4");
NEAR.addSubnet("192.168.0.0", 16, "ipv4");
NEAR.addAddress("::1", "ipv6");
NEAR.addSubnet("fc00::", 7, "ipv6");

/** Loopback, or the one private address of a container: never every interface, and never a public address. */
export function hostSetting(host) {
  const family = net.isIP(host);
  if (host === "container") {
    return host;
  }
  if (family === 0 || !NEAR.check(host, family === 6 ? "ipv6" : "ipv4")) {
    throw wrong("BRIDGE_HOST must be a loopback or private address, or the word container");
  }
  return host;
}

/** The address that `container` stands for: the only private one of the interfaces that are not loopback. */
export function containerAddress(interfaces) {
  const all = Object.values(interfaces).flat().filter((one) => !one.internal && one.family === "IPv4");
  if (all.length !== 1 || !NEAR.check(all[0].address, "ipv4")) {
    throw wrong("BRIDGE_HOST=container needs exactly one private address: write the address instead");
  }
  return all[0].address;
}

export function phoneSetting(text) {
  const digits = text.replace(/^\+/, "");
  if (!PHONE.test(digits)) {
    throw new Fault(EXIT.USAGE, "--phone needs the number with its country code, digits only");
  }
  return digits;
}

/** BRIDGE_TOKEN_FILE, the token of systemd's credentials, or BRIDGE_TOKEN. There is no bridge without a token. */
export function readToken(environment) {
  const credentials = environment.CREDENTIALS_DIRECTORY;
  const credential = credentials ? path.join(credentials, "token") : undefined;
  const file = environment.BRIDGE_TOKEN_FILE || (credential && fs.existsSync(credential) ? credential : undefined);
  if (file && environment.BRIDGE_TOKEN) {
    throw wrong("both a token file and BRIDGE_TOKEN are given: keep one");
  }
  const token = file ? readTokenFile(file, credentials) : environment.BRIDGE_TOKEN;
  if (!token) {
    throw wrong("there is no token: set BRIDGE_TOKEN_FILE or BRIDGE_TOKEN");
  }
  if (token.length < TOKEN_CHARACTERS_MIN || /[\x00-\x20\x7f]/.test(token)) {
    throw wrong(`the token needs ${TOKEN_CHARACTERS_MIN} characters or more, without blanks`);
  }
  return token;
}

function readTokenFile(file, credentials) {
  let handle;
  try {
    handle = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    const found = fs.fstatSync(handle);
    if (!found.isFile() || found.size > TOKEN_BYTES_MAX) {
      throw wrong("the token file is no regular file of at most 4 KiB");
    }
    if (!isManaged(file, credentials)) {
      checkOwner(found, { user: process.geteuid(), groups: [process.getegid(), ...process.getgroups()] });
    }
    return fs.readFileSync(handle, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw error instanceof Fault ? error : wrong(`the token file cannot be read: ${error.code}`);
  } finally {
    if (handle !== undefined) {
      fs.closeSync(handle);
    }
  }
}

/** Modes there are the business of systemd and of the container engine. */
function isManaged(file, credentials) {
  const folders = ["/run/secrets", ...(credentials ? [credentials] : [])];
  return folders.includes(path.dirname(path.resolve(file)));
}

/** `us` is {user, groups}. A file of root may be readable by a group of ours. */
export function checkOwner({ uid, gid, mode }, us) {
  if (uid !== 0 && uid !== us.user) {
    throw wrong("the token file belongs to another user: chown it to the bridge's user");
  }
  const isOurGroup = uid === 0 && us.user !== 0 && us.groups.includes(gid);
  const forbidden = isOurGroup ? 0o037 : 0o077;
  if ((mode & forbidden) !== 0) {
    throw wrong("the token file can be used by others: chmod 600 it");
  }
}
