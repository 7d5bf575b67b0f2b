#!/usr/bin/env python3
"""`lxc image …` and `lxc publish` against a server without accounts: images as the usual tools make them, and back.

usage: lxc.py VISOR [TEST…]

Starts servers of its own and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import csv
import gzip
import json
import lzma
import os
import platform
import tarfile
import tempfile
import time

from harness import main, until
from lxd_harness import PACKINGS, Commands, Lxc, LxdServer, sha256

# What tells how a file is packed, as the client names what it saves: by the first bytes, which .lzma and .xz have in common for it.
SAVED_AS = {"lzma": ".tar.xz"}


class ImageCommands(Commands):
    """One client, to whom the server is `visor`."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.who = Lxc(cls.server, "home")
        done = cls.who.add()
        assert done.code == 0, done.err

    def import_(self, *files, alias=None, more=()):
        """Imports an image, and returns its fingerprint: that of its files."""
        alias = alias or f"image/{os.path.basename(files[0])}"
        said = self.do("image", "import", *files, "visor:", *more, "--alias", alias)
        self.assertIn(f"Image imported with fingerprint: {sha256(*files)}", said)
        return sha256(*files)

    def exported(self, image, *suffixes):
        """The files that an image is saved as."""
        with tempfile.TemporaryDirectory(dir=self.server.directory) as directory:
            self.do("image", "export", f"visor:{image}", os.path.join(directory, "saved"))
            names = sorted(os.listdir(directory))
            self.assertEqual(names, ["saved" + suffix for suffix in suffixes])
            contents = []
            for name in names:
                with open(os.path.join(directory, name), "rb") as file:
                    contents.append(file.read())
            return contents

    def check_exported(self, image, suffixes, *files):
        """What is saved is what was imported, byte by byte."""
        for saved, path in zip(self.exported(image, *suffixes), files, strict=True):
            with open(path, "rb") as file:
                self.assertTrue(saved == file.read(), path)

    def shown(self, image):
        """An image as the API has it."""
        return json.loads(self.do("query", f"visor:/1.0/images/{self.who.fingerprint(f'visor:{image}')}"))

    def listed(self, *filters, columns="l"):
        return list(csv.reader(self.do("image", "list", "visor:", *filters, "-f", "csv", "-c", columns).splitlines()))

    def aliases(self, *filters):
        return [row[0] for row in self.listed(*filters)]


