"""A server on the loopback address, in the place of those that have the data sets."""

import http.server
import threading
from pathlib import Path

import pytest


class _Mirror(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        way, name = self.path.split("/")[1], Path(self.path).name
        content = self.server.answers.get(way, {}).get(name)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if way == "breaks" else content)

    def log_message(self, *_): ...


@pytest.fixture
def serve():
    """Serves files, content by name: the first argument says how well. Gives the address that they are under.
    `serve.asked` are the paths that were asked for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Mirror)
    server.answers, server.asked = {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def use(way, files):
        server.answers[way] = {
            "good": files,
            "breaks": files,  # after half of a file
            "error-page": dict.fromkeys(files, b"<html>under maintenance</html>"),
            "half": {name: content[: len(content) // 2] for name, content in files.items()},
            "missing": {},
        }[way]
        return f"http://127.0.0.1:{server.server_port}/{way}/"

    use.asked = server.asked
    yield use
    server.shutdown()
    server.server_close()
