#!/usr/bin/env python3
"""The same files and requests to LXD's daemon, Incus' and Visor: each difference is argued here and in docs/protocols/lxd.md.

usage: lxd_differential.py VISOR [TEST…]

Needs Debian's `lxd`, Incus as tests/clients/prepare unpacks it, and root (or sudo) to run them. Starts daemons and a server of its
own and ends them. VISOR_TALLY names a file to write "passed failed" to, VISOR_DIFFERENCES one to write all differences to.
"""

import functools
import http.client
import json
import os
import unittest
from concurrent.futures import ThreadPoolExecutor

import lxd_odd_requests as odd_requests
from harness import main
from lxd_argued import BETWEEN, FILES, REQUESTS, RULES, refuses
from lxd_harness import LxdServer, sha256
from lxd_odd_files import OddFiles
from lxd_peers import IncusDaemon, Peer, UnixConnection
from lxd_real import Daemon


def outcome(result):
    """What counts of a result: of a refusal that it is one, and where it comes."""
    return {name: value for name, value in result.items() if name != "why"}


class Differential(unittest.TestCase):
    """Three servers, and what each makes of a thing."""

    @classmethod
    def setUpClass(cls):
        # Without accounts, so that each server trusts its client.
        cls.server = LxdServer()
        cls.addClassCleanup(cls.server.stop)
        cls.peers = [Peer("visor", functools.partial(http.client.HTTPConnection, cls.server.url.removeprefix("http://").strip("/"), timeout=60), "X-LXD")]
        for daemon, prefix in ((Daemon, "X-LXD"), (IncusDaemon, "X-Incus")):
            running = daemon(cls.server)
            cls.addClassCleanup(running.stop)
            cls.peers.append(Peer(daemon.name, functools.partial(UnixConnection, os.path.join(running.directory, "unix.socket")), prefix))
        os.mkdir(cls.server.path("odd"))
        cls.files = OddFiles(cls.server.path("odd"))
        cls.pool = ThreadPoolExecutor(len(cls.peers))
        cls.addClassCleanup(cls.pool.shutdown)

    def each(self, ask):
        """The results of all servers, by their names."""
        return dict(zip((peer.name for peer in self.peers), self.pool.map(ask, self.peers)))

    def compare(self, results, argued):
        """Every difference is argued, and what is argued is a difference."""
        different, between = {}, {}
        for name, result in results.items():
            visor, lxd, incus = (outcome(result[peer]) for peer in ("visor", "lxd", "incus"))
            rule = next((rule for rule in RULES if visor not in (lxd, incus) and rule.applies(name, visor, lxd, incus)), None)
            if rule:
                rule.used += 1
            elif visor not in (lxd, incus):
                different[name] = result
            elif lxd != incus and not (refuses(lxd) and refuses(incus)):
                between[name] = "lxd" if visor == lxd else "incus"
        if "VISOR_DIFFERENCES" in os.environ:
            with open(os.environ["VISOR_DIFFERENCES"], "a") as file:
                json.dump({"different": different, "between": {name: (side, results[name]) for name, side in between.items()}}, file, ensure_ascii=False, indent=1)
        sides = {name: side for name, side in BETWEEN.items() if name in results}
        listed = {name for name in argued if name in results}
        for name in different.keys() - listed:
            with self.subTest(name):
                self.fail(f"a difference that is not argued: {different[name]}")
        for name in listed - different.keys():
            with self.subTest(name):
                self.fail(f"argued, and no difference any more: {results[name]}")
        self.assertEqual({name for name in argued if name not in results}, set(), "argued, and not tried")
        self.assertEqual(between, sides, "where LXD and Incus differ, Visor is like one of them")


class OfFiles(Differential):
    """Images that are sent."""

    def try_files(self, group):
        results = {}
        for name, files in getattr(self.files, group)():
            results[f"{group}: {name}"] = self.each(lambda peer: peer.import_(files))
            for file in files:
                os.remove(file[1] if isinstance(file, tuple) else file)
        self.compare(results, {name: reason for name, reason in FILES.items() if name.startswith(group)})

    def test_packings(self):
        self.try_files("packings")

    def test_contents(self):
        self.try_files("contents")

    def test_descriptions(self):
        self.try_files("descriptions")

    def test_splits(self):
        self.try_files("splits")

    def test_headers(self):
        results = {}
        for name, headers in odd_requests.UPLOADS.items():
            file = self.files.file(self.files.unified())
            fingerprint = sha256(file)
            known = {"{fingerprint}": fingerprint, "{FINGERPRINT}": fingerprint.upper(), "{half}": fingerprint[:32]}
            headers = {header: known.get(value, value) for header, value in headers.items()}
            results[f"headers: {name}"] = self.each(lambda peer: peer.import_([file], **headers))
        self.compare(results, {name: reason for name, reason in FILES.items() if name.startswith("headers")})


class OfRequests(Differential):
    """Requests, one after the other, to servers that have the same images."""

    def try_requests(self, group):
        files = {"one": [self.files.file(self.files.unified())], "vm": [self.files.metadata(), self.files.qcow2()]}
        known = {name: sha256(*paths) for name, paths in files.items()}
        known["ONE"] = known["one"].upper()

        def begin(peer):
            for name, paths in files.items():
                peer.send(paths)
                peer.call("POST", "/1.0/images/aliases", {"name": name, "target": known[name]})

        self.each(begin)
        results = {}
        for name, method, path, *rest in getattr(odd_requests, group)():
            body, headers = rest + [None] * (2 - len(rest))
            path = path.format(**known)
            if body is not None and not isinstance(body, bytes):
                body = filled(body, known)
            name = f"{group}: {name}"
            while name in results:
                name += " again"
            results[name] = self.each(lambda peer: peer.settle(peer.call(method, path, body, headers)))
        self.each(lambda peer: peer.clear())
        self.compare(results, {name: reason for name, reason in REQUESTS.items() if name.startswith(group)})

    def test_lists(self):
        self.try_requests("lists")

    def test_methods(self):
        self.try_requests("methods")

    def test_aliases(self):
        self.try_requests("aliases")

    def test_changes(self):
        self.try_requests("changes")

    def test_sources(self):
        self.try_requests("sources")


def filled(value, known):
    """A body with the fingerprints in it."""
    if isinstance(value, dict):
        return {filled(name, known): filled(item, known) for name, item in value.items()}
    return value.format(**known) if isinstance(value, str) and value.startswith("{") else value


class TheList(unittest.TestCase):
    """What is argued."""

    def test_each_rule_is_needed(self):
        # By name the last of the classes, so that all others have run; alone it has nothing to say.
        if any(rule.used for rule in RULES):
            for rule in RULES:
                with self.subTest(rule.reason):
                    self.assertGreater(rule.used, 0, "a rule that no difference needs")


if __name__ == "__main__":
    main()
