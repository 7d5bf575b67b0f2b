"""What the suites of pulled images share: a laptop, whose `visor` takes sites on this machine for those of vendors, with a server and
without one."""

import functools
import hashlib
import json
import os
import subprocess
import tempfile

from harness import VISOR, Done, call
from lxd_harness import Lxc, LxdServer
from vendor_trees import configure


class Laptop:
    """A data directory and the settings of its owner. Nothing of it is left after `close`."""

    def __init__(self, *trees, settings="", **configured):
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = self.temporary.name
        self.settings = settings + configure(self.path("data"), *trees, **configured)
        self.config = self.path("laptop.toml")
        with open(self.config, "w") as file:
            file.write(self.settings)
        self.server = None

    def path(self, name):
        return os.path.join(self.directory, name)

    def environment(self, **more):
        return {"HOME": self.directory, "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **more}

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
