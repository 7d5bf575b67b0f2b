"""What the suites of LXD's clients share: a server that speaks HTTPS too, images made with the tools that people make them with,
and `lxc` with a certificate of its own."""

import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import ssl
import subprocess
import tempfile
import unittest

from harness import Done, Server, call

# How the tools pack, by what LXD calls it: what they are told, and how the file is called.
PACKINGS = {
    "tar": ("-c", ".tar"), "gzip": ("-cz", ".tar.gz"), "xz": ("-cJ", ".tar.xz"), "bzip2": ("-cj", ".tar.bz2"),
    "lzma": ("-c --lzma", ".tar.lzma"), "zstd": ("-c --zstd", ".tar.zst"), "squashfs": (None, ".squashfs"),
}


class LxdServer(Server):
    """A server whose images LXD's clients reach by HTTPS."""

    listeners = ("--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--allow-fetch", "127.0.0.1/32")

    def __init__(self, *options, settings="", directory=None):
        # Read once.
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(settings)
            config.flush()
            super().__init__("--config", config.name, *options, directory=directory)
        (self.https,) = self.more_urls
        self.certificate = self.path("data/keys/tls.crt")

    def account(self, name, *arguments):
        """Makes an account. Returns its keys as LXD's clients send them: as one password."""
        made = json.loads(self.visor("--json", "--data-dir", self.path("data"), "account", "add", name, *arguments))
        return f"{made['access_key']}:{made['secret_key']}"

    def call(self, method, path, body=None, headers=None, client=None):
        """One request by HTTPS, with the certificate of a client or none."""
        context = ssl.create_default_context(cafile=self.certificate)
        if client:
            context.load_cert_chain(client.path("client.crt"), client.path("client.key"))
        return call(method, self.https + path, body, headers, context)

    def read_log(self):
        with open(self.path("log")) as log:
            return log.read()


