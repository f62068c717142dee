"""The figures that ConFUDA's authors published: tables 1 and 2 of Gu et al., "ConFUDA: Contrastive Fewshot Unsupervised
Domain Adaptation for Medical Image Segmentation", arXiv 2206.03888v1 (2022), on MS-CMRSeg with 45 patients."""

from typing import Dict, NamedTuple, Optional, Tuple

SOURCE = "Gu et al., ConFUDA, arXiv 2206.03888v1 (2022)"


class Figure(NamedTuple):
    """Mean and standard deviation over cases, each averaged over 5 folds."""

    mean: float
    std: float


class PublishedRow(NamedTuple):
    """Dice (0 to 1) and 95 % Hausdorff distance, in the order MYO, LV, RV, average; None where the text can't be read.

    The paper does not say in which unit its distances are.
    """

    dice: Tuple[Optional[Figure], ...]
    hd95: Tuple[Optional[Figure], ...]


def _row(dice: str, hd95: str) -> PublishedRow:
    def read(text: str) -> Tuple[Optional[Figure], ...]:
        return tuple(None if cell == "?" else Figure(*(float(n) for n in cell.split("+-"))) for cell in text.split())

    return PublishedRow(read(dice), read(hd95))


TABLE1: Dict[Tuple[str, str], PublishedRow] = {
    ("-", "none"): _row("0.24+-0.28 0.39+-0.35 0.51+-0.33 0.38+-0.32", "31.7+-19.1 24.7+-22.8 28.0+-20.2 28.1+-20.7"),
    # The structures' cells of this row are garbled in the paper's text; its averages are sure.
    ("-", "observer"): _row("? ? ? 0.82+-0.08", "? ? ? 12.0+-4.4"),
    ("one-shot", "adaptseg"): _row(
        "0.35+-0.27 0.60+-0.29 0.52+-0.28 0.49+-0.28", "18.9+-25.9 13.2+-16.6 23.4+-31.5 18.5+-24.7"
    ),
    ("one-shot", "advent"): _row(
        "0.39+-0.27 0.61+-0.30 0.57+-0.27 0.52+-0.28", "15.7+-21.8 13.8+-17.1 18.3+-24.0 15.9+-21.0"
    ),
    ("one-shot", "blockcl"): _row(
        "0.58+-0.15 0.81+-0.11 0.63+-0.23 0.67+-0.16", "20.0+-14.2 10.7+-7.8 17.5+-17.3 16.0+-13.1"
    ),
    ("one-shot", "fuda"): _row(
        "0.48+-0.19 0.80+-0.12 0.67+-0.24 0.65+-0.18", "13.2+-20.1 10.0+-13.5 14.3+-23.8 12.5+-19.4"
    ),
    ("one-shot", "confuda"): _row(
        "0.55+-0.15 0.84+-0.08 0.69+-0.24 0.69+-0.16", "7.8+-5.7 7.6+-6.5 11.0+-18.2 8.8+-10.1"
    ),
    ("few-shot", "adaptseg"): _row(
        "0.42+-0.24 0.65+-0.25 0.54+-0.26 0.54+-0.25", "14.6+-16.6 13.2+-16.0 18.8+-28.0 15.5+-20.2"
    ),
    ("few-shot", "advent"): _row(
        "0.40+-0.25 0.62+-0.27 0.63+-0.23 0.55+-0.25", "14.8+-19.7 14.8+-24.0 15.4+-21.1 15.0+-21.6"
    ),
    ("few-shot", "blockcl"): _row(
        "0.56+-0.17 0.80+-0.11 0.66+-0.24 0.67+-0.17", "13.1+-10.1 14.8+-11.5 13.0+-18.9 13.6+-13.5"
    ),
    ("few-shot", "fuda"): _row(
        "0.50+-0.17 0.81+-0.11 0.70+-0.23 0.67+-0.17", "10.7+-13.4 8.5+-9.1 13.3+-24.2 10.8+-15.6"
    ),
    ("few-shot", "confuda"): _row(
        "0.58+-0.14 0.85+-0.07 0.72+-0.20 0.72+-0.13", "7.6+-9.4 7.2+-6.0 10.2+-15.1 8.3+-10.2"
    ),
    ("full", "adaptseg"): _row(
        "0.43+-0.22 0.64+-0.24 0.66+-0.18 0.58+-0.21", "12.8+-13.3 15.2+-14.0 10.9+-8.8 12.9+-12.0"
    ),
    ("full", "advent"): _row("0.45+-0.23 0.66+-0.25 0.67+-0.20 0.59+-0.23", "11.3+-11.0 9.2+-7.3 9.4+-9.9 10.0+-9.4"),
    ("full", "blockcl"): _row(
        "0.52+-0.21 0.83+-0.08 0.71+-0.19 0.68+-0.16", "11.1+-13.0 7.9+-5.8 10.2+-14.1 9.7+-11.0"
    ),
    ("full", "fuda"): _row("0.51+-0.18 0.82+-0.11 0.68+-0.23 0.67+-0.18", "7.8+-6.3 6.3+-3.8 11.9+-19.6 8.7+-9.9"),
    ("full", "confuda"): _row("0.62+-0.11 0.84+-0.07 0.73+-0.15 0.73+-0.11", "6.6+-4.5 10.5+-8.7 8.0+-8.2 8.4+-7.2"),
}
"""By setting and method."""


def _ablation(dice: str, hd95: str) -> PublishedRow:
    return _row("? ? ? " + dice, "? ? ? " + hd95)


TABLE2: Dict[Tuple[str, str], PublishedRow] = {
    ("one-shot", "FUDA"): _ablation("0.65+-0.18", "12.5+-19.4"),
    ("few-shot", "FUDA"): _ablation("0.67+-0.17", "10.9+-15.8"),
    ("full", "FUDA"): _ablation("0.67+-0.18", "8.7+-9.9"),
    ("one-shot", "+ CCL"): _ablation("0.68+-0.15", "9.6+-10.5"),
    ("few-shot", "+ CCL"): _ablation("0.68+-0.17", "11.0+-14.8"),
    ("full", "+ CCL"): _ablation("0.69+-0.11", "10.2+-11.0"),
    ("one-shot", "+ CNR"): _ablation("0.68+-0.16", "9.5+-11.3"),
    ("few-shot", "+ CNR"): _ablation("0.71+-0.14", "8.8+-9.1"),
    ("full", "+ CNR"): _ablation("0.72+-0.10", "8.1+-6.7"),
    ("one-shot", "+ MPCCL"): _ablation("0.69+-0.16", "9.0+-10.4"),
    ("few-shot", "+ MPCCL"): _ablation("0.72+-0.13", "8.3+-10.2"),
    ("full", "+ MPCCL"): _ablation("0.73+-0.11", "8.4+-7.2"),
}
"""By setting and row; averages over the structures only."""
