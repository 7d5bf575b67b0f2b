"""Requests for the differential suite of LXD: each call of the images API, in the forms that clients and people write it in.

A request is its name, its method and path, and perhaps a body and headers. In paths and bodies `{one}` and `{vm}` are fingerprints
of images that are there. They are sent in this order to each server, so what one of them changes the later ones see. A new oddity
is a line here."""

JSON = {"Content-Type": "application/json"}
NO_IMAGE = "f" * 64


def label(body):
    """A body in the name of a request. Of long ones it has the length, so that no two are called alike."""
    text = str(body)
    return text if len(text) < 90 else f"{text[:60]}… ({len(text)})"


def lists():
    """Reading images."""
    for path in ("/", "/1.0/", "/1.0/images", "/1.0/images/", "/1.0/images/aliases", "/1.0/projects", "/1.0/profiles", "/1.0/nothing", "/2.0"):
        yield path, "GET", path
    for query in ("recursion=1", "recursion=2", "recursion=0", "recursion=x", "recursion=", "recursion=1&recursion=0", "project=default", "project=nothing", "project=", "public=1", "recursion=1&project=default",
                  "unknown=1", "recursion=%31"):
        yield f"images with {query}", "GET", f"/1.0/images?{query}"
        yield f"aliases with {query}", "GET", f"/1.0/images/aliases?{query}"
    for word in ("type eq container", "type eq virtual-machine", "type ne container", "properties.os eq Debian", "properties.os eq debian", "properties.os eq Deb", "properties.os eq Deb.*", "properties.none eq x", "properties.none ne x",
                 "not type eq container", "type eq container and properties.os eq Debian", "type eq container or type eq virtual-machine", "type eq virtual-machine and type eq container or type eq container", "architecture eq x86_64",
                 "size eq 1", "public eq true", "public eq false", "auto_update eq false", "filename eq ''", 'properties.os eq "Debian"', "properties.os eq 'Debian'", "aliases eq one", "nothing eq x", "fingerprint eq {one}", "cached eq false",
                 "TYPE eq container", "type EQ container", "type = container", "type eq", "type", "eq", "and", "type eq container and", "(type eq container)", "type eq container type eq container", "properties eq x", "properties.os eq [", ""):
        yield f"filter {word!r}", "GET", "/1.0/images?recursion=1&filter=" + word.replace("%", "%25").replace(" ", "%20").replace('"', "%22").replace("[", "%5B")
    for name in ("{one}", "{one:.12}", "{one:.4}", "{one:.1}", NO_IMAGE, "0" * 63 + "x", "nothing", "%25", "", "{one}x", "ONE", "one", "{one}/nothing", "{one}?project=default", "{one}?project=nothing", "{one}?secret=x", "{one}?public=1"):
        yield f"image {name!r}", "GET", f"/1.0/images/{name}"
    yield "image in capitals", "GET", "/1.0/images/{ONE}"
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=99999999-"}, {"Range": "lines=1-2"}, {"If-None-Match": "*"}, {"If-Modified-Since": "Fri, 01 Jan 2038 00:00:00 GMT"}, {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:01 GMT"}):
        yield f"export with {headers}", "GET", "/1.0/images/{one}/export", None, headers
        yield f"export of a machine with {headers}", "GET", "/1.0/images/{vm}/export", None, headers
    for name in ("{one:.9}", NO_IMAGE, "nothing"):
        yield f"export {name!r}", "GET", f"/1.0/images/{name}/export"


def methods():
    """Methods that there are and that there are not."""
    for path in ("/", "/1.0", "/1.0/images", "/1.0/images/{one}", "/1.0/images/{one}/export", "/1.0/images/{one}/secret", "/1.0/images/{one}/refresh", "/1.0/images/aliases", "/1.0/images/aliases/one", "/1.0/operations"):
        for method in ("OPTIONS", "HEAD", "PATCH", "PUT", "DELETE", "TRACE", "NOTHING"):
            if (method, path) not in ((  # They would do something.
                    "DELETE", "/1.0/images/{one}"), ("DELETE", "/1.0/images/aliases/one"), ("PUT", "/1.0"), ("PATCH", "/1.0")):
                yield f"{method} {path}", method, path


