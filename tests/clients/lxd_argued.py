"""The differences from LXD and Incus that are meant, each with its reason. docs/protocols/lxd.md says the same in words."""

import urllib.parse

from lxd_odd_requests import label


class Rule:
    """A reason for many differences: `applies` tells them by a name, and by the outcomes of Visor, LXD and Incus."""

    def __init__(self, reason, applies):
        self.reason, self.applies, self.used = reason, applies, 0


def refuses(outcome):
    """Whether it is a refusal, in whichever way the server has for it: a status, an operation that fails, an end of the connection."""
    return outcome.get("status", 200) in (0, *range(400, 600)) or outcome.get("ended") == 400 or "refused" in outcome or "failed" in outcome


def unescaped(value):
    """A value with the URLs in it as they are meant."""
    if isinstance(value, dict):
        return {name: unescaped(item) for name, item in value.items()}
    if isinstance(value, list):
        return sorted(map(unescaped, value), key=str)
    if not isinstance(value, str) or not value.startswith("/1.0/images/aliases/"):
        return value
    while (plain := urllib.parse.unquote(value)) != value:
        value = plain
    return value


RULES = [
    Rule("All of them refuse. Visor says so at once and with the status for it, where daemons say 500, begin an operation that fails, or end the connection.",
         lambda name, visor, lxd, incus: all(map(refuses, (visor, lxd, incus))) and visor.get("status", visor.get("refused", 400)) in (400, 403, 404, 409, 412, 416, 501)),
    Rule("Names in URLs are escaped once, their slashes are not: LXD escapes twice, Incus slashes too. Each client reads all three.",
         lambda name, visor, lxd, incus: unescaped(visor) in (unescaped(lxd), unescaped(incus))),
    Rule("A method that a path does not have is 501; LXD has no word for `OPTIONS`, which it answers for browsers.",
         lambda name, visor, lxd, incus: name.startswith("methods: OPTIONS") and visor["status"] in (405, 501)),
    Rule("The root belongs to several protocols, and says so.", lambda name, visor, lxd, incus: name.endswith(" /") and visor["status"] in (300, 405)),
]


def listed(reasons):
    """Single differences by their names, out of lists of names by the reason for them."""
    return {name: reason for reason, names in reasons.items() for name in names}


def changes(*bodies, looks=True, asks=True):
    """The names of changes of an image, by both methods, and of the looks at the image behind them."""
    for method in ("PUT", "PATCH"):
        for body in bodies:
            if asks:
                yield f"changes: {method} {label(body)}"
            if looks:
                yield f"changes: image after {method} {label(body)}"


OUT = "Programs unpack it, and not all of them refuse what leads out of the place where they do: Visor refuses it for all of them."
TWO = "Readers differ on which of two is meant, so no image has two."
LIMIT = "An image of Visor's has up to 512 attributes, names of 255 characters and values of 64 KiB. LXD has no limits, and its clients page through no list."
CONTROL = "Names of attributes, and of images, are on one line, and values have no control characters but line breaks and tabs: they are shown in headers, in XML and on terminals."
SAFE_NAME = "Clients save an image under its file name, which is therefore a name: no path, and not hidden."
LAST_DAY = "Times end a day before the year 9999 does, and a later one, which means never, is the last of them."
ONE_PROFILE = "There is one profile, which every image has."

#: Single files, by the names that lxd_odd_files and lxd_odd_requests have for them.
FILES = listed({
    OUT: ["contents: an absolute name", "contents: a name that leads out", "contents: a root that is a link", "contents: a disk that is a link"],
    TWO: ["contents: two descriptions", "contents: two roots before"],
    "`.//metadata.yaml` is `metadata.yaml` to every program that unpacks it.": ["contents: a description behind slashes"],
    LIMIT: ["descriptions: very many properties", "descriptions: a long name", "descriptions: an asked name of 1100 characters", "descriptions: a value that is too long"],
    CONTROL: ["descriptions: a name with a line break", "descriptions: other control characters", "descriptions: odd characters", "headers: properties a=%00"],
    "Lists within lists are 255 deep at the most.": ["descriptions: a very deep list"],
    "An escape of YAML 1.2, which Go's library does not know; no value is read differently.": ["descriptions: an escaped slash"],
    "An escape that no version of YAML has, and Go's library does.": ["descriptions: an escaped apostrophe"],
    LAST_DAY: ["descriptions: expires 253402300799", "descriptions: created 253402300799"],
    SAFE_NAME: ["headers: a file name a/b", "headers: a file name ../x", "headers: a file name .hidden"],
    ONE_PROFILE: ["headers: profiles profile=nothing"],
    "A secret that opens nothing is told to be one, also to a client that needs none.": ["headers: a secret"],
    "What is no escape, and a semicolon, is part of the value, as in forms of HTML; LXD leaves the pair out without a word.": ["headers: properties a=%zz", "headers: properties a=b;c=d"],
    "A form has the two parts of an image. LXD looks at the first two.": ["splits: a third part"],
    "The root of a container is a tarball or squashfs, a machine's is a qcow2 disk. LXD takes any bytes, and fails when an instance is made of them.":
        ["splits: a raw disk as rootfs.img", "splits: a root as rootfs.img", "splits: noise for a root", "splits: nothing for a root"],
})

