"""A proxy before a Hub that answers one request wrongly; `python -m tests.campaigns.proxy HUB [PORT]` prints where.

POST /__control `{"at": 3, "fault": "status:503", "always": false}` counts requests from there, and lets the fault hit
the third; with `always` all later ones of its method and path too. GET /__control gives what was asked so far.

    status:N    an answer of this status, and nothing is done
    lost:N      it is done, and answered by this status
    drop        the connection is cut, and nothing is done
    dropped     it is done, and the connection is cut
    cut         the answer ends in its middle
    truncated   the answer is half of the right one, and says so
    body:TEXT   an answer of 200 with this text
    flip        a file's bytes with one of them changed
    etag        a file by another digest than its own
    loop        an answer that leads to itself
"""

import http.client
import json
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OWN = ("connection", "transfer-encoding", "accept-encoding", "content-length", "date", "server")  # of each connection


class Proxy(ThreadingHTTPServer):
    """The proxy; `plan` is what was asked of it, `asked` lists the requests since."""

    daemon_threads = True

    def __init__(self, hub: str, port: int = 0):
        self.hub = urllib.parse.urlsplit(hub)
        self.lock = threading.Lock()
        self.arm({})
        super().__init__(("127.0.0.1", port), Handler)

    def arm(self, plan: dict) -> None:
        """Count anew, with this fault to come."""
        self.plan, self.asked, self.hit = plan, [], None

    def fault(self, request: str) -> str | None:
        """Count a request; the fault that hits it, or None."""
        with self.lock:
            self.asked.append(request)
            first = self.hit is None and len(self.asked) == self.plan.get("at")
            if first:
                self.hit = request.partition("?")[0]
            again = self.plan.get("always") and request.partition("?")[0] == self.hit
            return self.plan["fault"] if first or again else None

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is no news."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do(self) -> None:
        """Answer as the Hub does, or wrongly."""
        body = self.body()
        if self.path == "/__control":
            if self.command == "POST":
                self.server.arm(json.loads(body))
            content = {"asked": self.server.asked, "hit": self.server.hit}
            return self.answer(200, json.dumps(content).encode(), {})
        kind, _, argument = (self.server.fault(f"{self.command} {self.path}") or "").partition(":")
        address = f"http://{self.headers['Host']}{self.path}"
        wrong = {
            "status": lambda: (int(argument), b'{"error": "injected"}', {"Content-Type": "application/json"}),
            "body": lambda: (200, argument.encode(), {"Content-Type": "application/json"}),
            "loop": lambda: (302, b"", {"Location": address}),
        }
        if kind in wrong:
            return self.answer(*wrong[kind]())
        if kind == "drop":
            return self.cut()
        status, content, headers = self.forward(body)
        if kind == "dropped":
            return self.cut()
        if kind == "lost":
            return self.answer(int(argument), b'{"error": "injected after it was done"}', {})
        if kind == "cut":
            self.answer(status, content[: len(content) // 2], headers, len(content))
            return self.cut()
        if kind == "truncated":
            content = content[: len(content) // 2]
        if kind == "flip" and content:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        if kind == "etag":
            digest = ("etag", "x-linked-etag")
            headers = {key: '"' + "0" * 40 + '"' if key.lower() in digest else value for key, value in headers.items()}
        return self.answer(status, content, headers)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do

    def body(self) -> bytes:
        """What the client sent."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def forward(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """The Hub's own answer; of HEAD with its length."""
        connection = http.client.HTTPConnection(self.server.hub.hostname, self.server.hub.port, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in OWN}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content, headers = answer.read(), dict(answer.getheaders())
        connection.close()
        return answer.status, content, headers

    def answer(self, status: int, content: bytes, headers: dict[str, str], length: int | None = None) -> None:
        """Send an answer; `length` is what it says of its own length, where that isn't so."""
        lengths = [value for key, value in headers.items() if key.lower() == "content-length"]
        length = int(lengths[0]) if self.command == "HEAD" and lengths else length
        self.send_response(status)
        for key, value in headers.items():
            if key.lower() not in OWN:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def cut(self) -> None:
        """End the connection."""
        self.close_connection = True
        self.connection.close()


if __name__ == "__main__":
    proxy = Proxy(sys.argv[1], *map(int, sys.argv[2:]))
    print(f"http://127.0.0.1:{proxy.server_address[1]}", flush=True)
    proxy.serve_forever()
