"""Losses for fine-tuning an encoder, by the name under which the catalog knows them.

Belongs here: what a batch of texts is pushed towards, with its source. Does not: the training loop (trainer.py), which
pairs there are (contrastive_pairs.py). Imports torch at once: only trainer.py imports this file.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Texts of a cached batch that are in memory at once.
CACHED_MINI_BATCH = 32
CONTRASTIVE_MARGIN = 0.5


def in_batch_softmax(scores: Tensor, allowed: Tensor) -> Tensor:
    """Mean over rows of -log softmax(scores)[i, i] over the allowed columns of row i.

    Args:
        scores: (b, b) similarities, already divided by the temperature; the diagonal holds the positives.
        allowed: (b, b) bool; the diagonal counts as allowed.

    Source: InfoNCE, van den Oord et al. 2018, arXiv 1807.03748, equation 4.
    """
    diagonal = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    masked = scores.masked_fill(~(allowed | diagonal), float("-inf"))
    return nn.functional.cross_entropy(masked, torch.arange(len(scores), device=scores.device))


class CoLikeLoss(nn.Module):
    """InfoNCE over co-liked pairs, with same-user masking and the logQ correction of popularity.

    score(i, j) = cos(anchor_i, other_j) / temperature - log q_j, where q_j is the share of pairs in which movie j
    stands: a popular movie is drawn as a negative more often than its due, and the correction takes that out. A column
    whose movie the row's user liked is no negative and is masked. Both directions, other to anchor too.

    Sources: logQ: Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling"; arXiv 2507.09331. Masking of false
    negatives: as in NV-Retriever, arXiv 2407.15831, here by what the user liked.

    Args:
        encoder: what is trained.
        log_q: (movies,) log share of each movie among the pairs' movies.
        liked_keys: sorted user * movies + movie of every liked rating that may be learnt from.
        temperature: divides the cosines.

    A batch needs two text columns and a label column of [user, anchor, other], as indices.
    """

    def __init__(self, encoder: nn.Module, log_q: Tensor, liked_keys: Tensor, temperature: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature
        self.register_buffer("log_q", log_q, persistent=False)
        self.register_buffer("liked_keys", liked_keys, persistent=False)

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Loss of a batch."""
        anchor, other = (_unit(self.encoder, part) for part in features)
        users, anchors, others = labels.unbind(dim=1)
        loss = self._one_way(anchor, other, users, others) + self._one_way(other, anchor, users, anchors)
        return loss / 2

    def _one_way(self, rows: Tensor, columns: Tensor, users: Tensor, movies: Tensor) -> Tensor:
        log_q: Tensor = self.log_q  # type: ignore[assignment]
        liked_keys: Tensor = self.liked_keys  # type: ignore[assignment]
        scores = rows @ columns.T / self.temperature - log_q[movies][None, :]
        keys = users[:, None] * len(log_q) + movies[None, :]
        place = torch.searchsorted(liked_keys, keys).clamp(max=len(liked_keys) - 1)
        return in_batch_softmax(scores, allowed=liked_keys[place] != keys)


class AlignmentLoss(nn.Module):
    """Text aligned to collaborative factors: InfoNCE from a movie's factors to its text among the batch's texts.

    Texts that the untuned encoder already finds alike (cosine above `threshold`) are no negatives of each other: the
    semantic filtering of false negatives. The factors were turned into the text space once, by `procrustes`, so the
    loss has no weights of its own.

    Source: Kim et al., "Large Language Models meet Collaborative Filtering: An Efficient All-round LLM-based
    Recommender System" (A-LLMRec), KDD 2024, arXiv 2404.11343, stage 1. There a network for each side is trained, their
    outputs are drawn together by squared error, and decoders keep them from collapsing. Here InfoNCE with the filtering
    takes the place of both (after an unpublished report on it: Mahmahi & Hattabi, Université Paris Cité 2024), and only
    the text encoder is trained.

    Args:
        encoder: what is trained.
        targets: (movies, d) unit vectors: factors in the text space.
        texts: (movies, d) unit vectors of the untuned encoder.
        temperature: divides the cosines.
        threshold: cosine above which two texts are alike.

    A batch needs one text column and a label column of the movie's index.
    """

    def __init__(
        self, encoder: nn.Module, targets: Tensor, texts: Tensor, temperature: float, threshold: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature
        self.threshold = threshold
        self.register_buffer("targets", targets, persistent=False)
        self.register_buffer("texts", texts, persistent=False)

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Loss of a batch."""
        (text,) = (_unit(self.encoder, part) for part in features)
        movies = labels.view(-1)
        targets: Tensor = self.targets[movies]  # type: ignore[index]
        alike = self.texts[movies] @ self.texts[movies].T > self.threshold  # type: ignore[index]
        return in_batch_softmax(targets @ text.T / self.temperature, allowed=~alike)


def procrustes(factors: Tensor, texts: Tensor) -> Tensor:
    """(n, d) unit vectors: factors (n, f <= d) turned into the text space so that they lie closest to the texts.

    The turn R (f, d) has orthonormal rows, so angles between factors stay what they are: R maximises
    tr(R texts' factors), which is U V' of the singular value decomposition of factors' texts.
    Source: Schoenemann 1966, "A generalized solution of the orthogonal Procrustes problem".

    Raises:
        ValueError: factors have more dimensions than texts.
    """
    if factors.shape[1] > texts.shape[1]:
        raise ValueError(
            f"factors of {factors.shape[1]} dimensions do not fit into texts of {texts.shape[1]}; align with a model "
            "of fewer factors"
        )
    left, _, right = torch.linalg.svd(factors.double().T @ texts.double(), full_matrices=False)
    turned = factors.double() @ (left @ right)
    return nn.functional.normalize(turned, dim=1).float()


def standard_loss(name: str, encoder: Any, temperature: float) -> nn.Module:
    """The losses that sentence-transformers keeps.

    `multiple_negatives`: InfoNCE with the batch's other texts as negatives; Henderson et al. 2017, arXiv 1705.00652;
    the paper's published code. `multiple_negatives_cached`: the same for batches larger than memory; Gao et al. 2021,
    arXiv 2101.06983. `contrastive`: pairs labelled 1 drawn together, those labelled 0 pushed apart up to a margin;
    Hadsell et al. 2006; the paper's text.
    """
    from sentence_transformers.sentence_transformer import losses

    standard: dict[str, Callable[[], nn.Module]] = {
        "multiple_negatives": lambda: losses.MultipleNegativesRankingLoss(encoder, scale=1 / temperature),
        "multiple_negatives_cached": lambda: losses.CachedMultipleNegativesRankingLoss(
            encoder, scale=1 / temperature, mini_batch_size=CACHED_MINI_BATCH
        ),
        "contrastive": lambda: losses.ContrastiveLoss(encoder, margin=CONTRASTIVE_MARGIN),
    }
    return standard[name]()


def _unit(encoder: nn.Module, features: dict[str, Tensor]) -> Tensor:
    return nn.functional.normalize(encoder(features)["sentence_embedding"].float(), dim=1)
