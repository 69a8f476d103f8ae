"""The thesis's table 7, all five groups, by its numbers, with clients that nobody here wrote: `websockets`, `requests` and
Python's own `http.client`. The steps are those of its appendix; where it has none, the table's own sentence.
"""

import http.client
import json
import ssl
import time

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

SOON = 10


def create(server, pattern, headers=None, **members):
    """A channel: what its 201 says."""
    body = {"pattern": pattern, **members}
    response = requests.post(f"{server.http}/channels", json=body, headers=headers, verify=server.ca, timeout=SOON)
    assert response.status_code == 201, response.text
    return response.json()


def join(server, channel, token=None, query="", **options):
    """A client of a channel."""
    token = channel["token"] if token is None else token
    return connect(f"{server.ws}/channels/{channel['data']['id']}/connect?token={token}{query}", **options)


def status_of(server, channel):
    return requests.get(f"{server.http}/channels/{channel['data']['id']}", verify=server.ca, timeout=SOON).status_code


def wait_for(condition):
    """Looks again and again; False if it never holds."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def is_html(response):
    kind = response.headers["Content-Type"]
    return response.status_code == 200 and kind.startswith("text/html") and "<html" in response.text


# 1 Basic components


def test_1_1_1_the_server_starts(server):
    assert server.process.poll() is None


def test_1_1_2_the_http_server_runs(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SOON)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()


def test_1_2_1_get_root_is_html(server):
    assert is_html(requests.get(f"{server.http}/", timeout=SOON))


def test_1_2_2_get_readme_is_html(server):
    assert is_html(requests.get(f"{server.http}/readme", timeout=SOON))


def test_1_2_3_get_cluster_is_the_cluster_as_json(server):
    response = requests.get(f"{server.http}/cluster", timeout=SOON)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    data = response.json()["data"]
    assert data["role"] == "leader" and len(data["nodes"]) == 1


def test_1_2_4_get_channels_is_the_channels_as_json(server):
    created = create(server, "echo")
    response = requests.get(f"{server.http}/channels", timeout=SOON)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    assert [channel["id"] for channel in response.json()["data"]] == [created["data"]["id"]]


def test_1_2_5_post_channels_creates_a_channel(server):
    members = {"pattern": "pub-sub", "clientLimit": 10, "timeout": 60_000}
    response = requests.post(f"{server.http}/channels", json=members, timeout=SOON)
    assert response.status_code == 201
    assert response.headers["Content-Type"].startswith("application/json")
    answer = response.json()
    assert isinstance(answer["message"], str) and isinstance(answer["token"], str)
    channel = answer["data"]
    assert {name: channel[name] for name in members} == members
    assert set(channel) == {"id", "port", "pattern", "timeout", "countdown", "clientLimit", "clients"}
    shown = requests.get(f"{server.http}/channels/{channel['id']}", timeout=SOON)
    assert shown.status_code == 200 and shown.json()["data"]["id"] == channel["id"]


def test_1_2_6_get_channel_is_the_channel_as_json(server):
    created = create(server, "push-pull")
    response = requests.get(f"{server.http}/channels/{created['data']['id']}", timeout=SOON)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    channel = response.json()["data"]
    assert channel["pattern"] == "push-pull" and channel["clients"] == 0
    assert "token" not in response.json()


def test_1_2_7_delete_channel_deletes_it(server):
    channel = create(server, "echo")
    response = requests.delete(f"{server.http}/channels/{channel['data']['id']}", timeout=SOON)
    assert response.status_code == 200 and isinstance(response.json()["message"], str)
    assert status_of(server, channel) == 404


def test_1_2_8_get_channels_has_no_channel_then(server):
    channel = create(server, "echo")
    requests.delete(f"{server.http}/channels/{channel['data']['id']}", timeout=SOON)
    assert requests.get(f"{server.http}/channels", timeout=SOON).json()["data"] == []


def test_1_3_1_echo(server):
    with join(server, create(server, "echo")) as client:
        client.send("hello")
        assert client.recv(SOON) == "hello"
        client.send(b"\x00\xff")
        assert client.recv(SOON) == b"\x00\xff"


def test_1_3_2_pub_sub(server):
    channel = create(server, "pub-sub")
    with join(server, channel) as one, join(server, channel) as two:
        for sender, text in ((one, "from one"), (two, "from two")):
            sender.send(text)
            assert (one.recv(SOON), two.recv(SOON)) == (text, text)


def test_1_3_3_push_pull_is_even(server):
    channel = create(server, "push-pull")
    with join(server, channel) as sender, join(server, channel) as one, join(server, channel) as two:
        for number in range(40):
            sender.send(str(number))
        got = [[worker.recv(SOON) for _ in range(20)] for worker in (one, two)]
        assert sorted(map(int, got[0] + got[1])) == list(range(40))
        one.send("done")
        two.send("done")
        # The sender is next after a worker's own turn; it has had none of its own messages before.
        assert sender.recv(SOON) == "done"


def test_1_3_4_req_repl(server):
    channel = create(server, "req-repl")
    with join(server, channel) as asker, join(server, channel) as worker:
        asker.send(json.dumps({"type": "request", "question": 6 * 7}))
        request = json.loads(worker.recv(SOON))
        assert request["question"] == 42
        assert request["origin"] == asker.response.headers["WRS-Client-Id"]
        worker.send(json.dumps({"type": "reply", "origin": request["origin"], "answer": "yes"}))
        assert json.loads(asker.recv(SOON))["answer"] == "yes"


def test_1_3_5_a_wrong_token_fails(server):
    channel = create(server, "echo")
    with pytest.raises(InvalidStatus) as refused:
        join(server, channel, token="wrong")
    assert refused.value.response.status_code == 401


def test_1_4_1_a_timeout_deletes_the_channel(server):
    channel = create(server, "echo", timeout=500)
    created = time.monotonic()
    assert status_of(server, channel) == 200
    assert wait_for(lambda: status_of(server, channel) == 404)
    assert time.monotonic() - created >= 0.45


def test_1_4_2_a_message_prolongs_the_timeout(server):
    timeout, offset = 1.0, 0.6
    channel = create(server, "echo", timeout=int(timeout * 1000))
    with join(server, channel) as client:
        created = time.monotonic()
        time.sleep(offset)
        client.send("still needed")
        assert client.recv(SOON) == "still needed"
        sent = time.monotonic()
        time.sleep(max(0.0, created + timeout + 0.1 - time.monotonic()))
        assert status_of(server, channel) == 200
        assert wait_for(lambda: status_of(server, channel) == 404)
        assert time.monotonic() - sent >= timeout - 0.3


def test_1_5_1_a_client_limit_is_kept(server):
    channel = create(server, "echo", clientLimit=2)
    with join(server, channel), join(server, channel):
        with pytest.raises(InvalidStatus) as refused:
            join(server, channel)
        assert refused.value.response.status_code == 429


# 2 TLS


def test_2_1_1_rest_by_tls(tls_server):
    response = requests.get(f"{tls_server.http}/channels", verify=tls_server.ca, timeout=SOON)
    assert response.status_code == 200


def test_2_2_1_websocket_by_tls(tls_server):
    trust = ssl.create_default_context(cafile=tls_server.ca)
    with join(tls_server, create(tls_server, "echo"), ssl=trust) as client:
        client.send("secretly")
        assert client.recv(SOON) == "secretly"


# 3 The API token


@pytest.fixture
def guarded(start):
    return start(WRS_AUTH="true", WRS_AUTH_TOKEN="api-token")


def post(server, query="", headers=None, **members):
    url = f"{server.http}/channels{query}"
    return requests.post(url, json={"pattern": "echo", **members}, headers=headers, timeout=SOON).status_code


def test_3_1_1_the_right_token_in_the_header(guarded):
    assert post(guarded, headers={"Authorization": "Bearer api-token"}) == 201
    assert post(guarded, headers={"Authentification": "Bearer api-token"}) == 201


def test_3_1_2_the_right_token_in_the_query(guarded):
    assert post(guarded, query="?auth=api-token") == 201


def test_3_1_3_the_right_token_in_the_body(guarded):
    assert post(guarded, auth="api-token") == 201


def test_3_1_4_a_wrong_token_in_the_header(guarded):
    assert post(guarded, headers={"Authorization": "Bearer wrong"}) == 401
    assert post(guarded, headers={"Authentification": "Bearer wrong"}) == 401


def test_3_1_5_a_wrong_token_in_the_query(guarded):
    assert post(guarded, query="?auth=wrong") == 401


def test_3_1_6_a_wrong_token_in_the_body(guarded):
    assert post(guarded, auth="wrong") == 401


def test_3_2_1_a_websocket_with_the_token_in_the_query(guarded):
    channel = create(guarded, "echo", headers={"Authorization": "Bearer api-token"})
    with join(guarded, channel, query="&auth=api-token") as client:
        client.send("let in")
        assert client.recv(SOON) == "let in"
    with pytest.raises(InvalidStatus) as refused:
        join(guarded, channel)
    assert refused.value.response.status_code == 401


# 4 Browser-only mode


@pytest.fixture
def browser_only(start):
    return start(WRS_BROWSER_ONLY="true")


def test_4_1_1_get_create_creates_a_channel(browser_only):
    url = f"{browser_only.http}/channel/create?pattern=pub-sub&clientLimit=5&timeout=60000"
    response = requests.get(url, timeout=SOON)
    assert response.status_code == 201
    assert response.headers["Content-Type"].startswith("application/json")
    channel = response.json()["data"]
    assert (channel["pattern"], channel["clientLimit"], channel["timeout"]) == ("pub-sub", 5, 60_000)
    assert status_of(browser_only, response.json()) == 200


def test_4_1_2_get_delete_deletes_a_channel(browser_only):
    channel = create(browser_only, "echo")
    url = f"{browser_only.http}/channels/{channel['data']['id']}/delete"
    assert requests.get(url, timeout=SOON).status_code == 200
    assert status_of(browser_only, channel) == 404


# 5 The cluster


def cluster_of(server):
    return requests.get(f"{server.http}/cluster", timeout=SOON).json()["data"]


def size(server):
    """How many nodes a node counts as live."""
    return sum(node["live"] for node in cluster_of(server)["nodes"])


def ready(server):
    return requests.get(f"{server.http}/readyz", timeout=SOON).status_code == 200


def join_by_hand(server, other):
    return requests.post(f"{server.http}/cluster/join/127.0.0.1:{other.node_port}", timeout=2 * SOON).status_code


@pytest.fixture
def pair(start):
    """Two nodes that are a cluster."""
    one, two = start(), start()
    assert wait_for(lambda: ready(one) and ready(two))
    assert join_by_hand(two, one) == 200
    assert wait_for(lambda: size(one) == size(two) == 2 and ready(one) and ready(two))
    return one, two


def test_5_1_1_joining_fails_without_another_node(start):
    gone = start()
    gone.stop()
    server = start()
    assert wait_for(lambda: ready(server))
    assert join_by_hand(server, gone) in (502, 504)
    assert size(server) == 1 and ready(server)


def test_5_1_2_joining_by_hand(pair):
    one, two = map(cluster_of, pair)
    assert one["cluster"] == two["cluster"] and one["leader"] == two["leader"]
    assert sorted((one["role"], two["role"])) == ["follower", "leader"]


def test_5_1_3_joining_by_itself(start):
    one = start()
    two = start(WRS_PUBLIC_API_PORT=str(one.port), WRS_MAX_STARTUP_DELAY="0")
    assert wait_for(lambda: size(one) == size(two) == 2)
    assert cluster_of(one)["cluster"] == cluster_of(two)["cluster"]


def test_5_1_4_a_node_that_stops_leaves(pair):
    one, two = pair
    two.process.terminate()
    assert two.process.wait(SOON) == 0
    assert wait_for(lambda: len(cluster_of(one)["nodes"]) == 1 and ready(one))


def test_5_2_1_channels_are_on_all_nodes(pair):
    one, two = pair
    created = create(one, "pub-sub")
    assert status_of(two, created) == 200
    requests.delete(f"{two.http}/channels/{created['data']['id']}", timeout=SOON)
    assert status_of(one, created) == 404


def test_5_3_1_messages_cross_nodes(pair):
    one, two = pair
    channel = create(one, "pub-sub")
    with join(one, channel) as here, join(two, channel) as there:
        for sender, text in ((here, "from one"), (there, "from two")):
            sender.send(text)
            assert (here.recv(SOON), there.recv(SOON)) == (text, text)