class Files(ImageCommands):
    """Images in every form that they come in."""

    def test_one_file_in_every_packing(self):
        for packing, (_, suffix) in PACKINGS.items():
            with self.subTest(packing):
                path = self.images.unified(packing)
                fingerprint = self.import_(path, alias=packing)
                shown = self.shown(packing)
                self.assertEqual((shown["fingerprint"], shown["size"]), (fingerprint, os.path.getsize(path)))
                self.assertEqual((shown["type"], shown["architecture"]), ("container", "x86_64"))
                self.assertEqual((shown["filename"], shown["public"]), (os.path.basename(path), False))
                self.check_exported(packing, [SAVED_AS.get(packing, suffix)], path)

    def test_two_files_in_every_packing(self):
        for packing in PACKINGS:
            with self.subTest(packing):
                metadata, root = self.images.metadata("xz"), self.images.rootfs(packing)
                self.import_(metadata, root, alias=f"root/{packing}")
                self.assertEqual(self.shown(f"root/{packing}")["type"], "container")
                self.check_exported(f"root/{packing}", ["", ".root"], metadata, root)
                metadata, root = self.images.metadata(packing), self.images.rootfs("squashfs")
                self.import_(metadata, root, alias=f"metadata/{packing}")
                self.assertEqual(self.shown(f"metadata/{packing}")["size"], os.path.getsize(metadata) + os.path.getsize(root))
                self.check_exported(f"metadata/{packing}", ["", ".root"], metadata, root)

    def test_machines(self):
        metadata, disk = self.images.metadata(), self.images.disk()
        self.import_(metadata, disk, alias="machine/two")
        self.check_exported("machine/two", ["", ".root"], metadata, disk)
        path = self.images.unified("zstd", disk=True)
        self.import_(path, alias="machine/one")
        self.check_exported("machine/one", [".tar.zst"], path)
        for alias in ("machine/one", "machine/two"):
            self.assertIn("Type: virtual-machine", self.do("image", "info", f"visor:{alias}"))
        self.assertEqual(sorted(self.aliases("type=virtual-machine")), ["machine/one", "machine/two"])
        # Disks in formats that LXD does not take.
        for format_ in ("raw", "vmdk", "vdi"):
            self.refused("Unsupported compression", "image", "import", metadata, self.images.disk(format_=format_), "visor:")

    def test_a_root_of_many_pieces(self):
        metadata, root = self.images.metadata(), self.images.fresh(".squashfs")
        with open(self.images.rootfs(), "rb") as start, open(root, "wb") as file:
            file.write(start.read())
            for _ in range(24):
                file.write(os.urandom(1 << 20))
        self.import_(metadata, root, alias="large")
        self.check_exported("large", ["", ".root"], metadata, root)
        self.do("image", "delete", "visor:large")

    def test_what_is_no_image(self):
        noise, count = os.urandom(300_000), len(self.listed())
        described = "architecture: amd64\ncreation_date: 1700000000\n"

        def file(data):
            path = self.images.fresh()
            with open(path, "wb") as file:
                file.write(data)
            return path

        def saying(yaml):
            return self.images.metadata(yaml=yaml)

        root = self.images.rootfs()
        # What LXD says of it too, word for word where it has words of its own for it.
        for words, path in (
            ("Unsupported compression", file(noise)), ("Unsupported compression", file(b"ab")), ("EOF", file(b"")),
            ("Unsupported compression", file(b"[1]")), ("Unsupported compression", self.images.disk(format_="raw")),
            ("The tarball is damaged", file(gzip.compress(noise))), ("The tarball is damaged", file(lzma.compress(noise))),
            ("Metadata tarball is missing metadata.yaml", self.images.rootfs("gzip")),
            ("Metadata tarball is missing metadata.yaml", self.images.rootfs("squashfs")),
            ("Metadata tarball is missing metadata.yaml", self.images.disk()),
            ("Architecture isn't supported: pdp11", saying("architecture: pdp11\ncreation_date: 1700000000\n")),
            ("Architecture isn't supported: \n", saying("creation_date: 1700000000\n")),
            ("Missing creation date", saying("architecture: amd64\n")),
            ("Missing creation date", saying("architecture: amd64\ncreation_date: 0\n")),
            ("Could not parse metadata.yaml", saying("architecture: [amd64\n")),
            ("Could not parse metadata.yaml", saying("- architecture: amd64\n")),
            ("Could not parse metadata.yaml", saying("# nothing\n")),
            ("Could not parse metadata.yaml", saying(described + "properties: [os]\n")),
            ("Could not parse metadata.yaml", saying(described + "properties:\n  os: {a: b}\n")),
        ):
            self.refused(words, "image", "import", path, "visor:", "--alias", "no image")
            self.refused(words, "image", "import", path, root, "visor:", "--alias", "no image")
        self.refused("has neither a rootfs nor a rootfs.img", "image", "import", saying(described), "visor:")
        self.refused("Unsupported compression", "image", "import", self.images.metadata(), file(noise), "visor:")
        self.refused("EOF", "image", "import", self.images.metadata(), file(b""), "visor:")
        self.refused("Missing source in the request", "image", "import", file(b'{"a": 1}'), "visor:")
        self.assertEqual(len(self.listed()), count)
        self.refused("Image not found", "image", "info", "visor:no image")


