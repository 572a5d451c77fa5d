"""The same tensors in public implementations give the same logits and the same gradients.

The decoder is transformers' Qwen2ForCausalLM, the encoder its Qwen2AudioEncoder, the adaptor and
the rest a few lines of torch. Needs the extra `parity`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
import tiny_model
from flax import nnx
from ringed import jit

from stepjax.audio import mel
from stepjax.data.examples import num_patches
from stepjax.model.group import Alone
from stepjax.model.layers import sinusoids
from stepjax.model.step_audio import StepAudio
from stepjax.train.objective import cross_entropy

WHY = "needs torch and transformers: pip install 'stepjax[parity]'"
torch = pytest.importorskip("torch", reason=WHY)
transformers = pytest.importorskip("transformers", reason=WHY)

BATCH = tiny_model.batch()
TARGETS = np.random.default_rng(7).integers(0, 32, BATCH["tokens"].shape).astype(np.int32)
FRAMES = 40  # mel.num_frames(5120) is 34, made up to groups of 8
TOLERANCE = 1e-5  # of the largest magnitude of each array; reached: 2e-6

# Names in the published checkpoint -> names in transformers' Qwen2-Audio.
RENAMED = {
    "after_norm": "layer_norm",
    "blocks": "layers",
    "attn_ln": "self_attn_layer_norm",
    "mlp_ln": "final_layer_norm",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
}


def name_in_torch(name):
    if name.startswith("encoder."):
        for ours, theirs in RENAMED.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        return name
    return name if name.startswith("adapter.") else f"llm.{name}"


def torch_model():
    """Random public modules of the tiny config's sizes."""
    c = tiny_model.config()
    encoder = transformers.Qwen2AudioEncoderConfig(
        num_mel_bins=128,
        d_model=c.encoder.width,
        encoder_layers=c.encoder.layers,
        encoder_attention_heads=c.encoder.heads,
        encoder_ffn_dim=c.encoder.hidden,
        max_source_positions=FRAMES // 2,
        attn_implementation="eager",
    )
    decoder = transformers.Qwen2Config(
        vocab_size=tiny_model.VOCAB,
        hidden_size=c.decoder.width,
        intermediate_size=c.decoder.hidden,
        num_hidden_layers=c.decoder.layers,
        num_attention_heads=c.decoder.heads,
        num_key_value_heads=c.decoder.kv_heads,
        head_dim=c.decoder.head_size,
        rms_norm_eps=c.decoder.norm_eps,
        rope_theta=c.decoder.rope_theta,
        tie_word_embeddings=False,
        max_position_embeddings=64,
        attn_implementation="eager",
    )
    adapter = {
        "conv": torch.nn.Conv1d(c.encoder.width, c.encoder.width, 3, stride=2, padding=1),
        "linear1": torch.nn.Linear(c.encoder.width, c.adaptor_hidden),
        "linear2": torch.nn.Linear(c.adaptor_hidden, c.decoder.width),
    }
    return torch.nn.ModuleDict({
        "encoder": transformers.Qwen2AudioEncoder(encoder),
        "adapter": torch.nn.ModuleDict(adapter),
        "llm": transformers.Qwen2ForCausalLM(decoder),
    })  # fmt: skip


@pytest.fixture(scope="module")
def model():
    config = tiny_model.config()
    return tiny_model.filled(lambda rngs: StepAudio(config, tiny_model.VOCAB, rngs=rngs))


