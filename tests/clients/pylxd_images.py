#!/usr/bin/env python3
"""pylxd against real servers, without accounts and with them.

usage: pylxd_images.py VISOR [TEST…]

Needs what requirements.txt names beside the Python that runs this, and `lxc`, by whom the certificates are made. Starts servers
of its own and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import json
import os
import tempfile
import threading
import unittest
import warnings

import pylxd
from pylxd import exceptions

from harness import Source, main
from lxd_harness import Images, Lxc, LxdServer, sha256

# What the library underneath puts over the certificate that it is given.
for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ.pop(variable, None)


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Library(unittest.TestCase):
    """A server, images for it, and a client."""

    @classmethod
    def setUpClass(cls):
        cls.server = LxdServer()
        cls.addClassCleanup(cls.server.stop)
        cls.images = Images(cls.server.directory)

    @classmethod
    def certificate(cls, name):
        """A certificate and its key, as `lxc` makes them when it first needs them."""
        lxc = Lxc(cls.server, name)
        lxc.add()
        return lxc.path("client.crt"), lxc.path("client.key")

    @classmethod
    def connect(cls, certificate, server=None):
        server = server or cls.server
        return pylxd.Client(endpoint=server.https, cert=certificate, verify=server.certificate)

    def fails(self, words):
        """A request that the server refuses, or that ends in a failed operation."""
        return self.assertRaisesRegex(exceptions.LXDAPIException, words)


class WithoutAccounts(Library):
    """Everything that there is for images."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = cls.connect(cls.certificate("home"))
        cls.all = cls.client.images

    def create(self, **options):
        path = self.images.unified()
        image = self.all.create(read(path), **options)
        self.assertEqual(image.fingerprint, sha256(path))
        return image, path

    def test_one_file(self):
        image, path = self.create(public=True)
        self.assertEqual((image.public, image.type, image.architecture, image.size), (True, "container", "x86_64", os.path.getsize(path)))
        self.assertEqual((image.properties["os"], image.cached, image.profiles), ("Debian", False, ["default"]))
        self.assertEqual(image.export().read(), read(path))
        self.assertFalse(self.create()[0].public)
        # As a stream, whose length nobody tells before.
        path = self.images.unified("zstd")
        with open(path, "rb") as file:
            image = self.all.create(iter(lambda: file.read(10_000), b""))
        self.assertEqual(image.fingerprint, sha256(path))

    def test_two_files(self):
        for root, vm in ((self.images.rootfs(), False), (self.images.disk(), True)):
            metadata = self.images.metadata()
            image = self.all.create(read(root), metadata=read(metadata), vm=vm)
            self.assertEqual(image.fingerprint, sha256(metadata, root))
            self.assertEqual(image.type, "virtual-machine" if vm else "container")
            form = image.export().read()
            self.assertIn(read(metadata), form)
            self.assertIn(read(root), form)
        with self.fails("Unsupported compression"):
            self.all.create(read(self.images.rootfs()), metadata=read(self.images.metadata()), vm=True)

    def test_what_is_no_image(self):
        for data, words in ((b"x" * 5000, "Unsupported compression"), (b"", "EOF|Missing source")):
            with self.fails(words):
                self.all.create(data)

    def test_get(self):
        image, _ = self.create()
        image.add_alias("get/this one", "said of it")
        self.assertEqual(self.all.get(image.fingerprint), image)
        self.assertEqual(self.all.get(image.fingerprint[:12]).fingerprint, image.fingerprint)
        self.assertEqual(self.all.get_by_alias("get/this one").fingerprint, image.fingerprint)
        for name, alias, there in ((image.fingerprint, False, True), ("get/this one", True, True), ("0" * 64, False, False), ("x", True, False)):
            self.assertEqual(self.all.exists(name, alias=alias), there, name)
        for get in (self.all.get, self.all.get_by_alias):
            with self.assertRaises(exceptions.NotFound):
                get("nothing")
        self.assertIn(image.fingerprint, [one.fingerprint for one in self.all.all()])
        self.assertEqual([alias["name"] for alias in self.all.get(image.fingerprint).aliases], ["get/this one"])

    def test_aliases(self):
        (one, _), (two, _) = self.create(), self.create()
        one.add_alias("al/1", "first")
        one.add_alias("al/2", "")
        with self.assertRaises(exceptions.Conflict):
            two.add_alias("al/1", "")
        self.client.api.images.aliases["al/1"].put(json={"target": two.fingerprint, "description": "moved"})
        self.assertEqual(self.all.get_by_alias("al/1").fingerprint, two.fingerprint)
        one.delete_alias("al/2")
        self.assertFalse(self.all.exists("al/2", alias=True))
        with self.assertRaises(exceptions.NotFound):
            one.delete_alias("al/2")
        self.client.api.images.aliases["al/1"].post(json={"name": "al/3"})
        shown = self.client.api.images.aliases["al/3"].get().json()["metadata"]
        self.assertEqual((shown["target"], shown["description"], shown["type"]), (two.fingerprint, "moved", "container"))

    def test_save(self):
        image, _ = self.create()
        image.properties = {"os": "Saved", "new": "1"}
        image.public = True
        image.save(wait=True)
        again = self.all.get(image.fingerprint)
        self.assertEqual((again.properties, again.public, again.auto_update), ({"os": "Saved", "new": "1"}, True, False))
        image.patch({"properties": {"more": "2"}})
        self.assertEqual(image.properties, {"os": "Saved", "new": "1", "more": "2"})
        image.properties = {"os": 1}
        with self.fails("Invalid JSON"):
            image.save()
        image.rollback()
        self.assertEqual(image.properties["os"], "Saved")

    def test_delete(self):
        image, path = self.create()
        self.all.get(image.fingerprint).delete(wait=True)
        self.assertFalse(self.all.exists(sha256(path)))
        with self.assertRaises(exceptions.NotFound):
            self.client.api.images[sha256(path)].delete()

    def test_from_a_url(self):
        path, other = self.images.unified(), self.images.unified()
        with Source(self.images.directory) as source:
            for family in ("LXD", "Incus"):
                answer = {f"{family}-Image-URL": source.url + os.path.basename(path), f"{family}-Image-Hash": sha256(path)}
                source.answers["/latest"] = answer
                image = self.all.create_from_url(source.url + "latest", public=True)
                self.assertEqual((image.fingerprint, image.public, image.filename), (sha256(path), True, os.path.basename(path)))
                self.assertEqual(image.export().read(), read(path))
                image.delete(wait=True)
            source.answers["/lies"] = answer | {f"{family}-Image-URL": source.url + os.path.basename(other)}
            source.answers["/empty"] = {}
            for name, words in (("lies", "[Hh]ash|fingerprint"), ("empty", "LXD-Image-"), (os.path.basename(path), "LXD-Image-"), ("none", "")):
                with self.fails(words):
                    self.all.create_from_url(source.url + name)
        for fingerprint in (sha256(path), sha256(other)):
            self.assertFalse(self.all.exists(fingerprint))
        for url in ("http://10.0.0.1/x", "file:///etc/passwd", "", "http://"):
            with self.fails(""):
                self.all.create_from_url(url)

    def test_operations(self):
        # By hand, as the library does it.
        path = self.images.unified()
        location = self.client.api.images.post(data=read(path)).json()["operation"]
        with warnings.catch_warnings():
            # It would warn of anything that it does not know.
            warnings.simplefilter("error")
            operation = self.client.operations.wait_for_operation(location)
        self.assertEqual((operation.status_code, operation.metadata["fingerprint"]), (200, sha256(path)))
        self.assertEqual(operation.resources, {"images": [f"/1.0/images/{sha256(path)}"]})
        location = self.client.api.images.post(data=b"x" * 100).json()["operation"]
        with self.fails("Unsupported compression"):
            self.client.operations.wait_for_operation(location)
        with self.assertRaises(exceptions.NotFound):
            self.client.operations.get("nothing")

    def test_events(self):
        heard, done = [], threading.Event()
        listener = self.client.events(event_types={pylxd.EventType.Lifecycle})

        def hear(message):
            event = json.loads(message.data)["metadata"]
            heard.append((event["action"], event["source"], event["requestor"]["protocol"]))
            if event["action"] == "image-deleted":
                done.set()

        listener.received_message = hear
        listener.connect()
        threading.Thread(target=listener.run, daemon=True).start()
        image, path = self.create()
        image.add_alias("heard", "")
        image.delete(wait=True)
        self.assertTrue(done.wait(10), heard)
        listener.close()
        created = f"/1.0/images/{sha256(path)}"
        self.assertEqual(heard, [("image-created", created, "tls"), ("image-alias-created", "/1.0/images/aliases/heard", "tls"),
                                 ("image-deleted", created, "tls")])

    def test_what_is_around(self):
        self.assertTrue(self.client.trusted)
        self.assertFalse(self.client.server_clustered)
        self.assertTrue(self.client.has_api_extension("image_types"))
        self.assertEqual([project.name for project in self.client.projects.all()], ["default"])
        self.assertEqual([profile.name for profile in self.client.profiles.all()], ["default"])
        self.assertEqual(self.client.instances.all() + self.client.containers.all(), [])
        in_project = pylxd.Client(endpoint=self.server.https, cert=self.client.cert, verify=self.server.certificate, project="default")
        self.assertEqual(len(in_project.images.all()), len(self.all.all()))


