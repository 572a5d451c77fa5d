"""A training step of the same sizes in PyTorch: transformers' Qwen2 and Qwen2-Audio.

The weights are drawn by torch, so the losses differ; shapes, masks, optimizer and batch are equal.
Needs torch and transformers, the extra `parity`.

  B batch   S samples   F mel frames   W encoder width   A audio frames   L tokens   D width
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import transformers
from ml_collections import ConfigDict

from stepjax.audio import mel
from stepjax.model.step_audio import FRAME_GROUP
from stepjax.train.objective import KINDS
from stepjax.train.optimizer import learning_rate


class Twin(torch.nn.Module):
    """Sound and tokens to logits, by the published rules for mask and insertion."""

    def __init__(self, config: ConfigDict, vocab: int, frames: int):
        super().__init__()
        self.encoder = transformers.Qwen2AudioEncoder(_encoder_config(config.encoder, frames))
        width, hidden = config.encoder.width, config.adaptor_hidden
        self.conv = torch.nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.linear1 = torch.nn.Linear(width, hidden)
        self.linear2 = torch.nn.Linear(hidden, config.decoder.width)
        self.llm = transformers.Qwen2ForCausalLM(_decoder_config(config.decoder, vocab))
        self.register_buffer("window", torch.hann_window(mel.WINDOW), persistent=False)
        self.register_buffer(
            "filters_RM", torch.from_numpy(mel.mel_filters().T.copy()), persistent=False
        )
        self.frames = frames

    def forward(self, audio_BS, samples_B, tokens_BL, audio_at_BL):
        valid_B = mel.num_frames(samples_B) - 2
        mask_BF = (torch.arange(self.frames)[None] >= valid_B[:, None]) * -1e10
        encoded = self.encoder(self._mel(audio_BS), attention_mask=mask_BF[:, None, None, 1::2])
        x_BWA = self.conv(encoded.last_hidden_state.transpose(1, 2))
        h_BAW = torch.nn.functional.gelu(x_BWA).transpose(1, 2)
        heard_BAD = self.linear2(torch.relu(self.linear1(h_BAW)))
        x_BLD = self.llm.model.embed_tokens(tokens_BL)
        at_BLD = audio_at_BL.clamp(min=0)[..., None].expand(-1, -1, x_BLD.shape[-1])
        x_BLD = torch.where(audio_at_BL[..., None] >= 0, heard_BAD.gather(1, at_BLD), x_BLD)
        return self.llm(inputs_embeds=x_BLD, use_cache=False).logits

    def _mel(self, audio_BS):
        """[B, M, F], Whisper's log-mel made up to the fixed number of frames."""
        wanted = self.frames * mel.HOP + mel.WINDOW
        x = torch.nn.functional.pad(audio_BS, (mel.EDGE, wanted - audio_BS.shape[1]))
        spectrum = torch.stft(
            x, mel.WINDOW, mel.HOP, window=self.window, center=False, return_complex=True
        )
        power_BFM = spectrum[..., : self.frames].abs().square().transpose(1, 2) @ self.filters_RM
        log_BFM = power_BFM.clamp(min=mel.FLOOR).log10()
        log_BFM = torch.maximum(log_BFM, log_BFM.amax((1, 2), keepdim=True) - mel.RANGE)
        return ((log_BFM + 4) / 4).transpose(1, 2)


def one_step(config: ConfigDict, arrays: Mapping[str, np.ndarray]) -> Callable[[], float]:
    """Trains on the batch once more at each call, and returns the loss from before."""
    batch = {name: torch.from_numpy(np.array(x)) for name, x in arrays.items()}
    batch = {name: x if x.is_floating_point() else x.long() for name, x in batch.items()}
    groups = -(-mel.num_frames(batch["audio"].shape[1]) // FRAME_GROUP)
    vocab = config.data.text_size + config.data.audio_codes + config.data.vocabulary_multiple
    model = Twin(config.model, vocab, groups * FRAME_GROUP).train()
    counts = [(batch["kind"] == k + 1).sum() for k in range(len(KINDS))]
    of_kind = torch.tensor([0.0, *(config.objective[kind] for kind in KINDS)])
    weights_BL = of_kind[batch["kind"]] / (of_kind[1:] @ torch.stack(counts).float())
    c = config.optimizer
    optimizer = torch.optim.AdamW(
        model.parameters(), c.learning_rate, (c.b1, c.b2), c.eps, c.weight_decay
    )
    rate_at, step = learning_rate(c, config.steps), 0

    def train() -> float:
        nonlocal step
        optimizer.param_groups[0]["lr"] = float(rate_at(step))
        logits = model(batch["audio"], batch["samples"], batch["tokens"], batch["audio_at"])
        nll_BL = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), batch["targets"], reduction="none"
        )
        loss = (nll_BL * weights_BL).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), c.clip)
        optimizer.step()
        step += 1
        return loss.item()

    return train


def _encoder_config(c: ConfigDict, frames: int) -> transformers.Qwen2AudioEncoderConfig:
    return transformers.Qwen2AudioEncoderConfig(
        num_mel_bins=mel.NUM_MELS,
        d_model=c.width,
        encoder_layers=c.layers,
        encoder_attention_heads=c.heads,
        encoder_ffn_dim=c.hidden,
        max_source_positions=frames // 2,
    )


def _decoder_config(c: ConfigDict, vocab: int) -> transformers.Qwen2Config:
    return transformers.Qwen2Config(
        vocab_size=vocab,
        hidden_size=c.width,
        intermediate_size=c.hidden,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        head_dim=c.head_size,
        rms_norm_eps=c.norm_eps,
        rope_theta=c.rope_theta,
        tie_word_embeddings=False,
    )
