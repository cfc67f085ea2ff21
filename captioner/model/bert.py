"""BERT's encoder with the names and the arithmetic of transformers' BertModel, whose import takes two seconds.

Opening a finished captioner needs no more of transformers than this. Axes: B captions, J pieces, D width, H heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLACES = 512
EPS = 1e-12


class Embeddings(nn.Module):
    """ids (B, J) -> (B, J, D): word + position + the first of two kinds."""

    def __init__(self, vocab: int, width: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(PLACES, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        words = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        states: Tensor = self.dropout(self.LayerNorm(words + self.position_embeddings(places)))
        return states


class BertAttention(nn.Module):
    """Query, key and value of every piece."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        b, j, d = x.shape

        def split(part: Tensor) -> Tensor:
            return part.view(b, j, self.heads, d // self.heads).transpose(1, 2)  # (B, H, J, D/H)

        drop = self.drop if self.training else 0.0
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop)
        return mixed.transpose(1, 2).reshape(b, j, d)


class Added(nn.Module):
    """A linear map whose result is added to what went round it, and normalised."""

    def __init__(self, inner: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, around: Tensor) -> Tensor:
        states: Tensor = self.LayerNorm(self.dropout(self.dense(x)) + around)
        return states


class BertLayer(nn.Module):
    """Attention and feed-forward, each with its residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        own = BertAttention(width, heads, dropout)
        self.attention = nn.ModuleDict({"self": own, "output": Added(width, width, dropout)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 4 * width)})
        self.output = Added(4 * width, width, dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        states: Tensor = self.output(F.gelu(self.intermediate["dense"](x)), x)
        return states


class Bert(nn.Module):
    """ids (B, J) and mask (B, J) of places that are no padding -> states (B, J, D)."""

    def __init__(self, vocab: int, width: int, layers: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocab, width, dropout)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(BertLayer(width, heads, dropout) for _ in range(layers))})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x: Tensor = self.embeddings(ids)
        seen = mask.bool()[:, None, None]
        for layer in self.encoder["layer"].children():
            x = layer(x, seen)
        return x