def sha256(*paths):
    """Of files, one behind the other: the fingerprint of an image."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(1 << 20), b""):
                digest.update(chunk)
    return digest.hexdigest()


class Images:
    """Images as people make them. No two have the same bytes."""

    def __init__(self, directory):
        self.directory = os.path.join(directory, "images")
        os.mkdir(self.directory)
        self.numbers = itertools.count(1)

    def fresh(self, suffix=""):
        return os.path.join(self.directory, f"{next(self.numbers)}{suffix}")

    def describe(self, directory, yaml=None, **properties):
        """Writes what describes an image, and a template as most have."""
        number = next(self.numbers)
        properties = {"os": "Debian", "release": "bookworm", "description": f"Image {number}", **properties}
        lines = "".join(f"  {name}: {json.dumps(value)}\n" for name, value in properties.items())
        text = yaml or (
            f"architecture: amd64\ncreation_date: {1_700_000_000 + number}\nproperties:\n{lines}templates:\n  /etc/hostname:\n"
            "    when: [create, copy]\n    template: hostname.tpl\n")
        with open(os.path.join(directory, "metadata.yaml"), "w") as file:
            file.write(text)
        os.mkdir(os.path.join(directory, "templates"))
        with open(os.path.join(directory, "templates/hostname.tpl"), "w") as file:
            file.write("{{ container.name }}\n")

    def root(self, directory):
        """A small root file system, with what there is in one besides files."""
        for path in ("bin", "etc", "var/lib/empty"):
            os.makedirs(os.path.join(directory, path))
        with open(os.path.join(directory, "bin/busybox"), "wb") as file:
            file.write(random.Random(next(self.numbers)).randbytes(200_000))
        os.symlink("busybox", os.path.join(directory, "bin/sh"))
        os.link(os.path.join(directory, "bin/busybox"), os.path.join(directory, "bin/ls"))
        with open(os.path.join(directory, "etc/ünïcode name"), "w") as file:
            file.write("x")

    def disk(self, size=5 << 20, format_="qcow2"):
        """A disk that was hardly used."""
        raw = self.fresh(".raw")
        with open(raw, "wb") as file:
            file.write(random.Random(next(self.numbers)).randbytes(min(size, 70_001)))
            file.truncate(size)
        if format_ == "raw":
            return raw
        path = self.fresh("." + format_)
        subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", format_, raw, path], check=True)
        os.unlink(raw)
        return path

    def pack(self, directory, packing, *members):
        options, suffix = PACKINGS[packing]
        path = self.fresh(suffix)
        if packing == "squashfs":
            run = ["mksquashfs", directory, path, "-noappend", "-quiet", "-no-progress"]
        else:
            run = ["tar", *options.split(), "-f", path, "-C", directory, *(members or sorted(os.listdir(directory)))]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        return path

    def unified(self, packing="gzip", disk=False, **described):
        """An image in one file."""
        directory = self.fresh()
        os.mkdir(directory)
        self.describe(directory, **described)
        if disk:
            os.rename(self.disk(), os.path.join(directory, "rootfs.img"))
        else:
            os.mkdir(os.path.join(directory, "rootfs"))
            self.root(os.path.join(directory, "rootfs"))
        path = self.pack(directory, packing)
        shutil.rmtree(directory)
        return path

    def metadata(self, packing="xz", **described):
        """What describes an image, by itself."""
        directory = self.fresh()
        os.mkdir(directory)
        self.describe(directory, **described)
        path = self.pack(directory, packing)
        shutil.rmtree(directory)
        return path

    def rootfs(self, packing="squashfs"):
        """What is described, by itself."""
        directory = self.fresh()
        os.mkdir(directory)
        self.root(directory)
        path = self.pack(directory, packing, ".")
        shutil.rmtree(directory)
        return path


class Lxc:
    """`lxc` with a home of its own, and so with a certificate of its own."""

    def __init__(self, server, name, **environment):
        self.server, self.home = server, server.path(name)
        os.mkdir(self.home)
        self.environment = server.environment(HOME=self.home, LXD_CONF=self.home, **environment)

    def path(self, name):
        return os.path.join(self.home, name)

    def __call__(self, *arguments, stdin=b""):
        done = subprocess.run(["lxc", *map(str, arguments)], input=stdin, env=self.environment, capture_output=True, timeout=180)
        return Done(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def start(self, *arguments, out):
        """A command that goes on until it is ended."""
        process = subprocess.Popen(["lxc", *arguments], stdin=subprocess.DEVNULL, stdout=out, env=self.environment)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def do(self, *arguments, **more):
        """A command that has to work."""
        done = self(*arguments, **more)
        assert done.code == 0, f"lxc {' '.join(map(str, arguments))}: {done.err}"
        return done

    def json(self, *arguments):
        return json.loads(self.do(*arguments, "-f", "json").out)

    def add(self, name="visor", *options, url=None):
        """Makes the server known."""
        return self("remote", "add", name, url or self.server.https, "--accept-certificate", *options)

    def fingerprint(self, image):
        """What stands behind a name, in full."""
        shown = self.do("image", "info", image).out
        return shown.split("\n", 1)[0].removeprefix("Fingerprint: ")


class Commands(unittest.TestCase):
    """What the tests of `lxc` have in common. `who` is the client unless a test says otherwise."""

    settings, who = "", None

    @classmethod
    def setUpClass(cls):
        cls.server = LxdServer(settings=cls.settings)
        cls.addClassCleanup(cls.server.stop)
        cls.images = Images(cls.server.directory)

    def do(self, *arguments, who=None, **more):
        done = (who or self.who)(*arguments, **more)
        self.assertEqual(done.code, 0, f"{arguments}: {done.err}")
        return done.out

    def refused(self, words, *arguments, who=None, **more):
        done = (who or self.who)(*arguments, **more)
        self.assertNotEqual(done.code, 0, done.out)
        self.assertIn(words, done.err)
