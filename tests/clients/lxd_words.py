#!/usr/bin/env python3
"""What `lxc` prints when it talks to Visor is what it prints when it talks to LXD, word for word.

usage: lxd_words.py VISOR [TEST…]

Needs Debian's `lxd`, and root (or sudo) to run it. Starts a daemon and a server of its own and ends them. VISOR_TALLY names a
file to write "passed failed" to.
"""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

from harness import main
from lxd_harness import sha256
from lxd_real import WithDaemon

# As `lxc` prints them: when something came is not the same for both.
TIMES = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\w{3} \d+, \d{4} at [\d:]+[ap]m \(UTC\)|\d{4}/\d\d/\d\d [\d:]+ UTC")


class TheSameWords(WithDaemon):
    """One command after the other, to both: what is printed is the same."""

    def both(self, *arguments, stdin=b""):
        def say(remote):
            done = self.who(*(re.sub("^TO:", remote + ":", argument) for argument in arguments), stdin=stdin)
            # The client shows how far it is, and properties in any order.
            return done.code, sorted(TIMES.sub("TIME", done.out.rsplit("\r", 1)[-1]).splitlines()), done.err

        with ThreadPoolExecutor() as both:
            by_lxd, by_visor = both.map(say, ("lxd", "visor"))
        self.assertEqual(by_lxd, by_visor, arguments)

    def test_the_same_words(self):
        one, two = self.images.unified("xz", serial="1"), self.images.unified("gzip")
        vm = self.images.metadata(), self.images.disk()
        fingerprint = sha256(one)
        wanted = {"public": False, "properties": {"os": "Changed", "n": "1"}, "expires_at": "2040-01-02T03:04:05Z", "profiles": ["default"]}
        for command, stdin in (
            *((("image", *command), b"") for command in (
                ("import", one, "TO:", "os=Other thing", "a.b=c d+e&f=g", "empty=", "--public", "--alias", "the/one", "--alias", "two"),
                ("import", one, "TO:"), ("import", one, "TO:", "--alias", "three"),
                ("import", *vm, "TO:", "--alias", "vm"), ("import", two, "TO:", "--alias", "three"),
                ("list", "TO:"), ("list", "TO:", "-f", "json"), ("list", "TO:", "-f", "yaml"), ("list", "TO:", "-c", "lLfFpdatsu", "-f", "csv"),
                ("list", "TO:", "os=other thing"), ("list", "TO:", "os=Other thing"), ("list", "TO:", "os=Oth"), ("list", "TO:", "os=Oth.*"),
                ("list", "TO:", "type=container"), ("list", "TO:", "type=virtual-machine", "the"), ("list", "TO:", "the"),
                ("list", "TO:", fingerprint[:9]), ("list", "TO:", "architecture=x86_64", "nothing=x"), ("list", "TO:", "a.b=c.*"),
                ("info", "TO:the/one"), ("info", f"TO:{fingerprint[:7]}"), ("info", "TO:vm"), ("info", "TO:nothing"), ("info", "TO:fff%"),
                ("show", "TO:two"), ("show", "TO:vm"), ("get-property", "TO:two", "a.b"), ("get-property", "TO:two", "nothing"),
                ("set-property", "TO:two", "x", "y z"), ("show", "TO:two"), ("unset-property", "TO:two", "x"), ("show", "TO:two"),
                ("get-property", "TO:two", "x"), ("unset-property", "TO:two", "never"), ("show", "TO:two"), ("show", "TO:nothing"))),
            (("image", "edit", "TO:two"), json.dumps(wanted).encode()), (("image", "show", "TO:two"), b""),
            (("image", "edit", "TO:two"), b"profiles: [other]"), (("image", "edit", "TO:two"), b"public: ["),
            *((("image", "alias", *command), b"") for command in (
                ("list", "TO:"), ("create", "TO:al", "two"), ("create", "TO:al", fingerprint[:8]), ("create", "TO:al", fingerprint),
                ("create", "TO:al2", "0000"), ("rename", "TO:al", "al/with slash"), ("rename", "TO:nothing", "x"),
                ("rename", "TO:two", "the/one"), ("list", "TO:", "-f", "csv"), ("list", "TO:", "slash", "-f", "yaml"),
                ("delete", "TO:al/with slash"), ("delete", "TO:al/with slash"))),
            *((("image", *command), b"") for command in (
                ("refresh", "TO:nothing"), ("copy", "TO:two", "TO:"), ("delete", "TO:two"), ("delete", "TO:two"), ("delete", "TO:"),
                ("info", "TO:the/one"), ("alias", "list", "TO:", "-f", "csv"), ("list", "TO:", "-f", "csv"))),
            *((command, b"") for command in (
                ("publish", "TO:nothing", "TO:"), ("publish", "TO:nothing/snapshot", "TO:"), ("list", "TO:"), ("query", "TO:/"),
                ("query", "TO:/1.0/nothing"), ("query", "-X", "PUT", "TO:/1.0/images"), ("query", "TO:/1.0/images/nothing"),
                ("query", "TO:/1.0/operations/nothing"), ("query", "TO:/1.0/images/aliases?recursion=1"))),
        ):
            with self.subTest(" ".join(command)):
                self.both(*command, stdin=stdin)

    def test_of_what_is_no_image(self):
        noise = self.images.fresh()
        with open(noise, "wb") as file:
            file.write(os.urandom(100_000))
        empty = self.images.fresh()
        open(empty, "wb").close()
        described = "architecture: amd64\ncreation_date: 1700000000\n"
        metadata = [self.images.metadata(yaml=yaml) for yaml in (
            "creation_date: 1700000000\n", "architecture: pdp11\ncreation_date: 1700000000\n", "architecture: amd64\n",
            # Not every value here is a text to YAML.
            described + "properties:\n  a: 20240101\n  b: 1.50\n  c: yes\n  d: true\n  e: ~\n  f:\n  g: 2024-01-01\n  h: 0x10\n  i: 010\n")]
        root = self.images.rootfs()
        for path in (noise, empty, self.images.disk(), self.images.disk(format_="raw"), self.images.rootfs("gzip"), *metadata[:3]):
            self.both("image", "import", path, "TO:")
            self.both("image", "import", path, root, "TO:")
        for root in (noise, empty, self.images.disk(format_="raw")):
            self.both("image", "import", self.images.metadata(), root, "TO:")
        self.both("image", "import", metadata[3], self.images.rootfs(), "TO:", "--alias", "typed")
        self.both("image", "show", "TO:typed")
        for remote in ("lxd", "visor"):
            self.do("image", "delete", f"{remote}:typed")


if __name__ == "__main__":
    main()
