"""What a GPU needs gives the same on a CPU: matching by enumeration, the text's rule, recomputing, kept windows."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention.bias import causal_lower_right

from captioner.model.fusion import text_mask
from captioner.model.video_encoder import group_windows
from prompts.alignment import match, match_by_enumeration
from tests.helpers import tiny_batch, tiny_model


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_matching_by_enumeration_is_the_best_assignment(k: int) -> None:
    draw = torch.Generator().manual_seed(k)
    similarity = torch.rand(60, k, 9, generator=draw) * 2 - 1
    valid = torch.rand(60, 9, generator=draw) < 0.4  # some clips have fewer words than units, or none
    valid[0] = False
    wanted, found = match(similarity, valid), match_by_enumeration(similarity, valid)
    assert torch.equal(found.made.sum(1), wanted.made.sum(1))
    totals = [(each.similarity * each.made).sum(1) for each in (wanted, found)]
    torch.testing.assert_close(totals[1], totals[0])
    for row, words in zip(valid, found.word, strict=True):
        taken = words[words >= 0]
        assert bool(row[taken].all()) and len(taken.unique()) == len(taken)


def test_the_rule_of_what_text_sees_is_its_table() -> None:
    q, k, v = (torch.randn(2, 3, n, 8, generator=torch.Generator().manual_seed(n)) for n in (5, 12, 13))
    v = v[:, :, :12]
    table = F.scaled_dot_product_attention(q, k, v, attn_mask=text_mask(5, 7, torch.device("cpu")))
    rule = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_lower_right(5, 12))  # type: ignore[arg-type]
    torch.testing.assert_close(rule, table)


@pytest.mark.parametrize("key", ["fusion.checkpointing", "text.checkpointing", "video.checkpointing"])
def test_recomputing_changes_nothing(key: str) -> None:
    gradients = []
    for switch in ("true", "false"):
        model = tiny_model(f"{key}={switch}", "fusion.dropout=0", "text.dropout=0").train()
        sum(model(tiny_batch(model.config)).live.values()).backward()  # type: ignore[union-attr]
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(value, gradients[1][name], msg=name)


def test_windows_are_kept_on_the_device_and_train_after_captioning() -> None:
    group_windows.cache_clear()
    model = tiny_model()
    batch = tiny_batch(model.config)
    with torch.inference_mode():
        model.see(batch)
    before = group_windows.cache_info().misses
    sum(model.train()(batch).live.values()).backward()  # type: ignore[union-attr]
    assert group_windows.cache_info().misses == before
