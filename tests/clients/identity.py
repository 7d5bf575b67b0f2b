#!/usr/bin/env python3
"""OpenStack's own clients get their tokens from a server, with the clouds.yaml that `visor use openstack` prints.

usage: identity.py VISOR [TEST…]

Needs python-openstackclient beside the Python that runs this. Starts servers of its own and ends them. VISOR_TALLY names a
file to write "passed failed" to.
"""

import json
import os
import subprocess
import sys
import unittest

from keystoneauth1 import exceptions, session
from keystoneauth1.identity import generic, v3
from openstack import connect

from harness import VISOR, Server, main

OPENSTACK = os.path.join(os.path.dirname(sys.executable), "openstack")


class WithAccounts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.secrets = [cls.server.user("alice"), cls.server.user("bob"), cls.server.user("root", "--admin")]
        cls.readers = [cls.server.user("rita", "--read-only")]

    @classmethod
    def tearDownClass(cls):
        log = cls.server.stop()
        assert not any(secret in log for secret in cls.secrets), "a secret in the log"

    def session(self, token):
        return session.Session(v3.Token(self.server.url + "/v3", token=token, reauthenticate=False))

    def test_a_token_is_issued_and_revoked(self):
        issued = self.server.json("alice", "token", "issue")
        self.assertEqual((issued["project_id"], issued["user_id"]), ("alice", "alice"))
        self.assertTrue(self.session(issued["id"]).get_token())
        self.assertEqual(self.server.openstack("alice", "token", "revoke", issued["id"]).said, "")
        with self.assertRaises(exceptions.Unauthorized):
            self.session(issued["id"]).get_token()

    def test_the_catalogue_has_the_image_service(self):
        services = {service["Type"]: service for service in self.server.json("alice", "catalog", "list")}
        self.assertEqual(sorted(services), ["identity", "image"])
        endpoints = {e["interface"]: (e["region"], e["url"]) for e in services["image"]["Endpoints"]}
        self.assertEqual(endpoints, dict.fromkeys(("public", "internal", "admin"), ("RegionOne", self.server.url)))

    def test_members_see_their_project_and_administrators_all(self):
        names = lambda user: sorted(project["Name"] for project in self.server.json(user, "project", "list"))
        self.assertEqual((names("alice"), names("root")), (["alice"], ["alice", "bob", "rita", "root"]))
        self.assertEqual(self.server.json("alice", "project", "show", "bob")["id"], "bob")
        self.assertIn("No project", self.server.openstack("alice", "project", "show", "nobody").err)
        self.assertEqual(self.server.json("root", "user", "show", "bob")["default_project_id"], "bob")
        roles = self.server.json("root", "role", "assignment", "list", "--user", "bob", "--names")
        self.assertEqual(sorted(role["Role"] for role in roles), ["member", "reader"])

    def test_an_account_that_may_only_read_is_a_reader(self):
        roles = self.server.json("root", "role", "assignment", "list", "--user", "rita", "--names")
        self.assertEqual([role["Role"] for role in roles], ["reader"])
        self.server.json("alice", "image", "create", "open", "--public", "--disk-format", "raw", "--container-format", "bare")
        self.addCleanup(self.server.openstack, "alice", "image", "delete", "open")
        self.assertIn("open", [image["Name"] for image in self.server.json("rita", "image", "list")])
        for arguments in (("create", "x"), ("set", "open", "--property", "a=b"), ("delete", "open")):
            done = self.server.openstack("rita", "image", *arguments)
            self.assertEqual(done.code, 1, done.out)
            # The SDK shows no words of a refused change.
            self.assertIn("This account may only read" if arguments[0] == "create" else "403", done.err)

    def test_the_lines_for_a_shell(self):
        script = f'eval "$("{VISOR}" --config "$HOME/alice.toml" use openstack -a "{self.server.url}" --shell)" && "{OPENSTACK}" token issue -f json'
        done = subprocess.run(["sh", "-ec", script], env=self.server.environment(), capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["project_id"], "alice")

    def test_wrong_passwords_and_projects(self):
        self.assertIn("HTTP 401", self.server.openstack("alice", "--os-password", "wrong", "token", "issue").err)
        self.assertIn("HTTP 401", self.server.openstack("alice", "--os-project-name", "bob", "token", "issue").err)

    def test_an_administrator_may_have_the_whole_system(self):
        auth = v3.Password(self.server.url + "/v3", username="root", password=self.secrets[2], user_domain_id="default", system_scope="all")
        access = auth.get_access(session.Session())
        self.assertTrue(access.system_scoped and "admin" in access.role_names)

    def test_the_path_that_other_clouds_have(self):
        auth = v3.Password(self.server.url + "/identity", username="bob", password=self.secrets[1], user_domain_id="default",
                           project_name="bob", project_domain_id="default")
        found = session.Session(auth).get_endpoint(service_type="identity", interface="public")
        self.assertEqual(found, self.server.url + "/identity/v3")

    def test_an_address_without_a_version(self):
        for url in (self.server.url, self.server.url + "/"):
            issued = self.server.json("alice", "--os-auth-url", url, "token", "issue")
            self.assertEqual(issued["project_id"], "alice")
            self.assertEqual(self.server.json("alice", "--os-auth-url", url, "image", "list"), [])
        auth = generic.Password(self.server.url, username="alice", password=self.secrets[0], user_domain_name="Default", project_name="alice",
                                project_domain_name="Default")
        found = session.Session(auth)
        self.assertEqual(found.get_endpoint(service_type="image", min_version="2", max_version="2.latest"), self.server.url + "/v2/")
        self.assertEqual(found.get(self.server.url + "/v2/images").json()["images"], [])

    def test_application_credentials(self):
        for named in ({"application_credential_id": "alice"}, {"application_credential_name": "alice", "username": "alice", "user_domain_id": "default"}):
            auth = v3.ApplicationCredential(self.server.url + "/v3", application_credential_secret=self.secrets[0], **named)
            self.assertEqual(auth.get_access(session.Session()).project_id, "alice")

    def test_the_sdk_finds_its_way_and_gets_another_token_when_one_is_gone(self):
        connection = self.server.connect("alice")
        self.assertEqual(connection.current_project_id, "alice")
        self.assertEqual(connection.session.get_endpoint(service_type="image", interface="internal"), self.server.url)
        self.assertEqual(connection.identity.find_project("bob").id, "bob")
        self.assertIsNone(connection.identity.find_project("nobody"))
        first = connection.auth_token
        access = connection.session.auth.get_access(connection.session)
        connection.session.delete(self.server.url + "/v3/auth/tokens", headers={"X-Subject-Token": first})
        self.assertEqual(connection.identity.get("/auth/projects").json()["projects"][0]["id"], "alice")
        self.assertNotEqual(connection.auth_token, access.auth_token)


