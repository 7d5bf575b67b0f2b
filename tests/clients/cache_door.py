#!/usr/bin/env python3
"""Images of another server through `/cache/`, by clients that know nothing of a cache: curl, wget, aria2c and sstream-mirror.

usage: cache_door.py VISOR [TEST…]

Starts servers of its own, without accounts, and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from harness import Server, call, main, until
from vendor_site import Site
from vendor_trees import World, gnu

MIB = 1 << 20
# With nothing of a user's.
CLIENTS = {
    "curl": ("curl", "-q", "-sSf", "-o"),
    "wget": ("wget", "--no-config", "-q", "--tries=1", "-O"),
    "aria2c": ("aria2c", "--no-conf", "-q", "-x8", "-s8", "--min-split-size=1M", "--allow-overwrite=true", "-m1", "-d", "/", "-o"),
}


class Door(unittest.TestCase):
    """A server whose clients ask another, which is slow enough for them to meet there."""

    @classmethod
    def setUpClass(cls):
        # Bytes over http that nothing is said of are what most of this is about.
        cls.server = Server("--allow-fetch", "127.0.0.0/8", settings='[cache]\nrequire = "none"\n')
        cls.addClassCleanup(cls.server.stop)
        cls.site = Site(cls.server.path("upstream"))
        cls.addClassCleanup(cls.site.down)
        cls.out = cls.server.path("out")
        os.mkdir(cls.out)

    def setUp(self):
        self.site.rate = None
        self.site.cuts.clear()
        self.site.forget()

    def publish(self, name, size=8 * MIB, sums=True):
        """A file of its own, and a sum beside it."""
        content = random.Random(name).randbytes(size)
        self.site.put(f"images/{name}", content, 1_760_000_000)
        if sums:
            self.site.put(f"images/{name}.sha256", gnu("sha256", {name: content}), 1_760_000_000)
        return content

    def cached(self, path, site=None):
        return f"{self.server.url}/cache/{(site or self.site).url.replace('://', '/')}/{path}"

    def start(self, client, url, to, *more):
        *command, out = CLIENTS[client]
        # Files are named from the root for a client that wants a folder first.
        return subprocess.Popen([*command, *more, out, to.lstrip("/") if client == "aria2c" else to, url],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.server.environment())

    def get(self, client, url, *more):
        """The bytes that a client saves."""
        to = os.path.join(self.out, client)
        process = self.start(client, url, to, *more)
        _, said = process.communicate(timeout=90)
        self.assertEqual(process.returncode, 0, f"{client}: {said.decode()}")
        return self.take(to)

    @staticmethod
    def take(path):
        with open(path, "rb") as file:
            content = file.read()
        os.unlink(path)
        return content

    def same(self, got, content):
        # Not by assertEqual, which would print both.
        self.assertEqual((len(got), hashlib.sha256(got).hexdigest()), (len(content), hashlib.sha256(content).hexdigest()))

    def curl(self, *arguments):
        done = subprocess.run(["curl", "-q", "-sS", *arguments], capture_output=True, timeout=60, env=self.server.environment())
        return done.returncode, done.stdout, done.stderr.decode()

    # -- each client -----------------------------------------------------------------------------------------------
    def test_each_client_gets_the_bytes_once_from_there_and_then_from_here(self):
        for first in CLIENTS:
            with self.subTest(first):
                self.site.rate = 8 * MIB
                name = f"by-{first}.img"
                content, path = self.publish(name), f"/images/{name}"
                self.same(self.get(first, self.cached(f"images/{name}")), content)
                # Eight connections at once ask for parts ahead of what has come; nothing comes much more than once.
                self.assertLessEqual(self.site.sent(path), len(content) * (1.3 if first == "aria2c" else 1.0), self.site.asked)
                if first != "aria2c":
                    self.assertEqual(len(self.site.requests(path, "GET")), 1, self.site.asked)
                until(lambda: "hit" in (self.ask(f"images/{name}").headers.get("Cache-Status") or ""), "it is all here")
                self.site.forget()
                for again in CLIENTS:
                    self.same(self.get(again, self.cached(f"images/{name}")), content)
                self.assertEqual(self.site.requests(path), [])

    def ask(self, path, method="HEAD", **headers):
        return call(method, self.cached(path), headers={name.replace("_", "-"): value for name, value in headers.items()})

    def test_thirty_at_once_are_one_request(self):
        self.site.rate = 4 * MIB
        content = self.publish("thirty.img", 4 * MIB)
        paths = [os.path.join(self.out, f"thirty-{number}") for number in range(30)]
        running = [self.start("curl", self.cached("images/thirty.img"), path) for path in paths]
        for process, path in zip(running, paths):
            _, said = process.communicate(timeout=90)
            self.assertEqual(process.returncode, 0, said)
            self.same(self.take(path), content)
        self.assertEqual([(one.method, one.status) for one in self.site.requests("/images/thirty.img")], [("GET", 200)])
        self.assertEqual(self.site.sent("/images/thirty.img"), len(content))

    def test_ranges_while_it_comes_and_after(self):
        content = self.publish("ranges.img", 6 * MIB)
        for when in ("while it comes", "after"):
            self.site.rate = 3 * MIB if when == "while it comes" else None
            whole = os.path.join(self.out, "ranges")
            process = self.start("curl", self.cached("images/ranges.img"), whole)
            for asked, expected in (
                ("0-99", content[:100]), ("1000-1999", content[1000:2000]), ("-65536", content[-65536:]),
                (f"{4 * MIB}-{4 * MIB + 9}", content[4 * MIB:4 * MIB + 10]), (f"{5 * MIB}-", content[5 * MIB:]),
            ):
                with self.subTest(when, range=asked):
                    code, got, said = self.curl("-f", "-D", self.server.path("head"), "-r", asked, self.cached("images/ranges.img"))
                    self.assertEqual(code, 0, said)
                    self.same(got, expected)
                    with open(self.server.path("head")) as head:
                        self.assertIn(" 206 ", head.readline())
            self.assertEqual(process.wait(timeout=60), 0, process.stderr.read())
            process.stderr.close()
            self.same(self.take(whole), content)
        code, got, _ = self.curl("-o", "/dev/null", "-w", "%{http_code} %header{content-range}", "-r", f"{len(content)}-", self.cached("images/ranges.img"))
        self.assertEqual((code, got.decode().split(" ", 1)), (0, ["416", f"bytes */{len(content)}"]))

    def test_a_client_goes_on_where_it_was(self):
        content = self.publish("resumed.img", 4 * MIB)
        for client, more in (("curl", ("-C", "-")), ("wget", ("-c",)), ("aria2c", ("-c",))):
            with self.subTest(client):
                path = os.path.join(self.out, "resumed")
                with open(path, "wb") as file:
                    file.write(content[:1_234_567])
                process = self.start(client, self.cached("images/resumed.img"), path, *more)
                _, said = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 0, said)
                self.same(self.take(path), content)
        # The first one asked for a part far ahead of what had come: that was one request aside.
        asked = [one.range is None for one in self.site.requests("/images/resumed.img", "GET")]
        self.assertEqual((asked.count(True), asked.count(False) <= 1), (1, True), self.site.asked)

    # -- a server that fails ---------------------------------------------------------------------------------------
    def test_cut_twice(self):
        for client in CLIENTS:
            with self.subTest(client):
                self.site.forget()
                name = f"cut-{client}.img"
                content, path = self.publish(name, 6 * MIB), f"/images/{name}"
                # One connection: how parts that eight ask for meet a cut is not told by a share of the file.
                more = ("-x1", "-s1") if client == "aria2c" else ()
                self.site.cuts[:] = [0.6, 0.8]
                to = os.path.join(self.out, client)
                process = self.start(client, self.cached(f"images/{name}"), to, *more)
                _, said = process.communicate(timeout=90)
                self.assertEqual(process.returncode, 0, said)
                self.same(self.take(to), content)
                self.assertEqual(self.site.cuts, [])
                self.assertLessEqual(self.site.sent(path), len(content) * 1.05, self.site.asked)
                asked = self.site.requests(path, "GET")
                self.assertEqual([one.status for one in asked], [200, 206, 206], asked)
                self.assertTrue(all(one.condition for one in asked[1:]), f"went on without If-Range: {asked}")

    def test_who_leaves_ends_nothing(self):
        self.site.rate = 4 * MIB
        content = self.publish("left.img")
        left, stays = (os.path.join(self.out, name) for name in ("left", "stays"))
        leaves = self.start("curl", self.cached("images/left.img"), left)
        until(lambda: os.path.exists(left) and os.path.getsize(left) > len(content) // 3, "a third is here")
        leaves.kill()
        leaves.wait()
        leaves.stderr.close()
        remains = self.start("curl", self.cached("images/left.img"), stays)
        self.assertEqual(remains.wait(timeout=60), 0, remains.stderr.read())
        remains.stderr.close()
        self.same(self.take(stays), content)
        self.assertLessEqual(self.site.sent("/images/left.img"), len(content) * 1.25)

    def test_dead_afterwards(self):
        site = Site(self.server.path("mortal"))
        self.addCleanup(site.down)
        content = random.Random("dead").randbytes(3 * MIB)
        for name in ("versions/7/disk.img", "latest/disk.img"):
            site.put(name, content, 1_760_000_000)
            self.same(self.get("curl", self.cached(name, site)), content)
        site.down()
        for name in ("versions/7/disk.img", "latest/disk.img"):
            for client in CLIENTS:
                with self.subTest(client, name=name):
                    self.same(self.get(client, self.cached(name, site)), content)
        # A missing file is not waited for, and the second time hardly asked for.
        for _ in range(2):
            began = time.monotonic()
            code, status, said = self.curl("-o", "/dev/null", "-w", "%{http_code}", self.cached("versions/8/disk.img", site))
            self.assertEqual((code, status), (0, b"504"), said)
            self.assertLess(time.monotonic() - began, 12)
        self.assertLess(time.monotonic() - began, 1, "the second time")

    # -- what is said ----------------------------------------------------------------------------------------------
    def test_conditions_ages_and_where_it_came_from(self):
        content = self.publish("told.img", MIB)
        self.same(self.get("curl", self.cached("images/told.img")), content)
        until(lambda: "hit" in (self.ask("images/told.img").headers.get("Cache-Status") or ""), "it is all here")
        first = self.ask("images/told.img")
        self.assertEqual((first.status, first.headers["Content-Length"]), (200, str(len(content))))
        self.assertRegex(first.headers["Age"], r"\A\d+\Z")
        self.assertRegex(first.headers["Cache-Status"], r"\Avisor[^,]*; hit")
        self.assertIn("bytes", first.headers["Accept-Ranges"])
        # A client that has it is told that it has.
        for option in (("-z", first.headers["Last-Modified"]), ("-H", f"If-None-Match: {first.headers['ETag']}")):
            code, status, said = self.curl("-o", "/dev/null", "-w", "%{http_code}", *option, self.cached("images/told.img"))
            self.assertEqual((code, status), (0, b"304"), said)
        for name in ("ETag", "Last-Modified"):
            self.assertEqual(self.ask("images/told.img").headers[name], first.headers[name])

    def test_what_is_not_there_and_what_may_not_be_asked(self):
        self.assertEqual(self.ask("images/nothing.img", "GET").status, 404)
        for path in ("http/169.254.169.254/latest/meta-data/", "http/10.0.0.1/x.img", "https/[fe80::1]/x.img"):
            with self.subTest(path):
                self.assertEqual(call("GET", f"{self.server.url}/cache/{path}").status, 403)
        # By way of a server that may be asked.
        self.site.redirects["/away/"] = "http://169.254.169.254/"
        self.assertEqual(self.ask("away/x.img", "GET").status, 403)
        self.assertEqual(self.ask("images/told.img", "PUT").status, 405)

    def test_a_tampered_image_is_never_whole(self):
        content = self.publish("tampered.img", 3 * MIB)
        self.site.change("images/tampered.img", lambda content: content[:-5] + b"x" + content[-4:])
        for client in CLIENTS:
            with self.subTest(client):
                to = os.path.join(self.out, "tampered")
                process = self.start(client, self.cached("images/tampered.img"), to)
                process.communicate(timeout=60)
                self.assertNotEqual(process.returncode, 0)
                if os.path.exists(to):
                    self.assertNotEqual(self.take(to)[-10:], content[-5:] + b"x")
                    for rest in (to, to + ".aria2"):
                        if os.path.exists(rest):
                            os.unlink(rest)


class Mirror(unittest.TestCase):
    """A tool that mirrors simplestreams, and checks what it gets by itself."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.world = World(cls.temporary.name)
        cls.addClassCleanup(cls.world.close)
        cls.tree = cls.world.tree("ubuntu")
        cls.ring = os.path.join(cls.temporary.name, "ring.gpg")
        with open(cls.ring, "wb") as file:
            file.write(cls.world.keys.gpg("--export", cls.world.keys.fingerprints["vendor"]))
        cls.server = Server("--allow-fetch", "127.0.0.0/8", settings='[cache]\nrequire = "none"\n')
        cls.addClassCleanup(cls.server.stop)

    def mirror(self, name):
        """Mirrors everything, and returns what came by the names of the files."""
        to = os.path.join(self.temporary.name, name)
        script = os.path.join(os.path.dirname(sys.executable), "sstream-mirror")
        source = f"{self.server.url}/cache/{self.tree.site.url.replace('://', '/')}/releases/"
        done = subprocess.run([sys.executable, "-W", "ignore", script, "--keyring", self.ring, "--path", "streams/v1/index.sjson", source, to],
                              capture_output=True, text=True, timeout=90, env=self.server.environment(GNUPGHOME=self.world.keys.home))
        self.assertEqual(done.returncode, 0, done.stderr)
        files = {}
        for folder, _, names in os.walk(to):
            for one in names:
                with open(os.path.join(folder, one), "rb") as file:
                    files[os.path.relpath(os.path.join(folder, one), to)] = file.read()
        shutil.rmtree(to)
        return files

    def test_everything_twice_and_once_more_when_it_is_dead(self):
        files = self.mirror("first")
        images = {name: content for name, content in files.items() if name.startswith("server/")}
        self.assertEqual(len(images), 6, sorted(files))
        for name, content in images.items():
            self.assertTrue(content == self.tree.site.read(f"releases/{name}"), name)
        whole = re.compile(r"/releases/server/.*\.(img|xz|squashfs)\Z")
        asked = self.tree.site.requests(whole, "GET")
        self.assertEqual(sorted(one.path for one in asked), sorted(f"/releases/{name}" for name in images))
        self.tree.site.forget()
        self.assertEqual(self.mirror("second"), files)
        self.assertEqual(self.tree.site.requests(whole), [])
        self.tree.site.down()
        self.assertEqual(self.mirror("third"), files)


if __name__ == "__main__":
    main()
