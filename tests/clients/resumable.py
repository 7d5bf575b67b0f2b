#!/usr/bin/env python3
"""Transfers that break off and are gone on with, by clients that others have written, and by `visor` itself.

usage: resumable.py VISOR

Needs tuspy and aria2c. Starts servers of its own, without accounts, and ends them. VISOR_TALLY names a file to write
"passed failed" to.
"""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from tusclient import client as tus

from harness import VISOR, until


class Server:
    """The program on a directory, on any port the first time and on the same ever after."""

    def __init__(self, directory):
        self.directory, self.listen = directory, "127.0.0.1:0"
        self.start()

    def start(self):
        ready = os.path.join(self.directory, "ready")
        self.process = subprocess.Popen(
            [VISOR, "serve", "--listen", self.listen, "--no-tls", "--ready-file", ready, "--data-dir", self.directory + "/data"],
            stderr=open(self.directory + "/log", "a"), stdout=subprocess.DEVNULL)
        until(lambda: os.path.exists(ready), "the server is ready")
        self.url = open(ready).readline().strip()
        self.listen = self.url.removeprefix("http://")

    def kill(self):
        self.process.kill()
        self.process.wait()
        os.unlink(self.directory + "/ready")

    def get(self, path, method="GET"):
        return urllib.request.urlopen(urllib.request.Request(self.url + path, method=method), timeout=60)

    def names(self):
        try:
            return [image["name"] for image in json.load(self.get("/images"))["images"]]
        except urllib.error.HTTPError:
            return []


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Resumable(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.server = Server(cls.temporary.name)
        cls.large = random.Random(7).randbytes(90 << 20)
        cls.path = os.path.join(cls.temporary.name, "large.raw")
        with open(cls.path, "wb") as file:
            file.write(cls.large)

    @classmethod
    def tearDownClass(cls):
        cls.server.process.send_signal(signal.SIGTERM)
        assert cls.server.process.wait(timeout=30) == 0
        assert "panicked" not in open(cls.temporary.name + "/log").read()
        cls.temporary.cleanup()

    def uploader(self, chunk, **more):
        metadata = {"name": "by tus", "architecture": "x86_64", "format": "raw"}
        return tus.TusClient(self.server.url + "/uploads").uploader(
            self.path, chunk_size=chunk, metadata=metadata, **more)

    def check(self, upload_url):
        path = upload_url.removeprefix(self.server.url).replace("/uploads/", "/images/")
        reply = self.get(path)
        self.assertEqual(reply.headers["x-image-meta-status"], "available")
        self.assertEqual(sha256(reply.read()), sha256(self.large))

    def get(self, path):
        return self.server.get(path)

    def test_1_tus_in_chunks(self):
        upload = self.uploader(8 << 20)
        upload.upload()
        self.check(upload.url)

    def test_2_tus_goes_on_with_another_process_and_another_server(self):
        first = self.uploader(16 << 20)
        first.upload_chunk()
        first.upload_chunk()
        self.server.kill()
        self.server.start()
        second = self.uploader(32 << 20, url=first.url)
        self.assertEqual(second.offset, 32 << 20)
        second.upload()
        self.check(first.url)

    def test_3_visor_goes_on_by_itself_when_the_server_is_killed(self):
        home = dict(os.environ, HOME=self.temporary.name, XDG_CACHE_HOME=self.temporary.name + "/cache")
        port = self.server.listen.rsplit(":", 1)[1]
        command = [VISOR, "--json", "add", "name=by visor", "architecture=x86_64", "--file", self.path, "-p", port]
        adding = subprocess.Popen(command, env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # It remembers the upload as soon as that has begun.
        remembered = self.temporary.name + "/cache/visor/uploads"
        while not (os.path.isdir(remembered) and os.listdir(remembered)):
            self.assertIsNone(adding.poll())
        self.server.kill()
        time.sleep(1)
        self.server.start()
        out, err = adding.communicate(timeout=120)
        self.assertEqual(adding.returncode, 0, err)
        record = json.loads(out)
        self.assertEqual((record["status"], record["checksum"]), ("available", hashlib.md5(self.large).hexdigest()))
        self.assertEqual(self.server.names().count("by visor"), 1)
        type(self).image_id = record["_id"]

    def test_4_aria2c_with_eight_connections_finishes_what_was_killed(self):
        out = os.path.join(self.temporary.name, "by-aria")
        command = ["aria2c", "-x8", "-s8", "--min-split-size=1M", "-c", "--quiet", "--no-conf", "--auto-save-interval=1",
                   "--allow-overwrite=false", "--auto-file-renaming=false", "-d", self.temporary.name, "-o", "by-aria",
                   self.server.url + "/images/" + self.image_id]
        slow = subprocess.Popen(command + ["--max-download-limit=5M"])
        while not os.path.exists(out + ".aria2"):
            self.assertIsNone(slow.poll(), "it was not finished")
            time.sleep(0.05)
        time.sleep(2)
        slow.kill()
        slow.wait()
        self.assertTrue(os.path.exists(out + ".aria2"), "it was not finished")
        subprocess.run(command, check=True, timeout=120)
        self.assertEqual(sha256(open(out, "rb").read()), sha256(self.large))
        ranges = len(re.findall(r" 206 ", open(self.temporary.name + "/log").read()))
        self.assertGreater(ranges, 7)


if __name__ == "__main__":
    result = unittest.main(argv=[sys.argv[0], "-v"], exit=False, warnings="ignore").result
    failed = len(result.failures) + len(result.errors)
    if os.environ.get("VISOR_TALLY"):
        with open(os.environ["VISOR_TALLY"], "w") as tally:
            tally.write(f"{result.testsRun - failed} {failed}\n")
    sys.exit(failed > 0)
