"""Random small fabrics, with failed nodes and a group size."""

from hypothesis import strategies as st

from parallel.fabric.topology import KHopLine, KHopRing


@st.composite
def worlds(draw, largest: int = 40):
    """A fabric, its failed nodes, and a group size."""
    num_nodes = draw(st.integers(3, largest))
    if draw(st.booleans()):
        topology = KHopRing(num_nodes, draw(st.integers(1, min(5, (num_nodes - 1) // 2))))
    else:
        topology = KHopLine(num_nodes, draw(st.integers(1, 5)))
    failed = draw(st.frozensets(st.integers(0, num_nodes - 1), max_size=num_nodes))
    return topology, failed, draw(st.integers(1, 6))
