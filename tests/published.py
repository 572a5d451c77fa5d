"""The tensors of the published checkpoint, by their names there, made from this model's parameters.

Stored there and not here: `encoder.positional_embedding.weight`, which is a formula
(layers.sinusoids).
"""

import math

import jax
from flax import nnx


def linear(kernel, num_in: int):
    """[in..., out...] -> [out, in], where the first `num_in` dimensions are inputs."""
    return kernel.reshape(math.prod(kernel.shape[:num_in]), -1).T


def conv(kernel_3io):
    """[kernel, in, out] -> [out, in, kernel]"""
    return kernel_3io.transpose(2, 1, 0)


def norm(name, p, bias=False):
    return {f"{name}.weight": p["scale_D"]} | ({f"{name}.bias": p["shift_D"]} if bias else {})


def encoder(p):
    tensors = {
        "conv1.weight": conv(p["conv1_3MC"]), "conv1.bias": p["conv1_bias_C"],
        "conv2.weight": conv(p["conv2_3CW"]), "conv2.bias": p["conv2_bias_W"],
    } | norm("after_norm", p["after_norm"], bias=True)  # fmt: skip
    for n, block in enumerate(unstacked(p["stack"]["blocks"])):
        a, m = block["attention"], block["mlp"]
        tensors |= {f"blocks.{n}.{name}": x for name, x in {
            "attn.query.weight": linear(a["query_WHK"], 1),
            "attn.query.bias": a["query_bias_HK"].reshape(-1),
            "attn.key.weight": linear(a["key_WHK"], 1),
            "attn.value.weight": linear(a["value_WHK"], 1),
            "attn.value.bias": a["value_bias_HK"].reshape(-1),
            "attn.out.weight": linear(a["out_HKW"], 2), "attn.out.bias": a["out_bias_W"],
            "mlp.0.weight": linear(m["in_WN"], 1), "mlp.0.bias": m["in_bias_N"],
            "mlp.2.weight": linear(m["out_NW"], 1), "mlp.2.bias": m["out_bias_W"],
            **norm("attn_ln", block["attention_norm"], bias=True),
            **norm("mlp_ln", block["mlp_norm"], bias=True),
        }.items()}  # fmt: skip
    return tensors


def adapter(p):
    return {
        "conv.weight": conv(p["conv_3WC"]), "conv.bias": p["conv_bias_C"],
        "linear1.weight": linear(p["in_CP"], 1), "linear1.bias": p["in_bias_P"],
        "linear2.weight": linear(p["out_PD"], 1), "linear2.bias": p["out_bias_D"],
    }  # fmt: skip


def decoder(p):
    tensors = norm("norm", p["norm"])
    for n, block in enumerate(unstacked(p["stack"]["blocks"])):
        a, m = block["attention"], block["mlp"]
        tensors |= {f"layers.{n}.{name}": x for name, x in {
            "self_attn.q_proj.weight": linear(a["q_DHK"], 1),
            "self_attn.q_proj.bias": a["q_bias_HK"].reshape(-1),
            "self_attn.k_proj.weight": linear(a["k_DGK"], 1),
            "self_attn.k_proj.bias": a["k_bias_GK"].reshape(-1),
            "self_attn.v_proj.weight": linear(a["v_DGK"], 1),
            "self_attn.v_proj.bias": a["v_bias_GK"].reshape(-1),
            "self_attn.o_proj.weight": linear(a["out_HKD"], 2),
            "mlp.gate_proj.weight": linear(m["gate_DN"], 1),
            "mlp.up_proj.weight": linear(m["up_DN"], 1),
            "mlp.down_proj.weight": linear(m["down_ND"], 1),
            **norm("input_layernorm", block["attention_norm"]),
            **norm("post_attention_layernorm", block["mlp_norm"]),
        }.items()}  # fmt: skip
    return tensors


def step_audio(model):
    """All tensors of a StepAudio by their published names."""
    p = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    return {
        **prefixed("encoder", encoder(p["encoder"])),
        **prefixed("adapter", adapter(p["adaptor"])),
        **prefixed(
            "model", {"embed_tokens.weight": p["table"]["table_VD"], **decoder(p["decoder"])}
        ),
        "lm_head.weight": p["head_DV"].T,
    }


def prefixed(part, tensors):
    return {f"{part}.{name}": x for name, x in tensors.items()}


def unstacked(blocks):
    """Parameters of every block, from those stacked along a leading axis."""
    count = len(jax.tree.leaves(blocks)[0])
    return [jax.tree.map(lambda x: x[n], blocks) for n in range(count)]
