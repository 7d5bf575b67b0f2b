#!/usr/bin/env python3
"""Real images through the `visor` command line and through curl, against a running server.

usage: real_images.py VISOR URL IMAGES

VISOR is the program, URL where the server answers, IMAGES a directory that images.sh has filled. With
VISOR_ACCESS_KEY and VISOR_SECRET_KEY in the environment every request is signed and refusals are tested
too; without them the server must have no accounts. VISOR_TALLY names a file to write
"passed failed" to.
"""

import base64
import collections
import email.utils
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse
import uuid
import xml.etree.ElementTree

VISOR, URL, IMAGES = sys.argv[1:4]
KEY, SECRET = os.environ.get("VISOR_ACCESS_KEY"), os.environ.get("VISOR_SECRET_KEY")
HOST, PORT = urllib.parse.urlsplit(URL).hostname, str(urllib.parse.urlsplit(URL).port)
RUN = uuid.uuid4().hex[:12]
UNKNOWN = "11111111-2222-4333-8444-555555555555"
# The program's exit codes.
OK, GENERAL, USAGE, NOT_FOUND, NETWORK, AUTH, CONFLICT = 0, 1, 2, 3, 5, 7, 8
# What people write, and what the record says.
ARCHITECTURES = {"amd64": "x86_64", "armhf": "armv7l"}

Image = collections.namedtuple("Image", "name path format type architecture size sha256 md5")
Result = collections.namedtuple("Result", "exit out err")
Reply = collections.namedtuple("Reply", "status headers body")


def digest(path, algorithm="sha256"):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def read_images():
    with open(os.path.join(IMAGES, "images.tsv"), encoding="utf-8") as lines:
        for line in lines:
            name, format_, type_, architecture = line.rstrip("\n").split("\t")
            path = os.path.join(IMAGES, name)
            yield Image(name, path, format_, None if type_ == "-" else type_, architecture,
                        os.path.getsize(path), digest(path), digest(path, "md5"))


# -- the command line ------------------------------------------------------------------------------------

def environment():
    """What the program sees of the world: a home of its own, and the account's keys."""
    keys = {"VISOR__CLIENT__ACCESS_KEY": KEY, "VISOR__CLIENT__SECRET_KEY": SECRET} if KEY else {}
    return {"PATH": os.environ["PATH"], "HOME": HOME, "LC_ALL": "C.UTF-8"} | keys


def visor(*arguments, stdin=None, env=None, port=PORT, expect=OK):
    """One run of the program as the account (or as nobody); its exit code must be the expected one."""
    command = [VISOR, *arguments]
    if arguments and arguments[0] in ("brief", "detail", "head", "get", "add", "update", "delete"):
        command += ["-a", HOST, "-p", port]
    done = subprocess.run(command, input=stdin, env=environment() | (env or {}), capture_output=True,
                          timeout=300, cwd=HOME, check=False)
    result = Result(done.returncode, done.stdout, done.stderr.decode())
    allowed = expect if isinstance(expect, tuple) else (expect,)
    assert result.exit in allowed, f"{' '.join(arguments)}: exit {result.exit}, not {expect}: {result.err or result.out[-500:]}"
    if result.exit:
        # A line for people, or with --json an object for scripts.
        pattern = r'^\{"error":\{.*\}\}$' if "--json" in arguments else r"^(error|usage)"
        assert re.search(pattern, result.err, re.I | re.M), f"no message: {result.err!r}"
        assert "panicked" not in result.err, result.err
    return result


def visor_json(*arguments, **options):
    """What the program prints with --json: one value, or the values of its lines."""
    out = visor(*arguments, "--json", **options).out.decode()
    try:
        return json.loads(out)
    except ValueError:
        return [json.loads(line) for line in out.splitlines()]


def add(image, *more):
    words = [f"name={image.name}", f"format={image.format}", f"architecture={image.architecture}", f"run={RUN}"]
    if image.type:
        words.append(f"type={image.type}")
    return visor_json("add", *words, *more, "--file", image.path)


