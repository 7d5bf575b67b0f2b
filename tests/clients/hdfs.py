#!/usr/bin/env python3
"""Images in HDFS: the program against a name node and a data node that redirect as Hadoop's do (WebHDFS REST API, Hadoop 3),
which are this file's: no registry has a Hadoop.

usage: hdfs.py VISOR

Starts servers of its own, without accounts, and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import http.server
import json
import os
import random
import shutil
import tempfile
import threading
import unittest
import urllib.parse

from harness import Server, call, main

PREFIX = "/webhdfs/v1"


class Node(http.server.BaseHTTPRequestHandler):
    """Both nodes; which one it is, its server says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        if isinstance(body, dict):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, exception, message):
        self.answer(status, {"RemoteException": {
            "exception": exception, "javaClassName": f"java.io.{exception}", "message": message}})

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_request(self):
        url = urllib.parse.urlsplit(self.path)
        query = {name.lower(): values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
        operation, body = query.get("op", "").upper(), self.body()
        name = urllib.parse.unquote(url.path.removeprefix(PREFIX))
        self.server.cluster.calls.append((self.server.role, operation, query.get("user.name")))
        path = self.server.cluster.root + os.path.normpath("/" + name)
        moves = operation in ("CREATE", "APPEND", "OPEN")
        if self.server.role == "name" and moves:
            if operation != "CREATE" and not os.path.isfile(path):
                return self.refuse(404, "FileNotFoundException", f"File does not exist: {name}")
            data = f"{self.server.cluster.data_url}{url.path}?{url.query}&datanode=true"
            if query.get("noredirect") == "true" and self.server.cluster.knows_noredirect:
                return self.answer(200, {"Location": data})
            return self.answer(307, Location=data)
        if self.server.role == "data" and not moves:
            return self.refuse(400, "IllegalArgumentException", operation)
        getattr(self, operation.lower())(path, name, query, body)

    do_GET = do_PUT = do_POST = do_DELETE = handle_request

    def create(self, path, name, query, body):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(body)
        self.answer(201, Location=f"hdfs://cluster{name}")

    def append(self, path, name, query, body):
        with open(path, "ab") as file:
            file.write(body)
        self.answer(200)

    def open(self, path, name, query, body):
        offset, length = int(query.get("offset", 0)), int(query.get("length", -1))
        with open(path, "rb") as file:
            file.seek(offset)
            self.answer(200, file.read(length), **{"Content-Type": "application/octet-stream"})

    def mkdirs(self, path, name, query, body):
        os.makedirs(path, exist_ok=True)
        self.answer(200, {"boolean": True})

    def rename(self, path, name, query, body):
        target = self.server.cluster.root + os.path.normpath(query["destination"])
        done = os.path.exists(path) and not os.path.exists(target) and os.path.isdir(os.path.dirname(target))
        if done:
            os.rename(path, target)
        self.answer(200, {"boolean": done})

    def delete(self, path, name, query, body):
        there = os.path.exists(path)
        if there:
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
        self.answer(200, {"boolean": there})

    def status(self, path, suffix):
        about, is_file = os.stat(path), os.path.isfile(path)
        return {"accessTime": 0, "blockSize": 134217728, "childrenNum": 0, "fileId": about.st_ino, "group": "supergroup",
                "length": about.st_size if is_file else 0, "modificationTime": int(about.st_mtime * 1000), "owner": "visor",
                "pathSuffix": suffix, "permission": "644", "replication": 1, "storagePolicy": 0,
                "type": "FILE" if is_file else "DIRECTORY"}

    def getfilestatus(self, path, name, query, body):
        if not os.path.exists(path):
            return self.refuse(404, "FileNotFoundException", f"File does not exist: {name}")
        self.answer(200, {"FileStatus": self.status(path, "")})

    def listing(self, path, name):
        if not os.path.isdir(path):
            return self.refuse(404, "FileNotFoundException", f"File {name} does not exist.")
        return {"FileStatuses": {"FileStatus": [self.status(os.path.join(path, one), one) for one in sorted(os.listdir(path))]}}

    def liststatus(self, path, name, query, body):
        if shown := self.listing(path, name):
            self.answer(200, shown)

    def liststatus_batch(self, path, name, query, body):
        if shown := self.listing(path, name):
            self.answer(200, {"DirectoryListing": {"partialListing": shown, "remainingEntries": 0}})


class Cluster:
    def __init__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.root, self.calls, self.knows_noredirect = self.temporary.name, [], True
        self.url, self.data_url = (self.serve(role) for role in ("name", "data"))

    def serve(self, role):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Node)
        server.cluster, server.role = self, role
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    def files(self):
        """Below the root of the store, without directories."""
        base = self.root + "/visor"
        return sorted(os.path.relpath(os.path.join(at, name), base) for at, _, names in os.walk(base) for name in names)

    def read(self, name):
        with open(f"{self.root}/visor/{name}", "rb") as file:
            return file.read()


