"""A receiver of the webhook: checks the signature, drops repeats, and prints a line for the rest.

Reads SECRET and PORT from the environment; prints its address, then a line for each new message.
"""

import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = os.environ["SECRET"].encode()
OLDEST = 300  # seconds: an older request is a copy that someone kept
seen: set[str] = set()  # a real receiver keeps them where a restart does not lose them


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to a message that it took, and to one that it took before."""

    def do_POST(self) -> None:
        """Take a message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.is_signed(body):
            self.send_error(401)
            return
        message = json.loads(body)
        if str(message["message_id"]) not in seen:
            seen.add(str(message["message_id"]))
            print(sentence(message), flush=True)
        self.send_response(204)
        self.end_headers()

    def is_signed(self, body: bytes) -> bool:
        """Return whether the sender knows the secret, and sent the request just now."""
        timestamp = self.headers.get("Execstream-Timestamp", "")
        if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > OLDEST:
            return False
        digest = hmac.new(SECRET, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        signature = self.headers.get("Execstream-Signature", "")
        return hmac.compare_digest(signature, f"sha256={digest}")

    def log_message(self, *_: object) -> None:
        """Print no line for a request: messages are printed."""


def sentence(message: dict) -> str:
    """The line for a message."""
    if message["type"] == "run.ended":
        run = message["run"]
        return f"run {run['graph_exec_id']} of {run['graph_id']} ended: {run['status']}"
    alert = message["alert"]
    return f"{message['type']}: {alert['severity']}: {alert['title']}"


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Receiver)
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