class Attributes(ImageCommands):
    """What is known of images, and done with them by name."""

    def test_what_is_said_when_it_comes(self):
        path = self.images.unified(release="trixie", serial="1")
        fingerprint = self.import_(path, alias="said/one", more=(
            "os=Other thing", "a.b=c d+e&f=g%20ü", "empty=", "--public", "--alias", "said/two"))
        shown = self.shown(fingerprint[:9])
        self.assertEqual([alias["name"] for alias in shown["aliases"]], ["said/one", "said/two"])
        properties = shown["properties"]
        self.assertEqual((properties["os"], properties["a.b"], properties["release"]), ("Other thing", "c d+e&f=g%20ü", "trixie"))
        # What every client reads as never, Incus' too.
        self.assertEqual((shown["public"], shown["expires_at"]), (True, "0001-01-01T00:00:00Z"))
        info = self.do("image", "info", "visor:said/two")
        for line in ("Public: yes", "Expires: never", "Last used: never", "    - said/one", "Auto update: disabled"):
            self.assertIn(line + "\n", info)
        self.refused("Image with same fingerprint already exists", "image", "import", path, "visor:")
        # The client takes an alias away from the image that has it.
        other = self.import_(self.images.unified(), alias="said/one")
        self.assertEqual(self.aliases(fingerprint), ["said/two"])
        self.assertEqual(self.aliases(other), ["said/one"])
        self.refused("must be different", "image", "copy", "visor:said/one", "visor:")

    def test_the_server_tells_its_versions(self):
        shown = self.do("info", "visor:")
        self.assertIn("server_version: 5.0.2", shown)
        environment = json.loads(self.do("query", "visor:/1.0"))["environment"]
        self.assertEqual(environment["visor_version"], self.server.visor("--version").split()[-1])

    def test_lists(self):
        for name, options in (("one", ("group=x y",)), ("two", ("group=x z",)), ("three", ("--public",))):
            self.import_(self.images.unified(), alias=f"lists/{name}", more=options)
        self.import_(self.images.metadata(), self.images.disk(), alias="lists/vm", more=("group=x y",))
        self.assertEqual(sorted(self.aliases("group=x.*")), ["lists/one", "lists/two", "lists/vm"])
        self.assertEqual(self.aliases("group=x y", "type=container"), ["lists/one"])
        self.assertEqual(sorted(self.aliases("group=x y")), ["lists/one", "lists/vm"])
        self.assertIn("lists/three", self.aliases("public=true"))
        self.assertNotIn("lists/one", self.aliases("public=true"))
        self.assertIn("lists/one", self.aliases("architecture=x86_64", "os=Debian"))
        self.assertEqual(self.aliases("os=nothing"), [])
        fingerprint = self.who.fingerprint("visor:lists/one")
        self.assertEqual(self.aliases(fingerprint[:12]), ["lists/one"])
        ((*row, uploaded),) = self.listed("lists/one", columns="LfFpdatsu")
        self.assertEqual(row[:4], ["lists/one", fingerprint[:12], fingerprint, "no"])
        self.assertEqual((row[5], row[6], uploaded[:4]), ("x86_64", "CONTAINER", time.strftime("%b ", time.gmtime())))
        for format_ in ("table", "compact", "json", "yaml"):
            self.assertIn("lists/one", self.do("image", "list", "visor:", "-f", format_))
        (image,) = self.who.json("image", "list", "visor:", "lists/one")
        self.assertEqual(image["fingerprint"], fingerprint)

    def test_properties(self):
        self.import_(self.images.unified(), alias="p", more=("empty=",))
        self.assertEqual(self.do("image", "get-property", "visor:p", "os"), "Debian\n")
        self.do("image", "set-property", "visor:p", "a.b", "x y")
        self.assertEqual(self.do("image", "get-property", "visor:p", "a.b"), "x y\n")
        # What is empty is not there any more, as for LXD.
        self.do("image", "unset-property", "visor:p", "a.b")
        self.refused("Property not found", "image", "get-property", "visor:p", "a.b")
        self.do("image", "unset-property", "visor:p", "never there")
        self.assertEqual(set(self.shown("p")["properties"]), {"os", "release", "description"})

    def test_edit(self):
        self.import_(self.images.unified(), alias="e")
        wanted = {"public": True, "auto_update": False, "properties": {"os": "edited", "n": "1"}, "expires_at": "2040-01-02T03:04:05Z",
                  "profiles": ["default"]}
        self.do("image", "edit", "visor:e", stdin=json.dumps(wanted).encode())
        shown = self.shown("e")
        self.assertEqual({name: shown[name] for name in wanted}, wanted)
        self.assertEqual(self.do("image", "show", "visor:e").splitlines()[1:4], ["properties:", '  "n": "1"', "  os: edited"])
        self.refused("Profile 'other' doesn't exist", "image", "edit", "visor:e", stdin=b"profiles: [other]")
        self.refused("cannot unmarshal", "image", "edit", "visor:e", stdin=b"public: perhaps")
        self.assertEqual(self.shown("e"), shown)
        self.refused("Image not found", "image", "edit", "visor:nothing", stdin=b"public: true")

    def test_aliases(self):
        one, two = (self.import_(self.images.unified(), alias=f"a/{name}") for name in ("one", "two"))
        name = "al/with slash, ünïcode & 100%?"
        self.do("image", "alias", "create", "visor:" + name, one[:7])
        self.refused("already exists", "image", "alias", "create", "visor:" + name, two)
        self.refused("Image not found", "image", "alias", "create", "visor:x", "a/one")
        self.assertEqual(self.do("image", "alias", "list", "visor:", "ünïcode", "-f", "csv"), f'"{name}",{one[:12]},CONTAINER,\n')
        self.assertEqual(self.who.fingerprint("visor:" + name), one)
        self.do("image", "alias", "rename", "visor:" + name, "a/new")
        self.refused("already exists", "image", "alias", "rename", "visor:a/new", "a/two")
        self.refused("Image alias not found", "image", "alias", "rename", "visor:" + name, "x")
        self.assertEqual(self.who.fingerprint("visor:a/new"), one)
        self.do("image", "alias", "delete", "visor:a/new")
        self.refused("Image alias not found", "image", "alias", "delete", "visor:a/new")
        self.do("image", "delete", "visor:a/one")
        self.assertEqual(self.do("image", "alias", "list", "visor:", "a/", "-f", "csv"), f"a/two,{two[:12]},CONTAINER,\n")

    def test_an_alias_of_several_images(self):
        container = self.import_(self.images.unified(), alias="several")
        machine = self.import_(self.images.metadata(), self.images.disk(), alias="machine")
        yaml = "architecture: aarch64\ncreation_date: 1700000000\n"
        arm = self.import_(self.images.unified(yaml=yaml), alias="arm")
        for fingerprint in (machine, arm):
            self.do("image", "alias", "create", "visor:several", fingerprint)
        self.refused("already exists", "image", "alias", "create", "visor:several", machine)
        rows = self.do("image", "alias", "list", "visor:", "several", "-f", "csv").splitlines()
        expected = [f"several,{one[:12]},{kind}," for one, kind in ((arm, "CONTAINER"), (container, "CONTAINER"), (machine, "VIRTUAL-MACHINE"))]
        self.assertEqual(sorted(rows), sorted(expected))
        self.assertEqual(self.who.fingerprint("visor:several"), container)
        self.assertEqual(self.who.fingerprint("visor:several/arm64"), arm)
        self.do("image", "delete", "visor:several")
        self.assertEqual(self.who.fingerprint("visor:several"), machine)
        for fingerprint in (machine, arm):
            self.do("image", "delete", f"visor:{fingerprint}")

    def test_delete(self):
        path = self.images.unified()
        for name in ("by alias", sha256(path), sha256(path)[:5]):
            self.import_(path, alias="by alias")
            self.do("image", "delete", "visor:" + name)
            self.refused("Image not found", "image", "info", "visor:by alias")
        for command in (("delete",), ("info",), ("show",), ("export",), ("refresh",)):
            self.refused("Image not found", "image", *command, "visor:nothing")
        self.refused("Image not found", "image", "info", "visor:fff%")

    def test_what_has_no_source_is_not_refreshed(self):
        self.import_(self.images.unified(), alias="r")
        self.refused("Image source not found", "image", "refresh", "visor:r")

    def test_monitor(self):
        # It is written to from its own place: with one handle, whoever reads moves the place of whoever writes.
        with tempfile.NamedTemporaryFile("ab") as heard:

            def events():
                with open(heard.name, "rb") as file:
                    lines = file.read().split(b"\n")[:-1]
                all_ = [json.loads(line)["metadata"] for line in lines if line]
                return [(event["action"], event["source"]) for event in all_]

            with self.who.start("monitor", "visor:", "--type", "lifecycle", "--format", "json", out=heard):
                until(lambda: "GET /1.0/events 101" in self.server.read_log().rsplit("GET /1.0 200", 1)[-1], "it listens")
                fingerprint = self.import_(self.images.unified(), alias="m")
                self.do("image", "delete", "visor:m")
                until(lambda: len(events()) >= 3, "it is told of three events")
            seen = events()
        image = f"/1.0/images/{fingerprint}"
        alias = ("image-alias-created", "/1.0/images/aliases/m")
        self.assertEqual(seen, [("image-created", image), alias, ("image-deleted", image)])

    def test_what_is_not_here(self):
        self.assertIn("NAME", self.do("list", "visor:"))
        self.assertIn("default", self.do("profile", "list", "visor:"))
        self.assertIn("default (current)", self.do("project", "list", "visor:"))
        self.assertIn("api_version: \"1.0\"", self.do("info", "visor:"))
        self.refused("storage", "storage", "list", "visor:")
        self.refused("visor.toml", "config", "set", "visor:", "core.https_address", "x")
        self.refused("not found", "query", "visor:/1.0/nothing")
        self.refused("not implemented", "query", "-X", "PUT", "visor:/1.0/images")