class Hdfs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as config:
            config.write(f'[stores.lake]\nkind = "hdfs"\nendpoint = "{cls.cluster.url}"\nuser = "visor"\n')
        cls.addClassCleanup(os.unlink, config.name)
        cls.server = Server("--config", config.name)

    def setUp(self):
        shutil.rmtree(self.cluster.root + "/visor", ignore_errors=True)
        self.cluster.calls.clear()

    def ask(self, path, method="GET", body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = call(method, self.server.url + path, body, headers)
        return answer.status, answer.body

    def add(self, body, store="lake"):
        status, answer = self.ask("/images", "POST", body, x_image_meta_name="a", x_image_meta_architecture="x86_64",
                                  x_image_meta_store=store, Content_Type="application/octet-stream")
        self.assertEqual(status, 200, answer)
        return json.loads(answer)["image"]

    def there_and_back(self):
        for size in (1, 300_000, 20_000_001):
            body = random.Random(size).randbytes(size)
            image = self.add(body)
            name = f"{image['_id']}.none"
            self.assertEqual((self.cluster.files(), self.cluster.read(name) == body), ([name], True))
            self.assertTrue(image["location"].startswith("hdfs://127.0.0.1:"), image["location"])
            path = f"/images/{image['_id']}"
            self.assertEqual(self.ask(path), (200, body))
            self.assertEqual(self.ask(path, Range=f"bytes={size // 2}-"), (206, body[size // 2:]))
            self.assertEqual(self.ask(path, "DELETE")[0], 200)
            self.assertEqual(self.cluster.files(), [])
        # The name node is told who we are, and its answer leads to the data node.
        self.assertEqual({user for role, _, user in self.cluster.calls if role == "name"}, {"visor"})
        self.assertIn(("data", "OPEN"), {call[:2] for call in self.cluster.calls})

    def test_there_and_back(self):
        self.there_and_back()

    def test_there_and_back_by_an_older_hadoop(self):
        self.cluster.knows_noredirect = False
        self.addCleanup(setattr, self.cluster, "knows_noredirect", True)
        self.there_and_back()

    def test_moved_there_and_back(self):
        body = random.Random(7).randbytes(5_000_000)
        image = self.add(body, "file")["_id"]
        self.server.visor("move", image, "--store", "lake", "-a", self.server.url)
        self.assertEqual(self.cluster.read(f"{image}.none"), body)
        self.server.visor("move", image, "--store", "file", "-a", self.server.url)
        self.assertEqual((self.cluster.files(), self.ask(f"/images/{image}")), ([], (200, body)))

    def test_in_pieces(self):
        body = random.Random(8).randbytes(70 << 20)
        path = self.server.path("big")
        with open(path, "wb") as file:
            file.write(body)
        self.server.visor("add", "name=big", "architecture=x86_64", "store=lake", "-f", path, "-a", self.server.url)
        [name] = self.cluster.files()
        self.assertTrue(self.cluster.read(name) == body)

    def test_a_wrong_claim_leaves_nothing(self):
        status, _ = self.ask("/images", "POST", b"x" * 100_000, x_image_meta_name="a", x_image_meta_architecture="x86_64",
                             x_image_meta_store="lake", x_image_meta_checksum="0" * 32, Content_Type="application/octet-stream")
        self.assertEqual((status, self.cluster.files()), (400, []))


if __name__ == "__main__":
    main()
