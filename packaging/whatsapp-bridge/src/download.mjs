// Fetches and decrypts the media of a message. The library's own way to do it is not used: it asks whatever host the author of
// the message wrote, so that a stranger could have addresses of the private network fetched; it leaves the network's stream
// without a listener for errors, so that a connection that breaks off ends this program; and it does not look at the code at
// the end of a file that says whether it is whole. Only WhatsApp's own hosts are asked, over TLS, without redirects.

import { createDecipheriv, createHmac, timingSafeEqual } from "node:crypto";
import { Readable, Transform, pipeline } from "node:stream";

const HOST = "mmg.whatsapp.net";
const HOSTS = /^([a-z0-9-]+\.)+whatsapp\.net$/;
const ORIGIN = "https://web.whatsapp.com";
const CODE_BYTES = 10;

/** WhatsApp deletes files after a while; the phone of their author can bring them again. */
const GONE = [404, 410];

/** Where the file is: on one of WhatsApp's hosts, whatever the message says. */
export function addressOf({ url, directPath }) {
  const given = typeof url === "string" && URL.canParse(url) ? new URL(url) : undefined;
  const host = given !== undefined && HOSTS.test(given.host) ? given.host : HOST;
  const address = directPath ? new URL(directPath, `https://${host}`) : given;
  if (address?.protocol !== "https:" || !HOSTS.test(address.host)) {
    throw new Error("no address of WhatsApp's");
  }
  return address;
}

/** A file is AES-CBC, and behind it the beginning of an HMAC over the initial vector and all before it. */
function decrypting({ cipherKey, iv, macKey }) {
  const cipher = createDecipheriv("aes-256-cbc", cipherKey, iv);
  const code = createHmac("sha256", macKey).update(iv);
  let rest = Buffer.alloc(0);
  return new Transform({
    transform(chunk, _, done) {
      const all = Buffer.concat([rest, chunk]);
      const body = all.subarray(0, Math.max(0, all.length - CODE_BYTES));
      rest = all.subarray(body.length);
      code.update(body);
      done(null, cipher.update(body));
    },
    flush(done) {
      try {
        if (rest.length < CODE_BYTES || !timingSafeEqual(rest, code.digest().subarray(0, CODE_BYTES))) {
          throw new Error("the file is not whole");
        }
        done(null, cipher.final());
      } catch (error) {
        done(error);
      }
    },
  });
}

/**
 * Gives the function that resolves with the stream of a message's file. `reupload` asks the author's phone for a file that
 * WhatsApp has no more. A file takes at most MEDIA_MS.
 */
export function downloader({ library, limits, reupload, get = fetch }) {
  const ask = async (message) => {
    const content = library.extractMessageContent(message.message);
    const kind = library.getContentType(content);
    const file = content[kind];
    const keys = await library.getMediaKeys(file.mediaKey, kind.replace("Message", ""));
    const signal = AbortSignal.timeout(limits.MEDIA_MS);
    return { keys, response: await get(addressOf(file), { headers: { origin: ORIGIN }, redirect: "error", signal }) };
  };
  return async (message) => {
    let { keys, response } = await ask(message);
    if (GONE.includes(response.status)) {
      await response.body?.cancel();
      ({ keys, response } = await ask(await reupload(message)));
    }
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error("no such file");
    }
    // What goes wrong is seen by whoever reads the last of them.
    return pipeline(Readable.fromWeb(response.body), decrypting(keys), () => {});
  };
}
