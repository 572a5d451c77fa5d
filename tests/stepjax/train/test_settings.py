"""A config that cannot be trained is refused in one sentence that names the field."""

import jax
import numpy as np
import pytest
import tiny_run
from flax import nnx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import base, digits, quickstart, tiny
from parallel.fabric.placement import place
from stepjax.model import step_audio
from stepjax.train import optimizer
from stepjax.train.settings import Settings

REFUSED = {
    "nodes cannot form the ring": (
        {"mesh_tensor": 3},
        "mesh.tensor=3 and fabric.gpus_per_node=2 do not go together: tensor=3 cannot be formed"
        " from nodes of 2 GPUs: a ring takes whole nodes; use 1 or a multiple of 2.",
    ),
    "a ring longer than the fabric": (
        {"mesh_tensor": 16},
        "mesh.tensor=16 with mesh.fsdp=1 needs 1 rings of 8 nodes, but fabric.num_nodes=6 nodes"
        " of 2 GPUs form 0; use more nodes or smaller groups.",
    ),
    "more parts than rings": (
        {"mesh_fsdp": 4},
        "mesh.tensor=4 with mesh.fsdp=4 needs 4 rings of 2 nodes, but fabric.num_nodes=6 nodes "
        "of 2 GPUs form 3; use more nodes or smaller groups.",
    ),
    "nodes without a way back": (
        {"fabric_kind": "line", "fabric_num_nodes": 1, "fabric_gpus_per_node": 1, "mesh_tensor": 2},
        "mesh.tensor=2 and fabric.gpus_per_node=1 do not go together: 2 nodes of 1 GPUs form no"
        " ring: the way out and the way back need a GPU each in every node, so take nodes of at"
        " least 2 or keep every group inside one node.",
    ),
    "wires too long": (
        {"fabric_hops": 3},
        "fabric.num_nodes=6, fabric.gpus_per_node=2 and fabric.hops=3 do not go together: "
        "hops=3 does not fit a ring of num_nodes=6: a wire may reach at least 1 and at most 2 "
        "nodes away.",
    ),
    "a fabric nobody knows": (
        {"fabric_kind": "star"},
        "fabric.kind='star' cannot be used; give ring or line.",
    ),
    "a node that isn't there": (
        {"faults": "lose 6 before 2"},
        "faults: 'lose 6 before 2': there is no node 6, only nodes 0 to 5.",
    ),
    "a step beyond the run": (
        {"faults": "lose 1 before 2; lose 3 before 8"},
        "faults: 'lose 3 before 8' will never happen, since the run has steps 0 to 7; set steps"
        " to more than 8 or move it.",
    ),
    "a save that doesn't happen": (
        {"faults": "lose 1 saving 3"},
        "faults: 'lose 1 saving 3' will never happen, since with checkpoint.every=3 nothing is "
        "saved after step 3; move it to step 5.",
    ),
    "a recovery that doesn't happen": (
        {"faults": "lose 1 recovering 3"},
        "faults: 'lose 1 recovering 3' will never happen, since no other fault of step 3 has to"
        " be recovered from; add one or move it.",
    ),
    "words that say nothing": (
        {"faults": "loose 1 before 3"},
        "faults: 'loose 1 before 3' is no part of a fault plan: write 'lose NODE MOMENT STEP' "
        "(or stop, crash, corrupt, slow) or 'back NODE before STEP', as in 'lose 3 before 5'.",
    ),
    "a batch that doesn't divide": (
        {"data_global_batch": 7},
        "data.global_batch=7 cannot be divided into microbatches of data.microbatch=2 rows; "
        "make it a multiple of 2.",
    ),
    "a corpus of another config": (
        {"data_kind": "fsdd"},
        "data.kind='fsdd' needs data.heldout_below, data.max_digits, data.gap_seconds, "
        "data.augment, which this config does not have; start from configs/digits.py.",
    ),
    "heads that don't split": (
        {"model_decoder.kv_heads": 2},
        "model.decoder.kv_heads=2 cannot be split over mesh.tensor=4 devices; use a multiple of"
        " 4, or a smaller ring.",
    ),
    "a width that doesn't split": (
        {"model_encoder.width": 20, "model_encoder.heads": 8},
        "model.encoder.width=20 is not a multiple of model.encoder.heads=8; each head takes an "
        "equal part of the width.",
    ),
    "heads that cannot be served": (
        {"model_decoder.heads": 12, "model_decoder.kv_heads": 8},
        "model.decoder.heads=12 is not a multiple of model.decoder.kv_heads=8; each key/value "
        "head serves an equal number of heads.",
    ),
    "half a rotation": (
        {"model_decoder.head_size": 3},
        "model.decoder.head_size=3 is odd, and rotary positions turn pairs of numbers; use an "
        "even one.",
    ),
    "a kind of number nobody knows": (
        {"model_dtype": "float33"},
        "model.dtype='float33' cannot be used; give float32 or bfloat16.",
    ),
    "another front end": (
        {"model_encoder.mels": 80},
        "model.encoder.mels=80, but the front end makes 128; use that.",
    ),
    "a warm-up without an end": (
        {"steps": 2},
        "optimizer.warmup=2 steps do not end within steps=2; use fewer.",
    ),
    "more devices than a process emulates": (
        {"fabric_num_nodes": 4096},
        "fabric.num_nodes=4096 nodes of fabric.gpus_per_node=2 are 8,192 devices; use at most "
        "4,096.",
    ),
    "wires without a transceiver": (
        {"fabric_kind": "line", "fabric_hops": 3},
        "fabric.num_nodes=6, fabric.gpus_per_node=2 and fabric.hops=3 do not go together: "
        "hops=3 needs 3 OCSTrx bundles in a node, but a node of gpus_per_node=2 has room for 2:"
        " lower hops or use larger nodes.",
    ),
    "half a position": (
        {"model_encoder.width": 21, "model_encoder.heads": 3},
        "model.encoder.width=21 is odd, and positions are pairs of a sine and a cosine; use an "
        "even one.",
    ),
    "no token with a loss": (
        {"objective_text": 0.0, "objective_audio": 0.0},
        "objective.text=0 and objective.audio=0 leave no token a loss; give one of them at "
        "least 0.001.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_said_what_was_given_what_was_wanted_and_what_to_do(case):
    changes, sentence = REFUSED[case]
    with pytest.raises(ValueError) as refusal:
        Settings.of(tiny_run.config(**changes))
    assert str(refusal.value) == sentence


def test_nodes_may_go_while_something_is_saved():
    for step in (2, 5, 7):  # every third step, and the last one
        plan = Settings.of(tiny_run.config(f"lose 1 saving {step}")).plan()
        assert str(plan) == f"lose 1 saving {step}"


@pytest.mark.parametrize("name", ["kind", "seed", "microbatch"])
def test_a_field_that_is_missing_is_named(name):
    config = tiny.get_config()
    del config.data[name]
    with pytest.raises(ValueError, match=f"^data.{name} is missing; configs/base.py has every"):
        Settings.of(config)


def test_a_field_that_nobody_reads_is_named():
    config = tiny.get_config()
    config.optimizer.momentum = 0.9
    with pytest.raises(ValueError, match="^optimizer.momentum is not known; the fields are learn"):
        Settings.of(config)


CONFIGS = {module.__name__: module for module in (base, quickstart, digits, tiny)}
NONSENSE = (
    None, True, False, "", "3", "nonsense", float("nan"), float("inf"), -float("inf"), -1, 0, 1, 3,
    3.0, 0.5, -0.5, 1e308, 5e-324, 10**30, -(10**30), 10**300, (), (1,), (2, 1), (1, 2, 3), ("",),
    [None, None], {}, {"transcribe": -1.0}, b"3", 1j,
)  # fmt: skip


def names_of(config: ConfigDict, above: str = "") -> list[str]:
    """Full names of all fields and sections; the weights of tasks are one field."""
    names = [f"{above}{name}" for name in config]
    sections = [s for s in config if isinstance(config[s], ConfigDict) and s != "tasks"]
    return names + [n for s in sections for n in names_of(config[s], f"{above}{s}.")]


FIELDS = [(name, field) for name, m in CONFIGS.items() for field in names_of(m.get_config())]


def with_field(module: str, field: str, value) -> ConfigDict:
    config = CONFIGS[module].get_config()
    *sections, name = field.split(".")
    inner = config
    for section in sections:
        inner = inner[section]
    with inner.ignore_type():
        inner[name] = value
    return config


@settings(max_examples=300, derandomize=True, database=None)
@given(st.sampled_from(FIELDS), st.sampled_from(NONSENSE))
@example(("configs.quickstart", "model.decoder.layers"), True)
@example(("configs.digits", "data.augment.snr_db"), ())
@example(("configs.digits", "optimizer.b2"), 1)  # its correction would divide by 0
def test_nonsense_is_refused_by_the_name_of_its_field_or_it_is_none(of, value):
    module, field = of
    config = with_field(module, field, value)
    try:
        made = Settings.of(config)
    except ValueError as refusal:
        sentence = str(refusal)
        assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 500
        assert field in sentence or (field == "fabric.num_nodes" and sentence.startswith("faults:"))
        return
    can_be_trained(made)


def can_be_trained(made: Settings) -> None:
    """Forms what a run forms before its first step, without a weight."""
    layout = made.mesh.layout()
    nodes = layout.nodes_per_group(made.fabric.gpus_per_node)
    groups = place(made.fabric.topology(), (), nodes).groups
    assert groups and layout.sizes(len(groups))["fsdp"] >= 1
    assert all(fault.step < made.steps for fault in made.plan().faults)
    rate = optimizer.learning_rate(made.optimizer, made.steps)
    rates = [float(rate(n)) for n in (0, made.optimizer.warmup, made.steps - 1)]
    assert np.isfinite(rates).all() and min(rates) >= 0
    vocab = 4 * made.mesh.tensor
    model = nnx.eval_shape(lambda: step_audio.make(made.model, vocab, made.seed))
    for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)):
        assert leaf.dtype == np.float32


@pytest.mark.parametrize("of", FIELDS, ids=lambda of: f"{of[0].split('.')[1]}-{of[1]}")
def test_no_field_takes_none_or_not_a_number(of):
    optional = ("heldout_below", "max_digits", "gap_seconds", "augment")
    for value in (None, float("nan")):
        if of[0] == "configs.digits" and of[1].split(".")[-1] in optional and value is None:
            continue
        with pytest.raises(ValueError, match=f"^{of[1]}=(None|nan) cannot be used; give "):
            Settings.of(with_field(*of, value))
