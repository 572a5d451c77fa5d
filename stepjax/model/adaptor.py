"""The adaptor of Step-Audio 2: from encoder features at 25 Hz to decoder inputs at 12.5 Hz.

B batch   T frames at 25 Hz   t a device's part   A frames at 12.5 Hz   W encoder width   P hidden   D width
"""

import jax
from flax import nnx

from stepjax.model.encoder import conv
from stepjax.model.group import Group
from stepjax.model.layers import bias, weight, zeros


class Adaptor(nnx.Module):
    """gelu(convolution with stride 2), linear, ReLU, linear."""

    def __init__(self, encoder_width: int, hidden: int, width: int, *, rngs: nnx.Rngs):
        self.conv_3WW = weight(rngs, 3, encoder_width, encoder_width, fan_in=3 * encoder_width)
        self.conv_bias_W = zeros(encoder_width)
        self.in_WP, self.in_bias_P = (
            weight(rngs, encoder_width, hidden, fan_in=encoder_width),
            zeros(hidden),
        )
        self.out_PD, self.out_bias_D = weight(rngs, hidden, width, fan_in=hidden), zeros(width)

    def __call__(self, x_BtW, group: Group):
        """[B, t, W] -> [B, A, D], whole on every device."""
        h_BAW = conv(
            group.gather(x_BtW, dim=1), self.conv_3WW[...], stride=2
        )  # part of the channels
        h_BAW = jax.nn.gelu(h_BAW + bias(self.conv_bias_W, h_BAW), approximate=False)
        h_BaP = group.scatter_sum(h_BAW @ self.in_WP[...].astype(h_BAW.dtype), dim=1)
        h_BaP = jax.nn.relu(h_BaP + bias(self.in_bias_P, h_BaP))
        y_BaD = h_BaP @ self.out_PD[...].astype(h_BaP.dtype)
        return group.gather(y_BaD + bias(self.out_bias_D, y_BaD), dim=1)
