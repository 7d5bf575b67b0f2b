#!/usr/bin/env python3
"""Nova's own image code, as its compute service and its API call it, against a real server.

usage: nova_image.py VISOR [TEST…]

Needs what requirements.txt names beside the Python that runs this. Starts servers of its own and ends them. VISOR_TALLY
names a file to write "passed failed" to.
"""

import hashlib
import io
import logging
import os
import unittest

# Its threads are the operating system's here, as they are in its API.
os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "yes"

from keystoneauth1 import session
from keystoneauth1.identity import v3
import nova.conf
from nova import context, exception
from nova.image import glance

from harness import ADMINS_PUBLISH, Files, Server, main

UNKNOWN = "11111111-2222-4333-8444-555555555555"
RAW = {"disk_format": "raw", "container_format": "bare"}


class Nova(unittest.TestCase):
    """What the tests have in common: the API object, and the contexts of users."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(settings=ADMINS_PUBLISH)
        cls.files = Files(cls.server)
        cls.data = open(cls.files.odd, "rb").read()
        nova.conf.CONF([], project="nova", default_config_files=[])
        nova.conf.CONF.set_override("endpoint_override", cls.server.url, group="glance")
        cls.api = glance.API()
        cls.enter()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def create(self, who, data=None, **image):
        return self.api.create(who, {"name": "of Nova", "properties": {}, **RAW, **image}, data=data)


class WithoutAccounts(Nova):
    @classmethod
    def enter(cls):
        cls.me = context.RequestContext("anybody", "anyproject", auth_token="anything", is_admin=True)

    def test_create_get_download(self):
        properties = {"os_distro": "ubuntu", "hw_cpu_sockets": 2, "mappings": [{"virtual": "ami", "device": "sda"}], "empty": ""}
        made = self.create(self.me, io.BytesIO(self.data), min_ram="64", min_disk=3, is_public=True, properties=properties)
        self.assertEqual((made["status"], made["size"], made["checksum"]), ("active", len(self.data), hashlib.md5(self.data).hexdigest()))
        self.assertEqual((made["is_public"], made["min_ram"], made["min_disk"]), (True, 64, 3))
        # What the schema does not tell from properties would be among them.
        self.assertEqual(made["properties"], {**properties, "hw_cpu_sockets": "2"})
        self.assertEqual(made["os_hash_value"], hashlib.new(made["os_hash_algo"], self.data).hexdigest())
        self.assertIsNotNone(made["created_at"].tzinfo)
        self.assertEqual(self.api.get(self.me, made["id"]), made)
        self.assertEqual(self.api.get(self.me, f"{self.server.url}/v2/images/{made['id']}"), made)
        self.assertEqual(self.api.get(self.me, made["id"], include_locations=True)["locations"], [])
        path = self.server.path("instance")
        self.api.download(self.me, made["id"], dest_path=path)
        self.assertEqual(self.files.sha256(path), self.files.sha256(self.files.odd))
        self.assertEqual(b"".join(self.api.download(self.me, made["id"])), self.data)
        self.assertIn(made["id"], glance.API.generate_image_url(made["id"], self.me))
        self.assertTrue(self.api.delete(self.me, made["id"]))
        for gone in (self.api.get, self.api.delete, self.api.download):
            with self.assertRaises(exception.ImageNotFound):
                gone(self.me, made["id"])

    def test_a_snapshot_of_a_machine_with_many_volumes(self):
        volume = {"source_type": "snapshot", "destination_type": "volume", "snapshot_id": UNKNOWN, "delete_on_termination": False,
                  "device_name": "/dev/vdb", "guest_format": None, "disk_bus": "virtio", "device_type": "disk", "boot_index": None,
                  "volume_size": 100, "volume_type": "ssd", "no_device": None, "tag": None, "encrypted": False, "image_id": None,
                  "encryption_secret_uuid": None, "encryption_format": None, "encryption_options": None, "volume_id": None}
        properties = {"block_device_mapping": [volume] * 12, "bdm_v2": "True", **{f"image_{n}": "v" for n in range(100)}}
        made = self.create(self.me, io.BytesIO(b""), size=0, properties=properties)
        self.assertEqual(self.api.get(self.me, made["id"])["properties"]["block_device_mapping"], [volume] * 12)

    def test_lists(self):
        made = [self.create(self.me, name=f"list {n}", properties={"kept": str(n % 2)}) for n in range(3)]
        self.api.update(self.me, made[1]["id"], {"is_public": True}, purge_props=False)

        def names(**arguments):
            return [image["name"] for image in self.api.get_all(self.me, **arguments) if image["name"].startswith("list")]

        self.assertEqual(names(), ["list 2", "list 1", "list 0"])
        self.assertEqual(names(sort_key="name", sort_dir="asc", page_size=1), ["list 0", "list 1", "list 2"])
        self.assertEqual(names(sort_key="name", sort_dir="asc", marker=made[0]["id"], limit=1), ["list 1"])
        for filters, expected in (
            ({"name": "list 1"}, ["list 1"]),
            ({"property-kept": "0"}, ["list 2", "list 0"]),
            ({"status": "queued"}, ["list 2", "list 1", "list 0"]),
            ({"size_min": "1"}, []),
            ({"is_public": "True", "name": "list 1"}, ["list 1"]),
            ({"is_public": "False"}, []),
            ({"changes-since": "2011-01-01T00:00:00Z"}, ["list 2", "list 1", "list 0"]),
            ({"changes-since": "2999-01-01T00:00:00Z"}, []),
        ):
            self.assertEqual(names(filters=dict(filters)), expected, filters)

    def test_update(self):
        made = self.create(self.me, properties={"a": "1", "b": "2", "kernel_id": UNKNOWN})
        changed = self.api.update(self.me, made["id"], {"name": "renamed", "min_ram": 5, "properties": {"b": "3", "c": "4"}}, purge_props=False)
        self.assertEqual((changed["name"], changed["min_ram"]), ("renamed", 5))
        self.assertEqual(changed["properties"], {"a": "1", "b": "3", "c": "4", "kernel_id": UNKNOWN})
        changed = self.api.update(self.me, made["id"], {"id": made["id"], "properties": {"c": "5"}}, purge_props=True)
        self.assertEqual(changed["properties"], {"c": "5"})
        changed = self.api.update(self.me, made["id"], {"properties": {}}, data=io.BytesIO(self.data), purge_props=False)
        self.assertEqual((changed["status"], changed["size"]), ("active", len(self.data)))
        with self.assertRaises(exception.ImageNotFound):
            self.api.update(self.me, UNKNOWN, {"name": "x"})

    def test_snapshots_without_bytes(self):
        # Of an instance on a volume: an image that is active at once, and has only properties.
        image = {"name": "snapshot", "size": 0, "properties": {"kernel_id": None, "ramdisk_id": "", "bdm_v2": "True"}}
        made = self.api.create(self.me, image)
        self.assertEqual((made["status"], made["size"], made["disk_format"]), ("active", 0, "raw"))
        self.assertEqual(made["properties"].get("bdm_v2"), "True")
        waiting = self.create(self.me)
        self.assertEqual((waiting["status"], waiting["size"]), ("queued", 0))
        with self.assertRaises(exception.ImageUnacceptable):
            self.api.download(self.me, waiting["id"], dest_path=self.server.path("nothing"))

    def test_mistakes(self):
        with self.assertRaises(exception.Invalid):
            self.create(self.me, properties={"x" * 300: "1"})
        made = self.create(self.me, io.BytesIO(self.data))
        with self.assertRaises(exception.ImageBadRequest):
            self.api.copy_image_to_store(self.me, made["id"], "file")
        with self.assertRaises(exception.ImageImportImpossible):
            self.api.copy_image_to_store(self.me, made["id"], "elsewhere")


class WithAccounts(Nova):
    @classmethod
    def enter(cls):
        def user(name, *arguments):
            secret = cls.server.user(name, *arguments)
            auth = v3.Password(cls.server.url + "/v3", username=name, password=secret, user_domain_id="default",
                               project_name=name, project_domain_id="default")
            token = auth.get_token(session.Session())
            return context.RequestContext(name, name, auth_token=token, is_admin="--admin" in arguments)

        cls.alice, cls.bob, cls.root = user("alice"), user("bob"), user("root", "--admin")

    def test_images_belong_to_projects(self):
        made = self.create(self.alice, io.BytesIO(self.data))
        self.assertEqual((made["owner"], made["is_public"]), ("alice", False))
        with self.assertRaises(exception.ImageNotFound):
            self.api.get(self.bob, made["id"])
        with self.assertRaises(exception.Forbidden):
            self.create(self.alice, is_public=True)
        public = self.create(self.root, io.BytesIO(self.data), is_public=True)
        self.assertIn(public["id"], [image["id"] for image in self.api.get_all(self.bob)])
        self.assertEqual(b"".join(self.api.download(self.bob, public["id"])), self.data)
        with self.assertRaises(exception.ImageNotAuthorized):
            self.api.delete(self.bob, public["id"])
        with self.assertRaises(exception.ImageNotAuthorized):
            self.api.update(self.bob, public["id"], {"name": "mine"}, purge_props=False)

    def test_a_snapshot_of_another_s_instance(self):
        made = self.create(self.alice, io.BytesIO(self.data), visibility="shared", properties={"instance_owner": "bob", "k": "v"})
        self.assertEqual(made["properties"], {"k": "v"})
        self.assertEqual(self.api.get(self.bob, made["id"])["id"], made["id"])
        self.assertEqual(b"".join(self.api.download(self.bob, made["id"])), self.data)

    def test_a_token_that_is_none(self):
        nobody = context.RequestContext("alice", "alice", auth_token="gAAAAwrong")
        with self.assertRaises(exception.ImageNotAuthorized):
            self.api.get(nobody, UNKNOWN)


if __name__ == "__main__":
    # It tells its log about every refusal.
    logging.disable(logging.CRITICAL)
    main()
