"""A stand-in for Kubernetes: the part of its API that the Snakemake plugin calls. Jobs run on this machine."""

import json
import subprocess
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Cluster(ThreadingHTTPServer):
    """The server; `jobs` keeps what was submitted, and `exits` how each job ended."""

    def __init__(self, environment):
        super().__init__(("127.0.0.1", 0), Handler)
        self.environment, self.jobs, self.exits, self.output = environment, {}, {}, {}

    @property
    def settings(self):
        """A kubeconfig that leads here."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }

    def run(self, job):
        """Run a job's container: its command, in an empty folder."""
        name = job["metadata"]["name"]
        self.jobs[name] = job
        container = job["spec"]["template"]["spec"]["containers"][0]
        with tempfile.TemporaryDirectory() as folder:
            finished = subprocess.run(
                [*container["command"], *container["args"]],
                cwd=folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        self.exits[name], self.output[name] = finished.returncode, finished.stdout


class Handler(BaseHTTPRequestHandler):
    """Answers the calls."""

    def log_message(self, *arguments):
        """Say nothing."""

    def answer(self, content, status=200):
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        """Take a secret, or run a job."""
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/jobs"):
            self.server.run(content)
        self.answer(content, 201)

    def do_GET(self):
        """Tell how a job ended, or what its pod printed."""
        name = self.path.split("/jobs/")[-1].split("/")[0]
        if "/jobs/" in self.path:
            ended = "succeeded" if self.server.exits[name] == 0 else "failed"
            self.answer({**self.server.jobs[name], "status": {ended: 1}})
        else:
            self.answer({"kind": "PodList", "items": []})

    def do_DELETE(self):
        """Take that something is to go."""
        self.answer({"kind": "Status", "status": "Success"})
