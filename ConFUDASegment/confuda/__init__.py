"""ConFUDA: one-shot and few-shot unsupervised domain adaptation for cardiac MR segmentation (Gu et al., 2022)."""

__version__ = "0.2.0"
