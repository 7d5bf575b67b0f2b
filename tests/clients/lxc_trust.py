#!/usr/bin/env python3
"""`lxc` against a server with accounts: how a client comes to be trusted, what it sees then, and how that ends.

usage: lxc_trust.py VISOR [TEST…]

Starts servers of its own and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import itertools
import json
import re
import time
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness import main
from lxd_harness import Commands, Lxc, sha256

NOT_AUTHORIZED = "not authorized"
NO_PUBLIC_READ = f"{NOT_AUTHORIZED}: without a trusted certificate, public images are read only if auth.public_read is set"


class WithAccounts(Commands):
    """alice and bob, who may do everything to what is theirs, and an administrator."""

    numbers = itertools.count(1)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = {name: cls.server.account(name) for name in ("alice", "bob")}
        cls.keys["root"] = cls.server.account("root", "--admin")

    @classmethod
    def client(cls, account=None):
        """A client that nobody knows, or one that has got in by an account's keys."""
        client = Lxc(cls.server, f"client-{next(cls.numbers)}")
        if account:
            done = client.add("visor", "--password", cls.keys[account])
            assert done.code == 0, done.err
        return client

    @classmethod
    def stranger(cls):
        """A client with a certificate that nobody let in."""
        client = cls.client()
        assert client.add("visor").code != 0
        return client

    @staticmethod
    def make_certificate(client, begin, end):
        """Gives a client a certificate with these dates, as seen from now."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dated")])
        made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now + begin, now + end)
        made = made.sign(key, hashes.SHA256())
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        with open(client.path("client.crt"), "wb") as file:
            file.write(made.public_bytes(encoding))
        with open(client.path("client.key"), "wb") as file:
            file.write(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))

    def account_of(self, client):
        """As whom the server knows a client."""
        return self.server.call("GET", "/1.0", client=client).json["metadata"].get("auth_user_name")

    def trusted(self):
        lines = self.visor("trust", "list").splitlines()
        return [json.loads(line) for line in lines]

    def visor(self, *arguments):
        """A command of the operator."""
        return self.server.visor("--json", "--data-dir", self.server.path("data"), *arguments)

    def add_image(self, who, alias, *options):
        path = self.images.unified()
        self.do("image", "import", path, "visor:", "--alias", alias, *options, who=who)
        return sha256(path)


class Admission(WithAccounts):
    """Ways in, and out."""

    def test_by_an_accounts_keys(self):
        client = self.client()
        done = client.add("visor", "--password", self.keys["alice"])
        self.assertIn("Client certificate now trusted by server: visor", done.out)
        self.do("image", "list", "visor:", who=client)
        self.assertEqual(self.account_of(client), "alice")
        # Once is enough.
        done = client.add("again")
        self.assertEqual(done.code, 0, done.err)

    def test_not_by_anything_else(self):
        client = self.client()
        access_key, secret = self.keys["alice"].split(":")
        for password in (secret, access_key, f"{access_key}:x", f"{access_key}:", f"bob:{secret}", ":", "nobody:x"):
            done = client.add("visor", "--password", password)
            self.assertNotEqual(done.code, 0, password)
            self.assertIn(NOT_AUTHORIZED, done.err)
            self.assertEqual(self.do("remote", "list", "-f", "csv", who=client).count("visor"), 0)
        # What is told without trust.
        for who in (client, None):
            said = self.server.call("GET", "/1.0", client=who).json["metadata"]
            self.assertEqual((said["auth"], said["public"], "environment" in said), ("untrusted", False, False))
            answer = self.server.call("GET", "/1.0/images", client=who)
            self.assertEqual((answer.status, answer.json["error"]), (403, NO_PUBLIC_READ))
            for path in ("images/aliases", "certificates", "operations", "instances", "profiles", "events"):
                answer = self.server.call("GET", f"/1.0/{path}", client=who)
                self.assertEqual((answer.status, answer.json["error"]), (403, NOT_AUTHORIZED), path)

    def test_not_by_a_certificate_outside_its_dates(self):
        for begin, end, words in ((-20, -10, "The provided certificate is expired"), (10, 20, "The provided certificate isn't valid yet")):
            client = self.client()
            self.make_certificate(client, timedelta(days=begin), timedelta(days=end))
            done = client.add("visor", "--password", self.keys["alice"])
            self.assertNotEqual(done.code, 0, done.out)
            self.assertIn(words, done.err)
            friend = self.client("alice")
            self.refused(words, "config", "trust", "add", "visor:", client.path("client.crt"), who=friend)

    def test_trust_ends_with_the_certificate(self):
        client = self.client()
        self.make_certificate(client, timedelta(days=-1), timedelta(seconds=5))
        self.assertEqual(client.add("visor", "--password", self.keys["alice"]).code, 0)
        self.do("image", "list", "visor:", who=client)
        time.sleep(6)
        self.refused(NOT_AUTHORIZED, "image", "list", "visor:", who=client)

    def test_by_a_token_of_the_operator(self):
        made = json.loads(self.visor("trust", "token", "--account", "bob", "--name", "laptop", "--address", self.server.https[8:]))
        client, late = self.client(), self.client()
        self.do("remote", "add", "visor", made["token"], who=client)
        self.assertEqual(self.account_of(client), "bob")
        self.assertIn("laptop", self.do("config", "trust", "list", "visor:", who=client))
        done = late("remote", "add", "visor", made["token"])
        self.assertNotEqual(done.code, 0, done.out)

    def test_by_a_token_of_another_client(self):
        client, friend, late = self.client("alice"), self.client(), self.client()
        # This version asks its default server for a token, whichever it is told.
        self.do("remote", "switch", "visor", who=client)
        token = self.do("config", "trust", "add", "--name", "friend", who=client).splitlines()[-1]
        self.do("remote", "add", "visor", token, who=friend)
        self.assertEqual(self.account_of(friend), "alice")
        self.assertNotEqual(late("remote", "add", "visor", token).code, 0)

    def test_by_a_certificate(self):
        client, other, third = self.client("alice"), self.stranger(), self.stranger()
        self.do("config", "trust", "add", "visor:", other.path("client.crt"), who=client)
        self.assertEqual(other.add("in").code, 0)
        self.assertEqual(self.account_of(other), "alice")
        self.refused("already", "config", "trust", "add", "visor:", other.path("client.crt"), who=client)
        self.visor("trust", "add", third.path("client.crt"), "--account", "bob", "--name", "third")
        self.assertEqual(third.add("in").code, 0)
        self.assertEqual(self.account_of(third), "bob")

    def test_everybody_sees_his_own(self):
        alice, bob, root = self.client("alice"), self.client("bob"), self.client("root")
        rows = {name: self.do("config", "trust", "list", "visor:", "-f", "csv", who=who).splitlines() for name, who in
                (("alice", alice), ("bob", bob), ("root", root))}
        self.assertFalse(set(rows["alice"]) & set(rows["bob"]))
        self.assertLessEqual(set(rows["alice"]) | set(rows["bob"]), set(rows["root"]))
        fingerprint = rows["bob"][-1].split(",")[3]
        self.refused("not found", "config", "trust", "remove", "visor:", fingerprint, who=alice)
        self.do("image", "list", "visor:", who=bob)

    def test_trust_ends(self):
        for account, end in (
            ("alice", lambda client, fingerprint: self.do("config", "trust", "remove", "visor:", fingerprint, who=client)),
            ("alice", lambda client, fingerprint: self.do("config", "trust", "remove", "visor:", fingerprint, who=self.client("root"))),
            ("bob", lambda client, fingerprint: self.visor("trust", "remove", fingerprint)),
        ):
            known = {one["fingerprint"] for one in self.trusted()}
            client = self.client(account)
            (fingerprint,) = {one["fingerprint"] for one in self.trusted()} - known
            self.add_image(client, f"end/{fingerprint[:5]}")
            end(client, fingerprint)
            self.refused(NOT_AUTHORIZED, "image", "list", "visor:", who=client)
            self.refused(NOT_AUTHORIZED, "image", "delete", f"visor:end/{fingerprint[:5]}", who=client)

    def test_an_account_that_is_removed_ends_it_too(self):
        self.keys["carol"] = self.server.account("carol")
        client = self.client("carol")
        self.visor("account", "remove", "carol")
        self.refused(NOT_AUTHORIZED, "image", "list", "visor:", who=client)
        # Another of the same name is somebody else.
        self.server.account("carol")
        self.refused(NOT_AUTHORIZED, "image", "list", "visor:", who=client)


class Changes(WithAccounts):
    """Certificates that are edited, restricted and renewed, and accounts that only read."""

    def fingerprint(self, client):
        with open(client.path("client.crt"), "rb") as file:
            return x509.load_pem_x509_certificate(file.read()).fingerprint(hashes.SHA256()).hex()

    def test_edit(self):
        client = self.client("alice")
        name = "visor:" + self.fingerprint(client)[:12]
        shown = self.do("config", "trust", "show", name, who=client)
        self.assertIn("restricted: false", shown)
        edited = re.sub(r"^name: .*$", "name: phone", shown, flags=re.M)
        self.do("config", "trust", "edit", name, who=client, stdin=edited.encode())
        self.assertIn("phone", self.do("config", "trust", "list", "visor:", "-f", "csv", who=client))
        wrong = re.sub(r"^projects: .*$", "projects: [nowhere]", edited, flags=re.M)
        self.refused("Project not found", "config", "trust", "edit", name, who=client, stdin=wrong.encode())

    def test_restricted(self):
        root, client = self.client("root"), self.stranger()
        self.do("config", "trust", "add", "visor:", client.path("client.crt"), "--restricted", "--projects", "default", "--name", "ci", who=root)
        self.assertEqual(client.add("in").code, 0)
        self.assertEqual(self.account_of(client), "root")
        name = self.fingerprint(client)
        self.assertIn("restricted: true", self.do("config", "trust", "show", f"in:{name}", who=client))
        # It is no administrator's, and has no right over certificates.
        hers = self.add_image(self.client("alice"), "hers")
        self.assertNotIn(hers[:12], self.do("image", "list", "in:", "-f", "csv", who=client))
        self.refused(NOT_AUTHORIZED, "config", "trust", "add", "in:", self.stranger().path("client.crt"), who=client)
        shown = self.do("config", "trust", "show", f"in:{name}", who=client)
        free = shown.replace("restricted: true", "restricted: false")
        self.refused("Only the certificate can be changed", "config", "trust", "edit", f"in:{name}", who=client, stdin=free.encode())
        self.do("image", "import", self.images.unified(), "in:", "--alias", "ci", who=client)

    def test_renewal(self):
        client, later = self.client("bob"), self.client()
        self.make_certificate(later, timedelta(days=-1), timedelta(days=30))
        name = self.fingerprint(client)
        shown = self.server.call("GET", f"/1.0/certificates/{name}", client=client).json["metadata"]
        with open(later.path("client.crt")) as file:
            shown["certificate"] = file.read()
        self.assertEqual(self.server.call("PUT", f"/1.0/certificates/{name}", shown, client=client).status, 200)
        self.refused(NOT_AUTHORIZED, "image", "list", "visor:", who=client)
        self.assertEqual(later.add("visor").code, 0)
        self.assertEqual(self.account_of(later), "bob")

    def test_an_account_that_may_only_read(self):
        self.keys["rita"] = self.server.account("rita", "--read-only")
        client, alice = self.client("rita"), self.client("alice")
        fingerprint = self.add_image(alice, "open/rita", "--public")
        self.assertEqual(client.fingerprint("visor:open/rita"), fingerprint)
        self.do("image", "export", "visor:open/rita", self.server.path("rita"), who=client)
        for command in (("import", self.images.unified(), "visor:"), ("delete", "visor:open/rita"), ("alias", "create", "visor:x", fingerprint),
                        ("set-property", "visor:open/rita", "a", "b")):
            self.refused("This account may only read", "image", *command, who=client)
        self.assertEqual(alice.fingerprint("visor:open/rita"), fingerprint)


class Tenants(WithAccounts):
    """What one account knows of another's images."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.alice, cls.bob, cls.root = (cls.client(name) for name in ("alice", "bob", "root"))

    def test_what_is_private_is_not_there_for_others(self):
        fingerprint = self.add_image(self.bob, "secret/plan")
        self.do("image", "info", "visor:secret/plan", who=self.bob)
        for name in ("secret/plan", fingerprint, fingerprint[:12]):
            for command in (("info",), ("export", self.server.path("x")), ("show",), ("delete",), ("refresh",), ("set-property", "a", "b")):
                first, *more = command
                self.refused("Image not found", "image", first, "visor:" + name, *more, who=self.alice)
        self.refused("Image not found", "image", "alias", "create", "visor:mine", fingerprint, who=self.alice)
        self.refused("Image alias not found", "image", "alias", "delete", "visor:secret/plan", who=self.alice)
        images, aliases = ("image", "list", "visor:", "-f", "csv"), ("image", "alias", "list", "visor:", "-f", "csv")
        for command in images, aliases:
            self.assertNotIn(fingerprint[:12], self.do(*command, who=self.alice))
            self.assertIn(fingerprint[:12], self.do(*command, who=self.bob))
        self.assertIn(fingerprint[:12], self.do(*images, who=self.root))
        # Aliases are an account's own, an administrator's too: a client removes those that it finds in its way.
        self.assertNotIn(fingerprint[:12], self.do(*aliases, who=self.root))
        # What he removes by mistake of hers is still there.
        self.do("image", "info", "visor:secret/plan", who=self.bob)

    def test_two_may_have_the_same_image(self):
        path = self.images.unified()
        for who, alias in ((self.alice, "a/same"), (self.bob, "b/same")):
            self.do("image", "import", path, "visor:", "--alias", alias, who=who)
        self.do("image", "delete", "visor:" + sha256(path), who=self.bob)
        self.assertEqual(self.alice.fingerprint("visor:a/same"), sha256(path))
        self.refused("Image not found", "image", "info", "visor:b/same", who=self.bob)

    def test_what_is_public_is_read_by_others_and_not_changed(self):
        fingerprint = self.add_image(self.bob, "bobs", "--public")
        self.assertEqual(self.alice.fingerprint("visor:bobs"), fingerprint)
        self.do("image", "export", "visor:bobs", self.server.path("bobs"), who=self.alice)
        self.assertEqual(sha256(self.server.path("bobs.tar.gz")), fingerprint)
        for command in (("delete", "visor:bobs"), ("set-property", "visor:bobs", "a", "b"), ("alias", "delete", "visor:bobs"),
                        ("alias", "rename", "visor:bobs", "mine"), ("alias", "create", "visor:mine", fingerprint)):
            done = self.alice("image", *command)
            self.assertNotEqual(done.code, 0, command)
        self.assertEqual(self.bob.fingerprint("visor:bobs"), fingerprint)
        self.do("image", "delete", "visor:bobs", who=self.root)

    def test_a_name_of_another_account_is_no_obstacle(self):
        alice = self.client("alice")
        for name, options in (("own/private", ()), ("own/public", ("--public",))):
            hers = self.add_image(alice, name, *options)
            his = self.add_image(self.bob, name)
            self.assertEqual([who.fingerprint(f"visor:{name}") for who in (alice, self.bob)], [hers, his], name)
            # The client removes its own alias of this name, and no other one.
            again = self.add_image(self.bob, name)
            self.assertEqual([who.fingerprint(f"visor:{name}") for who in (alice, self.bob)], [hers, again], name)
            for who, fingerprint in ((alice, hers), (self.bob, his), (self.bob, again)):
                self.do("image", "delete", f"visor:{fingerprint}", who=who)

    def test_without_trust_nothing_is_read(self):
        self.add_image(self.bob, "public", "--public")
        client = self.client()
        self.assertEqual(client.add("visor", "--public").code, 0)
        for command in (("list", "visor:"), ("info", "visor:public"), ("export", "visor:public", self.server.path("x"))):
            self.refused(NOT_AUTHORIZED, "image", *command, who=client)


