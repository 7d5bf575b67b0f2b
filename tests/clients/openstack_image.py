#!/usr/bin/env python3
"""`openstack image …` and openstacksdk against a real server, and the same images through VISOR's own protocol.

usage: openstack_image.py VISOR [TEST…]

Needs what requirements.txt names beside the Python that runs this. Starts servers of its own and ends them. VISOR_TALLY
names a file to write "passed failed" to.
"""

import hashlib
import json
import os
import time
import unittest
import urllib.request

from openstack import exceptions

from harness import ADMINS_PUBLISH, Files, Server, Source, main, until

UNKNOWN = "11111111-2222-4333-8444-555555555555"


class Commands(unittest.TestCase):
    """What the tests have in common. `who` is the user unless a test says otherwise."""

    options, who = (), "anybody"

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.options, settings=ADMINS_PUBLISH)
        cls.files = Files(cls.server)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def do(self, *arguments, who=None, stdin=None):
        done = self.server.openstack(who or self.who, "image", *arguments, stdin=stdin)
        self.assertEqual(done.code, 0, done.err)
        return done

    def json(self, *arguments, who=None):
        return json.loads(self.do(*arguments, "-f", "json", who=who).out)

    def refused(self, words, *arguments, who=None):
        done = self.server.openstack(who or self.who, "image", *arguments)
        self.assertEqual(done.code, 1, done.out)
        self.assertIn(words, done.err)

    def names(self, *arguments, who=None):
        return [image["Name"] for image in self.json("list", *arguments, who=who)]

    def check(self, image, path):
        """What is shown of an image is true of the file."""
        data = open(path, "rb").read()
        self.assertEqual((image["status"], image["size"], image["checksum"]), ("active", len(data), hashlib.md5(data).hexdigest()))
        digest = hashlib.new(image["properties"]["os_hash_algo"], data).hexdigest()
        self.assertEqual(image["properties"]["os_hash_value"], digest)

    def check_saved(self, image, path, who=None):
        """The bytes come back whole. The client verifies them too."""
        out = self.server.path("saved")
        self.do("save", "--file", out, "--chunk-size", 65536, image, who=who)
        self.assertEqual(self.files.sha256(out), self.files.sha256(path))
        os.unlink(out)

    def settled(self, name, who=None):
        """The image when its import has ended."""
        def ended():
            image = self.json("show", name, who=who)
            return image if image["status"] in ("active", "queued") else None

        return until(ended, "the import ends")


