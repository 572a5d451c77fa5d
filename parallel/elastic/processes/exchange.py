"""Blocks between processes over TCP: a server for what this process holds, and `fetch` to ask one.

One connection carries one request. Both sides first prove that they know the `authkey` (the HMAC
challenge of `multiprocessing.connection`; nothing is encrypted). Then the asker names a step and
any number of blocks, and gets either a refusal or all dtypes followed by the bytes of all blocks.
Limits are on silence, not on the whole: a large block may take long as long as bytes arrive.
"""

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

import numpy as np

from parallel.elastic.processes.blocks import Blocks, Catalog, Peer, Wanted
from parallel.elastic.processes.wire import messages_over


class NotHeld(RuntimeError):
    """A peer was asked for a block that it does not offer, or not of that step."""

    def __init__(self, peer: Peer, refusal: str):
        self.peer = peer
        super().__init__(f"{peer} refuses: {refusal}.")


class PeerFailed(RuntimeError):
    """A peer could not be reached, fell silent or broke off."""

    def __init__(self, peer: Peer, what: str):
        self.peer = peer
        super().__init__(f"{peer} {what}; go on without it.")


def _bytes(block: np.ndarray) -> memoryview:
    return block.reshape(-1).view(np.uint8).data


class BlockServer:
    """Serves the blocks that this process offers, to peers that know the key.

    Every connection has a daemon thread of its own, so strangers, silent or not, hold up nobody.
    `address` is what peers connect to: give the `host` by which they reach this one.
    """

    def __init__(self, authkey: bytes, host: str = "127.0.0.1", limit_s: float = 30.0):
        self._authkey, self._limit_s = authkey, limit_s
        self._lock = threading.Lock()
        self._offers: dict[str, Blocks] = {}
        self._serving: dict[threading.Thread, socket.socket] = {}
        self._closed = threading.Event()
        self._listener = socket.create_server((host, 0), backlog=128)
        self._listener.settimeout(0.1)  # how long `close` may go unnoticed
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._accepting = threading.Thread(target=self._accept, name="blocks", daemon=True)
        self._accepting.start()

    def offer(self, name: str, blocks: Blocks) -> None:
        """Serves `blocks` under `name` from now on, instead of what was there before."""
        with self._lock:
            self._offers[name] = blocks

    def fetch(self, peer: Peer, step: int, wanted: Sequence[Wanted]) -> list[np.ndarray]:
        """`fetch` with the key and the limit of this server."""
        return fetch(peer, step, wanted, authkey=self._authkey, limit_s=self._limit_s)

    def withdraw(self, name: str) -> None:
        """Serves nothing under `name` any more; transfers under way are completed."""
        with self._lock:
            self._offers.pop(name, None)

    def offers(self) -> dict[str, tuple[int, Catalog]]:
        """The step and the catalog under each name, to tell the peers."""
        with self._lock:
            return {name: (blocks.step, blocks.catalog()) for name, blocks in self._offers.items()}

    def close(self) -> None:
        """Ends all connections and waits until their threads are gone."""
        self._closed.set()
        self._accepting.join()
        self._listener.close()
        with self._lock:
            serving = dict(self._serving)
        for thread, sock in serving.items():
            with suppress(OSError):  # the thread or the peer was faster
                sock.shutdown(socket.SHUT_RDWR)
            thread.join()

    def __enter__(self) -> "BlockServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:  # nobody came, or they left at once, or too many are here
                self._closed.wait(0.01)
                continue
            thread = threading.Thread(target=self._serve, args=[sock], name="blocks", daemon=True)
            with self._lock:
                self._serving[thread] = sock
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock, messages_over(sock, self._limit_s) as messages:
                try:
                    deliver_challenge(messages, self._authkey)
                    answer_challenge(messages, self._authkey)
                except Exception:  # whatever it was, it was no peer
                    return
                self._answer(sock, messages, *messages.recv())
        except (OSError, EOFError):
            pass  # the peer is gone or silent: it knows that better than this node
        finally:
            with self._lock:
                del self._serving[threading.current_thread()]

    def _answer(
        self, sock: socket.socket, messages: Connection, step: int, wanted: Sequence[Wanted]
    ) -> None:
        with self._lock:
            offers = dict(self._offers)
        blocks = []
        for name, leaf, box in wanted:
            offered = offers.get(name)
            if offered is None:
                return messages.send(f"{name!r} is not offered, only {sorted(offers)}")
            if offered.step != step:
                return messages.send(f"{name!r} is of step {offered.step}, not of {step}")
            block = offered.find(leaf, box)
            if block is None:
                return messages.send(f"{name!r} has not all of {box} of leaf {leaf}")
            blocks.append(block)
        messages.send([block.dtype for block in blocks])
        for block in blocks:
            sock.sendall(_bytes(block))
        return None


def fetch(
    peer: Peer, step: int, wanted: Sequence[Wanted], *, authkey: bytes, limit_s: float = 30.0
) -> list[np.ndarray]:
    """The wanted blocks of `step` from `peer`, over one connection.

    Args:    limit_s: how long the peer may be silent, in every single wait.
    Raises:  NotHeld if it does not offer all of them, PeerFailed if it does not answer.
    """
    try:
        with (
            socket.create_connection(peer.address, timeout=limit_s) as sock,
            messages_over(sock, limit_s) as messages,
        ):
            answer_challenge(messages, authkey)
            deliver_challenge(messages, authkey)
            messages.send((step, list(wanted)))
            answer = messages.recv()
            if isinstance(answer, str):
                raise NotHeld(peer, answer)
            return [
                _receive(sock, box, dtype)
                for (_, _, box), dtype in zip(wanted, answer, strict=True)
            ]
    except (TimeoutError, BlockingIOError) as error:
        raise PeerFailed(peer, f"was silent for {limit_s:g} s") from error
    except NotHeld:
        raise
    except Exception as error:  # garbage of another program on its port can be any of them
        raise PeerFailed(peer, f"failed ({error or type(error).__name__})") from error


def _receive(sock: socket.socket, box: Sequence[tuple[int, int]], dtype: np.dtype) -> np.ndarray:
    block = np.empty([stop - start for start, stop in box], dtype)
    left = _bytes(block)
    while left:
        count = sock.recv_into(left)
        if not count:
            raise EOFError("it broke off")
        left = left[count:]
    return block
