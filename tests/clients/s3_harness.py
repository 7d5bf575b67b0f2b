"""What the suites of stores share: a server of S3's API that checks signatures, a bucket of it that is read by another client than
Visor, and a server that keeps images in that bucket."""

import atexit
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile

import boto3
import botocore.client
import botocore.exceptions
import trustme

import asked
from harness import VISOR, Done, until
from lxd_harness import LxdServer

BUCKET, ROOT = "images", "visor"
# The most bytes that go to S3 in one request; what is larger goes in pieces.
ONE_PIECE = 64 << 20


class S3:
    """moto in a process of its own. It keeps everything in memory: when it ends, all is gone. With `tls` only a CA of its own vouches
    for it."""

    def __init__(self, directory, signatures=True, tls=False):
        self.log, self.signatures = os.path.join(directory, "s3.log"), signatures
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.ca_file, self.options = "", []
        if tls:
            self.ca_file, shown = os.path.join(directory, "ca.pem"), os.path.join(directory, "shown.pem")
            authority = trustme.CA()
            authority.cert_pem.write_to_path(self.ca_file)
            authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(shown)
            self.options = ["-c", shown, "-k", shown]
        self.start()

    def start(self):
        # The first requests make the user. From then on it is like S3: who does not sign, or signs otherwise, is refused.
        environment = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore"}
        if self.signatures:
            environment["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port), *self.options],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self.process.kill)
        until(self.answers, "moto answers")
        iam = self.client("iam", "nobody", "nothing")
        iam.create_user(UserName="visor")
        key = iam.create_access_key(UserName="visor")["AccessKey"]
        self.access_key, self.secret_key = key["AccessKeyId"], key["SecretAccessKey"]
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="visor", PolicyName="all", PolicyDocument=json.dumps(everything))
        self.client("s3", "nobody", "nothing").create_bucket(Bucket=BUCKET)
        self.s3 = self.client("s3", self.access_key, self.secret_key)
        if self.signatures:
            with contextlib.suppress(botocore.exceptions.ClientError):
                self.client("s3", self.access_key, "wrong").list_buckets()
                raise AssertionError("moto does not look at signatures")

    def answers(self):
        assert self.process.poll() is None, open(self.log).read()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def client(self, service, access_key, secret_key):
        config = botocore.client.Config(retries={"max_attempts": 0}, proxies={})
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", config=config, verify=self.ca_file or None,
                            aws_access_key_id=access_key, aws_secret_access_key=secret_key)

    def stop(self):
        """Who asks it now finds nobody there."""
        self.process.kill()
        self.process.wait()

    def names(self, bucket=BUCKET):
        """Every object in the bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def of_image(self, image_id):
        """The names of an image's objects."""
        bare = image_id.replace("-", "")
        return [name for name in self.names() if bare in name.replace("-", "")]

    def read(self, name):
        return self.s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()

    def unfinished(self):
        """Uploads in pieces that nobody ended."""
        return [upload["Key"] for upload in self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]

    def requests(self, words):
        """How many of its answers look like this."""
        with open(self.log) as log:
            return len(re.findall(words, log.read()))

    def settings(self, default="file", **changed):
        """What Visor is told of the bucket."""
        values = {"kind": "s3", "description": "the lab's bucket", "endpoint": self.url, "ca_file": self.ca_file,
                  "bucket": BUCKET, "root": ROOT, "access_key": self.access_key, "secret_key": self.secret_key} | changed
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
        return f'[stores]\ndefault = "{default}"\n\n[stores.cold]\n{lines}'


def started(clean_up, **options):
    """A server of S3's API, until everything that `clean_up` was given is called."""
    directory = tempfile.TemporaryDirectory()
    clean_up(directory.cleanup)
    server = S3(directory.name, **options)
    clean_up(server.stop)
    return server


class Server(LxdServer):
    """The program with a configuration that it keeps, which can be ended and started again. It logs all that it can log."""

    def __init__(self, settings):
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = self.temporary.name
        self.config, self.data, self.certificate = map(self.path, ("visor.toml", "data", "data/keys/tls.crt"))
        self.addresses = ("127.0.0.1:0", "127.0.0.1:0")
        self.secrets = set()
        self.start(settings)

    def start(self, settings=None):
        """Starts it, where it was before, with other settings or with those that it had."""
        if settings is not None:
            self.secrets.update(re.findall('secret_key = "(.+)"', settings))
            with open(os.open(self.config, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                file.write(settings)
        ready = self.path("ready")
        with open(self.path("log"), "a") as log:
            self.process = subprocess.Popen(
                [VISOR, "serve", "--config", self.config, "--data-dir", self.data, "--listen", self.addresses[0],
                 "--listen-tls", self.addresses[1], "--allow-fetch", "127.0.0.1/32", "--ready-file", ready],
                env=self.environment(RUST_LOG=f"debug,{asked.LOGGED}"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        atexit.register(self.process.kill)

        def answers():
            assert self.process.poll() is None, self.read_log()
            return os.path.exists(ready)

        until(answers, "the server is ready")
        with open(ready) as file:
            self.url, self.https = file.read().split()
        os.unlink(ready)
        self.addresses = tuple(url.split("//")[1].strip("/") for url in (self.url, self.https))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        assert code == 0, f"{code}: {self.read_log()[-3000:]}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def operator(self, *arguments):
        """A command on its data, with its configuration."""
        return self.run("--config", self.config, "--data-dir", self.data, *arguments)

    def client(self, *arguments):
        """A command of one of its clients."""
        return self.run(*arguments, "-a", self.url)

    def run(self, *arguments):
        done = subprocess.run([VISOR, "--json", *arguments], env=self.environment(), capture_output=True, timeout=60)
        return Done(done.returncode, done.stdout, done.stderr)

    def add(self, name, *attributes, file=None):
        """Adds an image by `visor`, and returns its record."""
        done = self.client("add", f"name={name}", "architecture=x86_64", *attributes, *(("--file", file) if file else ()))
        assert done.code == 0, done.err
        return json.loads(done.out)

    def files(self):
        """The names of all files with bytes of images that it has on its own disk."""
        names = []
        for directory, _, files in os.walk(os.path.join(self.data, "images")):
            names += [os.path.join(directory, name) for name in files]
        return names

    def stop(self):
        if self.process.returncode is None:
            self.end()
        log = self.read_log()
        told = [path for path in self.everything() if self.tells(path)]
        self.temporary.cleanup()
        assert "panicked" not in log
        assert not told, f"the secret of a store is in {told}"
        asked.check(log)

    def everything(self):
        for directory, _, files in os.walk(self.data):
            yield from (os.path.join(directory, name) for name in files)

    def tells(self, path):
        with open(path, "rb") as file:
            return self.is_told(file.read())

    def is_told(self, data):
        """Whether a secret is in what somebody is shown or may read."""
        return any(secret.encode() in data for secret in self.secrets)


def patterned(path, size, seed):
    """A file that nobody could have made by mistake."""
    noise = random.Random(seed)
    with open(path, "wb") as file:
        for start in range(0, size, 1 << 20):
            file.write(noise.randbytes(min(1 << 20, size - start)))
    return path