class WithoutAccounts(Commands):
    """`auth_type: none`, as `visor use openstack` prints it."""

    options = ("--allow-fetch", "127.0.0.0/8")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.save("anybody")
        cls.connection = cls.server.connect("anybody")

    def test_create_show_save_delete(self):
        created = self.json(
            "create", "--file", self.files.odd, "--disk-format", "raw", "--min-disk", "2", "--min-ram", "256", "--protected",
            "--public", "--property", "os_distro=debian", "--property", "a.b c=d=e", "--tag", "one", "--tag", "two", "Debian 13 ☃")
        self.check(created, self.files.odd)
        self.assertEqual((created["name"], created["visibility"], created["protected"]), ("Debian 13 ☃", "public", True))
        self.assertEqual((created["min_disk"], created["min_ram"], sorted(created["tags"])), (2, 256, ["one", "two"]))
        self.assertEqual((created["properties"]["os_distro"], created["properties"]["a.b c"]), ("debian", "d=e"))
        for name in (created["id"], "Debian 13 ☃"):
            self.assertEqual(self.json("show", name), created)
            self.check_saved(name, self.files.odd)
        self.assertEqual(hashlib.sha256(self.do("save", created["id"]).bytes).hexdigest(), self.files.sha256(self.files.odd))
        self.refused("is protected", "delete", "Debian 13 ☃")
        self.do("set", "--unprotected", "Debian 13 ☃")
        self.do("delete", "Debian 13 ☃")
        self.refused("No Image found for Debian 13 ☃", "show", "Debian 13 ☃")
        self.refused(f"No Image found for {UNKNOWN}", "show", UNKNOWN)

    def test_bytes_from_standard_input_and_a_real_qcow2(self):
        self.do("create", "piped", stdin=self.files.sparse)
        self.check_saved("piped", self.files.sparse)
        qcow2, virtual_size = self.files.disk("qcow2")
        shown = self.json("create", "--disk-format", "qcow2", "--file", qcow2, "--progress", "q")
        self.check(shown, qcow2)
        self.assertEqual(shown["virtual_size"], virtual_size)
        self.check_saved("q", qcow2)
        self.refused("415", "create", "--disk-format", "qcow2", "--file", self.files.odd, "no qcow2")
        self.check(self.json("create", "--file", self.files.empty, "nothing in it"), self.files.empty)

    def test_set_and_unset(self):
        self.do("create", "old name")
        self.do("set", "--name", "new name", "--property", "a=1", "--property", "b=2", "--tag", "t", "--tag", "u", "--min-ram", "9",
                "--disk-format", "iso", "--container-format", "ovf", "--community", "--architecture", "aarch64", "--os-version", "1", "old name")
        shown = self.json("show", "new name")
        self.assertEqual((shown["min_ram"], shown["disk_format"], shown["container_format"]), (9, "iso", "ovf"))
        self.assertEqual((shown["visibility"], sorted(shown["tags"])), ("community", ["t", "u"]))
        self.assertEqual([shown["properties"][name] for name in ("a", "b", "architecture", "os_version")], ["1", "2", "aarch64", "1"])
        self.do("unset", "--property", "a", "--tag", "t", "new name")
        shown = self.json("show", "new name")
        self.assertEqual((shown["tags"], "a" in shown["properties"], shown["properties"]["b"]), (["u"], False, "2"))
        self.refused("Failed to unset", "unset", "--property", "nothing", "new name")
        # What is in no list is still found by its name.
        self.do("set", "--hidden", "new name")
        self.assertNotIn("new name", self.names())
        self.assertIn("new name", self.names("--hidden"))
        self.assertEqual(self.json("show", "new name")["id"], shown["id"])

    def test_lists(self):
        self.do("create", "--file", self.files.odd, "--property", "group=list", "--tag", "group", "--tag", "l", "l1")
        self.do("create", "--property", "group=list", "--private", "--tag", "group", "l2")
        mine = ("--tag", "group")
        for arguments, expected in (
            (mine, ["l1", "l2"]),
            ((*mine, "--sort", "name:desc"), ["l2", "l1"]),
            ((*mine, "--tag", "l"), ["l1"]),
            ((*mine, "--private"), ["l2"]),
            ((*mine, "--status", "active"), ["l1"]),
            ((*mine, "--name", "l2"), ["l2"]),
            ((*mine, "--limit", "1"), ["l2"]),
            ((*mine, "--limit", "5", "--marker", "l2"), ["l1"]),
            (("--property", "group=list"), ["l1", "l2"]),
            ((*mine, "--all"), ["l1", "l2"]),
        ):
            self.assertEqual(self.names(*arguments), expected, arguments)
        (long,) = self.json("list", "--long", *mine, "--name", "l1")
        self.assertEqual((long["Size"], long["Checksum"]), (os.path.getsize(self.files.odd), hashlib.md5(open(self.files.odd, "rb").read()).hexdigest()))

    def test_two_of_a_name(self):
        for _ in range(2):
            self.do("create", "twin")
        self.refused("More than one", "show", "twin")

    def test_imports(self):
        self.do("create", "--import", "--file", self.files.odd, "by import")
        self.check(self.settled("by import"), self.files.odd)
        self.check_saved("by import", self.files.odd)
        self.assertIn("web-download", self.do("import", "info").out)
        self.do("create", "by stage")
        self.do("stage", "--file", self.files.sparse, "by stage")
        self.assertEqual(self.json("show", "by stage")["status"], "uploading")
        self.json("import", "by stage")
        self.check(self.settled("by stage"), self.files.sparse)
        with Source(self.server.directory) as source:
            self.do("create", "by web")
            self.json("import", "--method", "web-download", "--uri", source.url + "odd", "by web")
            self.check(self.settled("by web"), self.files.odd)
        self.refused("status 'queued'", "import", "--method", "web-download", "--uri", "http://127.0.0.1/", "by web")
        tasks = self.json("task", "list")
        self.assertEqual({task["Type"] for task in tasks}, {"api_image_import"})
        self.assertEqual(self.json("task", "show", tasks[0]["ID"])["status"], "success")
        self.assertEqual(self.json("stores", "list"), [
            {"ID": "file", "Description": None, "Default": True}, {"ID": "http", "Description": None, "Default": None}])

    def test_deactivate(self):
        self.do("create", "--file", self.files.odd, "on and off")
        self.do("set", "--deactivate", "on and off")
        self.assertEqual(self.json("show", "on and off")["status"], "deactivated")
        self.do("set", "--activate", "on and off")
        self.check_saved("on and off", self.files.odd)

    def test_own_id(self):
        self.do("create", "--id", UNKNOWN.replace("1", "a"), "own id")
        self.refused("409", "create", "--id", UNKNOWN.replace("1", "a"), "own id")
        self.do("delete", "own id")

    def test_the_sdk_verifies_what_it_uploads(self):
        cloud = self.connection
        known = {"md5": hashlib.md5(open(self.files.odd, "rb").read()).hexdigest(), "sha256": self.files.sha256(self.files.odd)}
        image = cloud.create_image("verified", filename=self.files.odd, wait=True, disk_format="raw", container_format="bare",
                                   validate_checksum=True, numeric=5, tags=["s"], **known)
        self.assertEqual((image.status, image.checksum, image.properties["numeric"]), ("active", known["md5"], "5"))
        self.assertEqual(image.properties["owner_specified.openstack.sha256"], known["sha256"])
        # The same file under the same name is not uploaded again.
        self.assertEqual(cloud.create_image("verified", filename=self.files.odd, wait=True, **known).id, image.id)
        self.assertEqual(cloud.get_image("verified").id, image.id)
        self.assertEqual([found.id for found in cloud.search_images("verif*")], [image.id])
        with self.assertRaises(exceptions.SDKException):
            cloud.create_image("wrong", filename=self.files.odd, wait=True, md5="0" * 32, sha256="0" * 64, validate_checksum=True)
        self.assertTrue(cloud.update_image_properties(image, extra="1"))
        self.assertEqual(cloud.get_image("verified").properties["extra"], "1")
        self.assertTrue(cloud.delete_image("verified", wait=True))
        self.assertFalse(cloud.delete_image("verified"))
        self.assertIsNone(cloud.get_image("verified"))

    def test_the_sdk_imports_and_downloads(self):
        image = self.connection.image.create_image("sdk import", filename=self.files.sparse, wait=True, use_import=True, disk_format="raw")
        for _ in range(200):
            image = self.connection.image.get_image(image.id)
            if image.status == "active":
                break
            time.sleep(0.05)
        streamed = self.connection.image.download_image(image, stream=True)
        digest = hashlib.sha256()
        for piece in streamed.iter_content(chunk_size=1 << 20):
            digest.update(piece)
        self.assertEqual(digest.hexdigest(), self.files.sha256(self.files.sparse))
        out = self.server.path("by-sdk")
        self.connection.download_image("sdk import", output_path=out)
        self.assertEqual(self.files.sha256(out), self.files.sha256(self.files.sparse))
        self.assertEqual(self.connection.image.download_image(image).content, open(self.files.sparse, "rb").read())

    def test_the_sdk_changes_and_pages(self):
        sdk = self.connection.image
        made = [sdk.create_image(f"page {n}", disk_format="raw", container_format="bare", allow_duplicates=True, tags=["pages"]) for n in range(5)]
        listed = [image.id for image in sdk.images(tag="pages", limit=2, sort="name:asc")]
        self.assertEqual(listed, [image.id for image in made])
        image = sdk.update_image(made[0], name="renamed", min_ram=7, k="v", visibility="public")
        self.assertEqual((image.name, image.min_ram, image.properties["k"], image.visibility), ("renamed", 7, "v", "public"))
        # By id alone, what the image has is not known, and everything is "added".
        image = sdk.update_image(made[1].id, name="blind", is_protected=True, k="w")
        self.assertEqual((image.name, image.is_protected, image.properties["k"]), ("blind", True, "w"))
        with self.assertRaises(exceptions.ForbiddenException):
            sdk.delete_image(made[1])
        sdk.add_tag(made[0], "a b")
        self.assertEqual(sorted(sdk.get_image(made[0]).tags), ["a b", "pages"])
        sdk.remove_tag(made[0], "a b")
        self.assertEqual(sdk.get_image(made[0]).tags, ["pages"])
        self.assertIsNone(sdk.find_image("nobody's"))
        with self.assertRaises(exceptions.NotFoundException):
            sdk.get_image(UNKNOWN)
        with self.assertRaises(exceptions.BadRequestException):
            list(sdk.images(marker=UNKNOWN))


