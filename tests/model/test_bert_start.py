"""model.fusion.pretrained: BERT's weights arrive where they belong and help the first steps, or are refused."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from captioner.errors import CheckpointError
from captioner.model.batch import NO_LABEL
from captioner.model.bert_start import start_fusion
from captioner.model.captioner import EmotionCaptioner
from captioner.model.tokenizer import Tokenizer
from captioner.store import weights_hash
from tests.helpers import CAPTIONS, tiny_batch, tiny_config

STEPS = 60


def masked(tokenizer: Tokenizer, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The captions with a third of the words hidden, and what stood there."""
    rows = [tokenizer.encode(caption, 20) for caption in CAPTIONS]
    ids = torch.tensor([[*row, *[tokenizer.pad_id] * (20 - len(row))] for row in rows])
    hidden = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)) < 0.35) & (ids > 4)
    hidden[:, 2] = True
    return ids.masked_fill(hidden, tokenizer.mask_id), ids.masked_fill(~hidden, NO_LABEL)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of the tiny fusion's sizes, trained on the captions; its vocabulary has them in another order."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = Tokenizer.build([*CAPTIONS, "A zebra yawns."])
    sizes = BertConfig(vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
                       intermediate_size=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fmt: skip
    net = BertForMaskedLM(sizes)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for step in range(STEPS):
        shown, wanted = masked(tokenizer, step)
        loss = net(input_ids=shown, attention_mask=shown.ne(tokenizer.pad_id).long(), labels=wanted).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.save_pretrained(folder)
    tokenizer.save(folder / "tokenizer.json")
    return folder


def fresh(tokenizer: Tokenizer) -> EmotionCaptioner:
    torch.manual_seed(0)
    return EmotionCaptioner(tiny_config(f"vocab_size={tokenizer.vocab_size}", "fusion.dropout=0")).train()


def first_losses(model: EmotionCaptioner, tokenizer: Tokenizer, steps: int = 8) -> list[float]:
    batch = tiny_batch(model.config)
    optimizer = torch.optim.AdamW(model.fusion.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        shown, wanted = masked(tokenizer, 1000 + step)
        states = model.fusion.write(shown, model.see(batch).memory)
        loss = F.cross_entropy(model.fusion.head(states).flatten(0, 1), wanted.flatten(), ignore_index=NO_LABEL)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_fusion_from_bert_differs_and_begins_lower(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = Tokenizer.build(CAPTIONS)
    caplog.set_level("INFO")
    random, started = fresh(tokenizer), fresh(tokenizer)
    report = start_fusion(started.fusion, str(bert), tokenizer)
    assert weights_hash(random.fusion) != weights_hash(started.fusion)
    assert report.unfilled == ["kinds.weight"]
    assert any("encoder.layer.2." in name for name in report.unused)  # the tiny fusion has two layers
    assert "fusion starts from" in caplog.text and "encoder.layer.2" in caplog.text
    blind, taught = first_losses(random, tokenizer), first_losses(started, tokenizer)
    assert sum(taught) / len(taught) < 0.8 * sum(blind) / len(blind), (taught, blind)


def test_rows_of_words_go_by_piece(bert: Path) -> None:
    from captioner.model.weights import read_weights

    tokenizer, theirs = Tokenizer.build(CAPTIONS), Tokenizer.from_pretrained(bert)
    model = fresh(tokenizer)
    start_fusion(model.fusion, str(bert), tokenizer)
    table = read_weights(bert / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    own = model.fusion.embed.words.weight
    assert tokenizer.vocabulary()["frown"] != theirs.vocabulary()["frown"]
    assert torch.equal(own[tokenizer.vocabulary()["frown"]], table[theirs.vocabulary()["frown"]])
    assert model.fusion.head.decoder.weight is own


def test_what_is_missing_or_of_other_sizes_is_refused(bert: Path) -> None:
    tokenizer = Tokenizer.build(CAPTIONS)
    model = fresh(tokenizer)
    with pytest.raises(CheckpointError, match=r'/no/such cannot be loaded.*model\.fusion\.pretrained=""'):
        start_fusion(model.fusion, "/no/such", tokenizer)
    wide = EmotionCaptioner(tiny_config("fusion.heads=2", f"vocab_size={tokenizer.vocab_size}"))
    with pytest.raises(CheckpointError, match=r"set model\.fusion\.heads=4 \(it is 2\)"):
        start_fusion(wide.fusion, str(bert), tokenizer)