def aliases():
    """Names of images."""
    path = "/1.0/images/aliases"
    for name in ("one", "nothing", "", "a/b", "one?project=default", "one?recursion=1", "ONE", "on%65"):
        yield f"alias {name!r}", "GET", f"{path}/{name}"
    for body in ({"name": "new", "target": "{one}"}, {"name": "new", "target": "{one}"}, {"name": "short", "target": "{one:.10}"}, {"name": "", "target": "{one}"}, {"name": "x"}, {"target": "{one}"}, {}, [], None, "text", {"name": 1, "target": "{one}"},
                 {"name": "x", "target": NO_IMAGE}, {"name": "x", "target": "one"}, {"name": "a/b c", "target": "{one}", "description": "d"}, {"name": "ünï/%2F", "target": "{one}"}, {"name": "question?", "target": "{one}"}, {"name": "hash#", "target": "{one}"},
                 {"name": ".", "target": "{one}"}, {"name": "..", "target": "{one}"}, {"name": "../up", "target": "{one}"}, {"name": "/slash", "target": "{one}"}, {"name": "end/", "target": "{one}"}, {"name": " blank ", "target": "{one}"},
                 {"name": "n" * 255, "target": "{one}"}, {"name": "n" * 256, "target": "{one}"}, {"name": "line\nbreak", "target": "{one}"}, {"name": "typed", "target": "{one}", "type": "virtual-machine"}, {"name": "odd", "target": "{one}", "unknown": 1},
                 {"name": "null", "target": "{one}", "description": None}, {"Name": "capital", "Target": "{one}"}, {"name": "export", "target": "{one}"}, {"name": "{one}", "target": "{vm}"}, {"name": "%", "target": "{one}"}):
        yield f"new alias {label(body)}", "POST", path, body
    yield "all aliases then", "GET", path
    for name in ("a/b%20c", "a%2Fb%20c", "a%252Fb%20c", "%C3%BCn%C3%AF/%252F", "question%3F", "hash%23", "end/", "%20blank%20", "/slash", "%2Fslash"):
        yield f"alias {name!r}", "GET", f"{path}/{name}"
    for method in ("PUT", "PATCH"):
        for body in ({"target": "{one}", "description": "new"}, {"target": "{one}"}, {"description": "x"}, {}, {"target": ""}, {"target": NO_IMAGE}, {"target": "{vm:.10}"}, {"target": "{one}", "name": "other"}, {"target": 1}, [], None):
            if method == "PUT" or body not in ({"target": "{one}", "description": "new"}, {"target": "{one}"}, {"description": "x"}, {}, {"target": ""}, {"target": NO_IMAGE}, {"target": "{vm:.10}"}, {"target": "{one}", "name": "other"}):
                yield f"{method} alias {body}", method, f"{path}/new", body
        yield f"alias after {method}", "GET", f"{path}/new"
        yield f"{method} alias of another state", method, f"{path}/new", {"target": "{one}", "description": "new"}, {"If-Match": "x"}
        yield f"{method} no alias", method, f"{path}/nothing", {"target": "{one}", "description": "x"}
    for body in ({"name": "renamed"}, {"name": "one"}, {"name": "renamed"}, {}, [], {"name": 1}):
        yield f"rename to {body}", "POST", f"{path}/new", body
    yield "rename nothing", "POST", f"{path}/nothing", {"name": "x"}
    yield "rename to itself", "POST", f"{path}/renamed", {"name": "renamed"}
    for name in ("renamed", "renamed", "nothing", "short", "a/b%20c", ""):
        yield f"delete {name!r}", "DELETE", f"{path}/{name}"


def changes():
    """Changes of an image, each followed by a look at it."""
    path = "/1.0/images/{one}"
    whole = {"public": False, "auto_update": False, "properties": {"os": "Debian"}, "profiles": ["default"], "expires_at": "2040-01-02T03:04:05Z"}
    for method in ("PUT", "PATCH"):
        for body in (whole, {}, {"public": True}, {"properties": {"a": "b"}}, {"properties": {}}, {"properties": None}, {"properties": {"a": None}}, {"properties": {"a": ""}}, {"properties": {"a": 1}}, {"properties": {"": "x"}}, {"properties": []}, {"properties": {"a": {"b": "c"}}},
                     {"public": 1}, {"public": "true"}, {"public": None}, {"auto_update": True}, {"profiles": []}, {"profiles": None}, {"profiles": ["nothing"]}, {"profiles": ["default", "default"]}, {"profiles": "default"},
                     *({"expires_at": time} for time in ("2041-01-02T03:04:05Z", "2041-01-02T03:04:05+02:00", "2041-01-02T03:04:05.123456789Z", "2041-01-02", "", "never", None, 0, "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z")),
                     {"unknown": 1}, {"Public": True}, {"architecture": "aarch64"}, {"fingerprint": "x"}, [], None, "text", 1, {"properties": {"line": "one\ntwo", "tab": "\t", "ünï": "😀"}}, {"properties": {"line\nbreak": "x"}}, {"properties": {"long": "x" * 70_000}},
                     {"properties": {"bell": "\a"}}, {"properties": {f"p{n}": "v" for n in range(150)}}, {"properties": {"x" * 300: "v"}}, whole):
            yield f"{method} {label(body)}", method, path, body
            yield f"image after {method} {label(body)}", "GET", path
            # So that no request sees what another one did.
            yield f"the image as before {method} {label(body)}", "PUT", path, whole
        for match in ("x", '"x"', "*"):
            yield f"{method} if it is {match}", method, path, whole, {"If-Match": match}
        for text in ("", "{", "{}x", '{"public": true, "public": false}', "\ufeff{}", "{'public': true}", '{"public": true,}', "// x\n{}"):
            yield f"{method} the text {text!r}", method, path, text.encode(), JSON
        yield f"{method} as a form", method, path, b"public=true", {"Content-Type": "application/x-www-form-urlencoded"}
        yield f"{method} by a prefix", method, "/1.0/images/{one:.9}", whole
        yield f"{method} nothing", method, f"/1.0/images/{NO_IMAGE}", whole
        yield f"{method} in another project", method, path + "?project=nothing", whole


