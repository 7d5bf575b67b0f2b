#!/usr/bin/env python3
"""python-glanceclient, the command and the library, against a real server: without accounts, and with three.

usage: glance.py VISOR [TEST…]

Needs what requirements.txt names beside the Python that runs this. Starts servers of its own and ends them. VISOR_TALLY
names a file to write "passed failed" to.
"""

import hashlib
import json
import os
import unittest
import uuid

import glanceclient
from glanceclient import exc

from harness import ADMINS_PUBLISH, Files, Server, Source, main, run, until

UNKNOWN = "11111111-2222-4333-8444-555555555555"
RAW = ("--disk-format", "raw", "--container-format", "bare")


def table(done):
    """What a command printed of one thing: values by their names."""
    assert done.code == 0, done.err
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.out.splitlines() if line.startswith("|")]
    return {name: value for name, value in rows[1:]}


def column(done, position=0):
    """A column of what a command printed of many things."""
    assert done.code == 0, done.err
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.out.splitlines() if line.startswith("|")]
    return [row[position] for row in rows[1:]]


class WithoutAccounts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--allow-fetch", "127.0.0.0/8")
        cls.files = Files(cls.server)
        cls.client = glanceclient.Client("2", endpoint=cls.server.url, token="anything")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def glance(self, *arguments, stdin=None):
        access = ("--os-image-url", self.server.url, "--os-auth-token", "anything")
        return run("glance", *access, *arguments, environment=self.server.environment(), stdin=stdin)

    def refused(self, words, *arguments):
        done = self.glance(*arguments)
        self.assertEqual(done.code, 1, done.out)
        self.assertIn(words, done.err)

    def check_bytes(self, image, path):
        """What is shown of an image is true of the file, and it is downloaded whole."""
        data = open(path, "rb").read()
        self.assertEqual((image["status"], image["size"]), ("active", str(len(data))))
        self.assertEqual(image["checksum"], hashlib.md5(data).hexdigest())
        self.assertEqual(image["os_hash_value"], hashlib.new(image["os_hash_algo"], data).hexdigest())
        out = self.server.path("downloaded")
        self.assertEqual(self.glance("image-download", image["id"], "--file", out).said, "")
        self.assertEqual(self.files.sha256(out), self.files.sha256(path))
        os.unlink(out)

    def settled(self, image_id):
        """The image when its import has ended."""
        def ended():
            image = self.client.images.get(image_id)
            return image if image["status"] in ("active", "queued") else None

        return until(ended, "the import ends")

    def test_create_show_download(self):
        created = table(self.glance(
            "image-create", "--name", "Ubuntu 24.04 Ž", *RAW, "--file", self.files.odd, "--min-disk", "3", "--min-ram", "512",
            "--protected", "True", "--visibility", "community", "--tags", "lts", "two words",
            "--property", "os_distro=ubuntu", "--property", "hw:cpu=a=b c", "--architecture", "x86_64"))
        expected = {"name": "Ubuntu 24.04 Ž", "disk_format": "raw", "container_format": "bare", "min_disk": "3",
                    "min_ram": "512", "protected": "True", "visibility": "community", "tags": '["lts", "two words"]',
                    "os_distro": "ubuntu", "hw:cpu": "a=b c", "architecture": "x86_64", "os_hidden": "False"}
        self.assertEqual({name: created.get(name) for name in expected}, expected)
        self.check_bytes(created, self.files.odd)
        self.assertEqual(table(self.glance("image-show", created["id"])), created)
        self.assertEqual(table(self.glance("image-show", created["id"], "--human-readable"))["size"], "3MB")
        to_stdout = self.glance("image-download", created["id"])
        self.assertEqual(hashlib.sha256(to_stdout.bytes).hexdigest(), self.files.sha256(self.files.odd))
        self.refused("You are not permitted to delete", "image-delete", created["id"])
        self.assertEqual(table(self.glance("image-update", created["id"], "--protected", "False"))["protected"], "False")
        self.assertEqual(self.glance("image-delete", created["id"]).said, "")
        self.refused(f"No image found with id '{created['id']}'", "image-show", created["id"])

    def test_bytes_from_standard_input(self):
        for path in (self.files.sparse, self.files.empty):
            self.check_bytes(table(self.glance("image-create", "--name", "piped", *RAW, stdin=path)), path)

    def test_real_disks(self):
        for format_, options in (("qcow2", ()), ("vmdk", ("-o", "subformat=streamOptimized")), ("vdi", ())):
            path, virtual_size = self.files.disk(format_, *options)
            created = table(self.glance("image-create", "--disk-format", format_, "--container-format", "bare", "--file", path))
            self.check_bytes(created, path)
            self.assertEqual(created["virtual_size"], str(virtual_size))

    def test_disks_that_are_something_else(self):
        image = table(self.glance("image-create", "--disk-format", "qcow2", "--container-format", "bare"))["id"]
        self.refused("does not match", "image-upload", image, "--file", self.files.odd)
        self.refused("safety", "image-upload", image, "--file", self.files.with_backing())
        with Source(self.server.directory) as source:
            self.glance("image-import", image, "--import-method", "web-download", "--uri", source.url + "odd")
            self.assertEqual(self.settled(image)["os_glance_failed_import"], "file")
            self.assertIn("does not match", column(self.glance("image-tasks", image))[0])
        self.assertEqual(self.client.images.get(image)["status"], "queued")
        self.assertEqual(self.glance("image-upload", image, "--file", self.files.disk("qcow2")[0]).said, "")

    def test_locations(self):
        with Source(self.server.directory) as source:
            image = table(self.glance("image-create", *RAW))["id"]
            located = table(self.glance("add-location", image, "--url", source.url + "odd"))
            self.assertEqual((located["status"], located["size"]), ("active", str(os.path.getsize(self.files.odd))))
            self.assertEqual([found["url"] for found in self.client.images.get_image_locations(image)], [source.url + "odd"])
            done = self.glance("image-download", image)
            self.assertEqual(hashlib.sha256(done.bytes).hexdigest(), self.files.sha256(self.files.odd))
            self.refused("409", "add-location", image, "--url", source.url + "empty")
            self.refused("HTTP 40", "add-location", table(self.glance("image-create", *RAW))["id"], "--url", source.url + "nothing")
            digested = until(lambda: self.client.images.get(image)["checksum"], "the bytes are read once for their digests")
            self.assertEqual(digested, hashlib.md5(open(self.files.odd, "rb").read()).hexdigest())
            self.assertEqual(self.client.images.get(image)["os_hash_value"], self.files.sha256(self.files.odd))
            # A copy, from which it is read when the other server is gone.
            self.glance("image-import", image, "--import-method", "copy-image", "--stores", "file")
            until(lambda: self.client.images.get(image)["stores"] == "file,http", "the copy is here")
        self.check_bytes(table(self.glance("image-show", image)), self.files.odd)
        self.assertEqual(self.glance("stores-delete", image, "--store", "http").code, 0)
        self.assertEqual((self.client.images.get(image)["stores"], self.client.images.get_image_locations(image)), ("file", []))
        # What the client shows of it is what it says for itself; the server's answer is Glance's with hidden locations.
        self.refused("HTTP 40", "location-add", image, "--url", "file:///etc/passwd")
        for operation in ({"op": "add", "path": "/locations/-", "value": {"url": "http://127.0.0.1/x", "metadata": {}}},
                          {"op": "remove", "path": "/locations/0"}, {"op": "replace", "path": "/locations", "value": []}):
            with self.assertRaisesRegex(exc.HTTPForbidden, "locations are invisible"):
                self.client.http_client.patch(f"/v2/images/{image}", data=json.dumps([operation]),
                                              headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})

    def test_locations_with_a_digest(self):
        with Source(self.server.directory) as source:
            for path, status in ((self.files.odd, "active"), (self.files.sparse, "queued")):
                image = table(self.glance("image-create", *RAW))["id"]
                announced = {"os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(open(path, "rb").read()).hexdigest()}
                self.glance("add-location", image, "--url", source.url + "odd", "--validation-data", json.dumps(announced))
                task = until(lambda: [found for found in self.client.images.get_associated_image_tasks(image)["tasks"]
                                      if found["status"] in ("success", "failure")], "the bytes are compared")[0]
                self.assertEqual((task["type"], task["input"]["validation_data"]), ("location_import", announced))
                shown = self.client.images.get(image)
                self.assertEqual(shown["status"], status, task["message"])
                if status == "active":
                    self.assertEqual((shown["os_hash_algo"], shown["os_hash_value"]), tuple(announced.values()))
                    self.assertEqual(len(self.glance("image-download", image).bytes), os.path.getsize(path))
            self.refused("400", "add-location", image, "--url", source.url + "odd", "--validation-data",
                         json.dumps({"os_hash_algo": "sha256", "os_hash_value": "short"}))

    def test_tasks(self):
        with Source(self.server.directory) as source:
            properties = {"name": "of a task", "disk_format": "raw", "container_format": "bare", "os_distro": "x"}
            given = {"import_from": source.url + "odd", "import_from_format": "raw", "image_properties": properties}
            task = table(self.glance("task-create", "--type", "import", "--input", json.dumps(given)))
            self.assertEqual((task["type"], self.client.tasks.get(task["id"])["input"]), ("import", given))
            until(lambda: self.client.tasks.get(task["id"])["status"] == "success", "the task is over")
            done = self.client.tasks.get(task["id"])
            self.assertTrue(done["request_id"].startswith("req-"))
            image = table(self.glance("image-show", done["result"]["image_id"]))
            self.assertEqual((image["name"], image["os_distro"]), ("of a task", "x"))
            self.check_bytes(image, self.files.odd)
            given["import_from"] = source.url + "nothing"
            failed = table(self.glance("task-create", "--type", "import", "--input", json.dumps(given)))["id"]
            until(lambda: self.client.tasks.get(failed)["status"] == "failure", "the task fails")
            self.refused("400", "task-create", "--type", "import", "--input", json.dumps({"import_from": "file:///etc/passwd"}))
        self.assertIn(task["id"], column(self.glance("task-list", "--type", "import", "--sort-key", "id", "--sort-dir", "asc")))
        by_page = [one["id"] for one in self.client.tasks.list(page_size=1)]
        self.assertEqual(len(by_page), len(set(by_page)))
        self.assertTrue({task["id"], failed} <= set(by_page))

    def test_own_id(self):
        own = str(uuid.uuid4())
        self.assertEqual(table(self.glance("image-create", "--id", own))["id"], own)
        self.refused("409", "image-create", "--id", own)
        self.assertEqual(self.glance("image-delete", own).said, "")

    def test_update(self):
        image = table(self.glance("image-create", "--name", "old", "--property", "keep=1", "--property", "change=1", "--property", "drop=1"))
        changed = table(self.glance(
            "image-update", image["id"], "--name", "new", *RAW, "--min-ram", "64", "--visibility", "public", "--hidden", "True",
            "--property", "change=2", "--property", "more=", "--remove-property", "drop"))
        expected = {"name": "new", "disk_format": "raw", "container_format": "bare", "min_ram": "64", "os_hidden": "True",
                    "visibility": "public", "keep": "1", "change": "2", "more": ""}
        self.assertEqual({name: changed.get(name) for name in expected}, expected)
        self.assertNotIn("drop", changed)
        self.assertNotIn(image["id"], column(self.glance("image-list")))
        self.assertIn(image["id"], column(self.glance("image-list", "--hidden")))

    def test_upload_what_was_created_before(self):
        image = table(self.glance("image-create", "--name", "later"))
        self.refused("has no data", "image-download", image["id"])
        self.refused("disk_format, container_format must be set", "image-upload", image["id"], "--file", self.files.odd)
        self.assertEqual(self.glance("image-update", image["id"], *RAW).code, 0)
        self.refused("Size mismatch", "image-upload", image["id"], "--file", self.files.odd, "--size", "5")
        self.refused("is not valid for this cloud", "image-upload", image["id"], "--file", self.files.odd, "--store", "other")
        done = self.glance("image-upload", image["id"], "--file", self.files.odd, "--store", "file", "--progress")
        self.assertEqual(done.code, 0, done.err)
        self.check_bytes(table(self.glance("image-show", image["id"])), self.files.odd)
        self.refused("409", "image-upload", image["id"], "--file", self.files.odd)

    def test_a_size_that_is_wrong_leaves_the_image_waiting(self):
        image = self.client.images.create(name="short", disk_format="raw", container_format="bare")
        with self.assertRaises(exc.HTTPBadRequest):
            self.client.images.upload(image.id, open(self.files.odd, "rb"), 5)
        self.assertEqual((self.client.images.get(image.id).status, self.client.images.get(image.id).size), ("queued", None))
        self.client.images.upload(image.id, open(self.files.odd, "rb"))
        self.assertEqual(self.client.images.get(image.id).status, "active")

    def test_stage_and_import(self):
        image = table(self.glance("image-create", *RAW))
        self.refused("only be applied to an image in status 'uploading'", "image-import", image["id"])
        self.assertEqual(self.glance("image-stage", image["id"], "--file", self.files.odd).said, "")
        staged = table(self.glance("image-show", image["id"]))
        self.assertEqual((staged["status"], staged["size"], staged["checksum"]), ("uploading", str(os.path.getsize(self.files.odd)), "None"))
        self.refused("409", "image-upload", image["id"], "--file", self.files.odd)
        importing = table(self.glance("image-import", image["id"], "--import-method", "glance-direct"))
        self.assertIn(importing["status"], ("importing", "active"))
        self.assertEqual(self.settled(image["id"])["status"], "active")
        shown = table(self.glance("image-show", image["id"]))
        self.check_bytes(shown, self.files.odd)
        until(lambda: "os_glance_import_task" not in self.client.images.get(image["id"]), "the import is over")
        self.assertEqual((shown["os_glance_importing_to_stores"], shown["os_glance_failed_import"]), ("", ""))
        tasks = self.glance("-v", "image-tasks", image["id"])
        self.assertEqual((column(tasks)[0], column(tasks, 3)), (image["id"], ["success"]))
        self.refused("cannot be used", "image-create-via-import", "--import-method", "copy-image")

    def test_create_via_import(self):
        created = table(self.glance("image-create-via-import", "--name", "imported", *RAW, "--file", self.files.odd))
        self.assertEqual(self.settled(created["id"])["status"], "active")
        piped = table(self.glance("image-create-via-import", *RAW, "--stores", "file", stdin=self.files.sparse))
        self.assertEqual(self.settled(piped["id"])["status"], "active")
        self.check_bytes(table(self.glance("image-show", piped["id"])), self.files.sparse)
        self.assertEqual(table(self.glance("image-create-via-import", "--name", "no data"))["status"], "queued")

    def test_web_download(self):
        with Source(self.server.directory) as source:
            created = table(self.glance("image-create-via-import", *RAW, "--import-method", "web-download", "--uri", source.url + "odd"))
            self.assertEqual(self.settled(created["id"])["status"], "active")
            self.check_bytes(table(self.glance("image-show", created["id"])), self.files.odd)
            missing = table(self.glance("image-create", *RAW))
            started = table(self.glance("image-import", missing["id"], "--import-method", "web-download", "--uri", source.url + "nothing"))
            self.assertEqual(started["os_glance_failed_import"] or started["os_glance_importing_to_stores"], "file")
            failed = self.settled(missing["id"])
            self.assertEqual((failed["status"], failed["size"], failed["os_glance_failed_import"]), ("queued", None, "file"))
            self.assertEqual(column(self.glance("image-tasks", missing["id"])), ["There is nothing under this URL."])
            # It is as it was, and can be tried again.
            self.glance("image-import", missing["id"], "--import-method", "web-download", "--uri", source.url + "empty")
            self.assertEqual(self.settled(missing["id"])["status"], "active")
        task_ids = {task["id"] for task in self.client.tasks.list()}
        tasks = [task["id"] for task in self.client.images.get_associated_image_tasks(missing["id"])["tasks"]]
        self.assertTrue(len(tasks) == 2 and task_ids.issuperset(tasks))
        self.assertEqual(table(self.glance("task-show", tasks[0]))["type"], "api_image_import")

    def test_deactivate(self):
        image = table(self.glance("image-create", *RAW, "--file", self.files.odd))
        self.assertEqual(self.glance("image-deactivate", image["id"]).said, "")
        self.assertEqual(table(self.glance("image-show", image["id"]))["status"], "deactivated")
        self.assertEqual(self.glance("image-reactivate", image["id"]).said, "")
        self.check_bytes(table(self.glance("image-show", image["id"])), self.files.odd)
        self.refused("403", "image-deactivate", table(self.glance("image-create"))["id"])

    def test_tags(self):
        image = table(self.glance("image-create", "--tags", "a"))
        tag = "grün/50%&?"
        self.assertEqual(column(self.glance("image-tag-update", image["id"], "b c"), 1), ["['a', 'b c']"])
        self.assertEqual(self.glance("image-tag-delete", image["id"], "b c").said, "")
        self.refused("404", "image-tag-delete", image["id"], "b c")
        self.assertEqual(json.loads(table(self.glance("image-show", image["id"]))["tags"]), ["a"])
        self.client.images.update(image["id"], tags=["a", tag])
        self.assertEqual([found.id for found in self.client.images.list(filters={"tag": [tag, "a"]})], [image["id"]])

    def test_what_the_service_can_do(self):
        self.assertEqual(
            self.client.images.get_import_info()["import-methods"]["value"], ["glance-direct", "web-download", "copy-image"])
        self.assertIn("Import methods available.", table(self.glance("import-info"))["import-methods"])
        self.assertEqual(table(self.glance("stores-info"))["stores"], 
                         '[{"id": "file", "default": "true"}, {"id": "http", "read-only": "true"}]')
        self.assertIn('"type": "file"', table(self.glance("stores-info", "--detail"))["stores"])
        self.assertEqual(self.glance("usage").code, 0)
        for model, attribute in (("image", "os_hash_value"), ("member", "member_id"), ("task", "input")):
            self.assertIn(attribute, column(self.glance("explain", model)))
        self.refused("Unable to find requested model", "explain", "nothing")
        image = table(self.glance("image-create", *RAW, "--file", self.files.odd))
        self.refused("Unable to delete image", "stores-delete", image["id"], "--store", "file")
        self.assertEqual(table(self.glance("image-show", image["id"]))["status"], "active")

    def test_mistakes(self):
        self.refused(f"No image found with id '{UNKNOWN}'", "image-show", UNKNOWN)
        self.refused("404", "image-download", UNKNOWN)
        self.refused("No image with an ID of", "image-delete", UNKNOWN)
        self.refused("404", "image-show", "a name")
        self.refused("400", "image-create", "--property", "x" * 256 + "=1")
        for wrong in ({"name": "x" * 256}, {"visibility": "public", "min_disk": -1}):
            # The client looks into the schema by itself; what it lets through, the server does not.
            with self.assertRaises((TypeError, exc.HTTPBadRequest)):
                self.client.images.create(**wrong)
        image = self.client.images.create(name="fixed")
        for attribute in ("status", "checksum", "size", "created_at"):
            with self.assertRaises((exc.HTTPForbidden, Exception)) as refused:
                self.client.images.update(image.id, **{attribute: "x"})
            self.assertNotIsInstance(refused.exception, exc.HTTPInternalServerError)
        with self.assertRaises(exc.HTTPForbidden):
            self.client.http_client.patch(
                f"/v2/images/{image.id}", data=json.dumps([{"op": "replace", "path": "/status", "value": "active"}]),
                headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})

    def test_the_library_verifies_what_it_downloads(self):
        image = self.client.images.create(name="checked", disk_format="ami", container_format="bare")
        self.assertEqual(image.request_ids[0][:4], "req-")
        self.client.images.upload(image.id, open(self.files.odd, "rb"))
        data = self.client.images.data(image.id)
        self.assertEqual(len(data), os.path.getsize(self.files.odd))
        self.assertEqual(hashlib.sha256(b"".join(data)).hexdigest(), self.files.sha256(self.files.odd))
        preferred = self.client.images.data(image.id, prefer=["file"])
        self.assertEqual(hashlib.sha256(b"".join(preferred)).hexdigest(), self.files.sha256(self.files.odd))


