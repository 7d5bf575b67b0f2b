#!/usr/bin/env python3
"""`visor pull` of every vendor's images, from sites like theirs on this machine; and refusals of those that can't be verified.

usage: cache_pull.py VISOR [TEST…]

Starts servers of its own, without accounts, and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import json
import os
import tempfile
import time
import unittest

from cache_harness import Laptop, let_lists_age, md5
from harness import main, until
from vendor_site import sha256
from vendor_trees import NEWER, OLDER, VENDORS, Build, World, gnu

REFUSED = 4

NEWEST = Build("20260202")


class Pulls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.world = World(cls.temporary.name)
        cls.addClassCleanup(cls.world.close)

    def laptop(self, *trees, **configured):
        laptop = Laptop(*trees, **configured)
        self.addCleanup(laptop.close)
        return laptop

    def refused(self, laptop, tree, *options, visible=()):
        """Says why, in words."""
        done = laptop("pull", tree.pull, *options)
        self.assertEqual(done.code, REFUSED, f"{done.err}{done.out}")
        laptop.serve()
        self.assertEqual(set(laptop.images()), {md5(content) for content in visible})
        self.assertEqual(set(laptop.of_glance()), {md5(content) for content in visible})
        laptop.stop()
        return done.err

    def pull(self, laptop, tree, *options, verified=None):
        """Has the image, verified as it can be."""
        done = laptop("--json", "pull", tree.pull, *options)
        self.assertEqual(done.code, 0, f"{tree.pull}: {done.err}{done.out}")
        said = json.loads(done.out)
        self.assertEqual(said["verified"], verified or tree.level, said)
        return said


class EveryVendor(Pulls):
    """Each shape of a site, by the catalogue that the program has."""

    def test_one_image_of_each_without_a_server(self):
        trees = [self.world.tree(name) for name in VENDORS]
        laptop, pulled = self.laptop(*trees), []
        for tree in trees:
            with self.subTest(tree.pull):
                self.pull(laptop, tree)
                # Its file came once, and what came is now ours.
                site = tree.at(tree.image)
                self.assertEqual(site.sent("/" + tree.image), len(site.read(tree.image)), site.asked)
                pulled.append(tree)
        for tree in trees:
            for site in tree.sites:
                site.down()
        laptop.serve()
        # LXD's clients learn of a disk when its description has been made.
        until(lambda: {tree.pull for tree in pulled} <= set(laptop.of_lxd()), "they are offered")
        images, of_glance, of_lxd = laptop.images(), laptop.of_glance(), laptop.of_lxd()
        for tree in pulled:
            with self.subTest(tree.pull, listed=True):
                digest = md5(tree.content)
                self.assertIn(digest, images)
                self.assertIn(digest, of_glance)
                self.assertIn(tree.pull, of_lxd)
                self.assertEqual(of_glance[digest]["visibility"], "public")
                self.assertEqual(images[digest]["visor.verified"], tree.level)

    def test_a_name_that_no_vendor_has(self):
        laptop = self.laptop(self.world.tree("debian"))
        for name, near in (("debain/13", "debian"), ("debian/99", "13")):
            done = laptop("pull", name)
            self.assertEqual(done.code, 3, done.err)
            self.assertIn(near, done.err)

    def test_a_url(self):
        tree = self.world.tree("debian")
        url = f"{tree.site.url}/{tree.image}"
        for options, verified in (((), "checksum"), (("--sha256", sha256(tree.content)), "given")):
            with self.subTest(options):
                laptop = self.laptop(tree)
                said = json.loads(laptop.do("--json", "pull", url, *options).out)
                self.assertEqual(said["verified"], verified, said)
        done = self.laptop(tree)("pull", url, "--sha256", sha256(b"else"))
        self.assertEqual(done.code, REFUSED, done.err)

    def test_a_url_without_sums(self):
        tree = self.world.tree("debian")
        tree.site.put("plain/disk.qcow2", tree.content)
        tree.site.put("plain/page.img", "<!DOCTYPE html>\n<title>Not here</title>\n")
        laptop = self.laptop(tree)
        url = f"{tree.site.url}/plain/disk.qcow2"
        self.assertEqual(laptop("pull", url).code, REFUSED)
        self.assertEqual(laptop.json("pull", url, "--require", "none")["verified"], "none")
        done = laptop("pull", f"{tree.site.url}/plain/page.img", "--require", "none")
        self.assertNotEqual(done.code, 0)
        self.assertIn("it is text", done.err)

    def test_two_names_of_an_image_are_one_image(self):
        tree = self.world.tree("images")
        laptop = self.laptop(tree)
        changes = [laptop.json("pull", name)["change"] for name in ("images/debian/13", "images/debian/trixie", "images/debian/13")]
        self.assertEqual(changes, ["new", "present", "present"])

    def test_a_key_that_certifies_itself_with_sha1(self):
        self.world.keys.old_style()
        tree = self.world.tree("kali", key="sha1")
        self.pull(self.laptop(tree, keys=("sha1",)), tree)

    def test_ends_of_lines_as_on_other_systems(self):
        for name in ("alpine", "cirros", "fedora"):
            with self.subTest(name):
                tree = self.world.tree(name)
                tree.crlf(tree.sums, mark=name != "fedora")
                self.pull(self.laptop(tree), tree)


class Refused(Pulls):
    """Pulls that have to end with the exit code of bytes that could not be verified, and leave nothing in a list."""

    def test_tampered_images(self):
        for name in ("debian", "ubuntu", "fedora", "coreos", "arch", "openbsd", "cirros"):
            with self.subTest(name):
                tree = self.world.tree(name)
                tree.tamper(tree.image)
                self.refused(self.laptop(tree), tree)

    def test_tampered_sums(self):
        for name in ("ubuntu", "fedora", "kali", "openbsd", "gentoo", "flatcar", "rocky"):
            with self.subTest(name):
                tree = self.world.tree(name)
                tree.tamper_digest(tree.sums)
                # By whichever of them the image is looked up.
                for end in (".CHECKSUM", ".DIGESTS"):
                    if tree.image + end != tree.sums and os.path.exists(tree.site.path(tree.image + end)):
                        tree.tamper_digest(tree.image + end)
                self.refused(self.laptop(tree), tree)

    def test_tampered_signatures(self):
        for name in ("kali", "coreos", "arch"):
            with self.subTest(name):
                tree = self.world.tree(name)
                tree.tamper(tree.signature)
                self.refused(self.laptop(tree), tree)

    def test_text_around_what_is_signed_does_not_count(self):
        tree = self.world.tree("fedora")
        tree.tamper(tree.image)
        site = tree.at(tree.image)
        line = f"SHA256 ({os.path.basename(tree.image)}) = {sha256(site.read(tree.image))}\n".encode()
        signed = site.read(tree.sums)
        for forged in (line + signed, signed + line, signed.replace(b"Hash:", b"Comment: x\nHash:", 1).replace(b"\n\n", b"\n" + line + b"\n", 1)):
            with self.subTest(forged[:60]):
                site.change(tree.sums, lambda _: forged)
                self.refused(self.laptop(tree), tree)

    def test_keys(self):
        keys = self.world.keys
        keys.expired()
        expired = self.world.tree("kali", key="expired")
        keys.expire()
        self.refused(self.laptop(expired, keys=("expired",)), expired)
        # Signed well, by a key that is not this vendor's.
        tree = self.world.tree("kali", key="other")
        self.refused(self.laptop(tree, known=("vendor", "other")), tree)
        # The key is known by its fingerprint alone: it is said where to put it.
        tree = self.world.tree("kali")
        said = self.refused(self.laptop(tree, known=()), tree)
        self.assertIn("keys/vendors", said)
        self.assertIn(keys.fingerprints["vendor"][-8:], said.replace(" ", ""))

    def test_a_signature_over_sha1(self):
        tree = self.world.tree("kali")
        tree.put(tree.signature, self.world.keys.detached("vendor", tree.site.read(tree.sums), when=NEWER.time, digest="SHA1"))
        self.refused(self.laptop(tree), tree)

    def test_without_a_signature_that_is_demanded(self):
        tree = self.world.tree("debian")
        self.refused(self.laptop(tree), tree, "--require", "signature")

    def test_two_digests_for_one_name(self):
        tree = self.world.tree("cirros")
        tree.twice(tree.sums)
        self.refused(self.laptop(tree), tree)
        tree = self.world.tree("almalinux")
        tree.twice(tree.sums)
        tree.detached(tree.sums, ".asc")
        self.refused(self.laptop(tree), tree)

    def test_sums_of_a_hundred_megabytes(self):
        tree = self.world.tree("kali")
        tree.long_sums(tree.sums)
        self.refused(self.laptop(tree), tree)
        self.assertLess(tree.site.sent("/" + tree.sums), 20 << 20)

    def test_names_that_lead_elsewhere(self):
        tree = self.world.tree("cirros")
        name = os.path.basename(tree.image)
        for wrong in (f"../../../{name}", f"/etc/{name}", f"..\\{name}"):
            with self.subTest(wrong):
                tree.put(tree.sums, gnu("md5", {wrong: tree.content}))
                self.refused(self.laptop(tree), tree)
        tree = self.world.tree("lxd-images")
        tree.site.put("secret.img", tree.content)
        for wrong in ("../../../../../../secret.img", "http://127.0.0.2:1/secret.img", "/secret.img", "a/../../secret.img"):
            with self.subTest(wrong):
                tree.publish(OLDER, NEWER)
                tree.site.put("secret.img", tree.content)
                tree.site.change(tree.sums, lambda content: content.replace(tree.image.encode(), wrong.encode()))
                self.refused(self.laptop(tree), tree)
                self.assertEqual(tree.site.requests("/secret.img"), [])


class Afterwards(Pulls):
    """A second pull, when the vendor's lists are others than at the first: newer, older, without a signature, right."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.before = {}
        for name, builds in (("debian", [OLDER]), ("ubuntu", [OLDER, NEWER]), ("almalinux", [OLDER, NEWER]), ("rocky", [OLDER]), ("leap", [OLDER]),
                             ("oracle", [OLDER, NEWER])):
            tree = cls.world.tree(name, *builds)
            laptop = Laptop(tree)
            cls.addClassCleanup(laptop.close)
            if name == "oracle":
                tree.tamper_digest(tree.sums)
            done = laptop("pull", tree.pull)
            assert done.code == (REFUSED if name == "oracle" else 0), done.err
            cls.before[name] = laptop, tree, tree.content
        let_lists_age(time.monotonic())

    def test_a_newer_build_takes_the_name_and_the_older_stays(self):
        laptop, tree, older = self.before["debian"]
        tree.publish(OLDER, NEWER)
        self.pull(laptop, tree)
        laptop.serve()
        self.assertEqual(set(laptop.of_glance()), {md5(tree.content)})
        self.assertEqual(set(laptop.of_glance("?os_hidden=true")), {md5(older)})
        laptop.stop()
        # Another pull asks for no image.
        tree.site.forget()
        self.pull(laptop, tree)
        self.assertEqual(tree.site.sent("/" + tree.image), 0)

    def test_an_older_list_than_the_one_that_is_known(self):
        for name in ("ubuntu", "almalinux"):
            with self.subTest(name):
                laptop, tree, content = self.before[name]
                tree.publish(OLDER)
                self.refused(laptop, tree, visible=[content])

    def test_unsigned_where_it_was_signed(self):
        for name in ("rocky", "leap"):
            with self.subTest(name):
                laptop, tree, content = self.before[name]
                tree.publish(OLDER, NEWER)
                for path in [path for path in walk(tree.site) if path.endswith(".asc")]:
                    tree.site.remove(path)
                self.refused(laptop, tree, visible=[content])
                # A digest on the caller's word is good for one pull, and ends no guard.
                given = tree.content
                self.pull(laptop, tree, "--sha256", sha256(given), verified="given")
                let_lists_age(time.monotonic())
                tree.publish(OLDER, NEWER, NEWEST)
                for path in [path for path in walk(tree.site) if path.endswith(".asc")]:
                    tree.site.remove(path)
                done = laptop("pull", tree.pull)
                self.assertEqual(done.code, REFUSED, f"{done.err}{done.out}")
                # It is allowed on demand.
                self.pull(laptop, tree, "--accept-weaker", verified="checksum")

    def test_what_was_refused_is_taken_when_the_sums_are_right(self):
        laptop, tree, _ = self.before["oracle"]
        laptop.serve()
        self.assertEqual(laptop.images(), {})
        laptop.stop()
        tree.publish(OLDER, NEWER)
        # It is another list, and its server says so.
        tree.site.put(tree.sums, tree.site.read(tree.sums), NEWER.time + 3600)
        tree.site.forget()
        self.pull(laptop, tree)
        self.assertEqual(tree.site.requests("/" + tree.image, "GET"), [], "it was here already")


