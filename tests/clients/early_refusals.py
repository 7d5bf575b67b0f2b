#!/usr/bin/env python3
"""Refusals of large uploads, over plain HTTP and over TLS, by clients that send everything before they read: each refusal
arrives, every time.

usage: early_refusals.py VISOR

Starts servers of its own and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import http.client
import ssl
import unittest
import warnings

import requests

from harness import Server, call, main

TRIES = 8
BODY = 24 << 20
NOTHING = "edfa919a-0415-4d26-b54d-ae78ffc4dc79"
OCTETS = {"Content-Type": "application/octet-stream"}
IMAGE = {"disk_format": "raw", "container_format": "bare"}


class Secure(Server):
    """A server on both ports."""

    listeners = ("--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0")

    def urls(self):
        return [self.url, *self.more_urls]


class Zeros:
    """A file of nothing."""

    def __init__(self, length):
        self.left = length

    def read(self, length=-1):
        length = min(self.left, 65536 if length < 0 else length)
        self.left -= length
        return bytes(length)


class Refusals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        warnings.simplefilter("ignore")
        cls.open = Secure(settings='[upload]\nimage_max = "16 MiB"\n')
        cls.closed = Secure()
        cls.closed.user("alice")
        cls.addClassCleanup(cls.open.stop)
        cls.addClassCleanup(cls.closed.stop)
        cls.context = ssl._create_unverified_context()
        cls.session = requests.Session()

    def create(self):
        made = call("POST", self.open.url + "/v2/images", IMAGE)
        return made.json["id"]

    def by_http_client(self, url, path, headers, chunked):
        kind, more = (http.client.HTTPSConnection, {"context": self.context}) if url.startswith("https") else (
            http.client.HTTPConnection, {})
        connection = kind(url.split("//")[1], timeout=120, **more)
        length = {} if chunked else {"Content-Length": str(BODY)}
        connection.request("PUT", path, Zeros(BODY), {**headers, **length}, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def by_requests(self, url, path, headers, chunked):
        body = (bytes(1 << 20) for _ in range(BODY >> 20)) if chunked else bytes(BODY)
        answer = self.session.put(url + path, data=body, headers=headers, timeout=120, verify=False)
        return answer.status_code, answer.content

    def refused(self, server, path, status, headers=OCTETS):
        for client in (self.by_http_client, self.by_requests):
            for url in server.urls():
                for chunked in (False, True):
                    for attempt in range(TRIES):
                        with self.subTest(client=client.__name__, url=url[:5], chunked=chunked, attempt=attempt):
                            answer, body = client(url, path, headers, chunked)
                            self.assertEqual(answer, status)
                            self.assertTrue(body)

    def test_401(self):
        self.refused(self.closed, f"/v2/images/{NOTHING}/file", 401)

    def test_403(self):
        self.refused(self.closed, f"/images/{NOTHING}", 403)

    def test_404(self):
        self.refused(self.open, f"/v2/images/{NOTHING}/file", 404)

    def test_409(self):
        image = self.create()
        done = call("PUT", f"{self.open.url}/v2/images/{image}/file", b"bytes", OCTETS)
        self.assertEqual(done.status, 204)
        self.refused(self.open, f"/v2/images/{image}/file", 409)

    def test_413(self):
        self.refused(self.open, f"/v2/images/{self.create()}/file", 413)

    def test_415(self):
        self.refused(self.open, f"/v2/images/{self.create()}/file", 415, {"Content-Type": "text/plain"})


if __name__ == "__main__":
    main()
