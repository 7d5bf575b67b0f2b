"""A real LXD daemon for the suites that need one: Debian's `lxd`, on a directory of its own. Only root can run it."""

import atexit
import json
import os
import re
import shutil
import socket
import subprocess

from lxd_harness import Commands, Lxc, sha256

AS_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "as-root")
PASSWORD = "for tests"


def as_root(*command, **options):
    return subprocess.run([AS_ROOT, *command], check=True, **options)


class Daemon:
    """LXD on a directory of its own, that trusts the certificate of a server."""

    name, program, directory_variable, more_environment = "lxd", "lxd", "LXD_DIR", {}

    def __init__(self, server):
        self.server, self.directory = server, server.path(self.name)
        os.mkdir(self.directory)
        self.environment = server.environment(
            SSL_CERT_FILE=server.certificate, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin",
            **{self.directory_variable: self.directory, **self.more_environment},
            # Nothing is asked of anybody outside this machine; what is on it is asked without a proxy.
            HTTPS_PROXY="http://127.0.0.1:9/", HTTP_PROXY="http://127.0.0.1:9/")
        assigned = [f"{name}={value}" for name, value in self.environment.items()]
        group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
        with open(server.path(f"{self.name}.log"), "w") as log:
            command = [AS_ROOT, "env", *assigned, self.program, "--group", group]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        # Should nothing come to the point of stopping it.
        atexit.register(self.stop)
        ready = subprocess.run([self.program, "waitready", "--timeout", "50"], env=self.environment, capture_output=True, text=True)
        if ready.returncode != 0:
            self.stop()
            with open(server.path(f"{self.name}.log")) as log:
                raise RuntimeError(f"these tests need the daemon of {self.name}, and it does not start here: {ready.stderr}{log.read()[-2000:]}")

    def stop(self):
        """Ends it, once. What it mounted is not mounted any more then, so that its directory can go."""
        if self.process.poll() is None:
            as_root("kill", "-TERM", str(self.process.pid))
            self.process.wait(timeout=60)
        as_root("rm", "-rf", "--one-file-system", self.directory)

    def forget_documents(self):
        """Lets pass the hour for which documents of simplestreams are kept."""
        as_root("find", os.path.join(self.directory, "cache"), "-type", "f", "-exec", "touch", "-d", "2 hours ago", "{}", "+")


class WithDaemon(Commands):
    """A client to whom a daemon is `lxd` (and `local`), and the server is `visor` and, as simplestreams, `streams`. The server
    has accounts: it trusts the client, which is alice's, and not the daemon."""

    settings = '[lxd]\nauto_update_interval = "2s"\n[auth]\npublic_read = true\n'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = "alice:" + cls.server.user("alice")
        cls.daemon = Daemon(cls.server)
        cls.addClassCleanup(cls.daemon.stop)
        cls.who = Lxc(cls.server, "home", LXD_DIR=cls.daemon.directory)
        with socket.create_server(("127.0.0.1", 0)) as free:
            cls.address = f"127.0.0.1:{free.getsockname()[1]}"
        for command in (
            ("config", "set", "local:", "core.https_address", cls.address),
            ("config", "set", "local:", "core.trust_password", PASSWORD),
            ("remote", "add", "lxd", f"https://{cls.address}", "--accept-certificate", "--password", PASSWORD),
            ("remote", "add", "visor", cls.server.https, "--accept-certificate", "--password", cls.keys),
        ):
            cls.who.do(*command)
        cls.add_streams("streams", cls.server.https)

    @classmethod
    def add_streams(cls, name, url):
        # Nobody is asked about a certificate here: it has to be known.
        shutil.copy(cls.server.certificate, cls.who.path(f"servercerts/{name}.crt"))
        cls.who.do("remote", "add", name, url, "--protocol", "simplestreams")

    def import_(self, remote, alias, *files, more=("--public",)):
        files = files or (self.images.unified(),)
        self.do("image", "import", *files, f"{remote}:", "--alias", alias, *more)
        return sha256(*files)

    def every_kind(self):
        """Images of each kind, as the files that they are."""
        yield "one", (self.images.unified("zstd"),)
        yield "two", (self.images.metadata(), self.images.rootfs())
        yield "tar", (self.images.metadata("gzip"), self.images.rootfs("xz"))
        yield "vm", (self.images.metadata(), self.images.disk())

    def image(self, remote, name):
        """An image as the API has it."""
        fingerprint = self.who.fingerprint(f"{remote}:{name}")
        return json.loads(self.do("query", f"{remote}:/1.0/images/{fingerprint}"))

    def check_same(self, name, *remotes):
        """The image is the same in several places, as far as it says something of itself."""
        shown = [self.image(remote, name) for remote in remotes]
        for field in ("fingerprint", "size", "type", "architecture", "created_at", "properties"):
            self.assertEqual(shown[0][field], shown[1][field], field)
        # For no end LXD writes year 1 or the start of 1970, which Incus' client reads as a date. Visor writes the first always.
        never = ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z")
        ends = [image["expires_at"] for image in shown]
        ends = [None if end in never[:1 if remote == "visor" else 2] else end for remote, end in zip(remotes, ends)]
        self.assertEqual(ends[0], ends[1], "expires_at")
        return shown[-1]

    def requests(self, since=0):
        """What was asked of the server, as far as the log tells."""
        return re.findall(r"\] ([A-Z]+ \S+) (?:200|202|206)", self.server.read_log()[since:])

    def asking(self, action):
        """What is asked of the server while something is done."""
        since = len(self.server.read_log())
        action()
        return self.requests(since)
