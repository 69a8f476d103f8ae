"""Servers for the tests here: each test gets its own, on a port of the system's choice, and it is killed when the test ends."""

import os
import pathlib
import re
import subprocess

import pytest
import trustme

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def binary():
    """The program: the one that WRS_BIN names, or the workspace's own, built now."""
    if path := os.environ.get("WRS_BIN"):
        return path
    subprocess.run(["cargo", "build", "--quiet", "--package", "wrs"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "debug" / "wrs")


class Server:
    """One running server and where it listens."""

    def __init__(self, binary, **settings):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WRS_")}
        self.process = subprocess.Popen(
            [binary, "--port-api", "0", "--port-node", "0"],
            env=clean | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ca = None
        for line in self.process.stdout:
            if found := re.search(r"listening on (https?)://127\.0\.0\.1:(\d+)", line):
                self.scheme, self.port = found[1], int(found[2])
            if found := re.search(r"other nodes join at 127\.0\.0\.1:(\d+)", line):
                self.node_port = int(found[1])
                break
        else:
            raise AssertionError(f"the server ended with {self.process.wait()}")
        host = "localhost" if self.scheme == "https" else "127.0.0.1"
        self.http = f"{self.scheme}://{host}:{self.port}"
        self.ws = self.http.replace("http", "ws", 1)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def start(binary):
    """Starts servers; settings are environment variables."""
    servers = []

    def start(**settings):
        servers.append(Server(binary, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(start):
    """A server as it is without any configuration."""
    return start()


@pytest.fixture
def tls_server(start, tmp_path):
    """A server with TLS; `ca` is the file with the certificate that vouches for it."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    key, chain, ca = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "ca.pem"
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    authority.cert_pem.write_to_path(ca)
    server = start(WRS_SSL="true", WRS_SSL_CERT_PATH=str(chain), WRS_SSL_KEY_PATH=str(key))
    server.ca = str(ca)
    return server