class FromServerToServer(Library):
    """Copies from one server to another."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = LxdServer()
        cls.addClassCleanup(cls.other.stop)
        certificate = cls.certificate("home")
        cls.here, cls.there = cls.connect(certificate), cls.connect(certificate, cls.other)

    def test_a_private_image(self):
        metadata, root = self.images.metadata(), self.images.disk()
        image = self.here.images.create(read(root), metadata=read(metadata), vm=True)
        copied = image.copy(self.there, wait=True)
        self.assertEqual((copied.fingerprint, copied.type, copied.public), (sha256(metadata, root), "virtual-machine", False))
        self.assertEqual((copied.properties, copied.created_at), (image.properties, image.created_at))
        self.assertIn(read(root), copied.export().read())
        # Twice is no mistake.
        self.assertEqual(image.copy(self.there, public=True, wait=True).public, True)

    def test_a_public_image_needs_a_certificate_that_is_known(self):
        # This library names no certificate for what is public.
        image = self.here.images.create(read(self.images.unified()), public=True)
        with self.fails("certificate"):
            image.copy(self.there, wait=True)

    def test_by_simplestreams(self):
        metadata, root = self.images.metadata(), self.images.rootfs()
        image = self.here.images.create(read(root), metadata=read(metadata), public=True)
        image.add_alias("debian/12", "")
        copied = self.there.images.create_from_simplestreams(self.server.url, "debian/12", auto_update=True)
        self.assertEqual((copied.fingerprint, copied.auto_update, copied.public), (sha256(metadata, root), True, False))
        source = copied.update_source
        self.assertEqual((source["alias"], source["protocol"], source["server"]), ("debian/12", "simplestreams", self.server.url))
        self.assertEqual(copied.properties["os"], "Debian")
        # The alias moves on.
        path = self.images.unified()
        new = self.here.images.create(read(path), public=True)
        self.here.api.images.aliases["debian/12"].put(json={"target": new.fingerprint})
        copied.add_alias("mine", "")
        self.there.operations.wait_for_operation(copied.api.refresh.post(json={}).json()["operation"])
        self.assertEqual(self.there.images.get_by_alias("mine").fingerprint, sha256(path))
        self.assertFalse(self.there.images.exists(sha256(metadata, root)))
        with self.fails("has no image or alias 'nothing'"):
            self.there.images.create_from_simplestreams(self.server.url, "nothing")


class WithAccounts(Library):
    """How a client gets in."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = {name: cls.server.account(name) for name in ("alice", "bob")}

    def test_by_keys(self):
        client = self.connect(self.certificate("by-keys"))
        self.assertFalse(client.trusted)
        for wrong in ("", "alice", "alice:wrong", "not:" + self.keys["alice"]):
            with self.fails("not authorized"):
                client.authenticate(wrong)
            with self.fails("not authorized"):
                client.images.all()
        client.authenticate(self.keys["alice"])
        self.assertEqual((client.trusted, client.host_info["auth_user_name"]), (True, "alice"))
        self.assertEqual(client.images.all(), [])
        (own,) = [one for one in client.certificates.all() if one.type == "client"]
        self.assertEqual(client.certificates.get(own.fingerprint).fingerprint, own.fingerprint)
        own.delete()
        with self.fails("not authorized"):
            client.images.all()

    def test_by_tokens(self):
        client, friend = self.connect(self.certificate("by-token")), self.connect(self.certificate("friend"))
        made = self.server.visor(
            "--json", "--data-dir", self.server.path("data"), "trust", "token", "--account", "bob", "--address", self.server.https[8:])
        client.authenticate(json.loads(made)["token"])
        self.assertEqual(client.host_info["auth_user_name"], "bob")
        token = client.certificates.create_token(name="friend")
        friend.authenticate(token)
        self.assertEqual(friend.host_info["auth_user_name"], "bob")
        with self.fails("not authorized"):
            self.connect(self.certificate("late")).authenticate(token)

    def test_others_images(self):
        alice, bob = (self.connect(self.certificate(f"others-{name}")) for name in ("alice", "bob"))
        alice.authenticate(self.keys["alice"])
        bob.authenticate(self.keys["bob"])
        private = bob.images.create(read(self.images.unified()))
        public = bob.images.create(read(self.images.unified()), public=True)
        private.add_alias("private", "")
        self.assertFalse(alice.images.exists(private.fingerprint))
        self.assertFalse(alice.images.exists("private", alias=True))
        seen = alice.images.get(public.fingerprint)
        for change in (lambda: seen.add_alias("mine", ""), lambda: seen.delete(wait=True), lambda: seen.patch({"public": False})):
            with self.fails(""):
                change()
        self.assertTrue(bob.images.get(public.fingerprint).public)
        # Another certificate than the one that it was is no server of ours.
        with tempfile.NamedTemporaryFile("w") as wrong:
            wrong.write(read(alice.cert[0]).decode())
            wrong.flush()
            with self.assertRaises(exceptions.ClientConnectionFailed):
                pylxd.Client(endpoint=self.server.https, cert=alice.cert, verify=wrong.name)


if __name__ == "__main__":
    main()
