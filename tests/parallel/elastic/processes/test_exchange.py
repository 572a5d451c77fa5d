import os
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import answer_challenge, deliver_challenge
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from parallel.elastic.processes import exchange, wire
from parallel.elastic.processes.blocks import Blocks, Peer
from parallel.elastic.processes.exchange import BlockServer, NotHeld, PeerFailed, fetch

KEY = b"known to the nodes"
HALF = ((0, 2),)
STATE = Blocks(4, ({HALF: np.array([1, 2])}, {(): np.array(0.5, ml_dtypes.bfloat16)}))


@pytest.fixture
def server():
    before = threads_and_files()
    with BlockServer(KEY, limit_s=20) as found:
        found.offer("state", STATE)
        yield found
        start = time.monotonic()
    assert time.monotonic() - start < 2
    assert_nothing_is_left(before)


def threads_and_files() -> tuple[set[threading.Thread], int]:
    return set(threading.enumerate()), len(os.listdir("/proc/self/fd"))


def assert_nothing_is_left(before: tuple[set[threading.Thread], int]) -> None:
    threads, files = threads_and_files()
    assert not threads - before[0]
    assert files <= before[1]


def ask(server, step=4, wanted=(("state", 0, HALF),), authkey=KEY):
    return fetch(Peer(3, server.address), step, wanted, authkey=authkey, limit_s=5)


def test_blocks_come_in_the_order_asked_for(server):
    wanted = [("state", 1, ()), ("state", 0, HALF), ("state", 0, ((1, 2),))]
    scale, half, quarter = ask(server, wanted=wanted)
    assert (scale.dtype, scale.shape, float(scale)) == (ml_dtypes.bfloat16, (), 0.5)
    assert (half.tolist(), quarter.tolist()) == ([1, 2], [2])


def test_an_offer_replaces_the_one_before_and_can_be_withdrawn(server):
    assert server.offers() == {"state": (4, ((HALF,), ((),)))}
    server.offer("state", Blocks(5, ({HALF: np.array([3, 4])},)))
    assert ask(server, step=5)[0].tolist() == [3, 4]
    server.withdraw("state")
    assert server.offers() == {}
    with pytest.raises(NotHeld, match="'state' is not offered"):
        ask(server, step=5)


@pytest.mark.parametrize(
    "step, wanted, refusal",
    [
        (3, ("state", 0, HALF), "'state' is of step 4, not of 3"),
        (4, ("copies", 0, HALF), r"'copies' is not offered, only \['state'\]"),
        (4, ("state", 0, ((1, 3),)), r"'state' has not all of \(\(1, 3\),\) of leaf 0"),
        (4, ("state", 2, ()), r"'state' has not all of \(\) of leaf 2"),
    ],
)
def test_a_refusal_says_who_refuses_what(server, step, wanted, refusal):
    with pytest.raises(NotHeld, match=rf"node 3 at 127.0.0.1:\d+ refuses: {refusal}") as caught:
        ask(server, step, [("state", 1, ()), wanted])
    assert caught.value.peer.node == 3


def test_who_does_not_know_the_key_gets_nothing(server):
    with pytest.raises(PeerFailed, match="node 3 .* failed .*digest.*; go on without it"):
        ask(server, authkey=b"a guess")
    assert ask(server)[0].tolist() == [1, 2]


def test_strangers_hold_up_nobody(server):
    strangers = [socket.create_connection(server.address) for _ in range(30)]
    for at, words in enumerate([b"GET / HTTP/1.1\r\n", b"\xff" * 999, b"\0" * 8, b"\0\0\0\4hold"]):
        strangers[at].sendall(words)
    strangers[4].close()
    strangers[5].shutdown(socket.SHUT_WR)
    start = time.monotonic()
    for _ in range(5):
        assert ask(server)[0].tolist() == [1, 2]
    assert time.monotonic() - start < 2
    for stranger in strangers:
        stranger.close()


def test_a_stranger_is_forgotten_after_the_limit():
    with BlockServer(KEY, limit_s=0.2) as server, socket.create_connection(server.address) as one:
        one.settimeout(5)
        while one.recv(100):  # the challenge, then the end
            pass


def test_a_peer_that_stops_reading_is_given_up_by_the_server():
    before = threads_and_files()
    with BlockServer(KEY, limit_s=0.2) as server:
        server.offer("state", Blocks(4, ({((0, 1 << 25),): np.zeros(1 << 25, np.uint8)},)))
        with (
            socket.create_connection(server.address) as sock,
            wire.messages_over(sock, 5) as messages,
        ):
            answer_challenge(messages, KEY)
            deliver_challenge(messages, KEY)
            messages.send((4, [("state", 0, ((0, 1 << 25),))]))
            messages.recv()
            for _ in range(100):
                if not server._serving:
                    break
                time.sleep(0.05)
            assert not server._serving
    assert_nothing_is_left(before)


def test_a_port_where_nobody_listens_is_a_failed_peer():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with pytest.raises(PeerFailed, match="node 3 .* failed .*refused"):
        fetch(Peer(3, address), 4, [], authkey=KEY, limit_s=1)


def test_a_closed_server_breaks_off(server, monkeypatch):
    receive = exchange._receive
    monkeypatch.setattr(exchange, "_receive", lambda *args: (server.close(), receive(*args))[1])
    side = ((0, 1 << 26),)
    server.offer("state", Blocks(4, ({side: np.zeros(1 << 26, np.uint8)},)))
    with pytest.raises(PeerFailed, match="node 3 .* failed"):
        ask(server, wanted=[("state", 0, side)])


@pytest.fixture
def other_process():
    program = """
import sys
import numpy as np
from parallel.elastic.processes.blocks import Blocks
from parallel.elastic.processes.exchange import BlockServer
with BlockServer(b"known to the nodes") as server:
    server.offer("state", Blocks(4, ({((0, 1 << 26),): np.ones(1 << 26, np.uint8)},)))
    print(server.address[1], flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    )
    yield process, Peer(3, ("127.0.0.1", int(process.stdout.readline())))
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=10)
    assert process.returncode == 0


@pytest.mark.parametrize("moment", ["before it is asked", "in the middle of a block"])
def test_a_stopped_peer_is_given_up_by_name_and_serves_again_when_it_goes_on(
    other_process, monkeypatch, moment
):
    process, peer = other_process
    wanted = [("state", 0, ((0, 1 << 26),))]  # far more than fits into the buffers of a socket

    def stop(*_):
        process.send_signal(signal.SIGSTOP)
        return receive(*_) if _ else None

    receive = exchange._receive
    if moment == "before it is asked":
        stop()
    else:
        monkeypatch.setattr(exchange, "_receive", stop)
    before, start = threads_and_files(), time.monotonic()
    with pytest.raises(PeerFailed, match=r"node 3 at 127.0.0.1:\d+ was silent for 0.4 s"):
        fetch(peer, 4, wanted, authkey=KEY, limit_s=0.4)
    assert 0.4 <= time.monotonic() - start < 3
    assert_nothing_is_left(before)

    monkeypatch.undo()
    process.send_signal(signal.SIGCONT)
    assert fetch(peer, 4, wanted, authkey=KEY, limit_s=10)[0].sum() == 1 << 26
