#!/usr/bin/env python3
"""Images that stay under a URL of nginx's: looked at when they are registered, read through, and reported when they are
not what they were.

usage: http_locations.py VISOR

Starts servers of its own, without accounts, and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import hashlib
import json
import os
import random
import re
import socket
import subprocess
import time
import unittest

from harness import Server, call, main


class Nginx:
    """A web server on a directory."""

    def __init__(self, directory):
        self.directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        scratch = directory + ".nginx"
        os.makedirs(scratch)
        temporary = "".join(f"{name}_temp_path {scratch}/{name};" for name in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""
        self.config = f"{scratch}/conf"
        with open(self.config, "w") as file:
            file.write(f"""daemon off; {user} pid {scratch}/pid; error_log {scratch}/error.log; events {{}}
                http {{ access_log {scratch}/access.log combined; {temporary}
                    server {{ listen 127.0.0.1:{self.port}; root {directory}; location /moved/ {{ return 302 /$arg_to; }}
                        location /elsewhere/ {{ return 302 http://$arg_to; }} }} }}""")
        self.scratch = scratch
        self.start()

    def start(self):
        self.process = subprocess.Popen(["nginx", "-p", self.scratch, "-c", self.config], stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.05)
        raise AssertionError("nginx does not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def logged(self, pattern):
        """Whether it was asked this. It writes that down after its answer has gone."""
        for _ in range(200):
            with open(self.scratch + "/access.log") as file:
                if re.search(pattern, file.read()):
                    return True
            time.sleep(0.05)
        return False


class Locations(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--allow-fetch", "127.0.0.1/32")
        os.makedirs(cls.server.path("www"))
        cls.nginx = Nginx(cls.server.path("www"))
        cls.addClassCleanup(cls.nginx.stop)

    def write(self, name, size=3_000_000):
        body = random.Random(name).randbytes(size)
        with open(os.path.join(self.nginx.directory, name), "wb") as file:
            file.write(body)
        return body

    def ask(self, path, method="GET", **headers):
        answer = call(method, self.server.url + path, headers=headers)
        return answer.status, dict(answer.headers), answer.body

    def register(self, location, **more):
        headers = {"x-image-meta-name": "a", "x-image-meta-architecture": "x86_64", "x-image-meta-store": "http",
                   "x-image-meta-location": location, **more}
        status, _, body = self.ask("/images", "POST", **headers)
        return status, json.loads(body)

    def test_size_and_tag_are_taken_and_ranges_passed_through(self):
        body = self.write("a.img")
        status, answer = self.register(self.nginx.url + "/a.img")
        self.assertEqual(status, 200, answer)
        image = answer["image"]
        self.assertEqual((image["size"], image["store"], image["status"]), (len(body), "http", "available"))
        status, headers, back = self.ask(f"/images/{image['_id']}")
        self.assertEqual((status, hashlib.sha256(back).digest()), (200, hashlib.sha256(body).digest()))
        status, headers, part = self.ask(f"/images/{image['_id']}", Range="bytes=1000000-1000999")
        self.assertEqual((status, part), (206, body[1_000_000:1_001_000]))
        self.assertEqual(headers["content-range"], f"bytes 1000000-1000999/{len(body)}")
        # Nothing but that was asked of nginx.
        self.assertTrue(self.nginx.logged(r'"GET /a\.img HTTP/1\.1" 206 1000 '))
        self.assertEqual(self.ask(f"/images/{image['_id']}", "DELETE")[0], 200)
        self.assertTrue(os.path.exists(os.path.join(self.nginx.directory, "a.img")), "it is not ours to remove")

    def test_what_changed_vanished_or_is_down_is_said(self):
        self.write("b.img")
        path = "/images/" + self.register(self.nginx.url + "/b.img")[1]["image"]["_id"]
        time.sleep(1.1)
        self.write("b.img", 3_000_001)
        status, _, text = self.ask(path)
        self.assertEqual((status, b"was changed after it was registered" in text), (409, True), text)
        os.unlink(os.path.join(self.nginx.directory, "b.img"))
        self.assertEqual(self.ask(path)[0], 404)
        self.nginx.stop()
        try:
            status, _, text = self.ask(path)
            self.assertEqual(status, 503, text)
        finally:
            self.nginx.start()

    def test_what_is_not_there_is_not_registered(self):
        for location, expected in [("/nothing.img", 404), ("/", 404)]:
            status, answer = self.register(self.nginx.url + location)
            self.assertEqual(status, expected, answer)
        # Registered under its own name, wherever the server sends us.
        body = self.write("c.img", 1000)
        status, answer = self.register(self.nginx.url + "/moved/?to=c.img")
        self.assertEqual((status, answer["image"]["size"]), (200, len(body)), answer)
        self.assertEqual(self.ask("/images/" + answer["image"]["_id"])[2], body)

    def test_a_redirect_elsewhere_is_not_followed(self):
        with socket.socket() as trap:
            trap.bind(("127.0.0.2", 0))
            trap.listen()
            trap.settimeout(0.5)
            url = f"{self.nginx.url}/elsewhere/?to=127.0.0.2:{trap.getsockname()[1]}/x"
            status, answer = self.register(url)
            self.assertNotEqual(status, 200, answer)
            with self.assertRaises(TimeoutError, msg="somebody connected"):
                trap.accept()


if __name__ == "__main__":
    main()