class Lists(unittest.TestCase):
    """Every filter, order and size of page, on images that nobody else changes."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.files = Files(cls.server)
        cls.client = glanceclient.Client("2", endpoint=cls.server.url, token="anything")
        make = cls.client.images.create
        cls.ids = {}
        for name, data, attributes in (
            ("alpha", "odd", {"disk_format": "raw", "tags": ["x", "y"], "min_ram": 10, "os": "linux"}),
            ("beta", "sparse", {"disk_format": "ploop", "tags": ["x"], "visibility": "public", "os": "linux", "k&=": "v w"}),
            ("gamma", "empty", {"disk_format": "raw", "protected": True, "min_disk": 4, "os": "bsd"}),
            ("delta: ε", None, {"visibility": "private", "architecture": "aarch64"}),
            ("hidden", None, {"os_hidden": True}),
        ):
            image = make(name=name, container_format="bare", **attributes)
            if data:
                cls.client.images.upload(image.id, open(getattr(cls.files, data), "rb"))
            cls.ids[name] = image.id
        cls.alpha = cls.client.images.get(cls.ids["alpha"])

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def names(self, **arguments):
        return [image.name for image in self.client.images.list(**arguments)]

    def test_filters(self):
        size = os.path.getsize(self.files.odd)
        for filters, expected in (
            ({}, ["delta: ε", "gamma", "beta", "alpha"]),
            ({"name": "beta"}, ["beta"]),
            ({"name": "delta: ε"}, ["delta: ε"]),
            ({"name": 'in:alpha,"beta"'}, ["beta", "alpha"]),
            ({"id": "in:" + ",".join([self.ids["gamma"], self.ids["alpha"]])}, ["gamma", "alpha"]),
            ({"status": "queued"}, ["delta: ε"]),
            ({"status": "in:queued,active"}, ["delta: ε", "gamma", "beta", "alpha"]),
            ({"disk_format": "raw"}, ["gamma", "alpha"]),
            ({"container_format": "in:bare,ovf", "disk_format": "in:ploop,qcow2"}, ["beta"]),
            ({"visibility": "public"}, ["beta"]),
            ({"visibility": "private"}, ["delta: ε"]),
            ({"visibility": "all"}, ["delta: ε", "gamma", "beta", "alpha"]),
            ({"size_min": size}, ["beta", "alpha"]),
            ({"size_max": size}, ["gamma", "alpha"]),
            ({"size_min": 1, "size_max": size}, ["alpha"]),
            ({"min_ram": 10}, ["alpha"]),
            ({"min_disk": 4}, ["gamma"]),
            ({"protected": "true"}, ["gamma"]),
            ({"tag": ["x"]}, ["beta", "alpha"]),
            ({"tag": ["x", "y"]}, ["alpha"]),
            ({"os": "linux"}, ["beta", "alpha"]),
            ({"os": "linux", "k&=": "v w"}, ["beta"]),
            ({"architecture": "aarch64"}, ["delta: ε"]),
            ({"never": "used"}, []),
            ({"checksum": self.alpha.checksum}, ["alpha"]),
            ({"os_hash_value": self.alpha.os_hash_value}, ["alpha"]),
            ({"os_hidden": True}, ["hidden"]),
            ({"created_at": "gte:" + self.alpha.created_at}, ["delta: ε", "gamma", "beta", "alpha"]),
            ({"updated_at": "lt:2011-09-01T00:00:00Z"}, []),
        ):
            self.assertEqual(self.names(filters=dict(filters)), expected, filters)
        for wrong in ({"visibility": "nobody"}, {"size_min": "big"}, {"protected": "maybe"}, {"created_at": "gt:soon"}):
            with self.assertRaises(exc.HTTPBadRequest, msg=wrong):
                self.names(filters=wrong)

    def test_orders(self):
        for order, expected in (
            ({"sort_key": "name", "sort_dir": "asc"}, ["alpha", "beta", "delta: ε", "gamma"]),
            ({"sort": "disk_format:asc,name:desc"}, ["delta: ε", "beta", "gamma", "alpha"]),
            ({"sort_key": ["disk_format", "name"], "sort_dir": ["desc", "asc"]}, ["alpha", "gamma", "beta", "delta: ε"]),
            ({"sort": "status,size"}, ["delta: ε", "beta", "alpha", "gamma"]),
        ):
            for page_size in (1, 2, 3, 4, 100):
                self.assertEqual(self.names(page_size=page_size, **order), expected, (order, page_size))
                self.assertEqual(self.names(page_size=page_size, limit=3, **order), expected[:3])
        self.assertEqual(self.names(sort="name:asc", marker=self.ids["beta"]), ["delta: ε", "gamma"])
        with self.assertRaises(exc.HTTPBadRequest):
            self.names(marker=UNKNOWN)

    def test_pages_keep_their_filters(self):
        self.assertEqual(self.names(page_size=1, filters={"tag": ["x"], "os": "linux"}), ["beta", "alpha"])
        self.assertEqual(self.names(page_size=1, filters={"name": 'in:alpha,"delta: ε"'}), ["delta: ε", "alpha"])

    def test_the_command(self):
        def listed(*arguments):
            access = ("--os-image-url", self.server.url, "--os-auth-token", "anything")
            return column(run("glance", *access, "image-list", *arguments, environment=self.server.environment()), 1)

        for arguments, expected in (
            ((), ["alpha", "beta", "delta: ε", "gamma"]),
            (("--page-size", "1", "--sort", "size:desc,name"), ["beta", "alpha", "gamma", "delta: ε"]),
            (("--limit", "2", "--page-size", "1", "--sort-key", "name", "--sort-dir", "desc"), ["gamma", "delta: ε"]),
            (("--property-filter", "os=linux", "--tag", "x", "--tag", "y"), ["alpha"]),
            (("--visibility", "public", "--checksum", self.client.images.get(self.ids["beta"]).checksum), ["beta"]),
            (("--hash", self.alpha.os_hash_value), ["alpha"]),
            (("--hidden", "True"), ["hidden"]),
        ):
            self.assertEqual(listed(*arguments), expected, arguments)


class WithAccounts(unittest.TestCase):
    """Passwords for tokens, and who may do what with whose images."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(settings=ADMINS_PUBLISH)
        cls.files = Files(cls.server)
        cls.secrets = {"alice": cls.server.user("alice"), "bob": cls.server.user("bob"), "root": cls.server.user("root", "--admin")}

    @classmethod
    def tearDownClass(cls):
        log = cls.server.stop()
        assert not any(secret in log for secret in cls.secrets.values()), "a secret in the log"

    def glance(self, who, *arguments, stdin=None, **more):
        access = {"OS_AUTH_URL": self.server.url + "/v3", "OS_USERNAME": who, "OS_PASSWORD": self.secrets[who], "OS_PROJECT_NAME": who,
                  "OS_USER_DOMAIN_ID": "default", "OS_PROJECT_DOMAIN_ID": "default"}
        return run("glance", *arguments, environment=self.server.environment(**(access | more)), stdin=stdin)

    def refused(self, words, who, *arguments, **more):
        done = self.glance(who, *arguments, **more)
        self.assertEqual(done.code, 1, done.out)
        self.assertIn(words, done.err)

    def create(self, who, *more):
        return table(self.glance(who, "image-create", *RAW, "--file", self.files.odd, *more))

    def listed(self, who, *arguments):
        return column(self.glance(who, "image-list", *arguments))

    def test_a_password_is_enough(self):
        image = self.create("alice", "--name", "hers")
        self.assertEqual((image["owner"], image["visibility"], image["status"]), ("alice", "shared", "active"))
        self.assertIn(image["id"], self.listed("alice", "--owner", "alice"))
        done = self.glance("alice", "image-download", image["id"])
        self.assertEqual(hashlib.sha256(done.bytes).hexdigest(), self.files.sha256(self.files.odd))
        self.refused("401", "alice", "image-list", OS_PASSWORD="wrong")
        self.assertEqual(self.glance("alice", "image-delete", image["id"]).said, "")

    def test_without_a_token_nothing(self):
        access = ("--os-image-url", self.server.url, "--os-auth-token", "anything")
        done = run("glance", *access, "image-list", environment=self.server.environment())
        self.assertEqual(done.code, 1)
        with self.assertRaises(exc.HTTPUnauthorized):
            next(glanceclient.Client("2", endpoint=self.server.url, token="anything").images.list())

    def test_members(self):
        image = self.create("alice")["id"]
        self.assertNotIn(image, self.listed("bob"))
        self.refused("404", "bob", "image-show", image)
        self.assertEqual(column(self.glance("alice", "member-create", image, "bob"), 2), ["pending"])
        self.refused("409", "alice", "member-create", image, "bob")
        self.assertEqual(table(self.glance("bob", "image-show", image))["owner"], "alice")
        self.assertNotIn(image, self.listed("bob"))
        self.assertIn(image, self.listed("bob", "--member-status", "pending"))
        self.assertEqual(column(self.glance("bob", "member-update", image, "bob", "accepted"), 2), ["accepted"])
        self.refused("403", "alice", "member-update", image, "bob", "rejected")
        self.assertIn(image, self.listed("bob", "--visibility", "shared"))
        self.assertEqual(column(self.glance("alice", "member-list", "--image-id", image), 1), ["bob"])
        self.assertEqual(table(self.glance("bob", "member-get", image, "bob"))["status"], "accepted")
        done = self.glance("bob", "image-download", image)
        self.assertEqual(hashlib.sha256(done.bytes).hexdigest(), self.files.sha256(self.files.odd))
        # To see is not to change.
        self.refused("403", "bob", "image-update", image, "--name", "mine")
        self.refused("You are not permitted to delete", "bob", "image-delete", image)
        self.refused("403", "bob", "member-create", image, "root")
        self.refused("403", "bob", "image-deactivate", image)
        self.refused("403", "bob", "image-tag-update", image, "mine")
        self.assertEqual(self.glance("alice", "member-delete", image, "bob").said, "")
        self.refused("404", "alice", "member-delete", image, "bob")
        self.refused("404", "bob", "image-show", image)
        self.assertEqual(table(self.glance("alice", "image-update", image, "--visibility", "private"))["visibility"], "private")
        self.refused("403", "alice", "member-create", image, "bob")

    def test_visibility(self):
        image = self.create("alice")["id"]
        self.refused("403", "alice", "image-update", image, "--visibility", "public")
        self.assertEqual(self.glance("alice", "image-update", image, "--visibility", "community").code, 0)
        self.assertNotIn(image, self.listed("bob"))
        self.assertIn(image, self.listed("bob", "--visibility", "community"))
        self.assertEqual(self.glance("root", "image-update", image, "--visibility", "public").code, 0)
        self.assertIn(image, self.listed("bob"))
        self.refused("403", "bob", "image-update", image, "--min-ram", "1")
        self.refused("403", "bob", "image-create", "--owner", "alice")
        self.assertEqual(table(self.glance("root", "image-update", image, "--owner", "bob"))["owner"], "bob")
        self.assertEqual(self.glance("bob", "image-delete", image).said, "")

    def test_what_is_deactivated_is_withheld(self):
        image = self.create("alice")["id"]
        self.assertEqual(self.glance("alice", "image-deactivate", image).said, "")
        self.refused("403", "alice", "image-download", image)
        self.assertEqual(len(self.glance("root", "image-download", image).bytes), os.path.getsize(self.files.odd))
        self.assertEqual(self.glance("alice", "image-reactivate", image).said, "")
        self.assertEqual(len(self.glance("alice", "image-download", image).bytes), os.path.getsize(self.files.odd))

    def test_web_downloads_go_nowhere_inside(self):
        image = table(self.glance("alice", "image-create", *RAW))
        with Source(self.server.directory) as source:
            self.refused("400", "alice", "image-import", image["id"], "--import-method", "web-download", "--uri", source.url + "odd")
        shown = table(self.glance("alice", "image-show", image["id"]))
        self.assertEqual((shown["status"], shown["size"]), ("queued", "None"))

    def test_what_only_administrators_see(self):
        self.refused("403", "alice", "stores-info", "--detail")
        self.refused("403", "alice", "task-list")
        self.assertEqual(self.glance("root", "task-list").code, 0)


if __name__ == "__main__":
    main()
