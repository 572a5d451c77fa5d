"""A process that does what it is told on stdin, one JSON line per command, and answers in kind.

The thread that reads the commands carries out `free` at once, while the main thread may be blocked.
"""

import json
import os
import pickle
import queue
import socket
import sys
import threading
import time

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from parallel.elastic.processes import world
from parallel.spmd.mesh import AXES, stand_in

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # gloo writes to stdout
state = {}


def serve(num_ranks):
    state["service"] = world.Service(num_ranks)
    return state["service"].address


def close():
    state.pop("service").close()


def join(address, rank, num_ranks, local_devices=2, limit_s=20, host="127.0.0.1"):
    ranks = world.join(address, rank, num_ranks, local_devices, limit_s, host)
    state["mesh"] = stand_in((num_ranks, 1, local_devices), [d for row in ranks for d in row])
    return [[d.id for d in row] for row in ranks]


def numbers():
    """0, 1, 2 ... over all devices."""
    mesh = state["mesh"]
    whole = np.arange(mesh.size, dtype=np.float32)
    return jax.make_array_from_callback(
        whole.shape, NamedSharding(mesh, P(AXES)), lambda part: whole[part]
    )


def step(axes=AXES):
    """Compiles and runs a sum over `axes`, and returns what the first device of this rank has."""
    axes = tuple(axes)
    total = jax.shard_map(
        lambda x_block: jax.lax.psum(x_block, axes),
        mesh=state["mesh"],
        in_specs=P(AXES),
        out_specs=P(tuple(a for a in AXES if a not in axes)),
    )
    return float(np.asarray(jax.jit(total)(numbers()).addressable_data(0))[0])


def run(path):
    """Runs a program from a file, which some other process has compiled."""
    with open(path, "rb") as file:
        program = pickle.load(file).on(state["mesh"])
    return [
        np.asarray(x).tolist() for x in (program(numbers()).addressable_data(i) for i in (0, 1))
    ]


def leave():
    state.pop("mesh", None)
    world.leave()


def free(address):
    world.free(address)


def hosts():
    """The addresses under which anything listens in this process."""
    return sorted({host for host, _ in world._listeners()})


def talk():
    """Whether a connection of this process's own, opened at the first call, carries bytes."""
    if "ends" not in state:
        listener = socket.create_server(("127.0.0.1", 0))
        state["ends"] = socket.create_connection(listener.getsockname()), listener.accept()[0]
        listener.close()
    state["ends"][0].sendall(b"word")
    return state["ends"][1].recv(4) == b"word"


def size():
    """Threads, open files and megabytes of this process."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") >> 20
    return [len(os.listdir(f"/proc/self/{of}")) for of in ("task", "fd")] + [megabytes]


def answer(name, *args):
    begin = time.perf_counter()
    try:
        said = {"result": globals()[name](*args)}
    except Exception as error:
        said = {"error": type(error).__name__, "message": str(error)}
    said["seconds"] = time.perf_counter() - begin
    print(json.dumps([name, said]), file=ANSWERS, flush=True)


def read(commands):
    for line in sys.stdin:
        command = json.loads(line)
        if command[0] == "free":
            answer(*command)
        else:
            commands.put(command)
    commands.put(None)


if __name__ == "__main__":
    commands = queue.Queue()
    threading.Thread(target=read, args=(commands,), daemon=True).start()
    while (command := commands.get()) is not None:
        answer(*command)
