"""The equations in eager PyTorch, in the shape that published NCA code has: what speed is compared with.

Channels-last state, two transposes a step, the perception concatenated, a random mask made and moved in each step,
and the whole graph kept for the backward pass.
"""

import torch
from torch import Tensor, nn


class EagerNCA(nn.Module):
    """Deutges et al. 2024, eq. 1-5, written plainly; float32 [B, 3, H, W] in, logits out."""

    def __init__(
        self, channels: int = 128, hidden: int = 128, steps: int = 64, fire_rate: float = 0.5, classes: int = 13
    ):
        super().__init__()
        self.channels, self.steps, self.fire_rate = channels, steps, fire_rate
        self.p0 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", groups=channels)
        self.p1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", groups=channels)
        self.fc0 = nn.Linear(3 * channels, hidden)
        self.fc1 = nn.Linear(hidden, channels, bias=False)
        self.fc2 = nn.Linear(channels, hidden)
        self.fc3 = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        batch, _, height, width = images.shape
        state = torch.zeros(batch, height, width, self.channels)
        state[..., :3] = images.permute(0, 2, 3, 1)
        for _ in range(self.steps):
            moved = state.transpose(1, 3)
            seen = torch.cat([moved, self.p0(moved), self.p1(moved)], dim=1).transpose(1, 3)
            change = self.fc1(torch.relu(self.fc0(seen)))
            fires = (torch.rand(batch, height, width, 1) < self.fire_rate).float().to(images.device)
            after = state + change * fires
            state = torch.cat([state[..., :3], after[..., 3:]], dim=3)
        features = state.amax(dim=(1, 2))
        return self.fc3(torch.relu(self.fc2(features)))
