#!/usr/bin/env python3
"""Images in a store of S3's beside the local one: by python-glanceclient, openstackclient, `visor`, `lxc` and plain HTTP, and each
time looked at in the bucket too, by Amazon's own client.

usage: stores.py VISOR [TEST…]

Needs what requirements.txt names beside the Python that runs this. Starts servers of its own and ends them. VISOR_TALLY
names a file to write "passed failed" to.
"""

import hashlib
import json
import os
import signal
import tempfile
import unittest

from harness import Files, Source, call, main, run, until
from lxd_harness import Images, Lxc, sha256
from s3_harness import ONE_PIECE, ROOT, Server, patterned, started

RAW = ("--disk-format", "raw", "--container-format", "bare")
IMPORTS = ("os_glance_import_task", "os_glance_importing_to_stores", "os_glance_failed_import")


def setUpModule():
    global s3
    s3 = started(unittest.addModuleCleanup)


def tearDownModule():
    left = s3.unfinished()
    assert not left, f"uploads that nobody ended: {left}"


def ranges(size):
    """Ranges as clients ask for them, and what of the bytes they are."""
    return {
        "bytes=0-0": slice(0, 1), "bytes=5-99": slice(5, 100), "bytes=-17": slice(size - 17, size),
        f"bytes={size // 2}-": slice(size // 2, size), f"bytes=1000-{size * 2}": slice(1000, size),
    }


class OpenStack(unittest.TestCase):
    """alice, and an administrator. Images go to the local store when nobody says where to."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(s3.settings())
        cls.addClassCleanup(cls.server.stop)
        cls.files = Files(cls.server)
        cls.keys = {"alice": cls.server.user("alice"), "root": cls.server.user("root", "--admin")}
        cls.clouds = {name: cls.server.connect(name) for name in cls.keys}
        with open(cls.files.odd, "rb") as file:
            cls.bytes = file.read()

    def glance(self, who, *arguments, stdin=None):
        access = {"OS_AUTH_URL": self.server.url + "/v3", "OS_USERNAME": who, "OS_PASSWORD": self.keys[who], "OS_PROJECT_NAME": who,
                  "OS_USER_DOMAIN_ID": "default", "OS_PROJECT_DOMAIN_ID": "default"}
        return run("glance", *arguments, environment=self.server.environment(**access), stdin=stdin)

    def do(self, who, *arguments, **more):
        done = self.glance(who, *arguments, **more)
        self.assertEqual(done.code, 0, done.err)
        return done

    def refused(self, words, who, *arguments):
        done = self.glance(who, *arguments)
        self.assertEqual(done.code, 1, done.out)
        self.assertIn(words, done.err)

    def ask(self, method, path, who="alice", **more):
        """A request with the token of a user."""
        image = self.clouds[who].image
        return image.request("/v2" + path, method, endpoint_override=self.server.url, raise_exc=False,
                             retriable_status_codes=[], **more)

    def made(self, done):
        """The image that a command shows."""
        rows = [line.split("|") for line in done.out.splitlines() if line.startswith("|")]
        (image_id,) = [cells[2].strip() for cells in rows if cells[1].strip() == "id"]
        return image_id

    def create(self, *options, file=None):
        return self.made(self.do("alice", "image-create", *RAW, "--file", file or self.files.odd, *options))

    def shown(self, image_id):
        return self.ask("GET", f"/images/{image_id}").json()

    def settled(self, image_id):
        """The image when nothing is being brought into it any more."""
        until(lambda: not self.shown(image_id).get("os_glance_import_task"), "the import ends")
        return self.shown(image_id)

    def local(self, image_id):
        return [path for path in self.server.files() if image_id in path]

    def check(self, image_id, stores, data=None):
        """An image is whole, where it should be and nowhere else."""
        data = data or self.bytes
        image = self.shown(image_id)
        self.assertEqual((image["status"], image["size"], image["stores"]), ("active", len(data), stores))
        self.assertEqual((image["checksum"], image["os_hash_value"]),
                         (hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()))
        # Both lists of an import stay, empty.
        self.assertFalse([name for name in IMPORTS if image.get(name)])
        self.assertTrue(self.do("alice", "image-download", image_id).bytes == data)
        objects, wanted = s3.of_image(image_id), stores.split(",")
        self.assertEqual((len(objects), len(self.local(image_id))), ("cold" in wanted, "file" in wanted))
        for name in objects:
            self.assertTrue(name.startswith(ROOT + "/") and s3.read(name) == data)
        for path in self.local(image_id):
            self.assertEqual(self.files.sha256(path), hashlib.sha256(data).hexdigest())

    def test_which_stores_there_are(self):
        listed = [{"id": "file", "default": "true"}, {"id": "cold", "description": "the lab's bucket"}]
        self.assertEqual(self.ask("GET", "/info/stores").json()["stores"], [*listed, {"id": "http", "read-only": "true"}])
        for store in ("file", "cold", "http"):
            self.assertIn(f'"id": "{store}"', self.do("alice", "stores-info").out)
        self.assertEqual(
            [(found["ID"], found["Default"]) for found in self.server.json("alice", "image", "stores", "list")],
            [("file", True), ("cold", None), ("http", None)])
        detail = self.do("root", "stores-info", "--detail")
        for kind in ('"type": "file"', '"type": "s3"'):
            self.assertIn(kind, detail.out)
        # Where it is and as whom it is asked is the operator's business.
        answer = self.ask("GET", "/info/stores/detail", "root")
        self.assertEqual([(store["id"], store["type"]) for store in answer.json()["stores"]],
                         [("file", "file"), ("cold", "s3"), ("http", "http")])
        for inside in (s3.url, s3.access_key, s3.secret_key):
            self.assertNotIn(inside, answer.text)
        self.refused("403", "alice", "stores-info", "--detail")
        created = self.ask("POST", "/images", json={})
        self.assertEqual(created.headers["OpenStack-image-store-ids"], "file,cold")

    def test_create_into_a_store(self):
        image = self.create("--store", "cold")
        self.check(image, "cold")
        for asked, part in ranges(len(self.bytes)).items():
            answer = self.ask("GET", f"/images/{image}/file", headers={"Range": asked})
            self.assertEqual(answer.status_code, 206, asked)
            self.assertTrue(answer.content == self.bytes[part], asked)
        beyond = {"Range": f"bytes={len(self.bytes)}-"}
        self.assertEqual(self.ask("GET", f"/images/{image}/file", headers=beyond).status_code, 416)
        self.do("alice", "image-delete", image)
        self.assertEqual(s3.of_image(image), [])
        self.check(self.create(), "file")

    def test_an_empty_image_and_one_of_standard_input(self):
        image = self.create("--store", "cold", file=self.files.empty)
        self.assertEqual(self.do("alice", "image-download", image).bytes, b"")
        (name,) = s3.of_image(image)
        self.assertEqual(s3.read(name), b"")
        # Nobody knows before how many bytes come.
        image = self.made(self.do("alice", "image-create", *RAW, "--store", "cold", stdin=self.files.odd))
        self.check(image, "cold")

    def test_upload_into_a_store(self):
        image = self.made(self.do("alice", "image-create", *RAW))
        self.do("alice", "image-upload", image, "--file", self.files.odd, "--store", "cold")
        self.check(image, "cold")

    def test_a_store_that_is_not(self):
        before = len(self.ask("GET", "/images?limit=1000").json()["images"])
        self.refused("is not valid for this cloud", "alice", "image-create", *RAW, "--file", self.files.odd, "--store", "warm")
        self.assertEqual(len(self.ask("GET", "/images?limit=1000").json()["images"]), before)
        image, objects, files = self.made(self.do("alice", "image-create", *RAW)), s3.names(), self.server.files()
        for store in ("warm", "http", "colder", "../file", ""):
            headers = {"Content-Type": "application/octet-stream", "x-image-meta-store": store}
            answer = self.ask("PUT", f"/images/{image}/file", headers=headers, data=self.bytes)
            self.assertEqual(answer.status_code, 400, (store, answer.text))
            self.assertEqual(self.shown(image)["status"], "queued")
        for body, status in (({"stores": ["cold", "warm"]}, 409), ({"stores": "cold"}, 400),
                             ({"stores": ["cold"], "all_stores": True}, 400), ({"all_stores": "yes"}, 400)):
            body["method"] = {"name": "web-download", "uri": "http://127.0.0.1:9/"}
            self.assertEqual(self.ask("POST", f"/images/{image}/import", json=body).status_code, status, body)
        self.assertEqual((s3.names(), self.server.files(), self.shown(image)["status"]), (objects, files, "queued"))

    def test_staged_bytes_to_stores(self):
        for options, stores in ((("--stores", "cold"), "cold"), (("--stores", "file,cold"), "file,cold"),
                                (("--all-stores", "True"), "file,cold")):
            done = self.do("alice", "image-create-via-import", *RAW, "--file", self.files.odd, *options)
            image = self.made(done)
            self.settled(image)
            self.check(image, stores)
        # Into the store that was asked for, and what was put aside is gone.
        self.do("alice", "image-delete", image)
        self.assertEqual((s3.of_image(image), self.local(image)), ([], []))

    def test_bytes_of_a_url_to_stores(self):
        with Source(self.server.directory) as source:
            fetch = ("image-create-via-import", *RAW, "--import-method", "web-download", "--uri", source.url + "odd")
            for options, stores in ((("--stores", "cold"), "cold"), (("--stores", "cold,file"), "cold,file"),
                                    (("--all-stores", "True"), "file,cold")):
                image = self.made(self.do("alice", *fetch, *options))
                self.settled(image)
                self.check(image, stores)

    def test_an_import_names_its_store(self):
        """As `--store` of python-glanceclient's does, in a header."""
        image = self.made(self.do("alice", "image-create", *RAW))
        self.do("alice", "image-stage", image, "--file", self.files.odd)
        self.do("alice", "image-import", image, "--store", "cold")
        self.settled(image)
        self.check(image, "cold")
        with Source(self.server.directory) as source:
            image = self.made(self.do("alice", "image-create", *RAW))
            self.do("alice", "image-import", image, "--import-method", "web-download", "--uri", source.url + "odd", "--store", "cold")
            self.settled(image)
            self.check(image, "cold")
        done = self.do("alice", "image-create-via-import", *RAW, "--file", self.files.odd, "--store", "cold")
        self.settled(self.made(done))
        self.check(self.made(done), "cold")

    def test_an_image_under_a_url_is_copied(self):
        with Source(self.server.directory) as source:
            image = self.made(self.do("alice", "image-create", *RAW))
            self.do("alice", "add-location", image, "--url", source.url + "odd")
            self.do("root", "image-import", image, "--import-method", "copy-image", "--stores", "cold")
            self.settled(image)
        # The other server is gone.
        self.assertTrue(self.do("alice", "image-download", image).bytes == self.bytes)
        self.assertEqual(self.shown(image)["stores"], "cold,http")
        self.do("root", "stores-delete", image, "--store", "http")
        self.check(image, "cold")

    def test_copies(self):
        image = self.create()
        copy = ("image-import", image, "--import-method", "copy-image")
        self.refused("403", "alice", *copy, "--stores", "cold")
        self.refused("is not valid for this cloud", "root", *copy, "--stores", "warm")
        body = {"method": {"name": "copy-image"}, "stores": ["warm"]}
        self.assertEqual(self.ask("POST", f"/images/{image}/import", "root", json=body).status_code, 409)
        # As long as the other side says nothing it goes on.
        os.kill(s3.process.pid, signal.SIGSTOP)
        try:
            self.do("root", *copy, "--stores", "cold")
            shown = self.shown(image)
            self.assertEqual(shown["status"], "active")
            self.assertEqual((shown["os_glance_importing_to_stores"], shown["os_glance_failed_import"]), ("cold", ""))
            self.assertTrue(shown["os_glance_import_task"])
            # Who reads it does not wait for that.
            self.assertTrue(self.do("alice", "image-download", image).bytes == self.bytes)
        finally:
            os.kill(s3.process.pid, signal.SIGCONT)
        self.settled(image)
        self.check(image, "file,cold")
        self.refused("400", "root", *copy, "--stores", "cold")
        self.refused("400", "root", *copy, "--all-stores", "True")
        # One less, and one more again, by another client.
        self.do("root", "stores-delete", image, "--store", "file")
        self.check(image, "cold")
        done = self.server.openstack("root", "image", "import", image, "--method", "copy-image", "--store", "file")
        self.assertEqual(done.code, 0, done.err)
        self.settled(image)
        self.check(image, "cold,file")

    def test_a_copy_of_what_has_no_bytes(self):
        image = self.made(self.do("alice", "image-create", *RAW))
        body = {"method": {"name": "copy-image"}, "stores": ["cold"]}
        self.assertEqual(self.ask("POST", f"/images/{image}/import", "root", json=body).status_code, 409)
        self.assertEqual((self.shown(image)["status"], s3.of_image(image)), ("queued", []))

    def test_one_copy_less(self):
        image = self.made(self.do("alice", "image-create-via-import", *RAW, "--file", self.files.odd, "--all-stores", "True"))
        self.settled(image)
        self.assertEqual(self.ask("DELETE", f"/stores/cold/{image}").status_code, 403, "of an account that is no administrator's")
        self.assertEqual(self.ask("DELETE", f"/stores/warm/{image}", "root").status_code, 409)
        answer = self.ask("DELETE", f"/stores/cold/{image}", "root")
        self.assertEqual((answer.status_code, answer.content), (204, b""))
        self.check(image, "file")
        self.assertEqual(self.ask("DELETE", f"/stores/cold/{image}", "root").status_code, 409)
        self.assertEqual(self.ask("DELETE", f"/stores/file/{image}", "root").status_code, 403, "the only one")
        self.refused("Unable to delete image", "root", "stores-delete", image, "--store", "file")
        self.check(image, "file")

    def test_removing_an_image_removes_all_of_it(self):
        image = self.made(self.do("alice", "image-create-via-import", *RAW, "--file", self.files.odd, "--all-stores", "True"))
        self.settled(image)
        self.check(image, "file,cold")
        done = self.server.openstack("alice", "image", "delete", image)
        self.assertEqual(done.code, 0, done.err)
        self.assertEqual((s3.of_image(image), self.local(image)), ([], []))

    def test_disks_that_are_something_else(self):
        image = self.made(self.do("alice", "image-create", "--disk-format", "qcow2", "--container-format", "bare"))
        upload = ("image-upload", image, "--store", "cold", "--file")
        self.refused("does not match", "alice", *upload, self.files.odd)
        self.refused("safety", "alice", *upload, self.files.with_backing())
        self.assertEqual((self.shown(image)["status"], s3.of_image(image)), ("queued", []))
        disk, virtual_size = self.files.disk("qcow2")
        self.do("alice", *upload, disk)
        self.check(image, "cold", open(disk, "rb").read())
        self.assertEqual(self.shown(image)["virtual_size"], virtual_size)


class Everybody(unittest.TestCase):
    """`visor` and `lxc`, without accounts, on a server that keeps images in the bucket unless somebody says otherwise."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(s3.settings("cold"))
        cls.addClassCleanup(cls.server.stop)
        cls.images = Images(cls.server.directory)
        cls.lxc = Lxc(cls.server, "home")
        cls.lxc.do("remote", "add", "visor", cls.server.https, "--accept-certificate")

    def record(self, path):
        """The record of the image that has a file, which only one has."""
        (record,) = call("GET", f"{self.server.url}/images/detail?checksum={md5(path)}").json["images"]
        return record

    def in_cold(self, image_id, *paths):
        """The bucket has these files of an image, byte for byte, and no others."""
        objects = sorted(hashlib.sha256(s3.read(name)).hexdigest() for name in s3.of_image(image_id))
        self.assertEqual(objects, sorted(sha256(path) for path in paths))

    def got(self, image_id):
        """The SHA-256 of what `visor get` saves."""
        with tempfile.TemporaryDirectory(dir=self.server.directory) as directory:
            done = self.server.client("get", image_id, "--save", directory)
            self.assertEqual(done.code, 0, done.err)
            (name,) = os.listdir(directory)
            return sha256(os.path.join(directory, name))

    def exported(self, image, *paths):
        """`lxc` saves an image as it was imported."""
        with tempfile.TemporaryDirectory(dir=self.server.directory) as directory:
            self.lxc.do("image", "export", f"visor:{image}", os.path.join(directory, "saved"))
            saved = sorted(os.path.join(directory, name) for name in os.listdir(directory))
            self.assertEqual([sha256(path) for path in saved], [sha256(path) for path in paths])

    def move(self, image_id, store):
        done = self.server.client("move", image_id, "--store", store)
        self.assertEqual(done.code, 0, done.err)
        record = json.loads(self.server.client("head", image_id).out)
        self.assertEqual(record["store"], store)
        return record

    def test_the_default(self):
        path = patterned(self.images.fresh(), 100_000, 1)
        record = self.server.add("by default", file=path)
        self.assertEqual((record["store"], record["status"]), ("cold", "available"))
        self.in_cold(record["_id"], path)
        stores = call("GET", self.server.url + "/v2/info/stores").json["stores"]
        self.assertEqual([store["id"] for store in stores if store.get("default") == "true"], ["cold"])
        record = self.server.add("elsewhere", "store=file", file=path)
        self.assertEqual((record["store"], self.got(record["_id"])), ("file", sha256(path)))
        self.in_cold(record["_id"])
        done = self.server.client("add", "name=x", "architecture=x86_64", "store=warm", "--file", path)
        self.assertNotEqual(done.code, 0)
        self.assertIn("warm", done.err)
        self.assertNotIn('"x"', self.server.client("brief").out)

    def test_there_and_back(self):
        path = patterned(self.images.fresh(), 300_001, 2)
        image = self.server.add("travels", "store=cold", file=path)["_id"]
        self.in_cold(image, path)
        for _ in range(2):
            before = self.move(image, "file")
            self.in_cold(image)
            self.assertEqual(self.got(image), sha256(path))
            after = self.move(image, "cold")
            self.in_cold(image, path)
            self.assertEqual(self.got(image), sha256(path))
            self.assertFalse([file for file in self.server.files() if image in file])
            changed = {name for name in after if before.get(name) != after[name]}
            self.assertEqual(changed - {"accessed_at", "access_count", "updated_at"}, {"store", "location"})
        again = self.server.client("move", image, "--store", "cold")
        self.assertEqual(again.code, 0, "there it is")
        self.in_cold(image, path)

    def test_in_pieces(self):
        size = ONE_PIECE + (9 << 20) + 5
        path = patterned(self.images.fresh(), size, 3)
        pieces = s3.requests(r"PUT .*partNumber=")
        image = self.server.add("large", "store=cold", file=path)["_id"]
        self.assertGreater(s3.requests(r"PUT .*partNumber="), pieces + 4)
        self.in_cold(image, path)
        self.assertEqual(s3.unfinished(), [])
        self.assertEqual(self.got(image), sha256(path))
        with open(path, "rb") as file:
            data = file.read()
        # Over the ends of pieces too.
        over = {f"bytes={end - 9}-{end + 2000}": slice(end - 9, end + 2001) for end in (8 << 20, 16 << 20, ONE_PIECE)}
        for asked, part in {**ranges(size), **over}.items():
            answer = call("GET", f"{self.server.url}/images/{image}", headers={"Range": asked})
            self.assertEqual(answer.status, 206, asked)
            self.assertTrue(answer.body == data[part], asked)
        self.move(image, "file")
        self.in_cold(image)
        self.move(image, "cold")
        self.in_cold(image, path)
        self.assertEqual(self.server.client("delete", image).code, 0)
        self.in_cold(image)

    def travels(self, alias, *files):
        """What `lxc` imports is in the bucket, and saved as it was wherever it is moved."""
        self.lxc.do("image", "import", *files, "visor:", "--alias", alias, "--public")
        image = self.record(files[-1])["_id"]
        self.addCleanup(self.lxc, "image", "delete", f"visor:{alias}")
        self.in_cold(image, *files)
        self.exported(alias, *files)
        self.streamed(alias, files)
        self.move(image, "file")
        self.in_cold(image)
        self.exported(alias, *files)
        self.move(image, "cold")
        self.in_cold(image, *files)
        self.exported(alias, *files)
        self.streamed(alias, files)

    def test_containers_of_lxc_in_two_files(self):
        self.travels("two", self.images.metadata(), self.images.rootfs())

    def test_machines_of_lxc(self):
        self.travels("vm", self.images.metadata(), self.images.disk())

    def test_containers_of_lxc_in_one_file(self):
        self.travels("one", self.images.unified())

    def test_private_images_go_at_once(self):
        files = self.images.metadata(), self.images.rootfs()
        self.lxc.do("image", "import", *files, "visor:", "--alias", "private")
        image = self.record(files[-1])["_id"]
        self.in_cold(image, *files)
        self.lxc.do("image", "delete", "visor:private")
        self.in_cold(image)

    def test_disks_of_others_as_machines_of_lxc(self):
        disk = self.images.disk()
        image = self.server.add("offered", "format=qcow2", "access=public", file=disk)["_id"]
        name = until(lambda: [found for found in self.lxc.json("image", "list", "visor:")
                                   if found["properties"].get("description") == "offered"], "it is offered")[0]["fingerprint"]
        for store in ("file", "cold"):
            self.saved_disk(name, disk)
            self.move(image, store)
        self.saved_disk(name, disk)
        # A copy without what describes it: that is made again when the one that had it goes.
        answer = call("POST", f"{self.server.url}/v2/images/{image}/import", {"method": {"name": "copy-image"}, "stores": ["file"]})
        self.assertEqual(answer.status, 202, answer.body)
        until(lambda: "file" in call("GET", f"{self.server.url}/v2/images/{image}").json["stores"], "it is copied")
        self.assertEqual(call("DELETE", f"{self.server.url}/v2/stores/cold/{image}").status, 204)
        self.in_cold(image)
        until(lambda: self.lxc("image", "info", f"visor:{name}").code == 0, "it is offered again")
        self.saved_disk(name, disk)

    def saved_disk(self, name, disk):
        with tempfile.TemporaryDirectory(dir=self.server.directory) as directory:
            self.lxc.do("image", "export", f"visor:{name}", os.path.join(directory, "saved"))
            self.assertEqual(sha256(os.path.join(directory, "saved"), os.path.join(directory, "saved.root")), name)
            self.assertEqual(sha256(os.path.join(directory, "saved.root")), sha256(disk))

    def streamed(self, alias, files):
        """The simplestreams document names an image's files, and they are there under the names."""
        products = self.server.call("GET", "/streams/v1/images.json").json["products"]
        items = [item for product in products.values() if alias in product["aliases"].split(",")
                 for version in product["versions"].values() for item in version["items"].values()]
        found = {item["sha256"]: item for item in items}
        for path in files:
            item = found[sha256(path)]
            self.assertEqual(item["size"], os.path.getsize(path))
            answer = self.server.call("GET", "/" + item["path"])
            self.assertEqual((answer.status, hashlib.sha256(answer.body).hexdigest()), (200, sha256(path)))


def md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


if __name__ == "__main__":
    main()
