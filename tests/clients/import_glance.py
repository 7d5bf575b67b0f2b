#!/usr/bin/env python3
"""`visor import-glance`: a whole Glance, as it comes from PyPI, is brought to a Visor, and from there to another one.

usage: import_glance.py VISOR [TEST…]

Needs Keystone and Glance in the environment that tests/clients/prepare makes for them, and openstacksdk beside the Python that runs
this. Starts servers of its own and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import hashlib
import json
import os
import subprocess
import unittest

import openstack

from cloud_harness import Glance, Keystone
from harness import VISOR, Files, Server, call, main, until

KEYS = ("id", "name", "owner", "visibility", "status", "protected", "tags", "min_disk", "min_ram", "disk_format", "container_format", "size", "checksum", "os_hidden")

NAMESPACE = {
    "namespace": "OS::Lab::Test", "display_name": "Lab", "description": "of the lab", "visibility": "public", "protected": True,
    "properties": {"lab_size": {"title": "Size", "type": "integer", "minimum": 1}},
    "objects": [{"name": "Rack", "description": "a rack", "properties": {"height": {"title": "Height", "type": "integer"}}}],
    "tags": [{"name": "fast"}],
    "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "lab_"}],
}


def shown(image):
    """Glance has no order of tags."""
    return {key: sorted(image[key]) if key == "tags" else image[key] for key in KEYS}


class Moving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keystone = keystone = Keystone()
        for project in ("a", "b"):
            keystone.project(project)
        keystone.user("alice", "a", "member")
        cls.glance = Glance(keystone)
        keystone.serve_images_at(cls.glance.url)
        cls.first, cls.second = Server(), Server()
        cls.secret = cls.first.user("root", "--admin")
        cls.files = Files(cls.first)
        cls.cloud = cls.connect("admin", "admin")
        image = lambda **more: cls.make(cls.cloud, **more)
        kernel = image(name="kernel", disk_format="aki", container_format="aki", file=cls.files.odd)
        cls.images = {
            "plain": image(name="plain", disk_format="raw", file=cls.files.odd, tags=["one", "two"], hw_disk_bus="scsi", min_disk=3, min_ram=64),
            "kernel": kernel,
            "machine": image(name="machine", disk_format="ami", container_format="ami", file=cls.files.sparse, kernel_id=kernel),
            "public": image(name="public", disk_format="raw", file=cls.files.sparse, visibility="public", protected=True),
            "hidden": image(name="hidden", disk_format="raw", file=cls.files.odd, os_hidden=True),
            "withheld": image(name="withheld", disk_format="raw", file=cls.files.odd),
            "shared": cls.make(cls.connect("alice", "a"), name="shared", disk_format="raw", file=cls.files.odd, visibility="shared"),
            "community": cls.make(cls.connect("alice", "a"), name="community", disk_format="raw", file=cls.files.odd, visibility="community"),
        }
        cls.queued = image(name="queued", disk_format="raw", file=None)
        cls.cloud.image.deactivate_image(cls.images["withheld"])
        cls.connect("alice", "a").image.post(f"/images/{cls.images['shared']}/members", json={"member": keystone.projects["b"]}).raise_for_status()
        cls.cloud.image.put(f"/images/{cls.images['shared']}/members/{keystone.projects['b']}", json={"status": "accepted"})
        assert cls.cloud.image.post("/metadefs/namespaces", json=NAMESPACE).status_code == 201

    @classmethod
    def tearDownClass(cls):
        for server in (cls.first, cls.second):
            server.stop()
        cls.glance.stop()
        cls.keystone.stop()

    @classmethod
    def connect(cls, user, project):
        path = os.path.join(cls.keystone.directory, f"{user}.yaml")
        with open(path, "w") as file:
            file.write(cls.keystone.clouds(user, project))
        return openstack.connection.Connection(config=openstack.config.OpenStackConfig(load_envvars=False, config_files=[path]).get_one("visor"))

    @staticmethod
    def make(connection, file, container_format="bare", **fields):
        made = connection.image.post("/images", json={"container_format": container_format, **fields})
        made.raise_for_status()
        image = made.json()["id"]
        if file:
            with open(file, "rb") as data:
                connection.image.put(f"/images/{image}/file", data=data, headers={"Content-Type": "application/octet-stream"}).raise_for_status()
        return image

    def source(self):
        return {"OS_AUTH_URL": self.keystone.url, "OS_USERNAME": "admin", "OS_PASSWORD": self.keystone.PASSWORD, "OS_PROJECT_NAME": "admin",
                "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default"}

    def run_import(self, *arguments, to=None, settings=None):
        """The exit code, and what was said about each."""
        to = to or self.first
        config = ("--config", to.path("root.toml")) if to is self.first else ()
        done = subprocess.run([VISOR, "--json", *config, "import-glance", "-a", to.url, *arguments],
                              env=self.first.environment(**(self.source() if settings is None else settings)), capture_output=True, text=True, timeout=300)
        self.assertTrue(done.stdout.startswith("{"), done.stderr)
        return done.returncode, {entry["id"]: (entry["outcome"], entry["reason"]) for entry in json.loads(done.stdout)["entries"]}

    def token(self):
        user = {"name": "root", "domain": {"name": "Default"}, "password": self.secret}
        made = call("POST", self.first.url + "/v3/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}})
        return {"X-Auth-Token": made.headers["X-Subject-Token"]}

    def shown(self, image, to=None):
        found = call("GET", f"{(to or self.first).url}/v2/images/{image}", headers=self.token())
        self.assertEqual(found.status, 200, found.body)
        return found.json

    def check(self, to, deactivated="deactivated"):
        for name, image in self.images.items():
            there, here = self.cloud.image.get(f"/images/{image}").json(), self.shown(image, to)
            self.assertEqual(shown(here), shown(there), name)
            data = call("GET", f"{to.url}/v2/images/{image}/file", headers=self.token())
            self.assertEqual(hashlib.sha512(data.body).hexdigest(), there["os_hash_value"], name)
        self.assertEqual(self.shown(self.images["plain"], to)["hw_disk_bus"], "scsi")
        self.assertEqual(self.shown(self.images["machine"], to)["kernel_id"], self.images["kernel"])
        members = call("GET", f"{to.url}/v2/images/{self.images['shared']}/members", headers=self.token()).json["members"]
        self.assertEqual([(m["member_id"], m["status"]) for m in members], [(self.keystone.projects["b"], "accepted")])
        found = call("GET", f"{to.url}/v2/metadefs/namespaces/OS::Lab::Test", headers=self.token()).json
        self.assertEqual((found["protected"], list(found["properties"]), [o["name"] for o in found["objects"]]), (True, ["lab_size"], ["Rack"]))
        tags = call("GET", f"{to.url}/v2/metadefs/namespaces/OS::Lab::Test/tags", headers=self.token()).json["tags"]
        self.assertEqual([tag["name"] for tag in tags], ["fast"])

    def test_a_whole_glance_comes_over_and_from_there_to_another_visor(self):
        # What a dry run announces is not done.
        code, said = self.run_import("--dry-run")
        self.assertEqual(code, 0, said)
        self.assertEqual({said[image][0] for image in self.images.values()}, {"to import"})
        self.assertEqual(call("GET", self.first.url + "/v2/images", headers=self.token()).json["images"], [])

        # An earlier run was interrupted before the bytes of this one.
        plain = self.cloud.image.get(f"/images/{self.images['plain']}").json()
        begun = {key: plain[key] for key in ("id", "name", "owner", "visibility", "tags", "min_disk", "min_ram", "disk_format", "container_format", "hw_disk_bus")}
        self.assertEqual(call("POST", self.first.url + "/v2/images", begun, self.token()).status, 201)

        code, said = self.run_import()
        self.assertEqual(code, 0, said)
        self.assertEqual({said[image] for image in self.images.values()}, {("imported", "")})
        self.assertEqual(said[self.queued][0], "skipped")
        self.assertEqual(said["OS::Lab::Test"], ("imported", ""))
        self.check(self.first)

        # Everything is here.
        code, said = self.run_import()
        self.assertEqual(code, 0, said)
        self.assertEqual({said[image] for image in [*self.images.values(), "OS::Lab::Test"]}, {("here already", "")})

        # From one Visor to another, without accounts, where any token will do.
        here = {"OS_AUTH_URL": self.first.url, "OS_USERNAME": "root", "OS_PASSWORD": self.secret}
        code, said = self.run_import(to=self.second, settings=here)
        self.assertEqual(code, 0, said)
        self.check(self.second)
        code, said = self.run_import(self.images["plain"], to=self.second, settings={"OS_ENDPOINT": self.first.url, "OS_TOKEN": self.token()["X-Auth-Token"]})
        self.assertEqual((code, said), (0, {self.images["plain"]: ("here already", "")}))

    def test_other_bytes_under_an_id_are_not_overwritten(self):
        target = Server()
        try:
            plain = self.images["plain"]
            call("POST", target.url + "/v2/images", {"id": plain, "name": "mine", "disk_format": "raw", "container_format": "bare"})
            call("PUT", f"{target.url}/v2/images/{plain}/file", self.files.sparse, {"Content-Type": "application/octet-stream"})
            code, said = self.run_import(plain, to=target)
            self.assertEqual((code, said[plain][0]), (1, "failed"))
            self.assertIn("other bytes", said[plain][1])
            self.assertEqual(call("GET", f"{target.url}/v2/images/{plain}").json["name"], "mine")
            # A member, and an owner, by another name here.
            a, b, shared = self.keystone.projects["a"], self.keystone.projects["b"], self.images["shared"]
            code, said = self.run_import(shared, "--owner", f"{a}=alice", "--owner", f"{b}=bob", to=target)
            self.assertEqual((code, said[shared]), (0, ("imported", "")))
            self.assertEqual(call("GET", f"{target.url}/v2/images/{shared}").json["owner"], "alice")
            self.assertEqual(call("GET", f"{target.url}/v2/images/{shared}/members").json["members"][0]["member_id"], "bob")
        finally:
            target.stop()

    def test_bytes_that_rotted_at_the_source_do_not_arrive(self):
        rotten = self.make(self.cloud, name="rotten", disk_format="raw", file=self.files.sparse)
        path = os.path.join(self.glance.directory, "images", rotten)
        with open(path, "r+b") as file:
            file.seek(100)
            file.write(b"rot")
        target = Server()
        try:
            code, said = self.run_import(rotten, to=target)
            self.assertEqual((code, said[rotten][0]), (1, "failed"), said)
            # The server has yet to see that the client went away.
            status = lambda: call("GET", f"{target.url}/v2/images/{rotten}").json["status"]
            until(lambda: status() == "queued", "the image waits for its bytes again")
        finally:
            target.stop()
            self.cloud.image.delete_image(rotten)

    def test_a_server_of_the_same_cloud_takes_its_tokens(self):
        """Without keys of its own, and only if it names the Keystone that the source is called by."""
        password = os.path.join(self.keystone.directory, "password")
        with open(os.open(password, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(self.keystone.PASSWORD + "\n")
        identity = f'[identity]\nurl = "{self.keystone.url}"\nusername = "admin"\npassword_file = "{password}"\nproject = "admin"\n'
        plain = self.images["plain"]
        target = Server(settings=identity)
        try:
            code, said = self.run_import(plain, to=target)
            self.assertEqual((code, said), (0, {plain: ("imported", "")}))
            token = {"X-Auth-Token": self.keystone.token("admin", "admin")}
            self.assertEqual(call("GET", f"{target.url}/v2/images/{plain}", headers=token).json["status"], "active")
        finally:
            target.stop()
        target = Server(settings=identity + 'public_url = "https://keystone.elsewhere.example"\n')
        try:
            done = subprocess.run([VISOR, "import-glance", "-a", target.url, plain], capture_output=True, text=True, timeout=60,
                                  env=self.first.environment(**self.source()))
            self.assertEqual(done.returncode, 7, done.stderr)
            self.assertIn("https://keystone.elsewhere.example/v3", done.stderr)
        finally:
            target.stop()

    def test_a_login_that_fails_says_so(self):
        done = subprocess.run([VISOR, "import-glance", "-a", self.second.url], capture_output=True, text=True, timeout=60,
                              env=self.first.environment(**{**self.source(), "OS_PASSWORD": "wrong"}))
        self.assertEqual(done.returncode, 7, done.stderr)
        done = subprocess.run([VISOR, "import-glance", "-a", self.second.url], capture_output=True, text=True, timeout=60, env=self.first.environment())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("OS_AUTH_URL", done.stderr)


if __name__ == "__main__":
    main()
