#!/usr/bin/env python3
"""What becomes of images when their store fails: wrong keys, no bucket, nobody there, objects that others changed, a server that is
killed; and that nobody gets to see the keys of a store.

usage: stores_faults.py VISOR [TEST…]

Needs what requirements.txt names beside the Python that runs this. Starts servers of its own and ends them. VISOR_TALLY
names a file to write "passed failed" to.
"""

import concurrent.futures
import hashlib
import json
import os
import socket
import subprocess
import unittest

from harness import VISOR, call, main, until
from lxd_harness import Images, Lxc, sha256
from s3_harness import BUCKET, ROOT, Server, patterned, started

OCTETS = {"Content-Type": "application/octet-stream"}


def together(*calls):
    """What calls return that are made at the same time: some of them wait long for nothing."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [running.result() for running in [pool.submit(*call) for call in calls]]


def setUpModule():
    global s3
    s3 = started(unittest.addModuleCleanup)


class Stores(unittest.TestCase):
    """A server without accounts for each test, whose bucket is `s3`'s."""

    def setUp(self):
        self.s3 = s3

    def serve(self, *options, **changed):
        self.server = Server(self.s3.settings(*options, **changed))
        self.addCleanup(self.server.stop)
        self.file = patterned(self.server.path("file"), 300_007, hash(self.id()))
        with open(self.file, "rb") as file:
            self.bytes = file.read()

    def settings(self, **changed):
        """Ends the server and starts it with other settings."""
        self.server.end()
        self.server.start(self.s3.settings(**changed))

    def visor(self, method, path, body=None, **meta):
        headers = {f"x-image-meta-{name}": value for name, value in meta.items()}
        return call(method, self.server.url + path, body, {**headers, **(OCTETS if body else {})})

    def glance(self, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(method, self.server.url + "/v2" + path, body, headers)

    def create(self, **attributes):
        """An image of Glance's without bytes."""
        return self.glance("POST", "/images", {"disk_format": "raw", "container_format": "bare", **attributes}).json["id"]

    def upload(self, image, store="cold"):
        return self.glance("PUT", f"/images/{image}/file", self.bytes, x_image_meta_store=store, **OCTETS)

    def bring(self, image, method, **more):
        return self.glance("POST", f"/images/{image}/import", {"method": {"name": method}, **more})

    def settled(self, image):
        until(lambda: not self.shown(image).get("os_glance_importing_to_stores"), "the import ends")
        return self.shown(image)

    def shown(self, image):
        return self.glance("GET", f"/images/{image}").json

    def image_in(self, *stores):
        """An image in these stores."""
        image = self.create(name=",".join(stores))
        self.assertEqual(self.upload(image, stores[0]).status, 204)
        for store in stores[1:]:
            self.assertEqual(self.bring(image, "copy-image", stores=[store]).status, 202)
        self.assertEqual(self.settled(image)["stores"], ",".join(stores))
        return image

    def gives(self, image):
        answer = self.visor("GET", f"/images/{image}")
        self.assertEqual(answer.status, 200, answer.body)
        self.assertTrue(answer.body == self.bytes)

    def refuses(self, answer, words):
        """Not the client's fault, and said in plain words which store it is."""
        self.assertEqual(answer.status, 503, answer.body)
        self.assertIn(words, answer.body.decode())

    def check_refused(self, words):
        """Nothing gets into the store, the images wait for another try, and the local store works as ever."""
        ours = self.visor("POST", "/images", name="waits", architecture="x86_64", store="cold").json["image"]["_id"]
        theirs = self.create()
        done, *answers = together(
            (self.server.client, "add", "name=x", "architecture=x86_64", "store=cold", "--file", self.file),
            (self.visor, "PUT", f"/images/{ours}", self.bytes), (self.upload, theirs))
        self.assertNotEqual(done.code, 0)
        self.assertIn(words, done.err)
        for answer in answers:
            self.refuses(answer, words)
        self.assertEqual(self.visor("HEAD", f"/images/{ours}").headers["x-image-meta-status"], "error")
        self.assertEqual(self.shown(theirs)["status"], "queued")
        self.assertEqual((self.s3.of_image(ours), self.s3.of_image(theirs), self.server.files()), ([], [], []))
        self.gives(self.image_in("file"))
        return ours, theirs

    def check_tried_again(self, ours, theirs):
        self.assertEqual(self.visor("PUT", f"/images/{ours}", self.bytes).status, 200)
        self.assertEqual(self.upload(theirs).status, 204)
        for image in (ours, theirs):
            (name,) = self.s3.of_image(image)
            self.assertTrue(self.s3.read(name) == self.bytes)
            self.gives(image)


class Refusals(Stores):
    """A store that does not take what it is given, until the operator puts it right."""

    def test_a_wrong_secret(self):
        self.serve(secret_key="n0t+the/secret-of-this-store")
        waiting = self.check_refused("The store cold refuses the credentials")
        self.settings()
        self.check_tried_again(*waiting)

    def test_an_access_key_that_nobody_has(self):
        self.serve(access_key="AKIAIOSFODNN7EXAMPLE")
        waiting = self.check_refused("The store cold refuses the credentials")
        self.settings()
        self.check_tried_again(*waiting)

    def test_a_bucket_that_is_not_there(self):
        self.serve(bucket="made-later")
        waiting = self.check_refused("The store cold has no bucket")
        self.s3.s3.create_bucket(Bucket="made-later")
        self.addCleanup(self.s3.s3.delete_bucket, Bucket="made-later")
        self.settings()
        self.check_tried_again(*waiting)

    def test_a_certificate_that_nobody_vouches_for(self):
        self.s3 = started(self.addCleanup, tls=True)
        self.serve(ca_file="")
        waiting = self.check_refused("The store cold shows a certificate that is not trusted")
        self.settings()
        self.check_tried_again(*waiting)

    def test_lxc_is_told_as_well(self):
        self.serve("cold", secret_key="n0t+the/secret-of-this-store")
        images, lxc = Images(self.server.directory), Lxc(self.server, "home")
        lxc.do("remote", "add", "visor", self.server.https, "--accept-certificate")
        done = lxc("image", "import", images.metadata(), images.rootfs(), "visor:", "--alias", "x")
        self.assertNotEqual(done.code, 0)
        self.assertIn("The store cold refuses the credentials", done.err)
        self.assertEqual(lxc.json("image", "list", "visor:"), [])
        self.assertEqual(self.server.files(), [])


class Down(Stores):
    """The other side goes away while the server runs, with all that it had."""

    def setUp(self):
        self.s3 = started(self.addCleanup)

    def test_it_goes_away(self):
        self.serve()
        cold, local, both = (self.image_in(*stores) for stores in (["cold"], ["file"], ["cold", "file"]))
        for image in (cold, local, both):
            self.gives(image)
        self.s3.stop()
        words = "The store cold can't be reached"
        # A copy that does not come about leaves the image as it was, and says where it failed.
        self.assertEqual(self.bring(local, "copy-image", stores=["cold"]).status, 202)
        done, *answers = together(
            (self.server.client, "get", cold, "--save", self.server.directory), (self.visor, "GET", f"/images/{cold}"),
            (self.glance, "GET", f"/images/{cold}/file"), (lambda: self.glance("GET", f"/images/{cold}/file", Range="bytes=0-9"),),
            (self.upload, self.create()), (lambda: self.visor("PUT", f"/images/{cold}", store="file"),),
            # What is here is given, and more of it taken, while they wait; and where there are two copies, the other one is.
            (self.gives, local), (self.gives, both), (lambda: self.gives(self.image_in("file")),))
        self.assertNotEqual(done.code, 0)
        self.assertIn(words, done.err)
        for answer in answers:
            if answer is not None:
                self.refuses(answer, words)
        self.assertEqual((self.shown(cold)["status"], self.shown(cold)["stores"]), ("active", "cold"))
        shown = self.settled(local)
        self.assertEqual((shown["status"], shown["stores"], shown["os_glance_failed_import"]), ("active", "file", "cold"))
        self.assertIn(words, json.dumps(self.glance("GET", f"/images/{local}/tasks").json))
        self.server.end()
        verified = self.server.operator("verify")
        self.assertNotEqual(verified.code, 0)
        problems = json.loads(verified.out)["problems"]
        self.assertEqual(sorted(problems), sorted(
            [f"image {name} ({image}): {words}." for name, image in (("cold", cold), ("cold,file", both))] + [f"store cold: {words}."]))
        # Nor does it keep the server from starting.
        self.server.start()
        self.gives(local)


class Imports(Stores):
    """Of several stores one takes nothing."""

    def staged(self, must):
        self.serve(secret_key="n0t+the/secret-of-this-store")
        image = self.create()
        answer = self.glance("PUT", f"/images/{image}/stage", self.bytes, **OCTETS)
        self.assertEqual(answer.status, 204)
        self.assertEqual(self.bring(image, "glance-direct", stores=["file", "cold"], all_stores_must_succeed=must).status, 202)
        shown = self.settled(image)
        self.assertEqual(shown["os_glance_failed_import"], "cold")
        return shown["status"], shown.get("stores")

    def test_that_may_fail_in_some(self):
        self.assertEqual(self.staged(False), ("active", "file"))

    def test_that_have_to_get_everywhere(self):
        self.assertEqual(self.staged(True), ("queued", None))


class Removal(Stores):
    def test_an_image_that_the_store_does_not_let_go(self):
        self.serve()
        image = self.image_in("cold")
        self.settings(secret_key="n0t+the/secret-of-this-store")
        self.assertEqual(self.glance("DELETE", f"/images/{image}").status, 204)
        self.assertEqual(self.glance("GET", f"/images/{image}").status, 404)
        self.assertEqual(len(self.s3.of_image(image)), 1)
        # It is made up for.
        self.settings()
        until(lambda: not self.s3.of_image(image), "the object is removed")
        self.assertEqual(self.glance("GET", f"/images/{image}").status, 404)

    def test_a_store_that_is_not_configured_any_more(self):
        self.serve()
        cold, both = self.image_in("cold"), self.image_in("cold", "file")
        self.server.end()
        self.server.start("")
        self.assertEqual(self.shown(cold)["status"], "active")
        answer = self.visor("GET", f"/images/{cold}")
        self.assertGreaterEqual(answer.status, 400)
        self.assertIn("cold", answer.body.decode())
        self.gives(both)
        self.settings()
        self.gives(cold)


class Damage(Stores):
    """Others have been at the bucket."""

    def setUp(self):
        # moto takes no signature over `prefix=a/` in a query, where S3 takes one over what that stands for, `prefix=a%2F`. Listing
        # is asked so.
        self.s3 = started(self.addCleanup, signatures=False)

    def test_what_verify_says(self):
        self.serve()
        sound, gone, other, longer, both = (self.image_in(*stores) for stores in (["cold"],) * 4 + (["file", "cold"],))
        self.server.end()
        done = self.server.operator("verify")
        self.assertEqual((done.code, json.loads(done.out)), (0, {"verified": 5, "problems": []}))
        names = {image: self.s3.of_image(image)[0] for image in (gone, other, longer, both)}
        self.s3.s3.delete_object(Bucket=BUCKET, Key=names[gone])
        for image, data in ((other, b"x" + self.bytes[1:]), (both, b"x" + self.bytes[1:]), (longer, self.bytes + b"x")):
            self.s3.s3.put_object(Bucket=BUCKET, Key=names[image], Body=data)
        stranger = names[gone].replace(gone, "11111111-2222-4333-8444-555555555555")
        self.s3.s3.put_object(Bucket=BUCKET, Key=stranger, Body=b"")
        done = self.server.operator("verify")
        self.assertNotEqual(done.code, 0)
        problems = json.loads(done.out)["problems"]
        for image, words in ((gone, "is missing"), (other, "not those that were stored"),
                             (both, "not those that were stored"), (longer, f"it has {len(self.bytes) + 1} bytes")):
            self.assertEqual(len([problem for problem in problems if image in problem and words in problem]), 1, (words, problems))
        self.assertFalse([problem for problem in problems if sound in problem])
        self.assertEqual([problem for problem in problems if "no image has it" in problem],
                         [f"file {stranger.removeprefix(ROOT + '/')} in the store cold: no image has it"])
        self.assertEqual(len(problems), 5, problems)
        self.server.start()
        self.assertGreaterEqual(self.visor("GET", f"/images/{gone}").status, 400)
        self.gives(sound)
        self.gives(both)


class Killed(Stores):
    def sending(self, image, size):
        """A connection on which the first half of an image's bytes has gone."""
        host, port = self.server.addresses[0].split(":")
        connection = socket.create_connection((host, int(port)))
        self.addCleanup(connection.close)
        connection.sendall(
            f"PUT /v2/images/{image}/file HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/octet-stream\r\n"
            f"x-image-meta-store: cold\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size >> 21):
            connection.sendall(os.urandom(1 << 20))
        return connection

    def test_in_the_middle_of_an_upload(self):
        self.serve()
        image, elsewhere = self.create(), f"{ROOT}/not one of ours"
        # Somebody else's, which is not to be touched.
        foreign = self.s3.s3.create_multipart_upload(Bucket=BUCKET, Key=elsewhere)["UploadId"]
        self.addCleanup(self.s3.s3.abort_multipart_upload, Bucket=BUCKET, Key=elsewhere, UploadId=foreign)
        self.sending(image, 128 << 20)
        (name,) = until(lambda: [name for name in self.s3.unfinished() if name != elsewhere], "an upload in pieces begins")
        self.assertEqual(self.shown(image)["status"], "saving")
        self.server.kill()
        self.assertIn(name, self.s3.unfinished())
        self.server.start()
        # Beside the first requests: a store that is slow is not waited for.
        until(lambda: (self.s3.unfinished(), self.s3.of_image(image)) == ([elsewhere], []), "what it left is removed")
        until(lambda: self.shown(image)["status"] == "queued", "the image waits for another try")
        self.assertEqual(self.visor("HEAD", f"/images/{image}").headers["x-image-meta-status"], "error")
        self.assertEqual(self.upload(image).status, 204)
        self.gives(image)

    def test_what_visor_was_sending_goes_on(self):
        """A large file, which it sends so that it can go on: until all of it is there it is kept by the server."""
        self.serve()
        large, remembered = patterned(self.server.path("large"), 90 << 20, 5), self.server.path("cache/visor/uploads")
        adding = subprocess.Popen(
            [VISOR, "--json", "add", "name=large", "architecture=x86_64", "store=cold", "--file", large, "-a", self.server.url],
            env=self.server.environment(XDG_CACHE_HOME=self.server.path("cache")), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(adding.kill)
        until(lambda: os.path.isdir(remembered) and os.listdir(remembered), "an upload begins")
        self.server.kill()
        self.server.start()
        out, err = adding.communicate(timeout=60)
        self.assertEqual(adding.returncode, 0, err)
        record = json.loads(out)
        self.assertEqual((record["store"], record["status"]), ("cold", "available"))
        (name,) = self.s3.of_image(record["_id"])
        self.assertEqual(hashlib.sha256(self.s3.read(name)).hexdigest(), sha256(large))
        self.assertEqual((self.s3.unfinished(), self.server.files()), ([], []))

    def test_a_client_that_goes_away(self):
        self.serve()
        image = self.create()
        connection = self.sending(image, 128 << 20)
        until(self.s3.unfinished, "an upload in pieces begins")
        connection.close()
        until(lambda: not self.s3.unfinished(), "it is given up")
        until(lambda: self.shown(image)["status"] == "queued", "the image waits")
        self.assertEqual((self.s3.of_image(image), self.server.files()), ([], []))

    def test_a_catalogue_made_anew(self):
        self.serve()
        images = {stores: self.image_in(*stores) for stores in (("cold",), ("file",), ("file", "cold"), ("cold", "file"))}
        gone = self.image_in("cold")
        self.assertEqual(self.glance("DELETE", f"/images/{gone}").status, 204)
        self.server.kill()
        done = self.server.operator("rebuild")
        self.assertEqual((done.code, json.loads(done.out)), (0, {"rebuilt": 4, "problems": []}))
        self.server.start()
        for stores, image in images.items():
            self.assertEqual((self.shown(image)["stores"], self.shown(image)["status"]), (",".join(stores), "active"))
            self.gives(image)
        self.assertEqual(len(self.glance("GET", "/images").json["images"]), 4)


class Secrets(Stores):
    """The keys of a store are the operator's and nobody else's."""

    def test_nobody_is_shown_them(self):
        self.serve("cold")
        self.image_in("cold")
        image = self.server.add("disk", file=self.file)["_id"]
        metadata, root = (images := Images(self.server.directory)).metadata(), images.rootfs()
        lxc = Lxc(self.server, "home")
        lxc.do("remote", "add", "visor", self.server.https, "--accept-certificate")
        lxc.do("image", "import", metadata, root, "visor:", "--public")
        for path in ("/images", "/images/detail", f"/images/{image}", "/v1/images/detail", "/v2/images", f"/v2/images/{image}",
                     f"/v2/images/{image}/locations", "/v2/info/stores", "/v2/info/stores/detail", "/v2/tasks", "/v2/schemas/image",
                     "/1.0", "/1.0/images?recursion=1", f"/1.0/images/{sha256(metadata, root)}", "/streams/v1/index.json",
                     "/streams/v1/images.json"):
            answer = self.server.call("GET", path)
            told = answer.body + str(answer.headers).encode()
            self.assertEqual(answer.status, 200, path)
            for inside in (self.s3.secret_key, self.s3.access_key, self.s3.url):
                self.assertNotIn(inside.encode(), told, path)
        for shown in (self.server.operator("config", "show").bytes, lxc.do("image", "list", "visor:", "-f", "json").bytes):
            self.assertFalse(self.server.is_told(shown))
        self.assertIn("(set, not shown)", self.server.operator("config", "show").out)

    def test_the_log_says_nothing_of_them(self):
        self.serve()
        self.image_in("cold")
        self.assertIn("DEBUG", self.server.read_log())
        self.assertFalse(self.server.is_told(self.server.read_log().encode()))

    def test_where_a_secret_may_stand(self):
        self.serve()
        image = self.image_in("cold")
        self.server.end()
        secret = self.server.path("secret")
        with open(os.open(secret, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(self.s3.secret_key + "\n")
        # In a file of its own, which others may not read.
        self.server.start(self.s3.settings(secret_key="", secret_key_file=secret))
        self.gives(image)
        self.server.end()
        os.chmod(secret, 0o644)
        self.assertIn(secret, self.complaint())
        os.chmod(secret, 0o600)
        self.assertEqual(self.server.operator("config", "check").code, 0)
        # Nor may they read the configuration with a secret in it.
        with open(self.server.config, "w") as file:
            file.write(self.s3.settings())
        os.chmod(self.server.config, 0o644)
        self.assertIn(self.server.config, self.complaint())
        os.chmod(self.server.config, 0o600)
        for wrong in (self.s3.settings("warm"), self.s3.settings(kind="s4"), self.s3.settings(bucket=""),
                      self.s3.settings(endpoint="ftp://x/"), self.s3.settings(colour="blue"),
                      self.s3.settings(endpoint=f"http://x:{self.s3.secret_key}@127.0.0.1/")):
            with open(self.server.config, "w") as file:
                file.write(wrong)
            self.assertNotIn(self.s3.secret_key, self.complaint(), wrong)

    def complaint(self):
        """What is said of a configuration that is refused."""
        done = self.server.operator("config", "check")
        self.assertNotEqual(done.code, 0)
        return done.err


if __name__ == "__main__":
    main()