def listed(*arguments):
    found = visor_json(*arguments)
    return found if isinstance(found, list) else [found]


# -- curl ------------------------------------------------------------------------------------------------

def signed(verb, path, headers):
    """The headers with a date and a signature, as VISOR's clients make them."""
    if not KEY:
        return headers
    headers = headers | {"Date": email.utils.formatdate(usegmt=True)}
    chosen = {"content-md5": "", "content-type": ""}
    for name, value in headers.items():
        name = name.lower()
        if name in ("content-md5", "content-type", "date") or name.startswith("x-image-meta-"):
            chosen[name] = value.strip()
    lines = [f"{name}:{value}" if name.startswith("x-image-meta-") else value for name, value in sorted(chosen.items())]
    text = "\n".join([verb, *lines, path.split("?")[0]])
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
    # curl sends the name as it is written: servers must not care for its case.
    return headers | {"authorization": f"VISOR {KEY}:{signature}"}


def curl(path, *options, verb="GET", headers=None, stdin=None, expect=0, sign=True):
    """One run of curl; what it wrote to stdout, and the last reply's headers and status."""
    headers = signed(verb, path, headers or {}) if sign else headers or {}
    with tempfile.NamedTemporaryFile(dir=HOME) as dump:
        command = ["curl", "-q", "--noproxy", "*", "-sS", "--path-as-is", "-D", dump.name, *options]
        command += [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        if verb not in ("GET", "HEAD") and "-F" not in options:
            command += ["-X", verb]
        done = subprocess.run([*command, URL + path], input=stdin, capture_output=True, timeout=300, check=False)
        allowed = expect if isinstance(expect, tuple) else (expect,)
        assert done.returncode in allowed, f"curl {options} {path}: {done.returncode} {done.stderr.decode()}"
        head = dump.read().decode("utf-8", "replace").strip().split("\r\n\r\n")[-1].split("\r\n")
    status = int(head[0].split()[1]) if head[0] else 0
    pairs = [line.split(": ", 1) for line in head[1:] if ": " in line]
    return Reply(status, {name.lower(): value for name, value in pairs}, done.stdout)


def meta(image, **more):
    words = {"name": image.name, "architecture": image.architecture, "format": image.format, "run": RUN} | more
    return {f"X-Image-Meta-{name.title()}": value for name, value in words.items()}


def upload(image, *options, stdin=None, **more):
    reply = curl("/images", *options, verb="POST", stdin=stdin,
                 headers=meta(image, **more) | {"Content-Type": "application/octet-stream"})
    assert reply.status == 200, reply
    return json.loads(reply.body)["image"]


# -- the tests -------------------------------------------------------------------------------------------

class CommandLine:
    """The program, in the order in which somebody would use it. The images stay for the tests after it."""

    def test_01_add_each(self):
        for image in ALL:
            record = add(image)
            RECORDS[image.name] = record
            expected = {"name": image.name, "format": image.format, "status": "available", "size": image.size,
                        "checksum": image.md5, "architecture": ARCHITECTURES.get(image.architecture, image.architecture)}
            assert {name: record[name] for name in expected} == expected, record
            assert record.get("type") == image.type, record

    def test_02_add_says_what_it_did(self):
        image = SMALL
        out = visor("add", "name=words", "architecture=x86_64", f"run={RUN}-words", "-f", image.path).out.decode()
        assert re.search(r"^Adding new metadata and uploading file\.\.\.$", out, re.M), out
        id_ = re.search(r"^Successfully added new metadata and image with ID ([0-9a-f-]{36})\.$", out, re.M)[1]
        assert re.search(rf"^         _ID: {id_}$", out, re.M), out
        assert re.search(r"^ARCHITECTURE: x86_64$", out, re.M), out
        out = visor("add", "name=words", "architecture=x86_64", f"run={RUN}-words").out.decode()
        assert re.search(r"^Successfully added new metadata with ID [0-9a-f-]{36}\.$", out, re.M), out
        out = visor("delete", "-q", f"run={RUN}-words").out.decode()
        assert len(re.findall(r"^Successfully deleted image [0-9a-f-]{36}\.$", out, re.M)) == 2, out

    def test_03_add_from_stdin(self):
        record = visor_json("add", "name=stdin", "architecture=i386", f"run={RUN}-stdin", "-f", "-", stdin=read(SMALL.path))
        assert record["checksum"] == SMALL.md5, record
        assert visor("get", record["_id"], "--save", "-").out == read(SMALL.path)
        visor("delete", record["_id"])

    def test_04_brief(self):
        out = visor("brief", "-q", f"run={RUN}").out.decode().splitlines()
        assert out[0] == f"Found {len(ALL)} images records...", out[0]
        assert out[1].split() == ["ID", "NAME", "ARCHITECTURE", "TYPE", "FORMAT", "STORE", "SIZE"], out[1]
        assert re.fullmatch(r"-{36}  -{20,21}  -{12}  -{9,11}  -{6}  -{10}  -{10}", out[2]), out[2]
        rows = {line.split()[1]: line.split() for line in out[3:]}
        for image in ALL:
            assert rows[image.name][0] == RECORDS[image.name]["_id"]
            assert rows[image.name][-1] == str(image.size)
        assert rows["files.tar.gz"][3] == "-", "a type that is not set"
        columns = {"_id", "name", "architecture", "type", "format", "store", "size"}
        for record in listed("brief", "-q", f"run={RUN}"):
            assert set(record) <= columns, record

    def test_05_detail(self):
        out = visor("detail", "-q", f"run={RUN}").out.decode()
        assert out.startswith(f"Found {len(ALL)} images records...\n"), out[:80]
        assert len(re.findall(r"^-{80}$", out, re.M)) == len(ALL)
        found = {record["name"]: record for record in listed("detail", "-q", f"run={RUN}")}
        # Some are disks, which LXD is offered behind the back of whoever brought them.
        for record in found.values():
            record.pop("fingerprint", None)
        assert found == RECORDS

    def test_06_filter_and_sort(self):
        for key in ("format", "type", "architecture"):
            for value in {getattr(image, key) for image in ALL} - {None}:
                wanted = ARCHITECTURES.get(value, value)
                names = {i.name for i in ALL if ARCHITECTURES.get(getattr(i, key), getattr(i, key)) == wanted}
                found = listed("brief", "-q", f"run={RUN}&{key}={wanted}")
                assert {record["name"] for record in found} == names, (key, value)
        sizes = [record["size"] for record in listed("brief", "-q", f"run={RUN}", "-s", "size", "-d", "desc")]
        assert sizes == sorted((image.size for image in ALL), reverse=True)
        names = [record["name"] for record in listed("detail", "--query", f"run={RUN}", "--sort", "name")]
        assert names == sorted(image.name for image in ALL)
        ids = [record["_id"] for record in listed("brief", "-q", f"run={RUN}")]
        assert ids == sorted(ids)
        assert len(listed("brief", "-q", f"run={RUN}", "--limit", "3")) == 3

    def test_07_head(self):
        record = visor_json("head", RECORDS["ipxe.iso"]["_id"])
        assert record["name"] == "ipxe.iso" and str(record["size"]) == str(RECORDS["ipxe.iso"]["size"]), record
        out = visor("head", RECORDS["ipxe.iso"]["_id"]).out.decode()
        assert re.search(r"^        NAME: ipxe\.iso$", out, re.M), out
        assert re.search(r"^      KERNEL: -$", out, re.M), out

    def test_08_get_each(self):
        with tempfile.TemporaryDirectory(dir=HOME) as save:
            for image in ALL:
                id_ = RECORDS[image.name]["_id"]
                visor("get", id_, "--save", save)
                path = os.path.join(save, f"{id_}.{image.format}")
                assert digest(path) == image.sha256, image.name
                os.remove(path)
            assert os.listdir(save) == [], "nothing else is left behind"

    def test_09_get_never_overwrites(self):
        with tempfile.TemporaryDirectory(dir=HOME) as save:
            id_ = RECORDS[SMALL.name]["_id"]
            path = os.path.join(save, f"{id_}.{SMALL.format}")
            shutil.copy(__file__, path)
            visor("get", id_, "-S", save, expect=(GENERAL, CONFLICT))
            assert read(path) == read(__file__)
            visor("get", id_, "-S", os.path.join(save, "missing"), expect=(GENERAL, USAGE, NOT_FOUND))

    def test_10_get_to_stdout(self):
        out = visor("get", RECORDS["disk.qcow2"]["_id"], "--save", "-").out
        assert hashlib.sha256(out).hexdigest() == digest(os.path.join(IMAGES, "disk.qcow2")), "the bytes and nothing else"

    def test_11_qemu_reads_what_came_back(self):
        names = {"qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vdi": "vdi", "vhdx": "vhdx", "ploop": "parallels"}
        with tempfile.TemporaryDirectory(dir=HOME) as save:
            for image in ALL:
                if image.format not in names:
                    continue
                id_ = RECORDS[image.name]["_id"]
                visor("get", id_, "-S", save)
                path = os.path.join(save, f"{id_}.{image.format}")
                subprocess.run(["qemu-img", "compare", "-q", "-f", names[image.format], "-F", "raw", path,
                                os.path.join(IMAGES, "disk.raw")], check=True, timeout=60)

    def test_12_kernel_and_ramdisk(self):
        kernel, ramdisk = RECORDS["debian-vmlinuz"]["_id"], RECORDS["debian-initrd.gz"]["_id"]
        words = ["name=machine", "architecture=armhf", "type=machine", f"run={RUN}-machine"]
        record = visor_json("add", *words, f"kernel={kernel}", f"ramdisk={ramdisk}")
        assert (record["kernel"], record["ramdisk"]) == (kernel, ramdisk), record
        for reference in (record["kernel"], record["ramdisk"]):
            assert visor_json("head", reference)["status"] == "available"
        visor("add", *words, f"kernel={ramdisk}", expect=GENERAL)
        visor("add", *words, f"kernel={UNKNOWN}", expect=NOT_FOUND)
        visor("update", record["_id"], f"ramdisk={kernel}", expect=GENERAL)
        visor("delete", record["_id"])

    def test_13_update(self):
        id_ = visor_json("add", "name=before", "architecture=i386", f"run={RUN}-update")["_id"]
        out = visor("update", id_, "name=after", "some-attribute=a=b").out.decode()
        assert out == f"Successfully updated image {id_}.\n", out
        record = visor_json("head", id_)
        assert (record["name"], record["some_attribute"], record["status"]) == ("after", "a=b", "locked"), record
        out = visor("update", id_, "format=iso", "-f", SMALL.path, "-v").out.decode()
        assert f"Successfully updated and uploaded image {id_}." in out, out
        assert re.search(rf"^    CHECKSUM: {SMALL.md5}$", out, re.M) and re.search(r"Done in \d+\.\d+ seconds", out), out
        visor("update", id_, "name=again", "-f", SMALL.path, expect=CONFLICT)
        assert visor_json("head", id_)["name"] == "after"
        visor("delete", id_)

    def test_14_delete(self):
        ids = [visor_json("add", f"name=gone{n}", "architecture=i386", f"run={RUN}-gone")["_id"] for n in range(4)]
        out = visor("delete", ids[0], ids[1]).out.decode()
        assert out == "".join(f"Successfully deleted image {id_}.\n" for id_ in ids[:2]), out
        visor("delete", ids[0], expect=NOT_FOUND)
        visor("delete", "-q", f"run={RUN}-gone")
        visor("brief", "-q", f"run={RUN}-gone", expect=NOT_FOUND)

    def test_15_exit_codes(self):
        for verb in ("head", "get", "delete"):
            result = visor(verb, UNKNOWN, expect=NOT_FOUND)
            assert UNKNOWN in result.err and result.out == b"", result
        visor("update", UNKNOWN, "name=x", expect=NOT_FOUND)
        visor("detail", "-q", f"run={RUN}-nothing", expect=NOT_FOUND)
        visor("nonsense", expect=USAGE)
        visor("head", expect=USAGE)
        visor("update", UNKNOWN, expect=(GENERAL, USAGE))
        visor("add", "no-pair", expect=(GENERAL, USAGE))
        visor("add", "name=x", "architecture=i386", "-f", os.path.join(HOME, "missing.iso"), expect=(GENERAL, USAGE, NOT_FOUND))
        visor("add", "name=x", "architecture=quantum", expect=GENERAL)
        visor("brief", "-s", "no_such_attribute", expect=GENERAL)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            visor("brief", port=str(unused.getsockname()[1]), expect=NETWORK)
        error = json.loads(visor("head", UNKNOWN, "--json", expect=NOT_FOUND).err.splitlines()[-1])
        assert UNKNOWN in error["error"]["message"], error

    def test_16_help_and_version(self):
        assert visor("--help").out and visor("add", "--help").out
        assert re.fullmatch(rb"visor \d+\.\d+\.\d+\n", visor("--version").out)
        assert b"visor" in visor("completions", "bash").out

    def test_17_closed_pipe(self):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([VISOR, "detail", "-a", HOST, "-p", PORT], stdout=writing, stderr=subprocess.PIPE,
                              env=environment(), timeout=60, check=False)
        os.close(writing)
        assert done.returncode == 0 and done.stderr == b"", done

    def test_18_refused_signed(self):
        visor("brief", env={"VISOR__CLIENT__SECRET_KEY": "wrong"}, expect=AUTH)
        visor("add", "name=x", "architecture=i386", "-f", SMALL.path, env={"VISOR__CLIENT__SECRET_KEY": "wrong"}, expect=AUTH)
        visor("brief", env={"VISOR__CLIENT__ACCESS_KEY": "nobody"}, expect=AUTH)
        visor("brief", env={"VISOR__CLIENT__ACCESS_KEY": "", "VISOR__CLIENT__SECRET_KEY": ""}, expect=AUTH)


class Curl:
    """What people type. Reads the images that the command line has put there."""

    def test_01_upload_from_a_pipe(self):
        record = upload(SMALL, "-T", "-", stdin=read(SMALL.path), type="machine")
        assert (record["checksum"], record["status"], record["type"]) == (SMALL.md5, "available", "machine"), record

    def test_02_upload_of_a_file(self):
        record = upload(BIG, "-T", BIG.path)
        assert (record["checksum"], record["size"]) == (BIG.md5, BIG.size), record
        record = upload(SMALL, "--data-binary", f"@{SMALL.path}")
        assert record["checksum"] == SMALL.md5, record

    def test_03_put_to_a_locked_image(self):
        reply = curl("/images", verb="POST", headers=meta(SMALL))
        id_ = json.loads(reply.body)["image"]["_id"]
        path = f"/images/{id_}"
        headers = {"Content-Type": "application/octet-stream"}
        reply = curl(path, "-T", SMALL.path, verb="PUT", headers=headers)
        assert json.loads(reply.body)["image"]["checksum"] == SMALL.md5, reply
        assert curl(path, "-T", SMALL.path, verb="PUT", headers=headers).status == 409

    # Curl chooses the boundary, so that the type cannot be signed beforehand.
    def test_04_form_open(self):
        file = f"file=@{SMALL.path}"
        words = ["-F", "name=form", "-F", "architecture=x86_64", "-F", f"run={RUN}", "-F", "colour=blue"]
        for fields in ([*words, "-F", "format=iso", "-F", file], [*words, "-F", file, "-F", "format=iso"],
                       ["-F", file, *words, "-F", "format=iso"]):
            reply = curl("/images", *fields, verb="POST")
            assert reply.status == 200, reply
            record = json.loads(reply.body)["image"]
            expected = {"name": "form", "format": "iso", "colour": "blue", "checksum": SMALL.md5, "status": "available"}
            assert {name: record.get(name) for name in expected} == expected, record
            assert curl(f"/images/{record['_id']}").body == read(SMALL.path)
        assert curl("/images", "-F", file, verb="POST").status == 400, "no name"

    def test_05_head(self):
        path, record = self.big()
        reply = curl(path, "-I", verb="HEAD")
        assert reply.status == 200 and reply.body.count(b"\n") == len(reply.headers) + 2, reply
        assert reply.headers["x-image-meta-size"] == str(BIG.size)
        assert reply.headers["x-image-meta-name"] == BIG.name and reply.headers["x-image-meta-_id"] == record["_id"]
        assert reply.headers["etag"] == f'"{BIG.sha256}"'
        missing = curl(f"/images/{UNKNOWN}", "-I", verb="HEAD")
        assert missing.status == 404 and UNKNOWN in missing.headers["x-error-message"], missing

    def test_06_get(self):
        path, _ = self.big()
        for options in ([], ["--compressed"], ["--http1.0"]):
            reply = curl(path, *options)
            assert hashlib.sha256(reply.body).hexdigest() == BIG.sha256, options
            assert reply.headers["content-type"] == "application/octet-stream"
            assert reply.headers["content-length"] == str(BIG.size)
            assert reply.headers["accept-ranges"] == "bytes"
            assert "content-encoding" not in reply.headers

    def test_07_resume(self):
        path, _ = self.big()
        out = os.path.join(HOME, "resumed")
        curl(path, "-o", out, "--limit-rate", "2M", "--max-time", "5", expect=28)
        size = os.path.getsize(out)
        assert 0 < size < BIG.size, size
        reply = curl(path, "-C", "-", "-o", out)
        assert reply.status == 206 and reply.headers["content-range"] == f"bytes {size}-{BIG.size - 1}/{BIG.size}", reply
        assert digest(out) == BIG.sha256
        os.truncate(out, BIG.size - 1)
        curl(path, "-C", "-", "-o", out)
        assert digest(out) == BIG.sha256
        os.remove(out)

    def test_08_resume_by_wget(self):
        path, _ = self.big()
        out = os.path.join(HOME, "wgot")
        shutil.copy(BIG.path, out)
        os.truncate(out, 1_000_001)
        headers = [f"--header={name}: {value}" for name, value in signed("GET", path, {}).items()]
        subprocess.run(["wget", "--no-config", "--no-proxy", "-q", "-c", *headers, "-O", out, URL + path], check=True, timeout=60)
        assert digest(out) == BIG.sha256
        os.remove(out)

    def test_09_not_modified(self):
        path, _ = self.big()
        etag = curl(path, "-I", verb="HEAD").headers["etag"]
        for tag in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            reply = curl(path, headers={"If-None-Match": tag})
            assert (reply.status, reply.body, reply.headers.get("etag")) == (304, b"", etag), (tag, reply.status)
        assert curl(path, headers={"If-None-Match": '"other"'}).status == 200
        assert curl(path, headers={"If-Match": '"other"'}).status == 412

    def test_10_ranges(self):
        path, _ = self.big()
        content = read(BIG.path)
        last = BIG.size - 1
        ranges = {"0-99": (0, 99), "100-": (100, last), "-100": (last - 99, last), "0-0": (0, 0), f"{last}-": (last, last),
                  f"{last - 9}-{last + 1000}": (last - 9, last), "1000000-1999999": (1_000_000, 1_999_999)}
        for asked, (first, end) in ranges.items():
            reply = curl(path, headers={"Range": f"bytes={asked}"})
            expected = (206, f"bytes {first}-{end}/{BIG.size}")
            assert (reply.status, reply.headers.get("content-range")) == expected, (asked, reply.headers)
            assert reply.body == content[first:end + 1], asked
        for asked in (f"{BIG.size}-", "99999999999-", "-0"):
            reply = curl(path, headers={"Range": f"bytes={asked}"})
            assert (reply.status, reply.headers.get("content-range")) == (416, f"bytes */{BIG.size}"), (asked, reply.status)
        for asked in ("bytes=9-1", "bytes=x-", "lines=1-2"):
            assert curl(path, headers={"Range": asked}).status in (200, 416), asked
        etag = curl(path, "-I", verb="HEAD").headers["etag"]
        assert curl(path, headers={"Range": "bytes=0-9", "If-Range": etag}).status == 206
        assert curl(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).status == 200

    def test_11_xml(self):
        path, record = self.big()
        reply = curl(f"/images/detail?run={RUN}", headers={"Accept": "application/xml"})
        assert reply.headers["content-type"] == "application/xml; charset=utf-8", reply.headers
        assert reply.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<results>'), reply.body[:80]
        items = xml.etree.ElementTree.fromstring(reply.body).findall("images/item")
        found = {item.findtext("_id"): item for item in items}[record["_id"]]
        assert {child.tag: child.text for child in found} == {name: str(value) for name, value in record.items()}
        reply = curl(f"/images/{UNKNOWN}", headers={"Accept": "application/xml"})
        assert xml.etree.ElementTree.fromstring(reply.body).findtext("code") == "404", reply

    def test_12_odd_paths(self):
        for path in ("/images/..%2f..%2f..%2fetc%2fpasswd", "/images/../../etc/passwd", "/images/%00", "/images/" + "x" * 5000,
                     "/images/%ff", "/images/;", "/files/../../etc/passwd"):
            reply = curl(path)
            assert reply.status in (400, 403, 404, 414) and b"root:" not in reply.body, (path[:40], reply.status)

    # A web page cannot make a signature; where none is asked for, it must be kept out by what it is.
    def test_13_web_pages_do_not_get_in_open(self):
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"},
                        {"Origin": "null"}):
            reply = curl("/images", verb="POST", headers=meta(SMALL) | headers)
            assert reply.status == 403, (headers, reply.status)
            assert curl("/images", headers=headers).status == 403, headers

    def test_14_nobody_gets_in_signed(self):
        reply = curl("/images", sign=False)
        assert (reply.status, json.loads(reply.body)["message"]) == (403, "Authorization not provided."), reply
        headers = meta(SMALL) | {"Content-Type": "application/octet-stream"}
        reply = curl("/images", "-T", SMALL.path, verb="POST", headers=headers, sign=False)
        assert reply.status == 403, reply
        assert curl("/status", sign=False).body == b"OK"

    @staticmethod
    def big():
        if BIG.name not in RECORDS:  # the command line has failed; that is no reason to fail here too
            RECORDS[BIG.name] = upload(BIG, "-T", BIG.path, type=BIG.type)
        record = RECORDS[BIG.name]
        return f"/images/{record['_id']}", record