class PublicRead(WithAccounts):
    """Where the operator lets everybody read what is public."""

    settings = "[auth]\npublic_read = true\n"

    def test_everybody_reads_what_is_public(self):
        bob, client = self.client("bob"), self.client()
        public = self.add_image(bob, "public/debian", "--public")
        private = self.add_image(bob, "private/debian")
        self.assertEqual(client.add("visor", "--public").code, 0)
        listed = self.do("image", "list", "visor:", "-f", "csv", "-c", "F", who=client)
        self.assertEqual(listed.split(), [public])
        self.assertEqual(client.fingerprint("visor:public/debian"), public)
        self.do("image", "export", "visor:public/debian", self.server.path("saved"), who=client)
        self.assertEqual(sha256(self.server.path("saved.tar.gz")), public)
        for name in ("private/debian", private, private[:12]):
            self.refused("Image not found", "image", "info", "visor:" + name, who=client)
        for who in (self.stranger(), None):
            for method, path in (("GET", "images/aliases"), ("DELETE", f"images/{public}"), ("POST", "images"), ("GET", "operations"),
                                 ("PUT", "images/aliases/public/debian"), ("POST", f"images/{public}/secret")):
                answer = self.server.call(method, f"/1.0/{path}", {} if method != "GET" else None, client=who)
                self.assertEqual((answer.status, answer.json["error"]), (403, NOT_AUTHORIZED), path)
            answer = self.server.call("POST", "/1.0/images", self.images.unified(), client=who)
            self.assertEqual((answer.status, answer.json["error"]), (403, NOT_AUTHORIZED))


if __name__ == "__main__":
    main()
