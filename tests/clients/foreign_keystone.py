#!/usr/bin/env python3
"""Visor as the Glance of a cloud that is there already: a real Keystone knows the callers, and OpenStack's own clients find Visor
in its catalogue.

usage: foreign_keystone.py VISOR [TEST…]

Needs Keystone in the environment that tests/clients/prepare makes for it, and python-openstackclient beside the Python that runs
this. Starts servers of its own and ends them. VISOR_TALLY names a file to write "passed failed" to.
"""

import json
import os
import re
import time
import unittest

from keystoneauth1 import exceptions, session
from keystoneauth1.identity import generic, v3

from cloud_harness import Keystone
from harness import Files, Server, call, main, run, until

# The service user gets a new token several times, and a test waits for the end of one.
LIFETIME = 60


class Cloud(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keystone = keystone = Keystone(LIFETIME)
        for project in ("service", "a", "b"):
            keystone.project(project)
        keystone.user("visor", "service", "service")
        keystone.user("nova", "service", "service")
        for name, project, *roles in (("alice", "a", "member"), ("albert", "a", "member"), ("rita", "a", "reader"), ("bob", "b", "member")):
            keystone.user(name, project, *roles)
        # Told apart from all others later: it has ended by then.
        cls.old = keystone.token("alice", "a")
        cls.ends = time.time() + LIFETIME
        cls.password = os.path.join(keystone.directory, "password")
        with open(os.open(cls.password, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(keystone.PASSWORD + "\n")
        cls.server = Server(settings=f"""
[identity]
url = "{keystone.url}"
username = "visor"
password_file = "{cls.password}"
project = "service"
cache = "1s"
""")
        keystone.serve_images_at(cls.server.url)
        for name, project in (("alice", "a"), ("albert", "a"), ("rita", "a"), ("bob", "b"), ("admin", "admin")):
            with open(cls.server.path(f"{name}.yaml"), "w") as file:
                file.write(keystone.clouds(name, project))
        cls.files = Files(cls.server)
        cls.image = cls.make("alice", "shared by a project", cls.files.odd)["id"]

    @classmethod
    def tearDownClass(cls):
        log = cls.server.stop()
        cls.keystone.stop()
        assert cls.keystone.PASSWORD not in log and cls.old not in log, "a secret in the log"

    @classmethod
    def make(cls, who, name, file, *more):
        return cls.server.json(who, "image", "create", name, "--disk-format", "raw", "--container-format", "bare", "--file", file, *more)

    def names(self, who, *more):
        return [image["Name"] for image in self.server.json(who, "image", "list", *more)]

    def get(self, token, path="/v2/images", method="GET", **headers):
        return call(method, self.server.url + path, None, {**({"X-Auth-Token": token} if token else {}), **headers})

    def test_the_users_of_a_project_have_its_images(self):
        shown = self.server.json("albert", "image", "show", self.image)
        self.assertEqual((shown["owner"], shown["visibility"]), (self.keystone.projects["a"], "shared"))
        saved = self.server.path("saved")
        self.assertEqual(self.server.openstack("albert", "image", "save", self.image, "--file", saved).err, "")
        self.assertEqual(self.files.sha256(saved), self.files.sha256(self.files.odd))
        self.assertEqual(self.server.openstack("albert", "image", "set", self.image, "--property", "seen_by=albert").err, "")
        self.assertEqual(self.server.json("alice", "image", "show", self.image)["properties"]["seen_by"], "albert")
        self.assertNotIn("shared by a project", self.names("bob"))
        self.assertIn("No Image found", self.server.openstack("bob", "image", "show", self.image).err)

    def test_a_reader_reads(self):
        self.assertIn("shared by a project", self.names("rita"))
        saved = self.server.path("read")
        self.assertEqual(self.server.openstack("rita", "image", "save", self.image, "--file", saved).err, "")
        for command in (("create", "hers", "--file", self.files.odd), ("set", self.image, "--name", "hers"), ("delete", self.image),
                        ("add", "project", self.image, self.keystone.projects["b"])):
            self.assertIn("403", self.server.openstack("rita", "image", *command).err, command)
        # The command says nothing of this refusal.
        token = self.keystone.token("rita", "a")
        self.assertEqual(self.get(token, f"/v2/images/{self.image}/actions/deactivate", "POST").status, 403)
        self.assertEqual(self.server.json("alice", "image", "show", self.image)["status"], "active")

    def test_an_administrator_sees_all(self):
        made = self.make("bob", "of b", self.files.empty)
        self.assertTrue({"shared by a project", "of b"} <= set(self.names("admin")))
        self.assertEqual(self.server.openstack("admin", "image", "set", made["id"], "--public").err, "")
        self.assertIn("of b", self.names("alice", "--public"))
        self.assertEqual(self.server.openstack("admin", "image", "delete", made["id"]).err, "")
        self.assertEqual(self.make("admin", "the administrator's", self.files.empty)["owner"], self.keystone.projects["admin"])

    def test_an_image_is_shared_between_projects(self):
        image = self.make("alice", "for b", self.files.odd)["id"]
        b = self.keystone.projects["b"]
        self.assertEqual(self.server.openstack("alice", "image", "add", "project", image, b).err, "")
        self.assertNotIn("for b", self.names("bob"))
        self.assertEqual(self.server.openstack("bob", "image", "set", image, "--accept").err, "")
        self.assertIn("for b", self.names("bob"))
        self.assertEqual([(m["Member ID"], m["Status"]) for m in self.server.json("albert", "image", "member", "list", image)], [(b, "accepted")])
        self.assertIn("403", self.server.openstack("bob", "image", "set", image, "--name", "bob's").err)
        self.assertEqual(self.server.openstack("albert", "image", "remove", "project", image, b).err, "")
        self.assertNotIn("for b", self.names("bob"))

    def test_the_glance_command(self):
        settings = {"OS_AUTH_URL": self.keystone.url + "/v3", "OS_USERNAME": "albert", "OS_PASSWORD": self.keystone.PASSWORD, "OS_PROJECT_NAME": "a",
                    "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default"}
        listed = run("glance", "image-list", environment=self.server.environment(**settings))
        self.assertIn("shared by a project", listed.said)

    def test_openstacksdk(self):
        connection = self.server.connect("albert")
        self.assertIn(self.image, [image.id for image in connection.image.images()])
        made = connection.create_image("by the SDK", filename=self.files.sparse, disk_format="raw", container_format="bare", wait=True)
        self.assertEqual(connection.image.get_image(made.id).owner, self.keystone.projects["a"])
        connection.image.delete_image(made.id)

    def test_visor_as_auth_url_says_where_the_keystone_is(self):
        for url in (self.server.url, self.server.url + "/v3", self.server.url + "/identity"):
            auth = generic.Password(url, username="alice", password="not for Visor", user_domain_name="Default", project_name="a",
                                    project_domain_name="Default")
            with self.assertRaisesRegex(exceptions.NotFound, re.escape(self.keystone.url + "/v3")):
                auth.get_access(session.Session())
        refused = call("POST", self.server.url + "/v3/auth/tokens", {"auth": {}})
        self.assertEqual(refused.status, 404)
        self.assertIn(self.keystone.url + "/v3", refused.json["error"]["message"])

    def test_without_a_good_token_the_answer_says_where_to_get_one(self):
        for token in (None, "", "bad", "gAAAAA" + "x" * 180):
            refused = self.get(token)
            self.assertEqual((refused.status, refused.headers["WWW-Authenticate"]), (401, f'Keystone uri="{self.keystone.url}/v3"'), token)

    def test_a_token_needs_a_project(self):
        auth = v3.Password(self.keystone.url + "/v3", username="alice", password=self.keystone.PASSWORD, user_domain_name="Default", unscoped=True)
        self.assertEqual(self.get(auth.get_access(session.Session()).auth_token).status, 403)
        auth = v3.Password(self.keystone.url + "/v3", username="admin", password=self.keystone.PASSWORD, user_domain_name="Default", system_scope="all")
        self.assertEqual(self.get(auth.get_access(session.Session()).auth_token).status, 403)

    def test_a_revoked_token_ends_when_its_answer_does(self):
        token = self.keystone.token("alice", "a")
        self.assertEqual(self.get(token).status, 200)
        session.Session(self.keystone.password("alice", "a")).delete(self.keystone.url + "/v3/auth/tokens", headers={"X-Subject-Token": token})
        until(lambda: self.get(token).status == 401, "the revoked token is refused")

    def test_an_expired_token_is_good_for_a_service_that_vouches(self):
        time.sleep(max(0, self.ends - time.time() + 2))
        self.assertEqual(self.get(self.old).status, 401)
        service = self.keystone.token("nova", "service")
        self.assertEqual(self.get(self.old, **{"X-Service-Token": service}).status, 200)
        for other in (self.keystone.token("bob", "b"), "bad"):
            self.assertEqual(self.get(self.old, **{"X-Service-Token": other}).status, 401)

    def test_other_headers_about_the_caller_prove_nothing(self):
        claims = {"X-Identity-Status": "Confirmed", "X-Project-Id": self.keystone.projects["a"], "X-Roles": "admin", "X-User-Id": "alice"}
        self.assertEqual(self.get(None, **claims).status, 401)
        token = self.keystone.token("bob", "b")
        self.assertEqual(self.get(token, f"/v2/images/{self.image}", **claims).status, 404)

    def test_no_other_protocol_is_open(self):
        # VISOR's own status for a request without an account.
        self.assertEqual(call("GET", self.server.url + "/jobs").status, 403)
        self.assertEqual(call("POST", self.server.url + "/images").status, 403)

    def test_while_the_keystone_is_down_nothing_is_open(self):
        tokens = [self.keystone.token("alice", "a") for _ in range(2)]
        self.assertEqual(self.get(tokens[0]).status, 200)
        self.keystone.stop()
        try:
            refused = self.get(tokens[1], Accept="application/json")
            self.assertEqual(refused.status, 503)
            self.assertIn("can't be reached", refused.json["message"])
            self.assertEqual(refused.headers["X-Visor-Error"], "identity-unavailable")
            until(lambda: self.get(tokens[0]).status == 503, "the answer about the other token has aged")
            self.assertEqual(self.get(None).status, 401)
        finally:
            self.keystone.start()
        self.assertEqual([self.get(token).status for token in tokens], [200, 200])

    def test_a_project_has_an_account_in_other_protocols(self):
        made = self.server.visor("--json", "--data-dir", self.server.path("data"), "account", "add", self.keystone.projects["a"])
        config = self.server.path("project.toml")
        account = json.loads(made)
        with open(os.open(config, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(f'[client]\naccess_key = "{account["access_key"]}"\nsecret_key = "{account["secret_key"]}"\n')
        shown = json.loads(self.server.visor("--json", "--config", config, "head", self.image, "-a", self.server.url))
        self.assertEqual(shown["owner"], self.keystone.projects["a"])


if __name__ == "__main__":
    main()
