"""A server on this machine whose tests stop it, start it again and break its connections; what its users say."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Loopback:
    """A server that can be down for a while.

    Attributes:
        world: What its requests find; each handler has it as `self.world`.
        over: Set when the server goes: those that keep a client waiting wait for it.
    """

    def __init__(self, handler, world):
        self.handler, self.world, self.port = handler, world, 0
        self._start()
        self.port = self.server.server_port

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def down(self):
        """Refuse connections."""
        self.close()
        try:
            yield
        finally:
            self._start()

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def _start(self):
        self.over = threading.Event()
        self.server = _Server(("127.0.0.1", self.port), self.handler)
        self.server.loopback = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that stop in the middle are part of the tests


class Handler(BaseHTTPRequestHandler):
    """What the handlers of all such servers share."""

    protocol_version = "HTTP/1.1"

    @property
    def world(self):
        return self.server.loopback.world

    def wait_until_it_is_over(self):
        """Be silent."""
        self.server.loopback.over.wait()

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()


def assert_fails(answer, error, *said):
    """Check the class of the error that a user got, and parts of its message, in order. Gives the message."""
    assert answer.get("error") == error, answer
    place = 0
    for part in said:
        assert part in answer["said"][place:], answer["said"]
        place = answer["said"].index(part, place) + len(part)
    return answer["said"]