def clean_up():
    """The tests leave nothing, and deleting what they made is one more of them."""
    visor("delete", "-q", f"run={RUN}")
    visor("brief", "-q", f"run={RUN}", expect=NOT_FOUND)


def main():
    passed = failed = 0
    # Some tests make sense only with accounts, some only without.
    other = "_open" if KEY else "_signed"
    tests = [(f"{group.__name__}.{name}", getattr(group(), name)) for group in (CommandLine, Curl)
             for name in sorted(vars(group)) if name.startswith("test_") and not name.endswith(other)]
    for name, test in [*tests, ("clean_up", clean_up)]:
        started = time.monotonic()
        try:
            test()
        except Exception as error:  # one failure must not hide the others
            failed += 1
            frames = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[1:]]
            print(f"not ok {name}\n   at {' '.join(frames)}\n   {type(error).__name__}: {error}", flush=True)
        else:
            passed += 1
            print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"real images: {passed} of {passed + failed}")
    if tally := os.environ.get("VISOR_TALLY"):
        with open(tally, "w", encoding="utf-8") as file:
            file.write(f"{passed} {failed}\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    HOME = tempfile.mkdtemp(prefix="visor-real-")
    ALL = list(read_images())
    SMALL = next(image for image in ALL if image.name == "ipxe.iso")
    BIG = next(image for image in ALL if image.name == "debian-initrd.gz")
    RECORDS = {}
    try:
        main()
    finally:
        shutil.rmtree(HOME)