class Room(Pulls):
    """Builds that newer ones replaced, when room is needed."""

    def test_a_replaced_build_goes_and_what_is_kept_stays(self):
        days = ["20260101", "20260102", "20260103", "20260104"]
        builds = [Build(day) for day in days]
        tree = self.world.tree("debian", builds[0])
        laptop, contents = self.laptop(tree), []
        for number, build in enumerate(builds):
            tree.publish(*builds[:number + 1])
            contents.append(tree.content)
            # Lists are good for a while, so an hour goes by between the pulls.
            laptop.do("pull", "debian/13", *(["--pin"] if number == 0 else []), at=f"+{number}h")
            if number == 1:
                laptop.do("lock")
        young = laptop.do("prune", "--dry-run", "--to", "0", at=f"+{len(days) - 1}h").out
        self.assertNotIn(f"debian/13:{days[2]}", young, "nothing goes in the first minutes")
        later = f"+{len(days)}h"
        said = [line for line in laptop.do("prune", "--dry-run", "--to", "0", at=later).out.splitlines() if "debian/13:" in line]
        self.assertEqual(len(said), 1, said)
        self.assertIn(f"debian/13:{days[2]}", said[0])
        self.assertIn("a newer build took its place", said[0])
        laptop.do("prune", "--to", "0", at=later)
        laptop.serve()

        def names(images):
            return {checksum: image["name"] for checksum, image in images.items()}

        # The one is pinned, the other locked.
        kept = {md5(content): f"debian/13:{day}-2348" for content, day in zip(contents, days[:2])}
        newest = {md5(contents[3]): "debian/13"}
        self.assertEqual(names(laptop.of_glance("?os_hidden=true")), kept)
        self.assertEqual(names(laptop.of_glance()), newest)
        # VISOR's lists hide nothing.
        self.assertEqual(names(laptop.images()), kept | newest)
        laptop.stop()


def walk(site):
    return [os.path.relpath(os.path.join(folder, name), site.directory) for folder, _, names in os.walk(site.directory) for name in names]


if __name__ == "__main__":
    main()
