#!/usr/bin/env python3
"""Metadata definitions through OpenStack's own client, command by command: `glance md-…`.

usage: glance_metadefs.py VISOR [TEST…]

Needs what requirements.txt names beside the Python that runs this. Starts a server of its own and ends it. VISOR_TALLY names
a file to write "passed failed" to.
"""

import json
import subprocess
import unittest

from harness import Server, main, run

FLAVOR = {
    "namespace": "Lab::Flavor",
    "display_name": "Flavors of the lab",
    "description": "What a flavor may say",
    "visibility": "public",
    "resource_type_associations": [{"name": "OS::Nova::Flavor", "prefix": "lab:"}, {"name": "OS::Glance::Image"}],
    "properties": {
        "cores": {"title": "Cores", "type": "integer", "description": "How many", "minimum": 1, "maximum": 64, "default": 2},
        "disks": {"title": "Disks", "type": "array", "items": {"type": "string", "enum": ["hdd", "ssd"]}},
    },
    "objects": [{"name": "Quota", "description": "Shares", "required": ["cpu"],
                 "properties": {"cpu": {"title": "Shares", "type": "integer", "operators": ["<or>"]}}}],
    "tags": [{"name": "fast"}, {"name": "slow"}],
}


class Definitions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.environments = {}
        for user in (("alice",), ("root", "--admin")):
            cls.server.user(*user)
            cls.environments[user[0]] = cls.environment(user[0])
        cls.session = cls.server.connect("root").session
        cls.namespaces = cls.server.url + "/v2/metadefs/namespaces"

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    @classmethod
    def environment(cls, user):
        """What the lines for a shell set."""
        lines = cls.server.visor("--config", cls.server.path(f"{user}.toml"), "use", "openstack", "-a", cls.server.url, "--shell")
        done = subprocess.run(["sh", "-ec", lines + "\nenv -0"], env=cls.server.environment(), capture_output=True, text=True, check=True)
        return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)

    def setUp(self):
        self.session.post(self.namespaces, json=FLAVOR)

    def tearDown(self):
        for namespace in self.session.get(self.namespaces).json()["namespaces"]:
            self.session.put(f"{self.namespaces}/{namespace['namespace']}", json={"namespace": namespace["namespace"]})
            self.session.delete(f"{self.namespaces}/{namespace['namespace']}")

    def glance(self, user, *arguments):
        """What a command prints: the rows of its table."""
        done = run("glance", *arguments, environment=self.environments[user])
        self.assertEqual(done.code, 0, (arguments, done.out, done.err))
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.out.splitlines() if line.startswith("|")]
        return rows[1:]

    def refused(self, user, *arguments):
        done = run("glance", *arguments, environment=self.environments[user])
        self.assertEqual(done.code, 1, (arguments, done.out))
        return done.err

    def names(self, user, *arguments):
        return [row[0] for row in self.glance(user, *arguments)]

    def shown(self, user, *arguments):
        return {row[0]: row[1] for row in self.glance(user, *arguments)}

    def test_a_namespace_comes_and_goes(self):
        made = self.shown("root", "md-namespace-create", "Lab::Other", "--description", "Something else", "--visibility", "private")
        self.assertEqual((made["owner"], made["protected"]), ("root", "False"))
        changed = self.shown("root", "md-namespace-update", "Lab::Other", "--namespace", "Lab::New", "--protected", "True")
        self.assertEqual((changed["namespace"], changed["description"], changed["protected"]), ("Lab::New", "Something else", "True"))
        self.assertIn("HTTP 404", self.refused("root", "md-namespace-show", "Lab::Other"))
        self.assertIn("HTTP 403", self.refused("root", "md-namespace-delete", "Lab::New"))
        self.assertIn("HTTP 409", self.refused("root", "md-namespace-create", "Lab::New"))

    def test_lists_page_and_filter(self):
        for number in range(5):
            self.glance("root", "md-namespace-create", f"Lab::{number}", "--visibility", "public")
        names = self.names("root", "md-namespace-list", "--page-size", "2")
        self.assertEqual(sorted(names), [f"Lab::{n}" for n in range(5)] + ["Lab::Flavor"])
        self.assertEqual(self.names("root", "md-namespace-list", "--resource-types", "OS::Nova::Flavor"), ["Lab::Flavor"])
        self.assertEqual(self.names("root", "md-namespace-list", "--visibility", "private"), [])

    def test_members_see_and_do_not_change(self):
        self.glance("root", "md-namespace-create", "Lab::Secret", "--visibility", "private")
        self.assertEqual(self.names("alice", "md-namespace-list"), ["Lab::Flavor"])
        self.assertIn("HTTP 404", self.refused("alice", "md-namespace-show", "Lab::Secret"))
        self.assertIn("HTTP 403", self.refused("alice", "md-namespace-create", "Lab::Mine"))
        self.assertIn("HTTP 403", self.refused("alice", "md-tag-create", "Lab::Flavor", "--name", "x"))
        self.assertEqual(self.shown("alice", "md-tag-show", "Lab::Flavor", "fast")["name"], "fast")

    def test_an_imported_namespace_is_whole(self):
        self.glance("root", "md-namespace-delete", "Lab::Flavor")
        with open(self.server.path("namespace.json"), "w") as file:
            json.dump(FLAVOR, file)
        self.glance("root", "md-namespace-import", "--file", file.name)
        shown = self.shown("alice", "md-namespace-show", "Lab::Flavor")
        for name, words in (("properties", ["cores", "disks"]), ("objects", ["Quota"]), ("tags", ["fast", "slow"]),
                            ("resource_type_associations", ["OS::Glance::Image", "OS::Nova::Flavor"])):
            self.assertEqual(json.loads(shown[name]), words)
        prefixed = self.shown("alice", "md-namespace-show", "Lab::Flavor", "--resource-type", "OS::Nova::Flavor")
        self.assertEqual(json.loads(prefixed["properties"]), ["lab:cores", "lab:disks"])

    def test_properties(self):
        schema = '{"description": "How fast", "enum": ["1G", "10G"]}'
        made = self.shown("root", "md-property-create", "Lab::Flavor", "--name", "net", "--title", "Network", "--type", "string", "--schema", schema)
        self.assertEqual(json.loads(made["enum"]), ["1G", "10G"])
        changed = self.shown("root", "md-property-update", "Lab::Flavor", "net", "--name", "network", "--title", "Speed")
        self.assertEqual((changed["name"], changed["title"], changed["description"]), ("network", "Speed", "How fast"))
        self.assertEqual(self.names("alice", "md-property-list", "Lab::Flavor"), ["cores", "disks", "network"])
        self.assertEqual(self.shown("alice", "md-property-show", "Lab::Flavor", "cores")["maximum"], "64")
        self.glance("root", "md-property-delete", "Lab::Flavor", "network")
        self.assertIn("HTTP 404", self.refused("alice", "md-property-show", "Lab::Flavor", "network"))
        self.glance("root", "md-namespace-properties-delete", "Lab::Flavor")
        self.assertEqual(self.names("alice", "md-property-list", "Lab::Flavor"), [])

    def test_objects(self):
        schema = '{"description": "Limits", "properties": {"mem": {"title": "Memory", "type": "integer"}}}'
        self.glance("root", "md-object-create", "Lab::Flavor", "--name", "Limits of it", "--schema", schema)
        self.assertEqual(sorted(self.names("alice", "md-object-list", "Lab::Flavor")), ["Limits of it", "Quota"])
        self.assertEqual(self.shown("alice", "md-object-property-show", "Lab::Flavor", "Limits of it", "mem")["title"], "Memory")
        changed = self.shown("root", "md-object-update", "Lab::Flavor", "Limits of it", "--name", "Limits", "--schema", '{"description": "More"}')
        self.assertEqual((changed["description"], json.loads(changed["properties"])), ("More", ["mem"]))
        self.glance("root", "md-object-delete", "Lab::Flavor", "Limits")
        self.assertIn("HTTP 404", self.refused("alice", "md-object-show", "Lab::Flavor", "Limits"))
        self.assertEqual(self.shown("alice", "md-object-show", "Lab::Flavor", "Quota")["name"], "Quota")
        self.glance("root", "md-namespace-objects-delete", "Lab::Flavor")
        self.assertEqual(self.names("alice", "md-object-list", "Lab::Flavor"), [])

    def test_tags(self):
        self.assertEqual(self.shown("root", "md-tag-create", "Lab::Flavor", "--name", "cheap")["name"], "cheap")
        self.assertIn("HTTP 409", self.refused("root", "md-tag-create", "Lab::Flavor", "--name", "cheap"))
        # The client's own --append fails before it sends anything.
        self.session.post(f"{self.namespaces}/Lab::Flavor/tags", json={"tags": [{"name": "a"}, {"name": "b"}]}, headers={"X-Openstack-Append": "True"})
        self.assertEqual(sorted(self.names("alice", "md-tag-list", "Lab::Flavor")), ["a", "b", "cheap", "fast", "slow"])
        self.assertEqual(self.names("root", "md-tag-create-multiple", "Lab::Flavor", "--names", "c;d", "--delim", ";"), ["c", "d"])
        self.assertEqual(sorted(self.names("alice", "md-tag-list", "Lab::Flavor")), ["c", "d"])
        self.assertEqual(self.shown("root", "md-tag-update", "Lab::Flavor", "c", "--name", "e")["name"], "e")
        self.glance("root", "md-tag-delete", "Lab::Flavor", "d")
        self.assertEqual(self.names("alice", "md-tag-list", "Lab::Flavor"), ["e"])
        self.glance("root", "md-namespace-tags-delete", "Lab::Flavor")
        self.assertEqual(self.names("alice", "md-tag-list", "Lab::Flavor"), [])

    def test_types_of_resource(self):
        made = self.shown("root", "md-resource-type-associate", "Lab::Flavor", "--name", "OS::Cinder::Volume", "--prefix", "v_", "--properties-target", "image")
        self.assertEqual((made["prefix"], made["properties_target"]), ("v_", "image"))
        self.assertIn("HTTP 409", self.refused("root", "md-resource-type-associate", "Lab::Flavor", "--name", "OS::Cinder::Volume"))
        types = ["OS::Cinder::Volume", "OS::Glance::Image", "OS::Nova::Flavor"]
        self.assertEqual(sorted(self.names("alice", "md-resource-type-list")), types)
        of_it = {row[0]: row[1] for row in self.glance("alice", "md-namespace-resource-type-list", "Lab::Flavor")}
        self.assertEqual(of_it["OS::Nova::Flavor"], "lab:")
        self.glance("root", "md-resource-type-deassociate", "Lab::Flavor", "OS::Cinder::Volume")
        self.assertEqual(sorted(self.names("alice", "md-resource-type-list")), types[1:])


if __name__ == "__main__":
    main()
