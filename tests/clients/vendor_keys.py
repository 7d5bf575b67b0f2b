"""Keys that vendors sign with, made by real `gpg` and `signify` for a test and gone with its directory: the user's own keys are not looked at.

Knows nothing of images or servers.
"""

import atexit
import base64
import os
import subprocess
import time

# Years before the rest, so that keys can have expired and lists can be old.
LONG_AGO = 1_577_880_000  # 2020-01-01


def stamp(when):
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(when))


class Keys:
    """A home of gpg's. Keys are known by short names; `fingerprints` has those of their primary keys."""

    def __init__(self, directory):
        self.home = directory
        os.makedirs(self.home, mode=0o700)
        # gpg's agent is a process of its own, and ends with the tests.
        atexit.register(self.close)
        self.fingerprints = {}

    def close(self):
        if os.path.isdir(self.home):
            subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], capture_output=True)

    def gpg(self, *arguments, stdin=b"", when=None):
        at = ("--faked-system-time", stamp(when) + "!") if when else ()
        command = ["gpg", "--homedir", self.home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "",
                   "--no-auto-key-locate", *at, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
        assert done.returncode == 0, f"{arguments}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def make(self, name, title=None, algorithm="ed25519", when=LONG_AGO, options=(), subkey=None):
        """A primary key that certifies, and signs by a subkey if one is asked for."""
        usage = "cert" if subkey else "cert,sign"
        self.gpg(*options, "--quick-generate-key", f"{title or name} <{name}@vendor.example>", algorithm, usage, "never", when=when)
        listed = self.gpg("--with-colons", "--list-keys", f"<{name}@vendor.example>", when=when).decode()
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
        if subkey:
            self.gpg(*options, "--quick-add-key", fingerprint, subkey, "sign", "never", when=when)
        self.fingerprints[name] = fingerprint
        return fingerprint

    def good(self, name="good"):
        """Signs by a subkey, as Flatcar's and many others do."""
        return self.make(name, title="Vendor Images", subkey="ed25519")

    def old_style(self, name="sha1"):
        """Certifies itself with SHA-1, as Ubuntu's, CentOS's and openSUSE's keys do."""
        return self.make(name, algorithm="rsa2048", options=("--cert-digest-algo", "SHA1", "--allow-weak-key-signatures"))

    def expired(self, name="expired"):
        """Has expired: `expire` it when all is signed that has to be, because gpg would not sign with it after that."""
        return self.make(name)

    def expire(self, name="expired"):
        day = 86400
        self.gpg("--quick-set-expire", self.fingerprints[name], stamp(LONG_AGO + 30 * day), when=LONG_AGO + day)

    def public(self, *names):
        return self.gpg("--armor", "--export", *(self.fingerprints[name] for name in names))

    # -- signatures ------------------------------------------------------------------------------------------------
    def detached(self, name, content, armor=True, when=None, digest="SHA512"):
        more = ("--armor",) if armor else ()
        return self.gpg("--digest-algo", digest, *more, "--local-user", self.fingerprints[name], "--detach-sign", stdin=content, when=when)

    def clearsigned(self, name, content, when=None, digest="SHA512"):
        return self.gpg("--digest-algo", digest, "--local-user", self.fingerprints[name], "--clear-sign", stdin=content, when=when)


class Signify:
    """A key of OpenBSD's tool."""

    def __init__(self, directory, name="openbsd-78-base"):
        os.makedirs(directory, exist_ok=True)
        self.public_file, self.secret_file = (os.path.join(directory, f"{name}.{end}") for end in ("pub", "sec"))
        if not os.path.exists(self.secret_file):
            self.run("-G", "-n", "-c", name, "-p", self.public_file, "-s", self.secret_file)

    @staticmethod
    def run(*arguments):
        subprocess.run(["signify-openbsd", *arguments], check=True, capture_output=True, timeout=60)

    @property
    def key(self):
        """The key as one line."""
        with open(self.public_file) as file:
            return file.read().splitlines()[1]

    def embedded(self, content):
        """The content with the two lines of its signature before it."""
        message = self.secret_file + ".message"
        with open(message, "wb") as file:
            file.write(content)
        self.run("-S", "-e", "-s", self.secret_file, "-m", message, "-x", message + ".sig")
        with open(message + ".sig", "rb") as file:
            return file.read()


def unpadded(digest):
    """Base64 as Debian's documents have it."""
    return base64.b64encode(digest).decode().rstrip("=")
