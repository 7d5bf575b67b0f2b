"""Servers of LXD's API side by side: LXD's daemon, Incus' and Visor, asked over the way on which each trusts its client."""

import http.client
import json
import os
import re
import socket
import urllib.parse

from harness import VISOR
from lxd_real import Daemon

#: Where tests/clients/prepare unpacks Incus: no package of it is installed.
INCUS = os.environ.get("VISOR_TEST_INCUS") or os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(VISOR))), "client-incus")


class IncusDaemon(Daemon):
    """Incus on a directory of its own, as `Daemon` is LXD."""

    name, program, directory_variable = "incus", os.path.join(INCUS, "usr/libexec/incus/incusd"), "INCUS_DIR"
    more_environment = {"LD_LIBRARY_PATH": os.path.join(INCUS, "usr/lib/x86_64-linux-gnu")}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket in a directory."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class Answer:
    """An answer, without what differs each time."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        try:
            self.json = json.loads(body)
        except ValueError:
            self.json = None

    @property
    def metadata(self):
        return self.json.get("metadata") if isinstance(self.json, dict) else None


class Peer:
    """A server. `prefix` is what its headers begin with."""

    def __init__(self, name, connect, prefix):
        self.name, self.connect, self.prefix = name, connect, prefix

    def call(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = self.connect()
        try:
            # What is no URL is sent as it is.
            connection.putrequest(method, urllib.parse.quote(path, safe="/?&=%:.,~'()!*+-_@$;|<>\\^`{}#"), skip_accept_encoding=True)
            for name, value in {"Content-Length": str(len(body or b"")), **headers}.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except (http.client.HTTPException, ConnectionError) as error:
            # LXD's daemon ends the connection where it panics.
            return Answer(0, {}, repr(error).encode())
        finally:
            connection.close()

    def finished(self, answer):
        """The operation of an answer, when it has ended."""
        waited = self.call("GET", answer.json["operation"] + "/wait?timeout=30")
        # Incus has an envelope of an error for one that failed.
        return waited.metadata or {"status_code": 400, "err": waited.json.get("error")}

    def settle(self, answer):
        """What became of a request: the answer, and of an operation its end. Texts of refusals are each server's own."""
        if answer.status == 202:
            operation = answer.metadata
            if operation["class"] != "task":
                return {"status": 202, "class": operation["class"], "names": sorted(operation["metadata"] or {})}
            operation = self.finished(answer)
            said = operation.get("metadata") if operation["status_code"] == 200 else None
            return {"status": 202, "ended": operation["status_code"], "metadata": said}
        if not isinstance(answer.json, dict) or "type" not in answer.json:
            content = answer.headers.get("Content-Type", "").split(";")[0]
            # Forms differ in their boundaries.
            length = len(answer.body) if answer.status < 300 and content != "multipart/form-data" else None
            return {"status": answer.status, "length": length, "content": content}
        if answer.json["type"] == "error":
            return {"status": answer.status, "code": answer.json["error_code"]}
        return {"status": answer.status, "metadata": plain(answer.metadata), "location": answer.headers.get("Location")}

    def upload(self, body, content_type, **headers):
        """Sends an image; both families' names of headers are each server's own."""
        headers = {f"{self.prefix}-{name}": value for name, value in headers.items()}
        return self.call("POST", "/1.0/images", body, {"Content-Type": content_type, **headers})

    def send(self, files, **headers):
        """Sends an image in one file or in two."""
        if len(files) == 1 and isinstance(files[0], str):
            with open(files[0], "rb") as file:
                answer = self.upload(file.read(), "application/octet-stream", **headers)
        else:
            answer = self.upload(*form(files), **headers)
        return answer if answer.status != 202 else self.finished(answer)

    def clear(self):
        """Removes all images."""
        for path in self.call("GET", "/1.0/images").metadata:
            self.finished(self.call("DELETE", path))

    def import_(self, files, **headers):
        """What becomes of an image that is sent: what the server says of it, or that it was refused. It is gone then."""
        operation = self.send(files, **headers)
        if isinstance(operation, Answer):
            return {"refused": operation.status, "why": operation.json and operation.json.get("error")}
        if operation["status_code"] != 200:
            return {"failed": True, "why": operation["err"]}
        fingerprint = operation["metadata"]["fingerprint"]
        image = plain(self.call("GET", f"/1.0/images/{fingerprint}").metadata)
        exported = self.call("GET", f"/1.0/images/{fingerprint}/export")
        named = re.findall(rb'name="?([^";\r]+)"?; filename="?([^";\r]+)"?', exported.body) if "multipart" in exported.headers["Content-Type"] else exported.headers["Content-Disposition"]
        image["export"] = exported.status, str(named).replace(fingerprint, "FP")
        self.finished(self.call("DELETE", f"/1.0/images/{fingerprint}"))
        return image


def form(files):
    """The body of a form with these files, and its type."""
    body = b""
    for name, file in zip(("metadata", "rootfs"), files):
        name, file = file if isinstance(file, tuple) else ("rootfs.img" if file.endswith(".qcow2") else name, file)
        body += part(name, file)
    for name, file in files[2:]:
        body += part(name, file)
    return body + b"--BB--\r\n", "multipart/form-data; boundary=BB"


def part(name, path):
    head = f'--BB\r\nContent-Disposition: form-data; name="{name}"; filename="{os.path.basename(path)}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    with open(path, "rb") as file:
        return head.encode() + file.read() + b"\r\n"


#: What each server has for no date, and what of an image is not the image's.
NEVER = ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z")
VOLATILE = ("uploaded_at", "last_used_at", "project", "update_source")


def plain(value):
    """A value without what differs each time."""
    if isinstance(value, list):
        return sorted((plain(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    if not isinstance(value, dict):
        return value
    value = {name: plain(item) for name, item in value.items() if name not in VOLATILE}
    if "fingerprint" in value and value.get("expires_at") in NEVER:
        value["expires_at"] = "never"
    return value