class WithoutAccounts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.save("anybody")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_the_file_leads_there_and_any_token_will_do(self):
        connection = self.server.connect("anybody")
        self.assertEqual(connection.session.get_endpoint(service_type="image"), self.server.url)
        projects = connection.session.get(self.server.url + "/v3/auth/projects").json()["projects"]
        self.assertEqual([project["name"] for project in projects], ["admin"])

    def test_any_password_will_do(self):
        auth = v3.Password(self.server.url + "/v3", username="demo", password="demo", user_domain_name="Default",
                           project_name="demo", project_domain_name="Default")
        access = auth.get_access(session.Session())
        self.assertEqual((access.project_id, access.role_names), ("demo", ["admin", "manager", "member", "reader"]))


class ProjectsWithoutAccounts(unittest.TestCase):
    """A token for a project is the project's wherever it is shown, and images made with it are the project's."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.lab, cls.other = cls.project("lab"), cls.project("other")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    @classmethod
    def project(cls, name):
        return connect(auth_url=cls.server.url + "/v3", username="anna", password="any", project_name=name,
                       user_domain_name="Default", project_domain_name="Default")

    def openstack(self, *arguments, project="lab"):
        """A command of OpenStack's command line."""
        where = ("--os-auth-url", self.server.url + "/v3", "--os-username", "anna", "--os-password", "any", "--os-project-name", project,
                 "--os-user-domain-name", "Default", "--os-project-domain-name", "Default")
        done = subprocess.run([OPENSTACK, *where, *arguments, "-f", "json"], env=self.server.environment(), capture_output=True, text=True,
                              timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_own_images_are_found_by_their_owner(self):
        project = self.lab.current_project_id
        made = self.lab.image.create_image("own", data=b"bytes", disk_format="raw", container_format="bare", wait=True)
        self.assertEqual(self.lab.image.get_image(made.id).owner_id, project)
        # As Nova, Ansible and Packer ask.
        self.assertIn(made.id, [image.id for image in self.lab.image.images(owner=project)])
        self.assertIn(made.id, [image.id for image in self.lab.image.images(owner=project, visibility="shared")])
        self.assertNotIn(made.id, [image.id for image in self.other.image.images(owner=self.other.current_project_id)])
        # Without accounts nothing is hidden.
        self.assertIn(made.id, [image.id for image in self.other.image.images()])

    def test_the_command_line_finds_a_projects_images(self):
        made = self.openstack("image", "create", "mine", "--disk-format", "raw", "--container-format", "bare")
        self.assertEqual(made["owner"], self.openstack("token", "issue")["project_id"])
        for project, found in (("lab", True), ("other", False)):
            for asker in ("lab", "other"):
                listed = self.openstack("image", "list", "--project", project, project=asker)
                self.assertEqual(made["id"] in [image["ID"] for image in listed], found, (project, asker))
        given = self.openstack("image", "create", "given", "--project", "other")
        self.assertEqual(given["owner"], "other")

    def test_a_service_is_told_the_project_of_a_users_token(self):
        token = self.lab.auth_token
        shown = self.other.session.get(self.server.url + "/v3/auth/tokens", headers={"X-Subject-Token": token}).json()["token"]
        self.assertEqual((shown["project"]["id"], shown["user"]["name"]), ("lab", "anna"))
        again = session.Session(v3.Token(self.server.url + "/v3", token=token, project_name="other", project_domain_id="default"))
        self.assertEqual((again.get_project_id(), again.get_user_id()), ("other", "anna"))
        self.assertEqual([project.id for project in self.lab.identity.projects()], ["lab", "anna"])

    def test_version_1_shows_the_same_owner(self):
        made = self.lab.image.create_image("first", data=b"bytes", disk_format="raw", container_format="bare", wait=True)
        headers = self.lab.session.head(f"{self.server.url}/v1/images/{made.id}").headers
        self.assertEqual(headers["x-image-meta-owner"], "lab")
        put = self.lab.session.post(self.server.url + "/v1/images", headers={"x-image-meta-name": "old"}).json()["image"]
        self.assertEqual(put["owner"], "lab")
        self.assertIn(put["id"], [image.id for image in self.lab.image.images(owner="lab")])


if __name__ == "__main__":
    main()
