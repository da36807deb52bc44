"""The network that cuts lines into words, as PyTorch trains it."""

from torch import Tensor, nn

__all__ = ["Splitter"]


class Splitter(nn.Module):
    """Convolutions that bring a strip of 32 rows down to one, then ever wider ones along it.

    An answer looks at five heights of text to each side, enough to compare a blank with the spacing of the letters
    around it.
    """

    def __init__(self) -> None:
        super().__init__()

        def step(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], rows: int) -> nn.Module:
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=(rows, kernel[1] // 2), bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

        self.stem = nn.Sequential(
            step(3, 12, (3, 3), (2, 2), 1),
            step(12, 24, (3, 3), (2, 2), 1),
            step(24, 40, (3, 3), (2, 1), 1),
            step(40, 56, (4, 3), (1, 1), 0),
        )
        self.context = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(56, 56, 3, padding=width, dilation=width, bias=False), nn.BatchNorm1d(56), nn.ReLU()
            )
            for width in (1, 2, 4, 8, 16, 1, 2, 4)
        )
        self.head = nn.Conv1d(56, 2, 1)

    def forward(self, strips: Tensor) -> Tensor:
        """Look at strips.

        Args:
            strips: (N, 3, 32, W) float, each of mean 0 and standard deviation 1, W a multiple of 4

        Returns:
            (N, W / 2) logits, positive where a word is
        """
        features = self.stem(strips).squeeze(2)  # N, D, W / 4
        for block in self.context:
            features = features + block(features)
        # Each place answers for its left and for its right half.
        return self.head(features).transpose(1, 2).flatten(1)  # N, W / 2