class Publish(ImageCommands):
    """Root file systems that the operator lends."""

    @classmethod
    def setUpClass(cls):
        cls.lent = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.lent.cleanup)
        cls.settings = f'[lxd]\ninstances = [{{ name = "web", path = "{cls.lent.name}/web" }}]\n'
        super().setUpClass()
        for path in ("web/rootfs", "web/snapshots/before/rootfs"):
            os.makedirs(os.path.join(cls.lent.name, path))
            cls.images.root(os.path.join(cls.lent.name, path))
        with open(os.path.join(cls.lent.name, "web/snapshots/before/metadata.yaml"), "w") as file:
            file.write("architecture: aarch64\ncreation_date: 1600000000\nproperties:\n  os: Before\n")

    def contents(self, alias, mode):
        """What is in an image."""
        (saved,) = self.exported(alias, ".tar.gz" if mode == "r:gz" else ".tar")
        path = self.images.fresh()
        with open(path, "wb") as file:
            file.write(saved)
        with tarfile.open(path, mode) as archive:
            return {member.name: member for member in archive}

    def test_an_instance(self):
        self.do("publish", "visor:web", "visor:", "--alias", "pub/web", "--public", "os=Web", "serial=7")
        shown = self.shown("pub/web")
        self.assertEqual((shown["public"], shown["properties"], shown["type"]), (True, {"os": "Web", "serial": "7"}, "container"))
        self.assertEqual(shown["architecture"], platform.machine())
        inside = self.contents("pub/web", "r:gz")
        self.assertEqual(inside["rootfs/bin/sh"].linkname, "busybox")
        self.assertIn("rootfs/etc/ünïcode name", inside)
        self.assertIn("metadata.yaml", inside)
        self.assertIn("web", self.do("list", "visor:", "-c", "n", "-f", "csv"))
        # The columns that a plain list has are asked for one by one.
        self.assertEqual(self.do("list", "visor:", "-f", "csv"), "web,STOPPED,,,CONTAINER,1\n")
        (shown,) = self.who.json("list", "visor:")
        self.assertEqual((shown["status"], [one["name"] for one in shown["snapshots"]]), ("Stopped", ["before"]))
        self.assertEqual(self.do("list", "visor:", "we", "-c", "n", "-f", "csv"), "web\n")
        self.assertEqual(self.do("list", "visor:", "other", "-c", "n", "-f", "csv"), "")
        self.do("publish", "visor:web", "visor:", "--alias", "pub/plain", "--compression", "none")
        self.assertIn("rootfs/bin/busybox", self.contents("pub/plain", "r:"))

    def test_a_snapshot(self):
        self.do("publish", "visor:web/before", "visor:", "--alias", "pub/before", "--expire", "2040-01-02T03:04:05Z")
        shown = self.shown("pub/before")
        self.assertEqual((shown["properties"]["os"], shown["architecture"]), ("Before", "aarch64"))
        self.assertEqual((shown["created_at"][:10], shown["expires_at"]), ("2020-09-13", "2040-01-02T03:04:05Z"))

    def test_what_is_not_lent(self):
        for name in ("nothing", "nothing/before", "web/nothing", "web/..", "..", "web/before/rootfs"):
            self.refused("Instance not found", "publish", "visor:" + name, "visor:", "--alias", "pub/no")
        self.refused("gzip or none", "publish", "visor:web", "visor:", "--compression", "zstd")
        self.assertEqual(self.aliases("pub/no"), [])


