"""A Bot API on loopback for tests/package/verify.sh: people who write, and a judge of what they got.

    bot_api.py serve PORT_FILE [CERTIFICATE KEY]   serves until it is ended, over TLS with a certificate; writes its port
    bot_api.py ask PORT WORDS                      talks to a server that runs, over plain HTTP; prints what it answers

WORDS: `say TEXT` writes one message and prints its number; `load SECONDS RATE` lets people write in eight chats and returns at
once; `settle SECONDS` waits until nobody writes and all is answered, then prints the judgement and exits 0 if nothing is lost
and nothing repeated without a mark; `calls METHOD` prints how often a method was called.
"""

import collections
import http.server
import json
import re
import ssl
import sys
import threading
import time
import urllib.parse
import urllib.request

TOKEN = "7000000002:AAFakeTokenOfThePackageTest_0123456789ab"
CHATS = range(9001, 9009)
REPEAT_MARK = "(may be a repeat)"
POLL_SECONDS_MAX = 50
BODY_BYTES_MAX = 1 << 20


class Town:
    """Who wrote what, and what came back."""

    def __init__(self):
        self.changed = threading.Condition()
        self.updates = collections.deque()
        self.said = {}
        self.answers = collections.defaultdict(list)
        self.calls = collections.Counter()
        self.writing = 0
        self.number = 0

    def say(self, chat, text=None):
        with self.changed:
            self.number += 1
            word = f"w{self.number:06}w"
            self.said[word] = chat
            sender = {"id": chat, "is_bot": False, "first_name": "A"}
            message = {"message_id": self.number, "date": int(time.time()), "chat": {"id": chat, "type": "private"}, "from": sender,
                       "text": f"{text or 'hello'} {word}"}
            self.updates.append({"update_id": 500_000_000 + self.number, "message": message})
            self.changed.notify_all()
            return word

    def load(self, seconds, rate):
        with self.changed:
            self.writing += 1

        def write():
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.say(CHATS[len(self.said) % len(CHATS)])
                time.sleep(1 / rate)
            with self.changed:
                self.writing -= 1
                self.changed.notify_all()

        threading.Thread(target=write, daemon=True).start()

    def poll(self, offset, seconds, limit):
        end = time.monotonic() + min(seconds, POLL_SECONDS_MAX)
        with self.changed:
            while self.updates and self.updates[0]["update_id"] < offset:
                self.updates.popleft()
            while not self.updates and (left := end - time.monotonic()) > 0:
                self.changed.wait(left)
            return list(self.updates)[:limit]

    def take(self, body):
        chat, text = int(body["chat_id"]), str(body["text"])
        with self.changed:
            self.number += 1
            for word in set(re.findall(r"w\d{6}w", text)) & self.said.keys():
                self.answers[word].append((chat, REPEAT_MARK in text))
            self.changed.notify_all()
            return self.number

    def settle(self, seconds):
        end = time.monotonic() + seconds
        with self.changed:
            while (self.writing or len(self.answers) < len(self.said)) and (left := end - time.monotonic()) > 0:
                self.changed.wait(left)
        time.sleep(1)
        with self.changed:
            lost = sum(word not in self.answers for word in self.said)
            astray = sum(chat != self.said[word] for word, got in self.answers.items() for chat, _ in got)
            repeats = [marked for got in self.answers.values() for _, marked in got[1:]]
            report = {"said": len(self.said), "lost": lost, "astray": astray, "repeated_marked": sum(repeats),
                      "repeated_unmarked": len(repeats) - sum(repeats)}
        return report, not (lost or astray or report["repeated_unmarked"])


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A worker that is killed breaks its connections: that is the test."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    town = Town()

    def log_message(self, *_):
        pass

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        length = min(int(self.headers.get("Content-Length") or 0), BODY_BYTES_MAX)
        body = json.loads(self.rfile.read(length) or b"{}")
        if self.path.startswith("/ask/"):
            return self.reply(200, self.asked([urllib.parse.unquote(word) for word in self.path[5:].split("/")]))
        token, _, method = self.path.removeprefix("/bot").partition("/")
        if token != TOKEN:
            return self.reply(401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
        with self.town.changed:
            self.town.calls[method] += 1
        self.reply(200, {"ok": True, "result": self.bot(method, body)})

    def bot(self, method, body):
        if method == "getMe":
            return {"id": int(TOKEN.split(":")[0]), "is_bot": True, "first_name": "Pinch", "username": "pinch_bot"}
        if method == "getWebhookInfo":
            return {"url": "", "has_custom_certificate": False, "pending_update_count": len(self.town.updates)}
        if method == "getUpdates":
            return self.town.poll(int(body.get("offset") or 0), float(body.get("timeout") or 0), int(body.get("limit") or 100))
        if method == "sendMessage":
            number = self.town.take(body)
            return {"message_id": number, "date": int(time.time()), "chat": {"id": int(body["chat_id"]), "type": "private"}, "text": body["text"]}
        return True

    def asked(self, words):
        if words[0] == "say":
            return [self.town.say(CHATS[0], words[1]), True]
        if words[0] == "load":
            return [self.town.load(float(words[1]), float(words[2])), True]
        if words[0] == "settle":
            return self.town.settle(float(words[1]))
        return [self.town.calls[words[1]], True]


def main():
    if sys.argv[1] == "serve":
        server = Server(("127.0.0.1", 0), Handler)
        if len(sys.argv) > 3:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(sys.argv[3], sys.argv[4])
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            Handler.town.say(CHATS[0])
        with open(sys.argv[2], "w", encoding="ascii") as file:
            file.write(str(server.server_address[1]))
        server.serve_forever()
    path = "/".join(urllib.parse.quote(word, safe="") for word in sys.argv[3:])
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[2]}/ask/{path}") as answer:
        value, is_good = json.load(answer)
    print(json.dumps(value))
    sys.exit(0 if is_good else 1)


main()