class WithAccounts(Commands):
    """Passwords from clouds.yaml, and images that change hands."""

    who = "alice"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for user in (("alice",), ("bob",), ("root", "--admin")):
            cls.server.user(*user)

    def test_a_project_is_given_an_image(self):
        self.check(self.json("create", "--file", self.files.odd, "given"), self.files.odd)
        self.assertEqual(self.json("show", "given")["owner"], "alice")
        self.refused("No Image found", "show", "given", who="bob")
        self.assertEqual(self.json("add", "project", "given", "bob")["status"], "pending")
        self.assertEqual(self.names("--member-status", "pending", "--shared", who="bob"), ["given"])
        image = self.json("show", "given")["id"]
        self.do("set", "--accept", image, who="bob")
        self.assertIn("given", self.names(who="bob"))
        self.check_saved("given", self.files.odd, who="bob")
        self.assertEqual([(m["Member ID"], m["Status"]) for m in self.json("member", "list", "given")], [("bob", "accepted")])
        self.assertEqual(self.json("member", "get", "given", "bob")["status"], "accepted")
        self.refused("403", "set", "--name", "taken", "given", who="bob")
        self.refused("403", "delete", "given", who="bob")
        self.refused("403", "add", "project", "given", "root", who="bob")
        self.do("remove", "project", "given", "bob")
        self.assertNotIn("given", self.names(who="bob"))
        self.do("delete", "given")

    def test_what_is_for_administrators(self):
        self.refused("403", "create", "--public", "for all")
        self.do("create", "--project", "bob", "for bob", who="root")
        self.assertEqual(self.json("show", "for bob", who="bob")["owner"], "bob")
        self.refused("No Image found", "show", "for bob")
        self.refused("403", "create", "--project", "bob", "for bob")
        self.refused("403", "task", "list")

    def test_what_is_deactivated_is_withheld(self):
        image = self.json("create", "--file", self.files.odd, "--community", "withheld")["id"]
        self.do("set", "--deactivate", "withheld")
        # The client takes even the words of a refusal for data, and finds that they are not the image's.
        self.refused("Unable to download image", "save", "--file", self.server.path("refused"), "withheld")
        self.do("set", "--activate", image, who="root")
        self.check_saved("withheld", self.files.odd)

    def test_the_sdk_has_members(self):
        mine, hers = self.server.connect("alice").image, self.server.connect("bob").image
        image = mine.create_image("by sdk", filename=self.files.odd, wait=True, disk_format="raw")
        mine.add_member(image, member="bob")
        self.assertNotIn(image.id, [found.id for found in hers.images()])
        hers.update_member("bob", image, status="accepted")
        self.assertIn(image.id, [found.id for found in hers.images(visibility="shared")])
        self.assertEqual([(member.id, member.status) for member in mine.members(image)], [("bob", "accepted")])
        self.assertEqual(hashlib.sha256(hers.download_image(image).content).hexdigest(), self.files.sha256(self.files.odd))
        with self.assertRaises(exceptions.ForbiddenException):
            hers.update_image(image, name="mine now")
        mine.remove_member("bob", image)
        with self.assertRaises(exceptions.NotFoundException):
            hers.get_image(image.id)


