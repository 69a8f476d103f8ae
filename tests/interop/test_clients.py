"""npm `ws` and curl against the server, plain and TLS. (`websockets` and `requests` are in thesis_table_7.py.)"""

import base64
import hashlib
import json
import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 60


@pytest.fixture(params=["plain", "tls"])
def either(request):
    """A server, and the same with TLS."""
    return request.getfixturevalue("server" if request.param == "plain" else "tls_server")


def curl(server, path, *arguments):
    """What curl printed."""
    trust = ["--cacert", server.ca] if server.ca else []
    command = ["curl", "--silent", "--show-error", "--max-time", "20", *trust, *arguments, f"{server.http}{path}"]
    return subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout


def test_npm_ws(either):
    if not (HERE / "node_modules" / "ws").is_dir():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=HERE, check=True)
    environment = dict(os.environ)
    if either.ca:
        environment["NODE_EXTRA_CA_CERTS"] = either.ca
    command = ["node", "ws_client.mjs", either.http]
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_curl_rest(either):
    created = json.loads(curl(either, "/channels", "-d", '{"pattern":"pub-sub"}'))
    path = f"/channels/{created['data']['id']}"
    assert json.loads(curl(either, path))["data"]["pattern"] == "pub-sub"
    assert [channel["id"] for channel in json.loads(curl(either, "/channels"))["data"]] == [created["data"]["id"]]
    head = curl(either, path, "--head").decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    status = ["--output", os.devnull, "--write-out", "%{http_code} %{content_type}"]
    assert curl(either, path, *status, "--request", "DELETE").decode().startswith("200 application/json")
    assert curl(either, path, *status).decode() == "404 application/problem+json"
    # A body that curl asks for leave to send.
    large = json.dumps({"pattern": "echo", "padding": "x" * 30_000})
    assert curl(either, "/channels", *status, "--header", "Expect: 100-continue", "-d", large).decode().startswith("201")
    chunked = ["--header", "Transfer-Encoding: chunked", "-d", '{"pattern":"echo"}']
    assert curl(either, "/channels", *status, *chunked).decode().startswith("201")


def test_curl_upgrades_to_a_websocket(either):
    created = json.loads(curl(either, "/channels", "-d", '{"pattern":"echo","timeout":700}'))
    key = base64.b64encode(os.urandom(16)).decode()
    fields = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    headers = [part for field in fields for part in ("--header", field)]
    path = f"/channels/{created['data']['id']}/connect?token={created['token']}"
    # The channel's own timeout ends the connection, and the close frame is what curl takes for the body.
    got = curl(either, path, "--http1.1", "--include", "--no-buffer", *headers)
    head, _, frames = got.partition(b"\r\n\r\n")
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
    assert head.startswith(b"HTTP/1.1 101 ") and b"Sec-WebSocket-Accept: " + accept in head
    assert frames[0] == 0x88 and int.from_bytes(frames[2:4], "big") == 4408


def test_curl_reads_every_page(either):
    for path in ("/", "/readme", "/client", "/docs"):
        assert b"<html" in curl(either, path, "--fail").lower(), path
    assert json.loads(curl(either, "/openapi.json", "--fail"))["openapi"].startswith("3.1.")
    assert b"wrs_clients 0" in curl(either, "/metrics", "--fail")
