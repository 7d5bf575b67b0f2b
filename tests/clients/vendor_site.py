"""A web server of a vendor's, on this machine: a directory over http as mirrors give it out, what was asked of it, and its faults.

Knows nothing of images or keys. Each has a port of its own, which it keeps when it is down and up again.
"""

import email.utils
import hashlib
import html
import json
import os
import re
import socket
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 64 << 10


class Asked:
    """A request, and how many bytes of a body it was sent. `condition` is its If-Range."""

    def __init__(self, method, path, headers, status):
        self.method, self.path, self.status, self.sent = method, path, status, 0
        self.range, self.condition = headers.get("Range"), headers.get("If-Range")

    def __repr__(self):
        return f"{self.method} {self.path} {self.range or ''} {self.condition or ''} {self.status} ({self.sent} bytes)"


class Generated:
    """A file that is nowhere: a size, and a function that makes the bytes of a part."""

    def __init__(self, size, part):
        self.size, self.part = size, part


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Thirty clients connect at once.
    request_queue_size = 128

    def handle_error(self, *_):
        """Clients that leave, and connections that `down` cuts, are no faults of the test's."""


class Site:
    """A directory over http. All is public: tests write files into `directory` and look at `asked`.

    Switches: `down()` and `up()`; `rate` in bytes a second for each transfer; `cuts` is a list of shares of a file after which a
    connection is cut, one for each transfer of a body; `redirects` by the beginning of a path."""

    def __init__(self, directory):
        self.directory = os.path.realpath(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.asked, self.cuts, self.redirects, self.generated = [], [], {}, {}
        self.rate, self.server = None, None
        self.lock, self.connections, self.port = threading.Lock(), set(), 0
        self.up()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def up(self):
        """Listens, on the port that it had before."""
        site = self

        class Bound(Handler):
            of = site

        self.server = Server(("127.0.0.1", self.port), Bound)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        """Is dead: connections are refused, and those that there are end."""
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
            with self.lock:
                for connection in self.connections:
                    try:
                        connection.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass

    # -- files -----------------------------------------------------------------------------------------------------
    def path(self, name):
        return os.path.join(self.directory, name.lstrip("/"))

    def put(self, name, content, when=None):
        """Writes a file. `content` is text or bytes."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        if when:
            os.utime(path, (when, when))

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def change(self, name, change):
        """Changes a file by a function of its bytes. The time of its last change stays, as an attacker would have it."""
        stat = os.stat(self.path(name))
        self.put(name, change(self.read(name)), stat.st_mtime)

    def remove(self, name):
        os.unlink(self.path(name))

    # -- what was asked --------------------------------------------------------------------------------------------
    def forget(self):
        self.asked.clear()

    def requests(self, path=None, method=None):
        """Requests for a path, or for those that a pattern matches."""
        wanted = path if hasattr(path, "search") else path and re.compile(re.escape(path) + r"\Z")
        return [one for one in list(self.asked)
                if (not wanted or wanted.match(one.path)) and (not method or one.method == method)]

    def sent(self, path=None):
        return sum(one.sent for one in self.requests(path))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: Site
    # A connection without requests does not keep its thread for ever.
    timeout = 60

    def setup(self):
        super().setup()
        with self.of.lock:
            self.of.connections.add(self.connection)

    def finish(self):
        with self.of.lock:
            self.of.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def answer(self, body):
        raw, _, query = self.path.partition("?")
        path = urllib.parse.unquote(raw)
        for start, target in self.of.redirects.items():
            if path.startswith(start):
                return self.say(302, {"Location": target + path.removeprefix(start), "Content-Length": "0"})
        if path in self.of.generated:
            made = self.of.generated[path]
            return self.give(made.size, made.part, {"ETag": f'"generated-{made.size:x}"'}, body)
        # A path out of the directory is never followed, whatever a list says.
        real = os.path.realpath(self.of.path(path))
        if real != self.of.directory and not real.startswith(self.of.directory + os.sep):
            return self.say(400, {"Content-Length": "0"})
        if os.path.isdir(real):
            return self.listing(real, query, body)
        try:
            file = open(real, "rb")
        except OSError:
            return self.say(404, {"Content-Type": "text/html"}, b"<h1>Not Found</h1>\n" if body else b"", length=19)
        with file:
            stat = os.fstat(file.fileno())

            def part(offset, length):
                file.seek(offset)
                return file.read(length)

            # As nginx makes them.
            tag = f'"{int(stat.st_mtime):x}-{stat.st_size:x}"'
            return self.give(stat.st_size, part, {"ETag": tag, "Last-Modified": email.utils.formatdate(stat.st_mtime, usegmt=True)}, body)

    def listing(self, directory, query, body):
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        if query == "jsontable":
            # As openSUSE's servers have it for a directory.
            rows = [{"name": entry.name + ("/" if entry.is_dir() else ""), "size": None if entry.is_dir() else entry.stat().st_size,
                     "mtime": int(entry.stat().st_mtime)} for entry in entries]
            return self.say(200, {"Content-Type": "application/json"}, json.dumps({"data": rows}).encode(), head=not body)
        lines = ['<a href="../">../</a>']
        for entry in entries:
            name, stat = entry.name + ("/" if entry.is_dir() else ""), entry.stat()
            when = time.strftime("%d-%b-%Y %H:%M", time.gmtime(stat.st_mtime))
            size = "-" if entry.is_dir() else stat.st_size
            lines.append(f'<a href="{urllib.parse.quote(name)}">{html.escape(name)}</a> {when} {size:>19}')
        text = "<html>\n<head><title>Index of</title></head>\n<body>\n<h1>Index of</h1><hr><pre>" + "\n".join(lines) + "</pre><hr></body>\n</html>\n"
        return self.say(200, {"Content-Type": "text/html"}, text.encode(), head=not body)

    def say(self, status, headers, text=b"", head=False, length=None):
        """An answer in one piece."""
        asked = self.note(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(length if length is not None else len(text)))
        self.end_headers()
        if text and not head:
            self.wfile.write(text)
            asked.sent = len(text)

    def note(self, status):
        asked = Asked(self.command, urllib.parse.unquote(self.path), self.headers, status)
        self.of.asked.append(asked)
        return asked

    def give(self, size, part, validators, body):
        """A file or a part of it, under the conditions of the request."""
        tag, modified = validators["ETag"], validators.get("Last-Modified")
        if known := self.headers.get("If-None-Match"):
            unchanged = known.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in known.split(",")]
        else:
            unchanged = modified is not None and self.headers.get("If-Modified-Since") == modified
        if unchanged:
            # As RFC 9110 has it, without a length.
            self.note(304)
            self.send_response(304)
            for name, value in validators.items():
                self.send_header(name, value)
            return self.end_headers()
        start, end, status = 0, size, 200
        asked_for = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if asked_for and asked_for[0] != "bytes=-" and (condition is None or condition in (tag, modified)):
            first, last = asked_for.groups()
            start = int(first) if first else max(0, size - int(last))
            end = min(size, int(last) + 1) if first and last else size
            if start >= size or start >= end:
                return self.say(416, {"Content-Range": f"bytes */{size}"})
            status = 206
        asked = self.note(status)
        self.send_response(status)
        for name, value in validators.items():
            self.send_header(name, value)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        if body:
            self.send_body(part, start, end, size, asked)

    def send_body(self, part, start, end, size, asked):
        until = end
        with self.of.lock:
            # Small documents come whole: what is cut are images.
            if self.of.cuts and end - start > PIECE:
                until = max(start, min(end, int(size * self.of.cuts.pop(0))))
        began = time.monotonic()
        while start < until:
            piece = part(start, min(PIECE, until - start))
            self.wfile.write(piece)
            start += len(piece)
            asked.sent += len(piece)
            if rate := self.of.rate:
                time.sleep(max(0, began + asked.sent / rate - time.monotonic()))
        if until < end:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


def sha256(content):
    return hashlib.sha256(content).hexdigest()
