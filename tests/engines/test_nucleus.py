"""Top-p: the exact distribution, and its edges."""

import pytest
import torch
from srlm.engines.transformers import _sample_top_p


def exact_nucleus(probabilities, top_p):
    """Return the renormalised distribution over the smallest set of likeliest tokens that reaches `top_p`."""
    order = probabilities.argsort(descending=True)
    kept = torch.zeros_like(probabilities)
    total = 0.0
    for token in order.tolist():
        kept[token] = probabilities[token]
        total += probabilities[token].item()
        if total >= top_p:
            break
    return kept / kept.sum()


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("vocabulary", [12, 3000])
def test_nucleus_is_the_exact_distribution(top_p, vocabulary):
    torch.manual_seed(3)
    logits = 2 * torch.randn(vocabulary)
    expected = exact_nucleus(logits.double().softmax(-1), top_p)
    draws = 20_000
    uniforms = (torch.arange(draws) + 0.5) / draws  # evenly spaced: the counts differ by rounding only
    tokens = torch.cat([_sample_top_p(logits.expand(500, -1), top_p, part) for part in uniforms.split(500)])
    counts = tokens.bincount(minlength=vocabulary)
    assert counts[expected == 0].sum() == 0
    assert (counts / draws - expected).abs().max() < 2 / draws


def test_nucleus_of_a_flat_distribution_sorts_the_vocabulary():
    tokens = _sample_top_p(torch.zeros(4000, 5000), 1.0, torch.rand(4000, generator=torch.Generator().manual_seed(0)))
    assert len(tokens.unique()) > 2000


@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
def test_nucleus_at_the_edges_of_the_unit_interval(top_p):
    logits = torch.tensor([[0.1, 3.0, 2.0, -torch.inf, 1.0]])
    kept = exact_nucleus(logits[0].double().softmax(-1), top_p)
    least = kept.masked_fill(kept == 0, 2).argmin()
    below_one = torch.nextafter(torch.tensor([1.0]), torch.tensor([0.0]))
    assert _sample_top_p(logits, top_p, torch.zeros(1)).tolist() == [1]
    assert _sample_top_p(logits, top_p, below_one).tolist() == [least]


def test_nucleus_at_its_very_end():
    """If rounding makes the largest uniform times the mass equal the mass, the last kept token is sampled."""
    logits = torch.randn(5000, 40, generator=torch.Generator().manual_seed(2))
    below_one = torch.nextafter(torch.ones(5000), torch.zeros(5000))
    tokens = _sample_top_p(logits, 0.7, below_one)
    probabilities = logits.double().softmax(-1)
    own = probabilities.gather(1, tokens[:, None])
    before = (probabilities * (probabilities > own)).sum(-1)  # the mass of the likelier ones
    assert (before < 0.7 + 1e-6).all()
    assert (before + own[:, 0] > 0.7 - 1e-6).all()


def test_nucleus_never_samples_an_impossible_token():
    logits = torch.full((256, 40), -torch.inf)
    logits[:, 17] = 0.0
    below_one = torch.nextafter(torch.ones(256), torch.zeros(256))
    for uniforms in (torch.zeros(256), torch.rand(256), below_one):
        assert _sample_top_p(logits, 1.0, uniforms).unique().tolist() == [17]
