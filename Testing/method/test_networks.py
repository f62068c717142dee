"""The networks: the published size, shapes, and what RAIN promises."""

import pytest
import torch

from confuda.networks.drunet import DRUNet
from confuda.networks.rain import RAIN, measure_style, renormalise


def count_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_width_32_has_the_published_parameter_count() -> None:
    network = DRUNet(channels=3, classes=4, width=32, normalisation="batch")
    assert round(count_parameters(network) / 1e6, 2) == 13.48


@pytest.mark.parametrize("normalisation", ["batch", "instance", "group"])
def test_features_are_full_resolution_and_classify_to_logits(normalisation) -> None:
    network = DRUNet(width=8, normalisation=normalisation).eval()
    images = torch.rand(2, 1, 48, 64)
    features = network.features(images)
    assert features.shape == (2, 8, 48, 64)
    torch.testing.assert_close(network.classifier(features), network(images))
    assert network.encode(images)[-1].shape == (2, 128, 3, 4)


def test_scale_of_intensity_does_not_matter_to_a_standardising_network() -> None:
    images = torch.rand(1, 1, 32, 32)
    differences = []
    for standardise in (True, False):
        torch.manual_seed(0)
        network = DRUNet(width=8, standardise=standardise).eval()
        with torch.no_grad():
            differences.append(float((network(images) - network(images * 500 - 70)).abs().mean()))
    assert differences[0] < 0.02 < differences[1]


def test_every_weight_of_the_segmenter_learns() -> None:
    network = DRUNet(width=8)
    network(torch.rand(2, 1, 32, 32)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_unknown_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match="normalisation"):
        DRUNet(normalisation="layer")


def test_renormalised_features_have_the_statistics_of_the_style() -> None:
    content, style = torch.randn(2, 5, 16, 16) * 3 + 1, torch.randn(2, 5, 12, 12) * 0.5 - 2
    wanted = measure_style(style)
    torch.testing.assert_close(measure_style(renormalise(content, wanted)), wanted, atol=1e-4, rtol=1e-4)


def test_styles_vary_with_epsilon_and_the_gradient_reaches_it() -> None:
    torch.manual_seed(0)
    rain = RAIN((4, 8, 8, 16), latent=6)
    images, style = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    content = rain.encoder(images)[-1]
    epsilon = torch.randn(2, 6, requires_grad=True)
    code = rain.encode_style(style)
    styled = rain.stylise(content, code, epsilon)
    assert styled.shape == images.shape and 0 <= styled.min() and styled.max() <= 1
    assert not torch.allclose(styled, rain.stylise(content, code, epsilon.detach() + 1))
    styled.sum().backward()
    assert epsilon.grad.abs().sum() > 0


def test_rain_losses_weigh_as_published_and_go_down() -> None:
    torch.manual_seed(0)
    rain = RAIN((4, 8, 8, 16), latent=6)
    for parameter in rain.encoder.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in rain.parameters() if p.requires_grad], 3e-3)
    content, style, epsilon = torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32) ** 3, torch.zeros(4, 6)
    history = []
    for _ in range(40):
        losses = rain.compute_losses(content, style, epsilon)
        weighed = losses["content"] + 5 * losses["style"] + losses["kl"] + 5 * losses["reconstruction"]
        torch.testing.assert_close(losses["total"], weighed)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        history.append(float(losses["total"].detach()))
    assert history[-1] < 0.8 * history[0]


def test_style_divergence_is_that_of_two_normal_distributions() -> None:
    rain = RAIN((4, 8, 8, 16), latent=6)
    images = torch.rand(2, 1, 32, 32)
    code = rain.encode_style(images)
    normal = torch.distributions.Normal(code.mu, torch.exp(code.log_sigma))
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(rain.compute_losses(images, images, torch.zeros(2, 6))["kl"], expected)
