#!/usr/bin/env python3
"""The image API v1: python-glanceclient's, of whichever release the Python that runs this has, and what the class of 2011 sent.

usage: glance_v1.py VISOR [TEST…]

Starts servers of its own and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import hashlib
import http.client
import json
import unittest
import uuid

import glanceclient
from glanceclient import exc

from harness import ADMINS_PUBLISH, Files, Server, Source, main, run, until

UNKNOWN = "11111111-2222-4333-8444-555555555555"
RAW = {"disk_format": "raw", "container_format": "bare"}


def rows(done):
    """What a command printed: the cells of its table, line by line."""
    assert done.code == 0, done.err
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.out.splitlines() if line.startswith("|")][1:]


class V1(unittest.TestCase):
    """A server, and ways to ask it."""

    users = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--allow-fetch", "127.0.0.0/8", settings=ADMINS_PUBLISH)
        cls.files = Files(cls.server)
        cls.odd = open(cls.files.odd, "rb").read()
        cls.md5 = hashlib.md5(cls.odd).hexdigest()
        secrets = {user: cls.server.user(user, *more) for user, *more in cls.users}
        cls.tokens = {user: cls.token(user, secret) for user, secret in secrets.items()}

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    @classmethod
    def token(cls, user, secret):
        """As the old class has it from whoever uses it."""
        password = {"user": {"name": user, "domain": {"id": "default"}, "password": secret}}
        scope = {"project": {"name": user, "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": password}, "scope": scope}}
        return cls.ask("POST", "/v3/auth/tokens", json.dumps(body)).headers["x-subject-token"]

    @classmethod
    def ask(cls, method, path, body=None, headers=None, who=None):
        """A request as http.client makes it, which is what the class of 2011 had. The answer has its body in `data`."""
        connection = http.client.HTTPConnection(cls.server.url.removeprefix("http://"), timeout=60)
        headers = dict(headers or {})
        if who:
            headers["x-auth-token"] = cls.tokens[who]
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.data = response.read()
        connection.close()
        return response

    def client(self, who=None):
        return glanceclient.Client("1", endpoint=self.server.url, token=self.tokens.get(who, "anything"))

    def glance(self, *arguments, who=None, stdin=None):
        access = ("--os-image-api-version", "1", "--os-image-url", self.server.url, "--os-auth-token", self.tokens.get(who, "anything"))
        return run("glance", *access, *arguments, environment=self.server.environment(), stdin=stdin)

    def settled(self, client, image_id):
        """The image when its copy has ended."""
        def ended():
            image = client.images.get(image_id)
            return image if image.status in ("active", "killed") else None

        return until(ended, "the copy ends")


class Command(V1):
    """`glance --os-image-api-version 1`"""

    def test_create_show_download_update_delete(self):
        create = ("image-create", "--name", "old image", "--disk-format", "raw", "--container-format", "bare", "--file", self.files.odd,
                  "--is-public", "True", "--is-protected", "True", "--min-disk", "2", "--min-ram", "64", "--property", "distro=Ubuntu 10.10")
        created = dict(rows(self.glance(*create)))
        expected = {"name": "old image", "status": "active", "size": str(len(self.odd)), "checksum": self.md5, "is_public": "True",
                    "protected": "True", "min_disk": "2", "min_ram": "64", "deleted": "False", "Property 'distro'": "Ubuntu 10.10"}
        self.assertEqual({name: created.get(name) for name in expected}, expected)
        for name in (created["id"], "old image"):
            shown = dict(rows(self.glance("image-show", name)))
            self.assertEqual({name: shown.get(name) for name in expected}, expected)
        out = self.server.path("downloaded")
        self.assertEqual(self.glance("image-download", "old image", "--file", out).said, "")
        self.assertEqual(self.files.sha256(out), self.files.sha256(self.files.odd))
        refused = self.glance("image-delete", "old image")
        self.assertIn("Unable to delete image", refused.out + refused.err)
        changed = dict(rows(self.glance("image-update", "old image", "--name", "new image", "--is-protected", "False", "--property", "more=1")))
        self.assertEqual((changed["name"], changed["protected"], changed["Property 'more'"], changed["Property 'distro'"]),
                         ("new image", "False", "1", "Ubuntu 10.10"))
        purged = dict(rows(self.glance("image-update", "new image", "--purge-props", "--property", "only=1")))
        self.assertEqual([name for name in purged if name.startswith("Property")], ["Property 'only'"])
        self.assertEqual(self.glance("image-delete", created["id"]).said, "")
        self.assertEqual(self.glance("image-show", created["id"]).code, 1)

    def test_bytes_from_standard_input(self):
        create = ("image-create", "--disk-format", "raw", "--container-format", "bare")
        for path in (self.files.sparse, self.files.empty):
            data = open(path, "rb").read()
            created = dict(rows(self.glance(*create, stdin=path)))
            self.assertEqual((created["status"], created["size"], created["checksum"]), ("active", str(len(data)), hashlib.md5(data).hexdigest()))
        waiting = dict(rows(self.glance(*create, "--name", "waiting")))
        self.assertEqual((waiting["status"], waiting["size"], waiting["is_public"]), ("queued", "0", "False"))
        filled = dict(rows(self.glance("image-update", waiting["id"], "--file", self.files.odd)))
        self.assertEqual((filled["status"], filled["checksum"]), ("active", self.md5))
        self.assertIn("which is active", self.glance("image-update", waiting["id"], "--file", self.files.odd).err)

    def test_lists(self):
        for n in range(3):
            self.glance("image-create", "--name", f"list {n}", "--disk-format", "ami", "--container-format", "ami", "--property", f"n={n % 2}")
        for arguments, expected in (
            (("--disk-format", "ami"), ["list 0", "list 1", "list 2"]),
            (("--disk-format", "ami", "--page-size", "1", "--sort-dir", "desc"), ["list 2", "list 1", "list 0"]),
            (("--name", "list 1"), ["list 1"]),
            (("--disk-format", "ami", "--property-filter", "n=0"), ["list 0", "list 2"]),
            (("--disk-format", "ami", "--status", "active"), []),
            (("--disk-format", "ami", "--size-max", "5"), ["list 0", "list 1", "list 2"]),
            (("--disk-format", "ami", "--size-min", "5"), []),
            (("--disk-format", "ami", "--is-public", "False"), ["list 0", "list 1", "list 2"]),
            (("--disk-format", "ami", "--changes-since", "2011-09-01T00:00:00"), ["list 0", "list 1", "list 2"]),
        ):
            self.assertEqual([row[1] for row in rows(self.glance("image-list", *arguments))], expected, arguments)

    def test_members(self):
        image = dict(rows(self.glance("image-create", "--name", "shared")))["id"]
        self.assertEqual(self.glance("member-create", image, "tenant1").said, "")
        self.assertEqual(self.glance("member-create", image, "tenant2", "--can-share").said, "")
        self.assertEqual(sorted(rows(self.glance("member-list", "--image-id", image))), [[image, "tenant1", ""], [image, "tenant2", "True"]])
        self.assertEqual(rows(self.glance("member-list", "--tenant-id", "tenant2")), [[image, "tenant2", "True"]])
        self.assertEqual(self.glance("member-delete", image, "tenant2").said, "")
        self.assertEqual(self.glance("member-delete", image, "tenant2").code, 1)

    def test_urls(self):
        create = ("image-create", "--disk-format", "raw", "--container-format", "bare")
        with Source(self.server.directory) as source:
            located = dict(rows(self.glance(*create, "--location", source.url + "odd")))
            self.assertEqual((located["status"], located["size"]), ("active", str(len(self.odd))))
            done = self.glance("image-download", located["id"])
            self.assertEqual(hashlib.sha256(done.bytes).hexdigest(), self.files.sha256(self.files.odd))
            copied = dict(rows(self.glance(*create, "--copy-from", source.url + "odd")))
            image = self.settled(self.client(), copied["id"])
            self.assertEqual((image.status, image.checksum), ("active", self.md5))
            self.assertIn("404", self.glance(*create, "--copy-from", source.url + "nothing").err)
        self.assertIn("400", self.glance(*create, "--location", "file:///etc/passwd").err)


class Library(V1):
    def test_everything_of_an_image(self):
        images = self.client().images
        own = str(uuid.uuid4())
        properties = {"distro": "Ubuntu 10.10", "with_underline": "ä €", "empty": "100%"}
        made = images.create(name="Größe 100%", id=own, is_public=True, min_ram=5, properties=properties, data=open(self.files.odd, "rb"), **RAW)
        self.assertEqual((made.id, made.name, made.status, made.size, made.checksum), (own, "Größe 100%", "active", len(self.odd), self.md5))
        self.assertEqual((made.properties, made.is_public, made.min_ram), (properties, True, 5))
        shown = images.get(own)
        # Python takes headers for Latin 1, whatever they are.
        read = {name: value.encode("latin-1").decode() for name, value in {"name": shown.name, **shown.properties}.items()}
        self.assertEqual((read, shown.is_public, shown.size), ({"name": "Größe 100%", **properties}, True, len(self.odd)))
        self.assertEqual(b"".join(images.data(own)), self.odd)
        changed = images.update(own, name="neu", properties={"distro": "Debian"})
        self.assertEqual((changed.name, changed.properties), ("neu", {**properties, "distro": "Debian"}))
        self.assertEqual(images.update(own, purge_props=True, properties={"a": "b"}).properties, {"a": "b"})
        with self.assertRaises(exc.HTTPConflict):
            images.create(id=own, name="taken")
        images.delete(own)
        with self.assertRaises(exc.HTTPNotFound):
            images.get(own)

    def test_what_is_wrong(self):
        images = self.client().images
        for fields, error in (
            ({"disk_format": "floppy"}, exc.HTTPBadRequest),
            ({"disk_format": "ami", "container_format": "bare"}, exc.HTTPBadRequest),
            ({"min_ram": "much"}, exc.HTTPBadRequest),
            ({"id": "not a uuid"}, exc.HTTPBadRequest),
            ({"store": "elsewhere"}, exc.HTTPBadRequest),
            ({"data": "bytes", "checksum": "0" * 32, **RAW}, exc.HTTPBadRequest),
            ({"data": "bytes", "size": 4, **RAW}, exc.HTTPBadRequest),
        ):
            with self.assertRaises(error, msg=fields):
                images.create(**fields)
        made = images.create(name="full", data="bytes", **RAW)
        with self.assertRaises(exc.HTTPConflict):
            images.update(made.id, data="other")
        with self.assertRaises(exc.HTTPConflict):
            images.update(made.id, data="of another size", size=15)
        for call in (images.get, images.delete, images.update):
            with self.assertRaises(exc.HTTPNotFound):
                call(UNKNOWN)

    def test_pages(self):
        images = self.client().images
        made = [images.create(name=f"page {n}", properties={"set": "pages"}).id for n in range(5)]
        listed = list(images.list(page_size=2, sort_key="name", sort_dir="asc", filters={"properties": {"set": "pages"}}))
        self.assertEqual([image.id for image in listed], made)
        self.assertEqual(listed[0].properties, {"set": "pages"})
        newest = images.list(limit=2, filters={"properties": {"set": "pages"}})
        self.assertEqual([image.id for image in newest], made[:2:-1])


class Accounts(V1):
    users = (("alice",), ("bob",), ("root", "--admin"))

    def test_who_sees_what(self):
        alice, bob, root = (self.client(who) for who in ("alice", "bob", "root"))
        made = alice.images.create(name="hers", data=open(self.files.odd, "rb"), **RAW)
        self.assertEqual((made.owner, made.is_public), ("alice", False))
        with self.assertRaises(exc.HTTPNotFound):
            bob.images.get(made.id)
        with self.assertRaises(exc.HTTPForbidden):
            alice.images.update(made.id, is_public=True)
        alice.image_members.create(made.id, "bob")
        # In v1 nobody has to accept.
        self.assertIn(made.id, [image.id for image in bob.images.list()])
        self.assertEqual(b"".join(bob.images.data(made.id)), self.odd)
        self.assertEqual([member.image_id for member in bob.image_members.list(member="bob")], [made.id])
        with self.assertRaises((exc.HTTPForbidden, exc.HTTPNotFound)):
            bob.images.update(made.id, name="mine")
        with self.assertRaises((exc.HTTPForbidden, exc.HTTPNotFound)):
            bob.image_members.create(made.id, "root")
        alice.image_members.create(made.id, "bob", can_share=True)
        bob.image_members.create(made.id, "carol")
        self.assertEqual(sorted(member.member_id for member in alice.image_members.list(image=made.id)), ["bob", "carol"])
        alice.image_members.replace(made.id, [{"member_id": "carol", "can_share": False}])
        with self.assertRaises(exc.HTTPNotFound):
            bob.images.get(made.id)
        root.images.update(made.id, is_public=True)
        self.assertIn(made.id, [image.id for image in bob.images.list()])
        self.assertIn(made.id, [image.id for image in root.images.list(is_public=None)])

    def test_without_a_token_nothing(self):
        with self.assertRaises(exc.HTTPUnauthorized):
            next(self.client().images.list())
        self.assertEqual(self.ask("GET", "/v1/images").status, 401)
        self.assertEqual(self.ask("GET", "/v1/images", who="alice").status, 200)


class ClassOf2011(V1):
    """Its requests, one after the other, as its document says them. 200, 201, 202 and 204 were success to it."""

    def add(self, meta, data=None, chunked=False):
        headers = {}
        for name, value in meta.items():
            if name == "properties":
                headers |= {f"x-image-meta-property-{key}": str(text) for key, text in value.items()}
            else:
                headers[f"x-image-meta-{name}"] = str(value)
        if data is not None:
            headers["content-type"] = "application/octet-stream"
        body = (data[at:at + 65536] for at in range(0, len(data), 65536)) if chunked else data
        answer = self.ask("POST", "/v1/images", body, headers)
        self.assertEqual(answer.status, 201, answer.data)
        image = json.loads(answer.data)["image"]
        self.assertTrue(answer.headers["location"].endswith("/v1/images/" + image["id"]))
        return image

    def listed(self, path):
        answer = self.ask("GET", path)
        self.assertEqual(answer.status, 200, answer.data)
        return json.loads(answer.data)["images"]

    def meta(self, image_id):
        answer = self.ask("HEAD", f"/v1/images/{image_id}")
        self.assertEqual(answer.status, 200)
        prefix = "x-image-meta-"
        return {name.lower()[len(prefix):]: value for name, value in answer.headers.items() if name.lower().startswith(prefix)}

    def test_the_document_s_example(self):
        image = self.add({"name": "Ubuntu 10.10 5G", "type": "machine", "is_public": True, "properties": {"distro": "Ubuntu 10.10"}},
                         self.odd, chunked=True)
        self.assertEqual((image["name"], image["status"], image["is_public"]), ("Ubuntu 10.10 5G", "active", True))
        self.assertEqual((image["size"], image["checksum"], image["properties"]), (len(self.odd), self.md5, {"distro": "Ubuntu 10.10"}))
        meta = self.meta(image["id"])
        expected = {"id": image["id"], "name": "Ubuntu 10.10 5G", "status": "active", "size": str(len(self.odd)), "checksum": self.md5,
                    "is_public": "True", "protected": "False", "deleted": "False", "property-distro": "Ubuntu 10.10"}
        self.assertEqual({name: meta.get(name) for name in expected}, expected)
        answer = self.ask("GET", f"/v1/images/{image['id']}")
        self.assertEqual((answer.status, answer.data == self.odd, answer.headers["x-image-meta-name"]), (200, True, "Ubuntu 10.10 5G"))
        self.assertEqual(answer.headers["content-length"], str(len(self.odd)))

    def test_reserve_now_and_upload_later(self):
        image = self.add({"name": "later", "disk_format": "raw", "container_format": "bare"})
        self.assertEqual((image["status"], image["size"]), ("queued", 0))
        self.assertEqual(self.ask("GET", f"/v1/images/{image['id']}").status, 404)
        path, headers = f"/v1/images/{image['id']}", {"content-type": "application/octet-stream"}
        answer = self.ask("PUT", path, self.odd, headers)
        self.assertEqual((answer.status, json.loads(answer.data)["image"]["checksum"]), (200, self.md5))
        self.assertEqual(self.ask("PUT", path, self.odd, headers).status, 409)

    def test_size_and_id(self):
        own = str(uuid.uuid4())
        image = self.add({"name": "own", "id": own, "size": 5, "disk_format": "raw", "container_format": "bare"}, b"12345")
        self.assertEqual((image["id"], image["size"]), (own, 5))
        headers = {"x-image-meta-name": "wrong", "x-image-meta-size": "4", "x-image-meta-disk_format": "raw",
                   "x-image-meta-container_format": "bare", "content-type": "application/octet-stream"}
        self.assertEqual(self.ask("POST", "/v1/images", b"12345", headers).status, 400)
        self.assertEqual(self.ask("POST", "/v1/images", None, {"x-image-meta-name": "again", "x-image-meta-id": own}).status, 409)

    def test_lists(self):
        made = [self.add({"name": f"doc {n}", "disk_format": "ploop", "container_format": "ovf"}, b"x" * n)["id"] for n in (1, 2, 3)]
        mine = "disk_format=ploop&container_format=ovf"
        self.assertEqual([image["id"] for image in self.listed(f"/v1/images?{mine}")], made[::-1])
        self.assertEqual(set(self.listed(f"/v1/images?{mine}")[0]), {"id", "name", "size", "disk_format", "container_format", "checksum"})
        self.assertIn("properties", self.listed(f"/v1/images/detail?{mine}")[0])
        for query, expected in (
            ("size_max=2", made[1::-1]),
            ("size_min=2", made[:0:-1]),
            ("size_min=2&size_max=2", made[1:2]),
            ("status=saving&size_max=5368709120", []),
            ("name=doc%203", made[2:]),
            ("sort_key=name&sort_dir=asc", made),
            ("sort_key=size&sort_dir=desc&limit=1", made[2:]),
            (f"sort_key=name&sort_dir=asc&marker={made[0]}", made[1:]),
        ):
            self.assertEqual([image["id"] for image in self.listed(f"/v1/images/detail?{mine}&{query}")], expected, query)
        self.assertEqual(self.ask("GET", f"/v1/images?marker={UNKNOWN}").status, 400)
        self.assertEqual(self.ask("GET", "/v1/images?size_min=big").status, 400)

    def test_update_and_delete(self):
        image = self.add({"name": "before", "properties": {"a": "1", "b": "2"}})
        path = f"/v1/images/{image['id']}"
        kept = self.ask("PUT", path, None, {"x-image-meta-property-b": "3", "x-glance-registry-purge-props": "false"})
        self.assertEqual(json.loads(kept.data)["image"]["properties"], {"a": "1", "b": "3"})
        # Unless that is said, what is not named goes.
        purged = self.ask("PUT", path, None, {"x-image-meta-name": "after", "x-image-meta-property-c": "4"})
        changed = json.loads(purged.data)["image"]
        self.assertEqual((purged.status, changed["name"], changed["properties"]), (200, "after", {"c": "4"}))
        deleted = self.ask("DELETE", path)
        self.assertEqual((deleted.status, deleted.data), (200, b""))
        for method in ("HEAD", "GET", "DELETE"):
            self.assertEqual(self.ask(method, path).status, 404)

    def test_members(self):
        image = self.add({"name": "shared"})["id"]
        path = f"/v1/images/{image}/members"

        def members():
            return {member["member_id"]: member["can_share"] for member in json.loads(self.ask("GET", path).data)["members"]}

        self.assertEqual(members(), {})
        # Without a word of sharing there is no body either.
        self.assertEqual(self.ask("PUT", f"{path}/tenant1").status, 204)
        self.assertEqual(self.ask("PUT", f"{path}/tenant2", json.dumps({"member": {"can_share": True}})).status, 204)
        self.assertEqual(members(), {"tenant1": False, "tenant2": True})
        self.assertEqual(self.ask("PUT", f"{path}/tenant2").status, 204)
        self.assertEqual(members()["tenant2"], True)
        shared = json.loads(self.ask("GET", "/v1/shared-images/tenant2").data)["shared_images"]
        self.assertEqual(shared, [{"image_id": image, "can_share": True}])
        # The class sends the list as it is, and its document says that this works.
        both = [{"member_id": "tenant2"}, {"member_id": "tenant3", "can_share": True}]
        self.assertEqual(self.ask("PUT", path, json.dumps(both)).status, 204)
        self.assertEqual(members(), {"tenant2": True, "tenant3": True})
        self.assertEqual(self.ask("PUT", path, json.dumps({"memberships": [{"member_id": "tenant1", "can_share": False}]})).status, 204)
        self.assertEqual(members(), {"tenant1": False})
        self.assertEqual(self.ask("DELETE", f"{path}/tenant1").status, 204)
        self.assertEqual(self.ask("DELETE", f"{path}/tenant1").status, 404)

    def test_booleans(self):
        for text, expected in (("True", True), ("on", True), ("1", True), ("true", True), ("False", False), ("0", False), ("off", False)):
            self.assertEqual(self.add({"name": "b", "is_public": text})["is_public"], expected, text)

    def test_the_same_image_in_v2(self):
        image = self.add({"name": "both", "disk_format": "raw", "container_format": "bare", "is_public": True, "properties": {"k": "v"}}, self.odd)
        shown = json.loads(self.ask("GET", f"/v2/images/{image['id']}").data)
        self.assertEqual((shown["name"], shown["visibility"], shown["k"], shown["checksum"]), ("both", "public", "v", self.md5))


if __name__ == "__main__":
    main()
