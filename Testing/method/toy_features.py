"""Random features and predictions for tests of the contrastive terms, and equation (2) written out."""

import math

import torch

HALF_TYPES = [torch.float16, torch.bfloat16]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_pixels(batch=2, channels=3, classes=4, height=3, width=5, dtype=torch.float64, seed=0):
    """Random features and soft predictions, both leaves of a graph."""
    generator = seeded(seed)
    features = torch.randn(batch, channels, height, width, dtype=torch.float64, generator=generator)
    softmax = torch.randn(batch, classes, height, width, dtype=torch.float64, generator=generator).softmax(1)
    return features.to(dtype).requires_grad_(), softmax.to(dtype).requires_grad_()


def make_vectors(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def all_of(vectors):
    return torch.ones(vectors.shape[:-1], dtype=torch.bool)


def contrast_in_loops(anchors, positives, valid, temperature, positive_in_denominator=False):
    """Equation (2) written out, one exponential at a time, for (K, D) and (K, D)."""

    def h(u, v):
        return math.exp(float(u @ v) / math.sqrt(float(u @ u)) / math.sqrt(float(v @ v)) / temperature)

    classes = [k for k in range(len(anchors)) if valid[k]]
    loss = 0.0
    for k in classes if len(classes) > 1 else []:
        denominator = h(anchors[k], positives[k]) if positive_in_denominator else 0.0
        for domain in (positives, anchors):
            for i in classes:
                if i != k:
                    denominator += h(anchors[k], domain[i])
        loss -= math.log(h(anchors[k], positives[k]) / denominator)
    return loss
