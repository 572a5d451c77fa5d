"""The rings of a fabric before and after two nodes fail, and what its optical switches do.

$ python -m examples.rings rings.svg
Prints both placements and the circuits of one ring, and draws the second one. No jax.
"""

import sys
from pathlib import Path

from parallel.fabric import KHopRing, Switchboard, place, rearrange, rings_changed
from parallel.show.fabric import fabric_svg

NODES, GPUS, HOPS = 8, 2, 2
fabric = KHopRing(NODES, HOPS)  # each node has a fibre to the next two on either side
board = Switchboard(fabric, GPUS)

before = place(fabric, failed=(), nodes_per_group=2)
board.apply(board.switch(before.groups, failed=()))
print("rings of all nodes:  ", *before.groups)

failed = {3, 6}
after = rearrange(before, fabric, failed, nodes_per_group=2)  # the fewest rings changed
switching = board.apply(board.switch(after.groups, failed))
print("without nodes 3 and 6:", *after.groups)
print(
    f"{rings_changed(before, after)} rings changed by {len(switching.commands)} commands to the "
    f"transceivers, in {1e3 * switching.seconds:.2f} ms"
)
print("the light from node 2:", *board.walk((2, 0)))

title = "Nodes 3 and 6 are lost: their neighbours reach across"
Path(sys.argv[1]).write_text(fabric_svg(NODES, GPUS, HOPS, after.groups, failed, title))