@pytest.fixture(scope="module")
def twin(model):
    """Every tensor of `model` under its public name; strict, so none is left over on either
    side.
    """
    tensors = {name_in_torch(name): x for name, x in published.step_audio(model).items()}
    tensors["encoder.embed_positions.weight"] = sinusoids(FRAMES // 2, 16)
    module = torch_model()
    module.load_state_dict(
        {name: torch.from_numpy(np.array(x)) for name, x in tensors.items()}, strict=True
    )
    return module.eval()


def torch_forward(twin):
    """(encoder features, logits) by the public modules and the published rules for mask and
    insertion.
    """
    log_mel_BFM = mel.log_mel(BATCH["audio"], BATCH["samples"])
    log_mel_BFM = np.pad(log_mel_BFM, ((0, 0), (0, FRAMES - log_mel_BFM.shape[1]), (0, 0))).astype(
        np.float32
    )
    valid_B = torch.from_numpy(mel.num_frames(BATCH["samples"]) - 2)
    mask_BT = ((torch.arange(FRAMES)[None] >= valid_B[:, None]) * -1e10)[:, 1::2]
    features_BTW = twin["encoder"](
        torch.from_numpy(log_mel_BFM).transpose(1, 2), attention_mask=mask_BT[:, None, None]
    ).last_hidden_state
    adapter = twin["adapter"]
    h_BAW = torch.nn.functional.gelu(adapter["conv"](features_BTW.transpose(1, 2))).transpose(1, 2)
    heard_BAD = adapter["linear2"](torch.relu(adapter["linear1"](h_BAW)))
    x_BLD = twin["llm"].model.embed_tokens(torch.from_numpy(BATCH["tokens"]).long()).clone()
    for row, n in enumerate(BATCH["samples"]):
        patches, start = num_patches(int(n)), tiny_model.PATCHES_FROM
        x_BLD[row, start : start + patches] = heard_BAD[row, :patches]
    return features_BTW, twin["llm"](inputs_embeds=x_BLD).logits


def assert_same(got, want, name):
    error, size = (
        np.abs(np.asarray(got) - want.detach().numpy()).max(),
        float(want.detach().abs().max()),
    )
    assert size > 0 and error <= TOLERANCE * size, (
        f"{name}: off by {error:.1e}, the largest is {size:.1e}"
    )


def test_features_of_the_encoder_are_those_of_qwen2_audio(model, twin):
    def encode(audio_BS, samples_B):
        power_BFM = mel.log_power(audio_BS, 0, FRAMES)
        frames_B = mel.num_frames(samples_B)
        return model.encoder(mel.normalise(power_BFM, frames_B), frames_B - 2, Alone())

    got = jit(encode)(jnp.asarray(BATCH["audio"]), jnp.asarray(BATCH["samples"]))
    with torch.no_grad():
        assert_same(got, torch_forward(twin)[0], "features")


def test_hidden_states_and_logits_of_the_decoder_are_those_of_qwen2(model, twin):
    x_BLD = np.random.default_rng(3).normal(size=(2, 48, 16)).astype(np.float32)
    hidden_BLD = jit(lambda x: model.decoder(x, Alone()))(x_BLD)
    with torch.no_grad():
        want_BLD = twin["llm"].model(inputs_embeds=torch.from_numpy(x_BLD)).last_hidden_state
        assert_same(hidden_BLD, want_BLD, "hidden")
        assert_same(model.logits(hidden_BLD), twin["llm"].lm_head(want_BLD), "logits")


def test_logits_loss_and_all_gradients_from_sound_to_text_are_the_same(model, twin):
    graph, params = nnx.split(model)

    def loss(params, batch):
        logits_BLV = nnx.merge(graph, params)(*batch, Alone())
        return cross_entropy(logits_BLV, jnp.asarray(TARGETS), Alone()).mean(), logits_BLV

    inputs = [BATCH[name] for name in ("audio", "samples", "tokens", "audio_at")]
    (nll, logits_BLV), grads = jit(jax.value_and_grad(loss, has_aux=True))(params, inputs)
    twin.zero_grad()
    want_BLV = torch_forward(twin)[1]
    want = torch.nn.functional.cross_entropy(
        want_BLV.flatten(0, 1), torch.from_numpy(TARGETS).long().flatten()
    )
    want.backward()
    assert_same(logits_BLV, want_BLV, "logits")
    assert_same(nll, want, "loss")
    theirs = {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}
    ours = {
        name_in_torch(name): x for name, x in published.step_audio(nnx.merge(graph, grads)).items()
    }
    assert ours.keys() == theirs.keys()
    for name, x in ours.items():
        assert_same(x, theirs[name], name)


def test_positions_are_whispers():
    from transformers.models.whisper.modeling_whisper import sinusoids as whispers

    np.testing.assert_allclose(sinusoids(1500, 1280), whispers(1500, 1280).numpy(), atol=2e-4)
