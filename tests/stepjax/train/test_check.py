"""What cannot be trained is said in one sentence, before anything is made."""

import re

import pytest
import tiny_run

from configs import digits
from parallel.fabric.faults import FaultPlan
from parallel.fabric.topology import KHopLine, KHopRing
from parallel.spmd.mesh import Layout
from stepjax.train.check import DIGITS_READ, LEAST, check

REFUSED = {
    "nodes cannot form the ring": (
        {"mesh_tensor": 3},
        "tensor=3 cannot be formed from nodes of 2 GPUs: a ring takes whole nodes; use 1 or a "
        "multiple of 2.",
    ),
    "a ring longer than the fabric": (
        {"mesh_tensor": 16},
        "mesh.tensor=16 with mesh.fsdp=1 needs 1 rings of 8 nodes, but fabric.num_nodes=6 nodes of "
        "2 GPUs form 0; "
        "use more nodes or smaller groups.",
    ),
    "more parts than rings": (
        {"mesh_fsdp": 4},
        "mesh.tensor=4 with mesh.fsdp=4 needs 4 rings of 2 nodes, but fabric.num_nodes=6 nodes of "
        "2 GPUs form 3; "
        "use more nodes or smaller groups.",
    ),
    "nodes without a way back": (
        {"fabric_gpus_per_node": 1, "mesh_tensor": 2},
        "2 nodes of 1 GPUs form no ring: the way out and the way back need a GPU each in every "
        "node, so take nodes "
        "of at least 2 or keep every group inside one node.",
    ),
    "wires too long": (
        {"fabric_hops": 3},
        "hops=3 does not fit a ring of num_nodes=6: a wire may reach at least 1 and at most 2 "
        "nodes away.",
    ),
    "a fabric nobody knows": (
        {"fabric_kind": "star"},
        "fabric.kind='star' is not known; use one of ring, line.",
    ),
    "a node that isn't there": (
        {"faults": "lose 6 before 2"},
        "faults: 'lose 6 before 2': there is no node 6, only nodes 0 to 5.",
    ),
    "a step beyond the run": (
        {"faults": "lose 1 before 2; lose 3 before 8"},
        "faults: 'lose 3 before 8' will never happen, since the run has steps 0 to 7; set steps to "
        "more than 8 or "
        "move it.",
    ),
    "a save that doesn't happen": (
        {"faults": "lose 1 saving 3"},
        "faults: 'lose 1 saving 3' will never happen, since with checkpoint.every=3 nothing is "
        "saved after step 3; "
        "move it to step 5.",
    ),
    "a recovery that doesn't happen": (
        {"faults": "lose 1 recovering 3"},
        "faults: 'lose 1 recovering 3' will never happen, since no other fault of step 3 has to be "
        "recovered from; "
        "add one or move it.",
    ),
    "words that say nothing": (
        {"faults": "loose 1 before 3"},
        "faults: 'loose 1 before 3' is no part of a fault plan: write 'lose NODE MOMENT STEP' "
        "or "
        "'back NODE before STEP', as in 'lose 3 before 5'.",
    ),
    "a batch that doesn't divide": (
        {"data_global_batch": 7},
        "data.global_batch=7 cannot be divided into microbatches of data.microbatch=2 rows; make "
        "it a multiple of 2.",
    ),
    "a corpus of another config": (
        {"data_kind": "fsdd"},
        "data.kind='fsdd' needs data.heldout_below, data.max_digits, data.gap_seconds, "
        "data.augment, which this "
        "config does not have; start from configs/digits.py.",
    ),
    "heads that don't split": (
        {"model_decoder.kv_heads": 2},
        "model.decoder.kv_heads=2 cannot be split over mesh.tensor=4 devices; use a multiple of 4, "
        "or a smaller ring.",
    ),
    "a width that doesn't split": (
        {"model_encoder.width": 20, "model_encoder.heads": 8},
        "model.encoder.width=20 is not a multiple of model.encoder.heads=8; each head takes an "
        "equal part of the "
        "width.",
    ),
    "heads that cannot be served": (
        {"model_decoder.heads": 12, "model_decoder.kv_heads": 8},
        "model.decoder.heads=12 is not a multiple of model.decoder.kv_heads=8; each key/value head "
        "serves an equal "
        "number of heads.",
    ),
    "half a rotation": (
        {"model_decoder.head_size": 3},
        "model.decoder.head_size=3 is odd, and rotary positions turn pairs of numbers; use an even "
        "one.",
    ),
    "a kind of number nobody knows": (
        {"model_dtype": "float33"},
        "model.dtype='float33' is not known; use one of float32, bfloat16.",
    ),
    "another front end": (
        {"model_encoder.mels": 80},
        "model.encoder.mels=80, but the front end makes 128; use that.",
    ),
    "a warm-up without an end": (
        {"steps": 2},
        "optimizer.warmup=2 steps do not end within steps=2; use fewer.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_said_what_was_given_what_was_wanted_and_what_to_do(case):
    changes, sentence = REFUSED[case]
    with pytest.raises(ValueError) as refusal:
        check(tiny_run.config(**changes))
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("name", LEAST)
def test_a_number_below_its_least_is_refused_and_the_least_is_not_for_being_too_few(name):
    config = tiny_run.config()
    config.update_from_flattened_dict({name: LEAST[name] - 1})
    with pytest.raises(
        ValueError,
        match=re.escape(f"{name}={LEAST[name] - 1} is too few; use {LEAST[name]} or more"),
    ):
        check(config)
    config.update_from_flattened_dict({name: LEAST[name]})
    try:
        check(config)
    except ValueError as refusal:
        assert "too few" not in str(refusal)


@pytest.mark.parametrize("kind, topology", [("ring", KHopRing(6, 2)), ("line", KHopLine(6, 2))])
def test_a_good_config_becomes_fabric_layout_and_plan(kind, topology):
    config = tiny_run.config("lose 1 before 2; back 1 before 4", fabric_kind=kind, mesh_fsdp=2)
    assert check(config) == (topology, Layout(tensor=4, fsdp=2), FaultPlan().lose(1, 2).back(1, 4))


def test_nodes_may_go_while_something_is_saved():
    for step in (2, 5, 7):  # every third step, and the last one
        check(tiny_run.config(f"lose 1 saving {step}"))


def test_the_fields_that_digits_need_are_in_the_config_that_is_named_for_them():
    data = digits.get_config().data
    assert data.kind == "fsdd" and all(name in data for name in DIGITS_READ)
