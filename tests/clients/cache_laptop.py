#!/usr/bin/env python3
"""A laptop: three images are pulled, the network goes, and each is there for every client: curl, OpenStack's client and LXD's.

usage: cache_laptop.py VISOR [TEST…]

Starts servers of its own, without accounts, and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import json
import os
import subprocess
import tempfile
import time
import tomllib
import unittest

from cache_harness import Laptop, let_lists_age, md5
from harness import call, main, until
from vendor_site import sha256
from vendor_trees import OLDER, NEWER, World

NAMES = {"debian/13": "generic", "debian/13+genericcloud": "genericcloud", "debian/13+nocloud": "nocloud"}


class OnTheWay(unittest.TestCase):
    """One story, in the order of its tests."""

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.world = World(temporary.name)
        cls.addClassCleanup(cls.world.close)
        cls.tree = cls.world.tree("debian", OLDER)
        cls.contents = {name: cls.tree.disk(OLDER, variant=variant) for name, variant in NAMES.items()}
        cls.laptop = Laptop(cls.tree)
        cls.addClassCleanup(cls.laptop.close)
        cls.server = cls.laptop.serve()
        cls.asked_at = time.monotonic()

    def saved(self, name):
        path = self.laptop.path(name)
        with open(path, "rb") as file:
            content = file.read()
        os.unlink(path)
        return content

    def test_1_three_images_are_pulled(self):
        for name in NAMES:
            with self.subTest(name):
                said = self.laptop.json("pull", name)
                self.assertEqual(said["verified"], "checksum", said)
        type(self).asked_at = time.monotonic()
        self.assertLessEqual({md5(content) for content in self.contents.values()}, set(self.laptop.images()))

    def test_2_the_network_goes(self):
        self.assertIn("offline since", self.laptop.do("offline", "on").out)
        self.tree.site.down()
        self.tree.site.forget()
        self.assertIn("offline since", self.laptop.do("status").out)

    def test_3_each_image_is_there_by_each_client(self):
        self.server.save("user")
        lxc = self.laptop.lxc
        for name, content in self.contents.items():
            with self.subTest(name):
                path = self.laptop.path("saved")
                url = f"{self.server.url}/get/{name}"
                subprocess.run(["curl", "-q", "-sS", "-f", "-o", path, url], check=True, timeout=60, env=self.laptop.environment())
                self.assertEqual(sha256(self.saved("saved")), sha256(content))
                done = self.server.openstack("user", "image", "save", "--file", path, name)
                self.assertEqual(done.code, 0, done.err)
                self.assertEqual(sha256(self.saved("saved")), sha256(content))
                until(lambda: lxc("image", "info", f"visor:{name}").code == 0, "it is offered to LXD's clients")
                lxc.do("image", "export", f"visor:{name}", path)
                self.assertEqual(sha256(self.saved("saved.root")), sha256(content))
                self.saved("saved")

    def test_4_what_is_not_here_is_said_at_once(self):
        began = time.monotonic()
        done = self.laptop("pull", "debian/12")
        self.assertEqual(done.code, 5, done.err)
        self.assertIn("offline", done.err)
        answer = call("GET", f"{self.server.url}/cache/{self.tree.site.url.replace('://', '/')}/images/cloud/nothing.qcow2")
        self.assertEqual(answer.status, 504, answer.body)
        self.assertLess(time.monotonic() - began, 3)

    def test_5_images_lock(self):
        self.laptop.do("lock")
        with open(self.laptop.path("images.lock"), "rb") as file:
            locked = tomllib.load(file)
        text = json.dumps(locked)
        for name, content in self.contents.items():
            self.assertIn(name, text)
            self.assertIn(sha256(content), text)
        self.laptop.do("lock", "--check")
        self.laptop.do("pull", "--locked", "-f", "images.lock")
        # The images are here, and proved by more than the lock file.
        levels = {image["visor.verified"] for image in self.laptop.images().values()}
        self.assertEqual(levels, {"checksum"})
        self.laptop.do("lock", "-f", "again.lock")
        with open(self.laptop.path("again.lock"), "rb") as file:
            self.assertEqual(tomllib.load(file), locked)
        # A change since then is drift.
        with open(self.laptop.path("images.lock")) as file:
            lock = file.read()
        digest = sha256(self.contents["debian/13"])
        with open(self.laptop.path("drifted.lock"), "w") as file:
            file.write(lock.replace(digest, sha256(b"else")))
        done = self.laptop("lock", "--check", "-f", "drifted.lock")
        self.assertEqual(done.code, 4, done.err + done.out)

    def test_6_a_program_has_a_server_of_its_own(self):
        self.laptop.stop()
        try:
            script = 'curl -q -sS -f -o ran "$VISOR_URL/get/debian/13" && echo "at $VISOR_URL" && exit 7'
            done = self.laptop("run", "--", "sh", "-c", script)
            self.assertEqual(done.code, 7, done.err)
            self.assertEqual(sha256(self.saved("ran")), sha256(self.contents["debian/13"]))
            url = done.out.split("at ", 1)[1].strip()
            code = subprocess.run(["curl", "-q", "-s", url], capture_output=True).returncode
            self.assertEqual(code, 7, "its server has ended with it")
        finally:
            type(self).server = self.laptop.serve()

    def test_7_no_site_was_asked(self):
        self.assertEqual(self.tree.site.asked, [])

    def test_8_the_network_is_back(self):
        self.tree.publish(OLDER, NEWER)
        self.tree.site.up()
        self.laptop.do("offline", "off")
        # A fast machine comes here within seconds of the first pulls, and their list would still count as the vendor's newest.
        let_lists_age(self.asked_at)
        said = self.laptop.json("pull", "debian/13")
        self.assertEqual(said["change"], "newer", said)
        self.assertIn(md5(self.tree.content), self.laptop.images())
        answer = call("GET", f"{self.server.url}/get/debian/13")
        self.assertEqual(sha256(answer.body), sha256(self.tree.content))


if __name__ == "__main__":
    main()