#: Single requests, by the names of lxd_odd_requests.
REQUESTS = listed({
    "Names in JSON are compared as they are written. Go ignores capitals, and no client has others.":
        [f"aliases: new alias {label({'Name': 'capital', 'Target': '{one}'})}", f"changes: image after PUT {label({'Public': True})}"],
    CONTROL: [f"aliases: new alias {label({'name': 'line' + chr(10) + 'break', 'target': '{one}'})}", *changes({"properties": {"bell": "\a"}}, {"properties": {"line\nbreak": "x"}})],
    LIMIT: [f"aliases: new alias {label({'name': 'n' * 256, 'target': '{one}'})}", *changes({"properties": {"long": "x" * 70_000}}, {"properties": {"x" * 300: "v"}})],
    "The aliases that were refused are not there.": ["aliases: all aliases then"],
    "To rename to the same name changes nothing.": ["aliases: rename to itself"],
    "`*` is any state of what is there (RFC 9110).": ["changes: PUT if it is *", "changes: PATCH if it is *"],
    "A body is one value of JSON. Go reads the first and ignores the rest.": ["changes: PUT the text '{}x'", "changes: PATCH the text '{}x'"],
    "An empty end is none that was said.": [*changes({"expires_at": ""}, looks=False), f"changes: image after PUT {label({'expires_at': ''})}"],
    ONE_PROFILE: [f"changes: PATCH {label({'profiles': ['nothing']})}", f"changes: PUT {label({'profiles': ['default', 'default']})}",
                  *(f"changes: image after PUT {label({'profiles': profiles})}" for profiles in (["default", "default"], []))],
    "LXD ends the connection.": [f"changes: PATCH {label({'properties': None})}"],
    "A change sets the end that it names. LXD's `PATCH` ignores it.":
        [f"changes: image after PATCH {label({'expires_at': time})}" for time in
         ("1970-01-01T00:00:00Z", "2041-01-02T03:04:05Z", "2041-01-02T03:04:05+02:00", "2041-01-02T03:04:05.123456789Z", "9999-12-31T23:59:59Z")],
    "Times are in UTC, in whole microseconds.": [f"changes: image after PUT {label({'expires_at': time})}" for time in ("2041-01-02T03:04:05+02:00", "2041-01-02T03:04:05.123456789Z")],
    LAST_DAY: [f"changes: image after PUT {label({'expires_at': '9999-12-31T23:59:59Z'})}"],
    "A unit of ranges that is not known is ignored (RFC 9110).": ["lists: export with {'Range': 'lines=1-2'}"],
    "Texts may be quoted in either way.": ["lists: filter \"filename eq ''\"", "lists: filter \"properties.os eq 'Debian'\"", "lists: filter 'properties.os eq \"Debian\"'"],
    "An operator that is not known is refused. LXD ignores the condition.": ["lists: filter 'type = container'", "lists: filter 'type EQ container'"],
    "Fingerprints are in lower case.": ["lists: image in capitals"],
    "A push names the fingerprint that it will have, which is checked.": [f"sources: new image { {'source': {'type': 'image', 'server': 'https://127.0.0.1:9', 'alias': 'x', 'mode': 'push'}} }"],
})

#: Where LXD and Incus differ: the one of them that Visor is like. It takes what either takes, and has no value that says nothing.
BETWEEN = {
    **dict.fromkeys((f"packings: {name}" for name in ("lz4", "lz4 in dependent blocks", "lz4 in two streams", "lz4 with checksums", "lz4 with zeros behind it", "lz4 with its description behind 30 MB")), "incus"),
    **dict.fromkeys(("splits: a description in lz4", "splits: a root in lz4", "descriptions: architecture loong64", "descriptions: architecture loongarch64"), "incus"),
    **dict.fromkeys((f"descriptions: {name}" for name in ("created -1", "created -1.5", "created -.inf", "expires -1")), "lxd"),
    "headers: profiles default": "lxd",
    **dict.fromkeys((f"lists: filter {word!r}" for word in ("public eq false", "auto_update eq false", "cached eq false")), "incus"),
    **dict.fromkeys((f"lists: filter {word!r}" for word in ("aliases eq one", "nothing eq x", "TYPE eq container", "(type eq container)", "properties eq x")), "lxd"),
    **dict.fromkeys((f"aliases: new alias {label({'name': name, 'target': '{one}'})}" for name in (" blank ", "question?", "hash#", "%")), "incus"),
}