class OtherProtocols(Commands):
    """One image, whichever language asks for it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.save("anybody")
        cls.port = cls.server.url.rsplit(":", 1)[1]

    def visor(self, *arguments):
        return self.server.visor("--json", *arguments, "-p", self.port)

    def test_put_in_through_visor(self):
        path, _ = self.files.disk("qcow2")
        made = json.loads(self.visor(
            "add", "name=from VISOR", "architecture=amd64", "format=qcow2", "access=private", "custom=kept", "--file", path))
        shown = self.json("show", "from VISOR")
        self.check(shown, path)
        self.assertEqual((shown["id"], shown["disk_format"], shown["visibility"]), (made["_id"], "qcow2", "private"))
        self.assertEqual((shown["properties"]["architecture"], shown["properties"]["custom"]), ("x86_64", "kept"))
        self.check_saved("from VISOR", path)
        self.do("set", "--architecture", "aarch64", "--property", "custom=changed", "--public", "--name", "from both", "from VISOR")
        record = json.loads(self.visor("head", made["_id"]))
        expected = {"name": "from both", "architecture": "aarch64", "access": "public", "custom": "changed", "format": "qcow2"}
        self.assertEqual({name: record.get(name) for name in expected}, expected)
        self.visor("delete", made["_id"])
        self.refused("No Image found", "show", made["_id"])

    def test_put_in_through_a_request(self):
        path, _ = self.files.disk("vmdk", "-o", "subformat=streamOptimized")
        headers = {"x-image-meta-name": "plain", "x-image-meta-architecture": "i386", "x-image-meta-format": "vmdk",
                   "x-image-meta-store": "file", "content-type": "application/octet-stream"}
        request = urllib.request.Request(self.server.url + "/images", data=open(path, "rb").read(), headers=headers, method="POST")
        answer = urllib.request.urlopen(request, timeout=60).read().decode()
        shown = self.json("show", "plain")
        self.assertIn(shown["id"], answer)
        self.check(shown, path)
        self.assertEqual((shown["disk_format"], shown["visibility"]), ("vmdk", "public"))
        self.check_saved("plain", path)

    def test_put_in_through_glance(self):
        made = self.json("create", "--file", self.files.odd, "--disk-format", "raw", "--public", "--property", "architecture=x86_64",
                         "--property", "os_distro=arch", "from Glance")
        record = json.loads(self.visor("head", made["id"]))
        expected = {"_id": made["id"], "name": "from Glance", "status": "available", "access": "public", "format": "raw",
                    "architecture": "x86_64", "os_distro": "arch", "size": made["size"], "checksum": made["checksum"]}
        self.assertEqual({name: record.get(name) for name in expected}, expected)
        self.visor("get", made["id"], "--save", self.server.directory)
        saved = [name for name in os.listdir(self.server.directory) if made["id"] in name or "from" in name]
        self.assertEqual([self.files.sha256(self.server.path(name)) for name in saved], [self.files.sha256(self.files.odd)])
        names = [json.loads(line)["name"] for line in self.visor("brief").splitlines()]
        self.assertIn("from Glance", names)
        self.visor("update", made["id"], "name=renamed by VISOR")
        self.assertEqual(self.json("show", "renamed by VISOR")["id"], made["id"])


if __name__ == "__main__":
    main()
