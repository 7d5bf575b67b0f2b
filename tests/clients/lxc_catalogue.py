#!/usr/bin/env python3
"""One catalogue: what `lxc` brings in is there for VISOR's and Glance's clients, and the disks of those for `lxc`.

usage: lxc_catalogue.py VISOR [TEST…]

Starts servers of its own and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import json
import os
import subprocess
import tarfile

from harness import call, main, until
from lxd_harness import Commands, Lxc, sha256


class Catalogue(Commands):
    """One server, to which all of them talk."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.who = Lxc(cls.server, "home")
        cls.who.do("remote", "add", "visor", cls.server.https, "--accept-certificate")

    def visor(self, method, path, body=None, **meta):
        headers = {f"x-image-meta-{name}": value for name, value in meta.items()}
        if body:
            headers["Content-Type"] = "application/octet-stream"
        return call(method, self.server.url + path, body, headers)

    def glance(self, method, path, body=None, **headers):
        answer = call(method, self.server.url + "/v2" + path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        self.assertLess(answer.status, 300, answer.body)
        return answer

    def by_fingerprint(self, fingerprint):
        """The record of an image as VISOR's clients find it."""
        (record,) = self.visor("GET", f"/images/detail?fingerprint={fingerprint}").json["images"]
        return record

    def bring_in(self, *files, alias, options=()):
        self.do("image", "import", *files, "visor:", "--alias", alias, *options)
        return sha256(*files)

    def offered(self, name):
        """An image of another protocol as LXD's clients see it, when it is there for them."""
        until(lambda: self.who("image", "info", f"visor:{name}").code == 0, "it is offered")
        (image,) = [image for image in self.who.json("image", "list", "visor:") if image["properties"]["description"] == name]
        return image

    def export(self, name):
        """What describes an image, and its disk."""
        path = os.path.join(self.images.directory, "saved")
        self.do("image", "export", f"visor:{name}", path)
        return path, path + ".root"

    def test_what_lxc_brings_is_there_for_the_others(self):
        one = self.images.unified("xz", description="Debian in one")
        two = (self.images.metadata(), self.images.rootfs())
        vm = (self.images.metadata(), self.images.disk())
        for files, options, expected in (
            ((one,), ("--public",), {"type": "container", "format": "tar", "access": "public"}),
            (two, (), {"type": "container", "format": "squashfs", "access": "private"}),
            (vm, ("--public",), {"type": "virtual-machine", "format": "qcow2", "access": "public"}),
        ):
            fingerprint = self.bring_in(*files, alias=f"there/{expected['format']}", options=options)
            record = self.by_fingerprint(fingerprint)
            expected |= {"architecture": "x86_64", "status": "available", "size": os.path.getsize(files[-1]), "os": "Debian"}
            self.assertEqual({name: record.get(name) for name in expected}, expected)
            path = f"/images/{record['_id']}"
            # Their file is the one, or the root of two.
            self.assertTrue(self.visor("GET", path).body == open(files[-1], "rb").read())
            image = self.glance("GET", path).json
            visibility = "public" if "--public" in options else "private"
            self.assertEqual((image["status"], image["visibility"], image["size"]), ("active", visibility, record["size"]))
            self.assertEqual((image["name"], image["architecture"], image["os"]), (record["name"], "x86_64", "Debian"))
            self.assertTrue(self.glance("GET", path + "/file").body == open(files[-1], "rb").read())
        self.assertEqual(self.by_fingerprint(sha256(one))["name"], "Debian in one")
        self.assertIn(record["_id"], [image["id"] for image in self.glance("GET", "/images?limit=100").json["images"]])

    def test_changes_are_seen_by_all(self):
        fingerprint = self.bring_in(self.images.unified(), alias="changes")
        path = f"/images/{self.by_fingerprint(fingerprint)['_id']}"
        self.do("image", "set-property", "visor:changes", "by", "lxc")
        self.assertEqual(self.glance("GET", path).json["by"], "lxc")
        self.assertEqual(self.visor("PUT", path, by="visor", access="public").status, 200)
        self.assertEqual(self.do("image", "get-property", "visor:changes", "by"), "visor\n")
        self.assertIn("Public: yes", self.do("image", "info", "visor:changes"))
        patch = json.dumps([{"op": "replace", "path": "/by", "value": "glance"}, {"op": "replace", "path": "/protected", "value": True},
                            {"op": "replace", "path": "/visibility", "value": "private"}]).encode()
        self.glance("PATCH", path, patch, Content_Type="application/openstack-images-v2.1-json-patch")
        self.assertEqual(self.do("image", "get-property", "visor:changes", "by"), "glance\n")
        self.assertIn("Public: no", self.do("image", "info", "visor:changes"))
        self.refused("protected", "image", "delete", "visor:changes")
        patch = json.dumps([{"op": "replace", "path": "/protected", "value": False}]).encode()
        self.glance("PATCH", path, patch, Content_Type="application/openstack-images-v2.1-json-patch")
        self.glance("DELETE", path)
        self.refused("Image not found", "image", "info", "visor:changes")
        fingerprint = self.bring_in(self.images.unified(), alias="changes")
        path = f"/images/{self.by_fingerprint(fingerprint)['_id']}"
        self.do("image", "delete", "visor:changes")
        self.assertEqual(self.visor("HEAD", path).status, 404)

    def test_a_qcow2_of_visors_is_a_machine(self):
        disk = self.images.disk()
        made = self.visor("POST", "/images", disk, name="cirros", architecture="amd64", format="qcow2", **{"os_distro": "cirros"})
        self.assertEqual(made.status, 200, made.body)
        image = self.offered("cirros")
        self.assertEqual((image["type"], image["architecture"], image["public"]), ("virtual-machine", "x86_64", True))
        self.assertEqual((image["properties"]["os_distro"], image["filename"]), ("cirros", "cirros.qcow2"))
        metadata, root = self.export("cirros")
        self.assertEqual(sha256(metadata, root), image["fingerprint"])
        self.assertEqual(sha256(root), sha256(disk))
        with tarfile.open(metadata) as archive:
            text = archive.extractfile("metadata.yaml").read().decode()
        self.assertIn("architecture: x86_64", text)
        self.assertIn("os_distro", text)

    def test_a_disk_of_glances_is_a_machine(self):
        disk = self.images.disk()
        body = {"name": "alpine", "disk_format": "qcow2", "container_format": "bare", "architecture": "aarch64", "os_distro": "alpine"}
        image = self.glance("POST", "/images", body).json
        self.glance("PUT", f"/images/{image['id']}/file", disk, Content_Type="application/octet-stream")
        offered = self.offered("alpine")
        self.assertEqual((offered["architecture"], offered["public"], offered["size"] > os.path.getsize(disk)), ("aarch64", False, True))
        _, root = self.export("alpine")
        self.assertEqual(sha256(root), sha256(disk))
        # What nobody may read now nobody reads here either.
        self.glance("POST", f"/images/{image['id']}/actions/deactivate")
        self.refused("Image not found", "image", "info", "visor:alpine")
        self.glance("POST", f"/images/{image['id']}/actions/reactivate")
        self.do("image", "info", "visor:alpine")
        # Without an architecture LXD could not be told what it is for.
        self.glance("POST", "/images", {"name": "no processor", "disk_format": "qcow2", "container_format": "bare"})
        self.refused("Image not found", "image", "info", "visor:no processor")

    def test_a_raw_disk_is_given_out_as_qcow2(self):
        for size in (512, (64 << 10) + 512, (5 << 20) + 100, 1 << 20, 96 << 20):
            with self.subTest(size):
                disk, name = self.images.disk(size, "raw"), f"raw {size}"
                # Behind the last block there is something too.
                with open(disk, "r+b") as file:
                    file.seek(size - 5)
                    file.write(b"end.\n")
                made = self.visor("POST", "/images", disk, name=name, architecture="x86_64", format="raw")
                self.assertEqual(made.status, 200, made.body)
                image = self.offered(name)
                metadata, root = self.export(name)
                self.assertEqual(sha256(metadata, root), image["fingerprint"])
                qemu = ("qemu-img", "check", "-q", "-f", "qcow2", root), ("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", disk, root)
                for command in qemu:
                    done = subprocess.run(command, capture_output=True, text=True)
                    self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
                shown = json.loads(subprocess.run(["qemu-img", "info", "--output=json", root], capture_output=True, check=True).stdout)
                self.assertEqual((shown["format"], shown["virtual-size"]), ("qcow2", -(-size // 512) * 512))
                # VISOR's clients get what they gave.
                self.assertEqual(len(self.visor("GET", f"/images/{made.json['image']['_id']}").body), size)
                for path in (disk, metadata, root):
                    os.unlink(path)

    def test_disks_that_share_a_name(self):
        def listed():
            return {image["fingerprint"] for image in self.who.json("image", "list", "visor:", "shared name")}

        def add(architecture):
            before = listed()
            made = self.visor("POST", "/images", self.images.disk(), name="shared name", architecture=architecture, format="qcow2")
            self.assertEqual(made.status, 200, made.body)
            (fingerprint,) = until(lambda: listed() - before, "it is offered")
            return fingerprint, made.json["image"]["_id"]

        first, _ = add("x86_64")
        self.assertEqual(self.who.fingerprint("visor:shared name"), first)
        second, id_ = add("x86_64")
        arm, _ = add("aarch64")
        self.assertEqual(self.who.fingerprint("visor:shared name"), second)
        self.assertEqual(self.who.fingerprint("visor:shared name/arm64"), arm)
        rows = self.do("image", "list", "visor:", "shared", "-f", "csv", "-c", "lF").splitlines()
        self.assertEqual(sorted(rows), sorted(f"shared name,{one}" for one in (first, second, arm)))
        rows = self.do("image", "alias", "list", "visor:", "shared", "-f", "csv").splitlines()
        self.assertEqual(sorted(rows), sorted(f"shared name,{one[:12]},VIRTUAL-MACHINE," for one in (second, arm)))
        # As any alias it gives way to an image that `lxc` brings under the name.
        container = self.bring_in(self.images.unified(), alias="shared name")
        self.assertEqual(self.who.fingerprint("visor:shared name"), container)
        self.do("image", "delete", f"visor:{container}")
        # The program reads by the name too, and keeps to one image.
        self.server.visor("get", "shared name", "-S", self.images.directory, "-a", "127.0.0.1", "-p", self.server.url.rsplit(":", 1)[1])
        self.assertTrue(os.path.exists(os.path.join(self.images.directory, f"{id_}.qcow2")))

    def test_what_the_operator_keeps_back(self):
        made = self.visor("POST", "/images", self.images.disk(), name="kept back", architecture="x86_64", format="qcow2")
        id_, fingerprint = made.json["image"]["_id"], self.offered("kept back")["fingerprint"]
        port = self.server.url.rsplit(":", 1)[1]
        self.server.visor("lxd-offer", id_, "off", "-a", "127.0.0.1", "-p", port)
        self.refused("Image not found", "image", "info", "visor:kept back")
        self.refused("Image not found", "image", "info", f"visor:{fingerprint}")
        self.server.visor("lxd-offer", id_, "on", "-a", "127.0.0.1", "-p", port)
        self.assertEqual(self.offered("kept back")["fingerprint"], fingerprint)


if __name__ == "__main__":
    main()
