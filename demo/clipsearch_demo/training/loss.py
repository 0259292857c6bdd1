"""Two losses: texts against pictures, and pictures against pictures.

Texts against pictures: CLIP's loss takes the pair itself as the only right answer. Here a batch of 256 holds many
pictures that "red dress" or "striped mug" describes, and treating them as wrong would teach the model to tell apart
what the text does not. So the target of a caption is spread evenly over all pictures that it describes, and of a
picture over all captions that describe it (as in supervised contrastive learning, Khosla et al. 2020, equation 2).

Pictures against pictures: that loss alone lays no order on what two pictures share, and then a red striped mug lies as
near to a red striped hat as to a blue mug. Who searches by a picture wants the same kind first, then the colour. So the
similarities within a batch are drawn towards a graded target that says so.
"""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax

_NEIGHBOUR_SCALE = 10.0


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


def neighbour_loss(images: torch.Tensor, agreement: torch.Tensor) -> torch.Tensor:
    """Scalar Kullback-Leibler divergence between wanted and actual neighbours of unit vectors `images` (n, d).

    `agreement` float32 (n, n) is the wanted cosine of each pair, up to a constant; the diagonal is left out.
    """
    itself = torch.eye(len(images), dtype=torch.bool)
    wanted = log_softmax((_NEIGHBOUR_SCALE * agreement).masked_fill(itself, -torch.inf), dim=1)
    actual = log_softmax((_NEIGHBOUR_SCALE * images @ images.T).masked_fill(itself, -torch.inf), dim=1)
    # exp(-inf) * (-inf - -inf) would be nan on the diagonal, where both sides are certain anyway.
    terms = (wanted.exp() * (wanted - actual)).masked_fill(itself, 0.0)
    return terms.sum(dim=1).mean()
