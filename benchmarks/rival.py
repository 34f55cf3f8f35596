"""The equations in eager PyTorch, in the shape that published NCA code has: what speed is compared with.

Channels-last state, two transposes a step, the perception concatenated, a random mask made and moved in each step,
and the whole graph kept for the backward pass.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from leukonca.models.presets import Architecture

if TYPE_CHECKING:  # the card's machine may lack what the package itself imports
    from leukonca import NCAClassifier


class EagerNCA(nn.Module):
    """Deutges et al. 2024, eq. 1-5, written plainly; float32 [B, 3, H, W] in, logits out."""

    def __init__(self, a: Architecture, classes: int = 13):
        super().__init__()
        self.channels, self.steps, self.fire_rate = a.channels, a.steps, a.fire_rate
        self.p0 = nn.Conv2d(a.channels, a.channels, 3, padding=1, padding_mode="reflect", groups=a.channels)
        self.p1 = nn.Conv2d(a.channels, a.channels, 3, padding=1, padding_mode="reflect", groups=a.channels)
        self.fc0 = nn.Linear(3 * a.channels, a.hidden)
        self.fc1 = nn.Linear(a.hidden, a.channels, bias=False)
        self.fc2 = nn.Linear(a.channels, a.hidden)
        self.fc3 = nn.Linear(a.hidden, classes)

    def step(self, state: Tensor) -> Tensor:
        batch, height, width, _ = state.shape
        moved = state.transpose(1, 3)
        seen = torch.cat([moved, self.p0(moved), self.p1(moved)], dim=1).transpose(1, 3)
        change = self.fc1(torch.relu(self.fc0(seen)))
        fires = (torch.rand(batch, height, width, 1) < self.fire_rate).float().to(state.device)
        after = state + change * fires
        return torch.cat([state[..., :3], after[..., 3:]], dim=3)

    def forward(self, images: Tensor) -> Tensor:
        batch, _, height, width = images.shape
        state = torch.zeros(batch, height, width, self.channels, device=images.device)
        state[..., :3] = images.permute(0, 2, 3, 1)
        for _ in range(self.steps):
            state = self.step(state)
        features = state.amax(dim=(1, 2))
        return self.fc3(torch.relu(self.fc2(features)))

    @torch.no_grad()
    def take_weights(self, model: "NCAClassifier") -> "EagerNCA":
        """Become the same automaton. The transposes turn the image, so the filters are turned as well."""
        for index, filters in enumerate((self.p0, self.p1)):
            filters.weight.copy_(model.kernels[index].transpose(-1, -2)[:, None])
            filters.bias.copy_(model.kernel_bias[index])
        self.fc0.weight.copy_(model.hidden_weight)
        self.fc0.bias.copy_(model.hidden_bias)
        self.fc1.weight.copy_(model.update_weight)
        for layer, own in ((self.fc2, model.head[0]), (self.fc3, model.head[2])):
            layer.weight.copy_(own.weight)
            layer.bias.copy_(own.bias)
        return self
