"""What the suites of OpenStack's clients share: a server with its users, and the clients' commands."""

import atexit
import functools
import hashlib
import http.server
import importlib.metadata
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from keystoneauth1 import loading

import asked

VISOR = sys.argv[1]
# Long enough for a machine that others use too; only a failure takes so long.
PATIENCE = 120


def until(happened, what):
    """Waits for something, and returns what it is."""
    end = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)
    return found


# For tests of what is refused to all but administrators.
ADMINS_PUBLISH = '[auth]\npublish = "admin"\n'


class Workplace:
    """A `directory`, and the environment of the programs that work in it."""

    def path(self, name):
        return os.path.join(self.directory, name)

    def environment(self, **more):
        """Nothing of the caller's, so that no cloud of its is used by mistake."""
        return {"HOME": self.directory, "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **more}


class Server(Workplace):
    """The program on a directory of its own, and the files that its users save."""

    listeners = ("--listen", "127.0.0.1:0", "--no-tls")

    def __init__(self, *options, settings="", directory=None):
        """`directory` is one that stays, for a server that is started on it again."""
        self.temporary = None if directory else tempfile.TemporaryDirectory()
        self.directory = directory or self.temporary.name
        if settings:
            with open(self.path("visor.toml"), "w") as config:
                config.write(settings)
            options = (*options, "--config", self.path("visor.toml"))
        ready = self.path("ready")
        if os.path.exists(ready):
            os.unlink(ready)
        self.process = subprocess.Popen(
            [VISOR, "serve", *self.listeners, "--ready-file", ready, "--data-dir", self.path("data"), *options],
            stderr=open(self.path("log"), "a"), stdout=subprocess.DEVNULL, env={**os.environ, "RUST_LOG": asked.LOGGED})
        # Should nothing come to the point of stopping it.
        atexit.register(self.process.kill)
        until(lambda: os.path.exists(ready), "the server is ready")
        self.url, *self.more_urls = open(ready).read().split()

    def visor(self, *arguments):
        done = subprocess.run([VISOR, *arguments], env=self.environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def user(self, name, *arguments):
        """Makes an account, and what its holder has to save. Returns the secret."""
        made = json.loads(self.visor("--json", "--data-dir", self.path("data"), "account", "add", name, *arguments))
        config = self.path(f"{name}.toml")
        with open(os.open(config, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(f'[client]\naccess_key = "{name}"\nsecret_key = "{made["secret_key"]}"\n')
        self.save(name, "--config", config)
        return made["secret_key"]

    def save(self, name, *arguments):
        with open(self.path(f"{name}.yaml"), "w") as file:
            file.write(self.visor(*arguments, "use", "openstack", "-a", self.url))

    def openstack(self, name, *arguments, stdin=None):
        """An `openstack` command as one user."""
        environment = self.environment(OS_CLIENT_CONFIG_FILE=self.path(f"{name}.yaml"), OS_CLOUD="visor")
        return run("openstack", *arguments, environment=environment, stdin=stdin)

    def json(self, name, *arguments):
        done = self.openstack(name, *arguments, "-f", "json")
        assert done.code == 0, f"{arguments}: {done.err}"
        return json.loads(done.out)

    def connect(self, name):
        # Here, because old clients are run by a Python that does not have it.
        import openstack
        config = openstack.config.OpenStackConfig(load_envvars=False, config_files=[self.path(f"{name}.yaml")])
        return openstack.connection.Connection(config=config.get_one("visor"))

    def stop(self):
        """Returns the log. Fails when a client asked for what docs/protocols/asked.md does not have: see asked.py."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0
        log = open(self.path("log")).read()
        if self.temporary:
            self.temporary.cleanup()
        assert "panicked" not in log
        asked.check(log)
        return log


class Done:
    """What became of a command."""

    def __init__(self, code, out, err):
        self.code, self.bytes, self.out, self.err = code, out, out.decode(errors="replace"), err.decode(errors="replace")

    @property
    def said(self):
        """What it printed when it went well, else its complaint."""
        return self.out if self.code == 0 else self.err


class Files:
    """Images to try with, in the directory of a server."""

    def __init__(self, server):
        self.server = server
        self.odd, self.sparse, self.empty = map(server.path, ("odd", "sparse", "empty"))
        noise = random.Random(11)
        with open(self.odd, "wb") as file:
            file.write(noise.randbytes((3 << 20) + 17))
        # As a disk that was hardly used: some at the front, a hole, and some at an end that no block ends at.
        with open(self.sparse, "wb") as file:
            file.write(noise.randbytes(70_000))
            file.seek(5 << 20)
            file.write(noise.randbytes(12_345))
        open(self.empty, "wb").close()

    def disk(self, format_, *options):
        """The sparse file as a disk of a format, and the size that such a disk has in a machine."""
        path = self.server.path(format_)
        if not os.path.exists(path):
            subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", format_, *options, self.sparse, path], check=True)
        shown = subprocess.run(["qemu-img", "info", "--output=json", path], check=True, capture_output=True).stdout
        return path, json.loads(shown)["virtual-size"]

    def with_backing(self):
        """A disk that is nothing without another file, which it names."""
        path = self.server.path("backed")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", path, "1M"], check=True)
        return path

    @staticmethod
    def sha256(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Source:
    """A web server on this machine, to download images from. `answers` are headers by path, for what has nothing else."""

    def __init__(self, directory):
        self.answers = answers = {}

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=directory)

            def send_head(self):
                if self.path not in answers:
                    return super().send_head()
                self.send_response(200)
                for name, value in answers[self.path].items():
                    self.send_header(name, value)
                self.end_headers()
                return None

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Answer:
    """The answer to a request."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


def call(method, url, body=None, headers=None, context=None):
    """A request as it is. `body` is bytes, a file's path, or something to be sent as JSON."""
    headers = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    elif isinstance(body, str):
        with open(body, "rb") as file:
            body = file.read()
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


@functools.cache
def program(name):
    """What a command that a Python package installs calls. What it is about to import and to look for is here already then."""
    (script,) = importlib.metadata.entry_points(group="console_scripts", name=name)
    if name == "glance":
        for module in ("v1.client", "v1.shell", "v2.client", "v2.shell"):
            importlib.import_module("glanceclient." + module)
    else:
        for entry in (entry for package in importlib.metadata.distributions() for entry in package.entry_points):
            if entry.group.startswith(name + "."):
                entry.load()
    loading.get_available_plugin_names()
    return script.load()


def run(name, *arguments, environment, stdin=None):
    """Runs a command as it would run by itself: in a process of its own, which begins where this one is and so has everything
    imported that takes a second or two to import. `stdin` is a file's path, or else it is a terminal's."""
    main = program(name)

    def child():
        if stdin is None:
            _, keyboard = os.openpty()
        else:
            keyboard = os.open(stdin, os.O_RDONLY)
        for ours, theirs in ((keyboard, 0), (out.fileno(), 1), (err.fileno(), 2)):
            os.dup2(ours, theirs)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [name, *map(str, arguments)]
        sys.exit(main())

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
            process.join()
        for file in (out, err):
            file.seek(0)
        return Done(process.exitcode, out.read(), err.read())


def main():
    """Runs the tests of the calling script. VISOR_TALLY names a file to write "passed failed" to."""
    result = unittest.main(argv=[sys.argv[0], *sys.argv[2:], "-v"], exit=False, warnings="ignore").result
    failed = len(result.failures) + len(result.errors)
    if os.environ.get("VISOR_TALLY"):
        with open(os.environ["VISOR_TALLY"], "w") as tally:
            tally.write(f"{result.testsRun - failed} {failed}\n")
    sys.exit(failed > 0)