def sources():
    """New images out of JSON. No other server is asked: what would be asked is at an address where there is none."""
    nowhere = "https://127.0.0.1:9"
    image = lambda **source: {"source": {"type": "image", "server": nowhere, **source}}
    for body in ({}, {"source": None}, {"source": {}}, {"source": []}, {"source": "x"}, {"source": {"type": "nothing"}}, {"source": {"type": 1}}, {"source": {"type": "image"}}, image(), image(alias="x"), image(fingerprint="x"), image(alias="x", protocol="ftp"),
                 image(alias="x", protocol="simplestreams"), image(alias="x", mode="pull"), image(alias="x", mode="nothing"), image(alias="x", mode="push"), image(alias="x", certificate="x"), image(alias="x", image_type="nothing"),
                 {"source": {"type": "url"}}, {"source": {"type": "url", "url": ""}}, {"source": {"type": "url", "url": "nonsense"}}, {"source": {"type": "url", "url": nowhere}}, {"source": {"type": "url", "url": "file:///etc/passwd"}},
                 *({"source": {"type": kind, **more}} for kind in ("container", "instance", "virtual-machine", "snapshot") for more in ({}, {"name": ""}, {"name": "nothing"}, {"name": "nothing/snapshot"}, {"name": "a/b/c"}, {"name": "../x"})),
                 {"source": {"type": "container", "name": "nothing"}, "compression_algorithm": "bzip2"}, {"source": {"type": "container", "name": "nothing"}, "compression_algorithm": "nothing"}, [], None, 1, "text"):
        yield f"new image {body}", "POST", "/1.0/images", body
    for text in ("", "{", "{} x", '{"source": {"type": "nothing"}, "source": {}}'):
        yield f"new image of the text {text!r}", "POST", "/1.0/images", text.encode(), JSON
        if text:
            yield f"new image of the text {text!r} without a type", "POST", "/1.0/images", text.encode()
    for path in ("secret", "refresh", "export", "nothing"):
        for name in ("{one}", NO_IMAGE):
            if (path, name) != ("export", "{one}"):
                yield f"{path} of {name!r}", "POST", f"/1.0/images/{name}/{path}", {}
    for path in ("/1.0/operations/nothing", "/1.0/operations/nothing/wait", f"/1.0/operations/{'0' * 8}-0000-4000-8000-{'0' * 12}"):
        yield path, "GET", path
    yield "no operation", "DELETE", "/1.0/operations/nothing"
    yield "events without a socket", "GET", "/1.0/events"
    for name in (NO_IMAGE, "nothing", "", "{vm:.9}", "{vm}"):
        yield f"delete {name!r}", "DELETE", f"/1.0/images/{name}"


#: Headers of an upload, by the name that both families have behind their prefix.
UPLOADS = {
    **{f"public as {word}": {"public": word} for word in ("1", "true", "yes", "on", "TRUE", "0", "false", "maybe", "")},
    **{f"properties {text}": {"properties": text} for text in ("a=b", "a=b&a=c", "a=b&c=d", "a", "a=", "=a", "a=b+c%20d", "a=%2B", "a=%zz", "a=b;c=d", "%C3%BC=%F0%9F%98%80", "a=%0Ab", "a=%00", "&&a=b", "os=Other", "a=b%26c")},
    **{f"a file name {name}": {"filename": name} for name in ("x.tar.gz", "a/b", "../x", ".hidden", "a b", "%2e%2e")},
    **{f"profiles {text}": {"profiles": text} for text in ("profile=default", "profile=nothing", "default")},
    "the fingerprint": {"fingerprint": "{fingerprint}"}, "the fingerprint in capitals": {"fingerprint": "{FINGERPRINT}"}, "another fingerprint": {"fingerprint": NO_IMAGE}, "half a fingerprint": {"fingerprint": "{half}"}, "a secret": {"secret": "nothing"},
    "nothing": {},
}
