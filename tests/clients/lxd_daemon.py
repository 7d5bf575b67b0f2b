#!/usr/bin/env python3
"""A real LXD daemon and Visor: each takes images from the other.

usage: lxd_daemon.py VISOR [TEST…]

Needs Debian's `lxd`, and root (or sudo) to run it. Starts daemons and servers of its own and ends them. VISOR_TALLY names a
file to write "passed failed" to.
"""

import json
import os
import subprocess
import urllib.parse

from harness import main, until
from lxd_real import WithDaemon


class FromVisor(WithDaemon):
    """The daemon takes images."""

    def test_public_images_by_their_alias(self):
        for kind, files in self.every_kind():
            with self.subTest(kind):
                alias, vm = f"pub/{kind}", ("--vm",) if kind == "vm" else ()
                fingerprint = self.import_("visor", alias, *files)
                copy = ("image", "copy", f"visor:{alias}", "local:", "--alias", alias, "--auto-update", "--public", *vm)
                asked = self.asking(lambda: self.do(*copy))
                # It took it itself, and not by a secret.
                self.assertIn(f"GET /1.0/images/{fingerprint}/export", asked)
                self.assertNotIn(f"POST /1.0/images/{fingerprint}/secret", asked)
                copied = self.check_same(alias, "visor", "local")
                source = copied["update_source"]
                self.assertEqual((source["alias"], source["server"], source["protocol"]), (alias, self.server.https, "lxd"))
                self.assertEqual((copied["auto_update"], copied["public"]), (True, True))
                self.assertNotEqual(self.image("visor", alias)["last_used_at"][:4], "0001")

    def test_private_images_by_a_secret(self):
        for kind, files in self.every_kind():
            with self.subTest(kind):
                alias, vm = f"priv/{kind}", ("--vm",) if kind == "vm" else ()
                fingerprint = self.import_("visor", alias, *files, more=())
                asked = self.asking(lambda: self.do("image", "copy", f"visor:{alias}", "local:", "--alias", alias, *vm))
                self.assertIn(f"POST /1.0/images/{fingerprint}/secret", asked)
                self.assertIn(f"GET /1.0/images/{fingerprint}/export", asked)
                self.check_same(alias, "visor", "local")

    def test_by_simplestreams(self):
        expected = {"one": ["combined.tar"], "two": ["metadata.tar", "rootfs"], "tar": ["metadata.tar", "rootfs"],
                    "vm": ["disk.qcow2", "metadata.tar"]}
        more = ("--public", "requirements.secureboot=false", "variant=cloud")
        kinds = {kind: self.import_("visor", f"st/{kind}", *files, more=more) for kind, files in self.every_kind()}
        private = self.import_("visor", "st/private", more=())
        self.daemon.forget_documents()
        for kind, fingerprint in kinds.items():
            with self.subTest(kind):
                vm = ("--vm",) if kind == "vm" else ()
                copy = ("image", "copy", f"streams:st/{kind}", "local:", "--alias", f"st/{kind}", "--auto-update", *vm)
                asked = self.asking(lambda: self.do(*copy))
                files = sorted({path.rsplit("/", 1)[1] for path in asked if f"/streams/v1/files/{fingerprint}/" in path})
                self.assertEqual(files, expected[kind])
                copied = self.image("local", f"st/{kind}")
                self.assertEqual((copied["fingerprint"], copied["update_source"]["protocol"]), (fingerprint, "simplestreams"))
                self.assertEqual((copied["architecture"], copied["properties"]["os"]), ("x86_64", "Debian"))
                # Without what it demands a machine would not start.
                demands = copied["properties"]["requirements.secureboot"], copied["properties"]["variant"]
                self.assertEqual(demands, ("false", "cloud"))
        self.assertNotIn(private[:12], self.do("image", "list", "streams:", "-f", "csv"))
        self.refused("couldn't be found", "image", "copy", "streams:st/private", "local:")

    def test_a_machine_in_one_file_is_not_taken_for_a_container(self):
        self.import_("visor", "st/machine", self.images.unified("gzip", disk=True))
        self.daemon.forget_documents()
        self.refused("couldn't be found", "image", "copy", "streams:st/machine", "local:")
        self.do("image", "copy", "visor:st/machine", "local:", "--vm", "--alias", "st/machine")
        self.assertEqual(self.image("local", "st/machine")["type"], "virtual-machine")

    def test_a_raw_disk_of_visors(self):
        disk = self.images.disk((5 << 20) + 100, "raw")
        self.server.visor("--config", self.server.path("alice.toml"), "add", "name=raw", "architecture=x86_64", "format=raw",
                          "--file", disk, "-a", "127.0.0.1", "-p", self.server.url.rsplit(":", 1)[1])
        until(lambda: self.who("image", "info", "visor:raw").code == 0, "it is offered")
        self.daemon.forget_documents()
        for remote in ("visor", "streams"):
            self.do("image", "copy", f"{remote}:raw", "local:", "--vm", "--alias", "raw")
            self.assertEqual(self.image("local", "raw")["fingerprint"], self.image("visor", "raw")["fingerprint"])
            self.do("image", "export", "local:raw", self.server.path("raw"))
            subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", disk, self.server.path("raw.root")], check=True)
            self.do("image", "delete", "local:raw")

    def test_a_copy_follows_its_alias(self):
        for remote in ("visor", "streams"):
            alias = f"follow/{remote}"
            old, kept = self.import_("visor", alias), f"kept/{remote}"
            self.daemon.forget_documents()
            self.do("image", "copy", f"{remote}:{alias}", "local:", "--auto-update", "--alias", kept)
            self.assertIn("already up to date", self.do("image", "refresh", f"local:{kept}"))
            new = self.import_("visor", alias)
            self.daemon.forget_documents()
            self.assertIn("refreshed successfully", self.do("image", "refresh", f"local:{kept}"))
            self.assertEqual(self.who.fingerprint(f"local:{kept}"), new)
            self.refused("Image not found", "image", "info", f"local:{old}")

    def test_what_was_listed_can_be_fetched_a_while_longer(self):
        fingerprint = self.import_("visor", "gone", self.images.metadata(), self.images.rootfs())
        self.daemon.forget_documents()
        self.do("image", "info", "streams:gone")
        self.do("image", "copy", "streams:gone", "local:", "--alias", "first")
        self.do("image", "delete", "local:first")
        self.do("image", "delete", "visor:gone")
        # By the documents that the daemon has read before.
        since = len(self.server.read_log())
        asked = {"source": {"type": "image", "mode": "pull", "server": self.server.https, "protocol": "simplestreams", "alias": "gone"}}
        self.do("query", "-X", "POST", "--wait", "local:/1.0/images", "-d", json.dumps(asked))
        self.assertNotIn("GET /streams/v1/images.json", self.requests(since))
        self.do("image", "info", f"local:{fingerprint}")

    def test_pushed_and_relayed(self):
        for kind, files in self.every_kind():
            for mode in ("push", "relay"):
                with self.subTest(f"{kind} by {mode}"):
                    alias, vm = f"{mode}/{kind}", ("--vm",) if kind == "vm" else ()
                    fingerprint = self.import_("visor", alias, *files, more=())
                    self.do("image", "copy", f"visor:{alias}", "lxd:", "--mode", mode, "--copy-aliases", *vm)
                    self.assertEqual(self.check_same(alias, "visor", "lxd")["fingerprint"], fingerprint)
                    for remote in ("visor", "lxd"):
                        self.do("image", "delete", f"{remote}:{alias}")

    def test_containers_are_made_of_them(self):
        self.do("storage", "create", "local:pool", "dir")
        for remote, protocol in (("visor", "lxd"), ("streams", "simplestreams")):
            for kind, files in self.every_kind():
                if kind == "vm":
                    # The daemon has no machines where the kernel lacks what it wants for them.
                    continue
                with self.subTest(f"{kind} by {protocol}"):
                    alias = f"init/{protocol}/{kind}"
                    fingerprint = self.import_("visor", alias, *files)
                    self.daemon.forget_documents()
                    name = f"{protocol}-{kind}"
                    self.do("init", f"{remote}:{alias}", f"local:{name}", "--storage", "pool")
                    self.assertEqual(self.do("config", "get", f"local:{name}", "volatile.base_image"), fingerprint + "\n")
                    # What is in the image is in the container.
                    self.assertEqual(self.do("file", "pull", f"local:{name}/etc/ünïcode name", "-"), "x")
                    self.assertIn("hostname.tpl", self.do("config", "template", "list", f"local:{name}"))
                    cached = self.image("local", fingerprint)
                    self.assertEqual((cached["cached"], cached["update_source"]["protocol"]), (True, protocol))
                    self.do("delete", f"local:{name}")