class TwoServers(ImageCommands):
    """Copies from one server to another, by whoever knows both."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = LxdServer()
        cls.addClassCleanup(cls.other.stop)
        done = cls.who.add("other", url=cls.other.https)
        assert done.code == 0, done.err

    def test_every_mode(self):
        kinds = {"one": (self.images.unified(),), "two": (self.images.metadata(), self.images.rootfs()),
                 "vm": (self.images.metadata(), self.images.disk())}
        for kind, files in kinds.items():
            fingerprint = self.import_(*files, alias=kind)
            # What is public this client relays by its alias, which no server looks for.
            for mode, public in (("pull", False), ("pull", True), ("push", False), ("push", True), ("relay", False)):
                with self.subTest(f"{kind} by {mode}, public: {public}"):
                    self.do("query", "-X", "PATCH", f"visor:/1.0/images/{fingerprint}", "-d", json.dumps({"public": public}))
                    vm = ("--vm",) if kind == "vm" else ()
                    alias = f"{mode}/{kind}"
                    self.do("image", "copy", f"visor:{kind}", "other:", "--mode", mode, "--alias", alias, "--copy-aliases", *vm)
                    self.assertEqual(self.who.fingerprint("other:" + alias), fingerprint)
                    self.assertEqual(self.who.fingerprint("other:" + kind), fingerprint)
                    (image,) = self.who.json("image", "list", "other:", alias)
                    (original,) = self.who.json("image", "list", "visor:", kind)
                    for field in ("properties", "architecture", "type", "size", "created_at"):
                        self.assertEqual(image[field], original[field], field)
                    self.do("image", "delete", "other:" + alias)

    def test_a_copy_follows_its_alias(self):
        old, new = self.images.unified(), self.images.unified()
        self.import_(old, alias="follow", more=("--public",))
        self.do("image", "copy", "visor:follow", "other:", "--auto-update", "--alias", "mine", "--public")
        self.do("image", "refresh", "other:mine")
        self.assertEqual(self.who.fingerprint("other:mine"), sha256(old))
        self.import_(new, alias="follow", more=("--public",))
        self.do("image", "refresh", "other:mine")
        (image,) = self.who.json("image", "list", "other:", "mine")
        self.assertEqual((image["fingerprint"], image["public"], image["auto_update"]), (sha256(new), True, True))
        self.refused("Image not found", "image", "info", "other:" + sha256(old))


if __name__ == "__main__":
    main()
