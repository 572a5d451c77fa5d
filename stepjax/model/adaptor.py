"""The adaptor of Step-Audio 2: from encoder features at 25 Hz to decoder inputs at 12.5 Hz.

B batch   T frames at 25 Hz   t a device's part   A frames at 12.5 Hz   a a device's part
W encoder width   C channels of the convolution, as many   P hidden   D width
"""

import jax
from flax import nnx

from stepjax.model.group import Group
from stepjax.model.layers import bias, conv, weight, zeros
from stepjax.model.product import einsum


class Adaptor(nnx.Module):
    """gelu(convolution with stride 2), linear, ReLU, linear."""

    def __init__(self, encoder_width: int, hidden: int, width: int, *, rngs: nnx.Rngs):
        self.conv_3WC = weight(rngs, 3, encoder_width, encoder_width, fan_in=3 * encoder_width)
        self.conv_bias_C = zeros(encoder_width)
        self.in_CP = weight(rngs, encoder_width, hidden, fan_in=encoder_width)
        self.in_bias_P = zeros(hidden)
        self.out_PD = weight(rngs, hidden, width, fan_in=hidden)
        self.out_bias_D = zeros(width)

    def __call__(self, x_BtW, group: Group):
        """[B, t, W] -> [B, A, D], whole on every device."""
        h_BAC = conv(group.gather(x_BtW, dim=1), self.conv_3WC[...], stride=2)
        h_BAC = jax.nn.gelu(h_BAC + bias(self.conv_bias_C, h_BAC), approximate=False)
        h_BaP = group.scatter_sum(einsum("BAC,CP->BAP", h_BAC, self.in_CP[...]), dim=1)
        h_BaP = jax.nn.relu(h_BaP + bias(self.in_bias_P, h_BaP))
        y_BaD = einsum("BaP,PD->BaD", h_BaP, self.out_PD[...])
        return group.gather(y_BaD + bias(self.out_bias_D, y_BaD), dim=1)
