"""A Keystone and a Glance as they come from PyPI, each on a database of its own, for suites that put Visor beside them."""

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request

from keystoneauth1 import session
from keystoneauth1.identity import v3

from harness import until

# Their Python, beside that of the clients: their requirements would get into the way of each other.
SERVICES = os.path.normpath(os.path.join(os.path.dirname(sys.executable), "..", "..", "client-python-cloud", "bin"))

SERVE = """
import os
from werkzeug.serving import WSGIRequestHandler, make_server
from {module}.wsgi.api import application
WSGIRequestHandler.protocol_version = "HTTP/1.1"
make_server("127.0.0.1", int(os.environ["PORT"]), application, threaded=True).serve_forever()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """A program of OpenStack's, with its configuration in a directory of its own."""

    def __init__(self, module, configuration):
        self.module, self.port = module, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = self.temporary.name
        # The name that each looks for.
        self.configuration = self.path({"glance": "glance-api.conf"}.get(module, f"{module}.conf"))
        with open(self.configuration, "w") as file:
            file.write(configuration.format(directory=self.directory, etc=os.path.join(SERVICES, "..", "etc"), url=self.url))
        self.process = None

    def path(self, name):
        return os.path.join(self.directory, name)

    def manage(self, *arguments):
        command = [os.path.join(SERVICES, f"{self.module}-manage"), "--config-file", self.configuration, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{arguments}: {done.stderr[-2000:]}"

    def start(self):
        environment = {"PATH": os.environ["PATH"], "HOME": self.directory, "PORT": str(self.port), "OS_KEYSTONE_CONFIG_DIR": self.directory,
                       "OS_GLANCE_CONFIG_DIR": self.directory}
        code = [os.path.join(SERVICES, "python"), "-W", "ignore", "-c", SERVE.format(module=self.module)]
        with open(self.path("log"), "a") as log:
            self.process = subprocess.Popen(code, env=environment, cwd=self.directory, stdout=log, stderr=log)
        atexit.register(self.process.kill)

        def answers():
            assert self.process.poll() is None, open(self.path("log")).read()[-3000:]
            try:
                urllib.request.urlopen(self.url, timeout=5)
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False
            return True
        until(answers, f"{self.module} answers")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


class Keystone(Service):
    """A real Keystone with a few projects and users. A token lasts for `lifetime` seconds."""

    PASSWORD = "s3cret-of-all"

    def __init__(self, lifetime=3600):
        super().__init__("keystone", f"""
[database]
connection = sqlite:///{{directory}}/keystone.db
[fernet_tokens]
key_repository = {{directory}}/fernet
[fernet_receipts]
key_repository = {{directory}}/fernet
[credential]
key_repository = {{directory}}/credential
[token]
expiration = {lifetime}
[identity]
password_hash_rounds = 4
""")
        me, mine = (subprocess.check_output(["id", flag], text=True).strip() for flag in ("-un", "-gn"))
        self.manage("db_sync")
        for keys in ("fernet_setup", "credential_setup"):
            self.manage(keys, "--keystone-user", me, "--keystone-group", mine)
        self.manage("bootstrap", "--bootstrap-password", self.PASSWORD, "--bootstrap-public-url", self.url + "/v3",
                    "--bootstrap-internal-url", self.url + "/v3", "--bootstrap-region-id", "RegionOne")
        self.start()
        self.root = session.Session(self.password("admin", "admin"))
        self.projects = {"admin": self.find("projects", "admin")}

    def password(self, user, project):
        return v3.Password(self.url + "/v3", username=user, password=self.PASSWORD, user_domain_name="Default",
                           project_name=project, project_domain_name="Default")

    def ask(self, method, path, **body):
        return self.root.request(f"{self.url}/v3/{path}", method, json=body or None).json() if method != "PUT" else \
            self.root.request(f"{self.url}/v3/{path}", method)

    def find(self, kind, name):
        return self.ask("GET", f"{kind}?name={name}")[kind][0]["id"]

    def project(self, name):
        self.projects[name] = self.ask("POST", "projects", project={"name": name, "domain_id": "default"})["project"]["id"]
        return self.projects[name]

    def user(self, name, project, *roles):
        made = self.ask("POST", "users", user={"name": name, "domain_id": "default", "password": self.PASSWORD})["user"]["id"]
        for role in roles:
            self.ask("PUT", f"projects/{self.projects[project]}/users/{made}/roles/{self.find('roles', role)}")
        return made

    def serve_images_at(self, url):
        """Puts an image service into the catalogue, or in the place of the one there."""
        for old in self.ask("GET", "services?type=image")["services"]:
            self.root.delete(f"{self.url}/v3/services/{old['id']}")
        service = self.ask("POST", "services", service={"type": "image", "name": "glance"})["service"]["id"]
        for interface in ("public", "internal", "admin"):
            self.ask("POST", "endpoints", endpoint={"service_id": service, "interface": interface, "region_id": "RegionOne", "url": url})

    def token(self, user, project):
        return self.password(user, project).get_access(session.Session()).auth_token

    def clouds(self, user, project, auth_url=None):
        """A clouds.yaml."""
        return f"""clouds:
  visor:
    auth_type: password
    region_name: RegionOne
    auth:
      auth_url: {auth_url or self.url + '/v3'}
      username: {user}
      password: {self.PASSWORD}
      project_name: {project}
      user_domain_name: Default
      project_domain_name: Default
"""


class Glance(Service):
    """A real Glance with a store of files, behind a Keystone."""

    def __init__(self, keystone):
        super().__init__("glance", f"""
[DEFAULT]
enabled_backends = disk:file
enabled_import_methods = [glance-direct]
worker_self_reference_url = {{url}}
[database]
connection = sqlite:///{{directory}}/glance.db
[glance_store]
default_backend = disk
[disk]
filesystem_store_datadir = {{directory}}/images
[os_glance_staging_store]
filesystem_store_datadir = {{directory}}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {{directory}}/tasks
[paste_deploy]
flavor = keystone
config_file = {{etc}}/glance/glance-api-paste.ini
[keystone_authtoken]
www_authenticate_uri = {keystone.url}/v3
auth_url = {keystone.url}/v3
auth_type = password
username = admin
password = {keystone.PASSWORD}
user_domain_name = Default
project_name = admin
project_domain_name = Default
""")
        for name in ("images", "staging", "tasks"):
            os.mkdir(self.path(name))
        self.manage("db_sync")
        self.start()
