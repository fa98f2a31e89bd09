"""What is no HTTP at all: answered like every other error, and without a word in the log."""

import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Protocol(H11Protocol):
    """uvicorn's protocol in pure Python, which limits lines and headers; what it can't parse is a 400 in JSON."""

    def send_400_response(self, msg: str) -> None:
        """Answer, if the answer to an earlier part of the request hasn't begun, and hang up."""
        if self.cycle:
            self.cycle.disconnected = True  # or the application would go on to answer
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": msg}).encode()
            headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
            response = h11.Response(status_code=400, headers=list(headers.items()), reason="Bad Request")
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
