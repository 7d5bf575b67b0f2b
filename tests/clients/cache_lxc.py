#!/usr/bin/env python3
"""The image servers of Ubuntu, LXD and Incus through `/cache/`, by `lxc` and by real daemons: once from there, ever after from here.

usage: cache_lxc.py VISOR [TEST…]

Needs Debian's `lxd`, Incus as tests/clients/prepare unpacks it, and root (or sudo) to run them. Starts daemons and servers of its
own and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import functools
import os
import re
import subprocess
import tempfile

from harness import main
from lxd_peers import IncusDaemon, Peer, UnixConnection
from lxd_real import WithDaemon
from vendor_site import sha256
from vendor_trees import World, configure, lxd_files

# Large files, under names that do not move: all but the lists.
FILES = re.compile(r".*\.(img|qcow2|xz|squashfs)\Z")


class WithVendors(WithDaemon):
    """Vendors on this machine, the images of some of which the server pulls for clients that ask for them."""

    through = ()

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.world = World(temporary.name)
        cls.addClassCleanup(cls.world.close)
        cls.trees = {name: cls.world.tree(name) for name in cls.through}
        cls.settings = (f'[cache]\nrequire = "none"\n[auth]\npublic_read = true\n[lxd]\npull_through = {list(cls.through)}\n'
                        + configure(temporary.name, *cls.trees.values()))
        super().setUpClass()
        # Containers keep themselves in it.
        cls.who.do("storage", "create", "local:pool", "dir")


class Streams(WithVendors):
    """Each vendor is known to `lxc` as a server of simplestreams by its place in the cache."""

    through = ("debian",)

    def vendor(self, name):
        tree = self.world.tree(name)
        self.addCleanup(tree.site.down)
        return tree, self.cached(tree)

    def cached(self, tree):
        folder = "/releases" if tree.name == "ubuntu" else ""
        return f"{self.server.https}/cache/{tree.site.url.replace('://', '/')}{folder}"

    def again(self, tree):
        """Nothing of what follows is remembered by the daemon."""
        self.daemon.forget_documents()
        tree.site.forget()

    def files_asked(self, tree):
        return sorted(one.path.rsplit("/", 1)[1] for one in tree.site.requests(FILES, "GET"))

    def check_story(self, tree, remote, alias, files, machine):
        """An image is copied, made a container of and copied again, with less and less of its vendor."""
        meta, root = lxd_files(tree, tree.now)
        fingerprint = sha256(meta + root)
        (listed,) = [image for image in self.who.json("image", "list", f"{remote}:", "type=container") if image["fingerprint"] == fingerprint]
        self.assertIn(alias, [one["name"] for one in listed["aliases"]])
        self.do("image", "copy", f"{remote}:{alias}", "local:", "--alias", "first")
        self.assertEqual(self.image("local", "first")["fingerprint"], fingerprint)
        self.assertEqual(self.files_asked(tree), sorted(files))
        self.do("image", "delete", "local:first")
        self.again(tree)
        self.do("init", f"{remote}:{alias}", "local:made", "--storage", "pool")
        self.assertEqual(self.do("config", "get", "local:made", "volatile.base_image"), fingerprint + "\n")
        self.assertEqual(self.do("file", "pull", "local:made/etc/ünïcode name", "-"), "x")
        self.assertEqual(self.files_asked(tree), [], "it has been here")
        self.do("delete", "local:made")
        self.do("image", "delete", f"local:{fingerprint}")
        # The disk of that build is not here yet.
        self.do("image", "copy", f"{remote}:{alias}", "local:", "--alias", "machine", "--vm")
        self.assertEqual(self.image("local", "machine")["fingerprint"], sha256(meta + tree.content))
        self.assertEqual(self.files_asked(tree), [machine])
        self.do("image", "delete", "local:machine")
        self.again(tree)
        tree.site.down()
        for vm, expected in (((), root), (("--vm",), tree.content)):
            self.do("image", "copy", f"{remote}:{alias}", "local:", "--alias", "offline", *vm)
            self.assertEqual(self.image("local", "offline")["fingerprint"], sha256(meta + expected))
            self.do("image", "delete", "local:offline")
        # By a client without a daemon too.
        saved = self.server.path("saved")
        os.makedirs(saved, exist_ok=True)
        self.do("image", "export", f"{remote}:{alias}", saved)
        contents = []
        for name in sorted(os.listdir(saved)):
            with open(os.path.join(saved, name), "rb") as file:
                contents.append(file.read())
            os.unlink(os.path.join(saved, name))
        self.assertEqual(sorted(map(sha256, contents)), sorted(map(sha256, (meta, root))))

    def test_ubuntu(self):
        tree, url = self.vendor("ubuntu")
        self.add_streams("ubuntu-lab", url)
        prefix = "ubuntu-24.04-server-cloudimg-amd64"
        self.check_story(tree, "ubuntu-lab", "24.04", [f"{prefix}-lxd.tar.xz", f"{prefix}.squashfs"], f"{prefix}.img")

    def test_images(self):
        tree, url = self.vendor("lxd-images")
        self.add_streams("images-lab", url)
        self.check_story(tree, "images-lab", "debian/13", ["lxd.tar.xz", "rootfs.squashfs"], "disk.qcow2")

    def test_a_tampered_file_is_held_to_the_list_that_names_it(self):
        tree, url = self.vendor("lxd-images")
        path = tree.image.replace("disk.qcow2", "rootfs.squashfs")
        tree.tamper(path)
        self.add_streams("tampered", url)
        self.do("image", "list", "tampered:")
        done = self.who("image", "copy", "tampered:debian/13", "local:")
        self.assertNotEqual(done.code, 0, done.out)
        # Nor does a client have it whole that would not look.
        got = self.server.path("got")
        done = subprocess.run(["curl", "-q", "-sS", "-f", "--cacert", self.server.certificate, "-o", got, f"{url}/{path}"], capture_output=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)

    def test_an_image_that_is_not_here_is_pulled_for_who_asks_for_it(self):
        debian = self.trees["debian"]
        self.do("image", "copy", "visor:debian/13", "local:", "--vm", "--alias", "pulled")
        self.assertEqual(len(debian.site.requests("/" + debian.image, "GET")), 1)
        self.do("image", "export", "local:pulled", self.server.path("pulled"))
        with open(self.server.path("pulled.root"), "rb") as file:
            self.assertEqual(sha256(file.read()), sha256(debian.content))
        debian.site.down()
        self.do("image", "delete", "local:pulled")
        self.do("image", "copy", "visor:debian/13", "local:", "--vm", "--alias", "pulled")
        self.refused("not found", "image", "copy", "visor:alpine/3.23", "local:", "--vm")

    def test_incus(self):
        tree, url = self.vendor("images")
        daemon = IncusDaemon(self.server)
        self.addCleanup(daemon.stop)
        peer = Peer("incus", functools.partial(UnixConnection, os.path.join(daemon.directory, "unix.socket")), "X-Incus")
        meta, root = lxd_files(tree, tree.now)
        for when, type_, content, files in (
            ("first", "container", root, ["incus.tar.xz", "rootfs.squashfs"]), ("again", "container", root, []),
            ("a machine", "virtual-machine", tree.content, ["disk.qcow2"]),
            ("dead", "container", root, []), ("dead", "virtual-machine", tree.content, []),
        ):
            with self.subTest(when, type=type_):
                if when == "dead":
                    tree.site.down()
                tree.site.forget()
                daemon.forget_documents()
                source = {"type": "image", "mode": "pull", "server": url, "protocol": "simplestreams", "alias": "debian/13", "image_type": type_}
                ended = peer.finished(peer.call("POST", "/1.0/images", {"source": source}))
                self.assertEqual(ended["status_code"], 200, ended)
                self.assertEqual(ended["metadata"]["fingerprint"], sha256(meta + content))
                self.assertEqual(self.files_asked(tree), sorted(files))
                peer.clear()


class Containers(WithVendors):
    """An image server and a vendor of disks: an alias of both is a container, unless it says which disk."""

    through = ("debian", "lxd-images")

    def test_a_container_that_is_not_here_is_pulled_for_who_starts_it(self):
        images, debian = self.trees["lxd-images"], self.trees["debian"]
        meta, root = lxd_files(images, images.now)
        self.do("init", "visor:debian/13", "local:made", "--storage", "pool")
        self.assertEqual(self.do("config", "get", "local:made", "volatile.base_image"), sha256(meta + root) + "\n")
        self.assertEqual(self.do("file", "pull", "local:made/etc/ünïcode name", "-"), "x")
        asked = [one.path.rsplit("/", 1)[1] for one in images.site.requests(FILES, "GET")]
        self.assertEqual(sorted(asked), ["lxd.tar.xz", "rootfs.squashfs"])
        self.assertEqual(debian.site.requests("/" + debian.image, "GET"), [])
        self.assertEqual(self.image("visor", "debian/13")["type"], "container")
        images.site.down()
        self.do("delete", "local:made")
        self.do("image", "delete", f"local:{sha256(meta + root)}")
        self.do("image", "copy", "visor:debian/13", "local:", "--alias", "again")
        self.assertEqual(self.image("local", "again")["fingerprint"], sha256(meta + root))
        self.do("image", "copy", "visor:debian/13+generic", "local:", "--vm", "--alias", "disk")
        self.assertEqual(len(debian.site.requests("/" + debian.image, "GET")), 1)
        self.refused("not found", "init", "visor:alpine/3.23", "local:none", "--storage", "pool")


if __name__ == "__main__":
    main()