class WithoutPublicRead(WithDaemon):
    """Where nothing is read without keys."""

    settings = ""

    def test_nobody_takes_what_is_public(self):
        fingerprint = self.import_("visor", "public")
        for remote in ("visor", "streams"):
            done = self.who("image", "copy", f"{remote}:public", "local:")
            self.assertNotEqual(done.code, 0, done.out)
        # The client may read it all the same.
        self.do("image", "copy", f"visor:{fingerprint}", "lxd:", "--mode", "relay", "--alias", "relayed")
        self.assertEqual(self.who.fingerprint("lxd:relayed"), fingerprint)

    def test_the_keys_stand_in_the_url(self):
        fingerprint = self.import_("visor", "keys", self.images.metadata(), self.images.rootfs())
        # There are slashes in secrets.
        access_key, secret_key = (urllib.parse.quote(key, safe="") for key in self.keys.split(":"))
        self.add_streams("keys", self.server.https.replace("https://", f"https://{access_key}:{secret_key}@"))
        self.assertIn(fingerprint[:12], self.do("image", "list", "keys:", "-f", "csv"))
        asked = self.asking(lambda: self.do("image", "copy", "keys:keys", "local:", "--alias", "keys", "--auto-update"))
        self.assertIn(f"GET /streams/v1/files/{fingerprint}/rootfs", asked)
        self.assertEqual(self.who.fingerprint("local:keys"), fingerprint)
        new = self.import_("visor", "keys")
        self.daemon.forget_documents()
        self.do("image", "refresh", "local:keys")
        self.assertEqual(self.who.fingerprint("local:keys"), new)
        # Other keys open nothing.
        self.add_streams("wrong", self.server.https.replace("https://", f"https://{access_key}:x@"))
        self.assertNotEqual(self.who("image", "list", "wrong:").code, 0)


