"""What crosses ToRs, by hand."""

import numpy as np
import pytest

from parallel.fabric.dcn import FatTree, Job, crossings, traffic


def test_traffic_by_hand():
    tree = FatTree(
        num_nodes=8, nodes_per_tor=2
    )  # ToRs 0 to 3: nodes 0 and 4, 1 and 5, 2 and 6, 3 and 7
    job = Job(num_groups=4, peers=2)
    below = traffic(tree, job, np.array([[0, 1], [4, 5], [2, 3], [6, 7]]))
    assert (below.peers_cross, below.replicas_cross) == (0, 1)
    assert below.cross_tor == job.replica_bytes / (job.peer_bytes + job.replica_bytes)
    beside = traffic(tree, job, np.array([[0, 1], [2, 3], [4, 5], [6, 7]]))
    assert (beside.peers_cross, beside.replicas_cross) == (1, 0)
    assert traffic(tree, job, np.array([[0, 1], [4, 6]])).peers_cross == 0.5
    assert traffic(tree, job, np.empty((0, 2), int)).cross_tor_of_all == 0


def test_hops_between_tors_are_counted_once_per_tor():
    assert crossings(np.array([[5, 5], [5, 7], [7, 5]]), axis=1).tolist() == [0, 2, 2]


def test_a_tree_refuses_nodes_that_do_not_fill_it():
    with pytest.raises(
        ValueError, match="num_nodes=10 do not fill ToRs of nodes_per_tor=4: take 8 nodes"
    ):
        FatTree(num_nodes=10, nodes_per_tor=4)
