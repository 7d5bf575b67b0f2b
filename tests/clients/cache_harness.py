"""Shared by the suites of pulled images: a laptop, whose `visor` takes sites on this machine for those of vendors, with a server and
without one."""

import functools
import hashlib
import json
import os
import subprocess
import tempfile
import time

from harness import VISOR, Done, Workplace, call
from lxd_harness import Lxc, LxdServer
from vendor_trees import configure

# A little longer than the time for which no server is asked again, whatever a client says: ASKED_LATELY_US of src/cache/fresh.rs.
ASKED_LATELY = 5.1


def let_lists_age(since):
    """Waits until a pull asks again for documents that were asked for at `since`, a moment of `time.monotonic`: before that, it takes
    those that are here for the newest."""
    time.sleep(max(0, since + ASKED_LATELY - time.monotonic()))


class Laptop(Workplace):
    """A data directory and the settings of its owner. Nothing of it is left after `close`."""

    def __init__(self, *trees, settings="", **configured):
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = self.temporary.name
        self.settings = settings + configure(self.path("data"), *trees, **configured)
        self.config = self.path("laptop.toml")
        with open(self.config, "w") as file:
            file.write(self.settings)
        self.server = None

    def __call__(self, *arguments, at=None, **environment):
        """A `visor` command; `at` another time, such as `+1h`."""
        clock = ["faketime", "-f", at] if at else []
        done = subprocess.run([*clock, os.path.abspath(VISOR), "--config", self.config, "--data-dir", self.path("data"), *map(str, arguments)],
                              cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, env=self.environment(**environment))
        return Done(done.returncode, done.stdout, done.stderr)

    def do(self, *arguments, **environment):
        done = self(*arguments, **environment)
        assert done.code == 0, f"visor {' '.join(map(str, arguments))}: exit {done.code}: {done.err}{done.out}"
        return done

    def json(self, *arguments):
        return json.loads(self.do("--json", *arguments).out)

    def serve(self):
        """A server on the directory, until `stop`."""
        self.server = LxdServer(settings=self.settings, directory=self.directory)
        return self.server

    def stop(self):
        server, self.server = self.server, None
        return server.stop() if server else ""

    def close(self):
        self.stop()
        self.temporary.cleanup()

    # -- what is there, by each protocol ---------------------------------------------------------------------------
    def images(self):
        """The images as VISOR's clients see them, by the MD5 of their bytes."""
        answer = call("GET", self.server.url + "/images/detail")
        return {} if answer.status == 404 else {image["checksum"]: image for image in answer.json["images"]}

    def of_glance(self, query=""):
        return {image["checksum"]: image for image in call("GET", self.server.url + "/v2/images" + query).json["images"]}

    @functools.cached_property
    def lxc(self):
        """LXD's client, to whom the server is `visor`."""
        client = Lxc(self.server, "lxc")
        client.do("remote", "add", "visor", self.server.https, "--accept-certificate")
        return client

    def of_lxd(self):
        """By their aliases."""
        return {alias["name"]: image for image in self.lxc.json("image", "list", "visor:") for alias in image["aliases"]}


def md5(content):
    return hashlib.md5(content).hexdigest()