class ToVisor(WithDaemon):
    """The server takes the daemon's images."""

    def post(self, **request):
        """A request in JSON, and the operation that it led to, when that has ended."""
        answer = self.server.call("POST", "/1.0/images", request, client=self.who)
        self.assertEqual(answer.status, 202, answer.body)
        return self.server.call("GET", answer.json["operation"] + "/wait", client=self.who).json["metadata"]

    def source(self, **more):
        return {"type": "image", "mode": "pull", "server": f"https://{self.address}", "certificate": self.pem(self.daemon), **more}

    def pem(self, whose):
        path = os.path.join(self.daemon.directory, "server.crt") if whose is self.daemon else whose
        with open(path) as file:
            return file.read()

    def test_every_mode(self):
        for kind, files in self.every_kind():
            # What is public this client pushes and relays by its alias, which LXD's daemon does not look for.
            for mode, public in (("pull", True), ("pull", False), ("push", False), ("relay", False)):
                with self.subTest(f"{kind} by {mode}, public: {public}"):
                    alias, vm = f"{mode}/{kind}", ("--vm",) if kind == "vm" else ()
                    self.import_("lxd", alias, *files, more=("--public",) if public else ())
                    self.do("image", "copy", f"lxd:{alias}", "visor:", "--mode", mode, "--alias", alias, "--alias", "also", *vm)
                    shown = self.check_same(alias, "lxd", "visor")
                    self.assertEqual([one["name"] for one in shown["aliases"]], sorted([alias, "also"]))
                    for remote in ("lxd", "visor"):
                        self.do("image", "delete", f"{remote}:{alias}")

    def test_a_copy_follows_its_alias(self):
        self.import_("lxd", "debian")
        self.do("image", "copy", "lxd:debian", "visor:", "--auto-update", "--alias", "mine", "--public")
        copied = self.image("visor", "mine")
        source = copied["update_source"]
        self.assertEqual((source["alias"], source["protocol"], source["server"]), ("debian", "lxd", f"https://{self.address}"))
        self.assertEqual((copied["auto_update"], copied["public"]), (True, True))
        # By itself; whoever refreshes it meanwhile does no harm. What he has just seen may be gone when he gets to it.
        for _ in range(2):
            old, new = copied["fingerprint"], self.import_("lxd", "debian")
            refreshed = self.who("image", "refresh", "visor:mine")
            self.assertIn(refreshed.err, ("", "Error: Image not found\n"))
            until(lambda: self.who("image", "info", "visor:mine").out.startswith(f"Fingerprint: {new}"), "it is refreshed")
            until(lambda: self.image("visor", new)["update_source"].get("last_error") == "", "it is said to be")
            copied = self.image("visor", new)
            self.assertEqual((copied["auto_update"], copied["public"], copied["aliases"][0]["name"]), (True, True, "mine"))
            self.refused("Image not found", "image", "info", f"visor:{old}")
        # What is gone there stays here, and says so.
        self.do("image", "delete", "lxd:debian")
        self.refused("has no image or alias 'debian'", "image", "refresh", "visor:mine")
        self.assertEqual(self.who.fingerprint("visor:mine"), new)
        self.assertIn("has no image or alias 'debian'", self.image("visor", "mine")["update_source"]["last_error"])

    def test_what_does_not_follow(self):
        fingerprint = self.import_("lxd", "still")
        self.assertEqual(self.post(auto_update=True, source=self.source(fingerprint=fingerprint))["err"], "")
        copied = self.image("visor", fingerprint)
        self.assertNotIn("update_source", copied)
        self.refused("Image source not found", "image", "refresh", f"visor:{fingerprint}")

    def test_an_alias_in_the_place_of_a_fingerprint(self):
        fingerprint = self.import_("lxd", "as pylxd does")
        operation = self.post(source=self.source(fingerprint="as pylxd does"), aliases=[{"name": "a"}], properties={"os": "Mine"})
        self.assertEqual((operation["err"], operation["metadata"]["fingerprint"]), ("", fingerprint))
        self.assertEqual(self.image("visor", "a")["properties"]["os"], "Mine")

    def test_another_certificate_is_not_trusted(self):
        self.import_("lxd", "pinned")
        for certificate in (self.pem(self.server.certificate), self.pem(self.who.path("client.crt")), ""):
            operation = self.post(source=self.source(alias="pinned", certificate=certificate))
            self.assertEqual(operation["status_code"], 400, operation)
            self.assertIn("certificate", operation["err"])
        self.assertEqual(self.post(source=self.source(alias="pinned"))["err"], "")

    def test_a_secret_opens_a_private_image(self):
        fingerprint = self.import_("lxd", "private", more=())
        for wrong in ({}, {"secret": "0" * 64}):
            operation = self.post(source=self.source(fingerprint=fingerprint, **wrong))
            self.assertIn(f"has no image or alias '{fingerprint}'", operation["err"])
        made = json.loads(self.do("query", "-X", "POST", f"lxd:/1.0/images/{fingerprint}/secret"))
        operation = self.post(source=self.source(fingerprint=fingerprint, secret=made["metadata"]["secret"]))
        self.assertEqual((operation["err"], operation["metadata"]["fingerprint"]), ("", fingerprint))

    def test_what_is_not_there(self):
        for more, words in (
            ({"alias": "nothing"}, "has no image or alias 'nothing'"), ({"fingerprint": "0" * 64}, "has no image"),
            ({}, "alias or fingerprint"), ({"alias": "x", "server": "https://127.0.0.1:9"}, "127.0.0.1:9"),
            ({"alias": "x", "server": "https://10.0.0.1"}, "Unable to connect to: 10.0.0.1"),
        ):
            operation = self.post(source=self.source(**more))
            self.assertEqual(operation["status_code"], 400, more)
            self.assertIn(words, operation["err"])


if __name__ == "__main__":
    main()
