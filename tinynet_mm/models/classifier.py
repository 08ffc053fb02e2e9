"""A bare classifier around a backbone, for counting, export and timing of an architecture."""

from torch import Tensor, nn

from .base import ScaledBackbone


class Classifier(nn.Module):
    """Global average pooling of a backbone's last map, and a linear layer.

    Trained classifiers are mmpretrain's ``ImageClassifier``; this module has the same cost without mmpretrain.

    Args:
        backbone: the backbone; its last returned level is pooled.
        classes: outputs of the linear layer.
    """

    def __init__(self, backbone: ScaledBackbone, classes: int = 1000):
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(backbone.out_channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to logits (B, classes)."""
        return self.classifier(self.backbone(images)[-1].mean(dim=(2, 3)))
