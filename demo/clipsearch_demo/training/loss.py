"""The contrastive loss, for captions that can be true of several pictures in a batch.

CLIP's loss takes the pair itself as the only right answer. Here a batch of 256 holds many pictures that "red dress"
or "striped mug" describes, and treating them as wrong would teach the model to tell apart what the text does not.
So the target of a caption is spread evenly over all pictures that it describes, and of a picture over all captions
that describe it (as in supervised contrastive learning, Khosla et al. 2020, equation 2).
"""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, positives: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Scalar loss of unit vectors `images` and `texts`, float32 (n, d); `positives` bool (n, n), the diagonal true.

    The entropy of the spread targets is subtracted, so that 0 means perfect whatever the captions.
    """
    logits = scale * images @ texts.T
    loss = logits.new_zeros(())
    for scores, truth in ((logits, positives), (logits.T, positives.T)):
        target = truth.float() / truth.sum(dim=1, keepdim=True)
        entropy = truth.sum(dim=1).float().log().mean()
        loss = loss - (target * log_softmax(scores, dim=1)).sum(dim=1).mean() - entropy
    return loss / 2
