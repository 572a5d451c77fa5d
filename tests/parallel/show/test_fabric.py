"""The drawing is well-formed, needs nothing from elsewhere, and shows every ring, spare and failed
node.
"""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from parallel.show.fabric import fabric_svg
from parallel.show.svg import RED, RINGS

SVG = "{http://www.w3.org/2000/svg}"


def drawn(**changes):
    settings = dict(
        num_nodes=8, gpus_per_node=4, hops=2, groups=[[0, 1], [2, 4]], failed=[3], title="A & B"
    )
    text = fabric_svg(**(settings | changes))
    return text, ElementTree.fromstring(text)


def test_the_drawing_is_one_file_without_links_or_styles():
    text, root = drawn()
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title").text == "A & B"
    assert not re.search(r"href|<style|<script|url\(", text)


def test_every_ring_has_its_own_ink_and_dash():
    _, root = drawn(num_nodes=20, groups=[[2 * i, 2 * i + 1] for i in range(10)], failed=[])
    looks = {
        (p.get("stroke"), p.get("stroke-dasharray"))
        for p in root.iter(f"{SVG}path")
        if p.get("d").endswith("Z") and p.get("stroke") in RINGS
    }
    assert len(looks) == 10
    assert len({dash for _, dash in looks}) == 5


def test_gpus_in_rings_are_filled_and_spare_ones_hollow():
    _, root = drawn()
    fills = [c.get("fill") for c in root.iter(f"{SVG}circle")]
    assert sum(fill in RINGS for fill in fills) == 4 * 4
    hollow_in_legend = 1
    assert fills.count("#ffffff") == 4 * 4 + hollow_in_legend
    crosses = [p for p in root.iter(f"{SVG}path") if p.get("stroke") == RED]
    assert len(crosses) == 1 + 1  # node 3, and the legend


def test_the_legend_counts_and_names_nodes():
    text, _ = drawn(num_nodes=32, groups=[[31, 0, 1, 3]], failed=[7])
    assert "16 GPUs on nodes 31-0-1-3" in text
    assert "(27 nodes)" in text and "failed node (1)" in text


def test_an_empty_group_keeps_the_ink_of_the_next():
    _, root = drawn(groups=[[], [4, 5]])
    inks = {p.get("stroke") for p in root.iter(f"{SVG}path")} & set(RINGS)
    assert inks == {RINGS[1]}


@pytest.mark.parametrize("num_nodes", [2, 6, 9, 32, 40, 41, 60, 100])
@pytest.mark.parametrize("wraps", [True, False])
def test_a_fabric_of_any_size_can_be_drawn(num_nodes, wraps):
    text = fabric_svg(num_nodes, 4, 1, [[num_nodes - 2, num_nodes - 1]], wraps=wraps)
    assert ElementTree.fromstring(text).tag == f"{SVG}svg"


def test_a_ring_may_pass_the_end_of_the_fabric_only_where_it_wraps():
    drawn(groups=[[7, 0, 1]])
    with pytest.raises(ValueError, match="No wire joins node 7 to node 0"):
        drawn(groups=[[7, 0, 1]], wraps=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(groups=[[0, 3]], failed=[]),
            "No wire joins node 0 to node 3: they are 3 apart and hops=2",
        ),
        (dict(groups=[[3, 4]]), "Ring 0 holds node 3, which has failed or is in a ring already"),
        (dict(groups=[[0, 1], [1, 2]]), "Ring 1 holds node 1"),
        (dict(groups=[[8]]), "Node 8 is not in this fabric"),
        (dict(gpus_per_node=1), "at least 2 nodes of 2 GPUs"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        drawn(**changes)
