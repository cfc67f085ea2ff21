"""The AU relation graph net: a score and a node vector for each facial action unit of a face crop.

ANFL (stage 1) and MEFL (stage 2) of ME-GraphAU in the form of OpenGraphAU, with its state-dict keys.
Axes: B batch, N main AUs, P positions of the token map, C backbone channels, D node width, E = N * N pairs.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prompts.action_units import MAIN_AUS, SUB_AUS, SUB_PARENTS, UNKNOWN
from prompts.backbones import BACKBONES, build_backbone, check_name

METRICS = ("dots", "cosine", "l1", "l2")


@dataclass(frozen=True)
class AUGraphConfig:
    """Shape of the net; `width` None is that of the released nets, a quarter (Swin: half) of the channels."""

    backbone: str = "resnet50"
    stage: int = 1
    neighbors: int = 4
    metric: str = "dots"
    main: int = len(MAIN_AUS)
    sub: int = len(SUB_AUS)
    width: int | None = None
    mirror: bool = False
    """In evaluation the mean of a crop and its mirror image is given: each misses what the other shows."""

    def __post_init__(self) -> None:
        check_name("backbone", self.backbone, BACKBONES)
        check_name("metric", self.metric, METRICS)
        check_name("stage", self.stage, (1, 2))
        if not 1 <= self.neighbors <= self.main:
            raise ValueError(f"neighbors is {self.neighbors}; allowed: 1 to {self.main}, the main AUs")
        if self.sub % 2 or not 0 <= self.sub <= len(SUB_AUS):
            raise ValueError(f"sub is {self.sub}; allowed: even numbers from 0 to {len(SUB_AUS)}")
        if self.sub and self.main <= SUB_PARENTS[self.sub // 2 - 1]:
            raise ValueError(f"{self.sub} sub-AUs need more than {self.main} main AUs; use sub=0 or main=27")

    @property
    def nodes(self) -> int:
        """Node width D."""
        return self.width or BACKBONES[self.backbone].width


@dataclass(frozen=True)
class AUOutput:
    """scores (B, main + sub) in [0, 1], used as probabilities; nodes (B, main, D) behind the graph, >= 0."""

    scores: Tensor
    nodes: Tensor


class LinearBlock(nn.Module):
    """Linear, batch norm over B and P, ReLU: (B, P, C) -> (B, P, D)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fc = _linear(channels, width)
        self.bn = nn.BatchNorm1d(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, P, D), all >= 0."""
        return F.relu(self.bn(self.fc(tokens).transpose(1, 2))).transpose(1, 2)


def similarity_graph(nodes: Tensor, neighbors: int, metric: str = "dots") -> Tensor:
    """Adjacency (B, N, N) of zeros and ones: a row marks the `neighbors` nodes most similar to its own.

    The node itself counts, ties may mark more, the graph is not symmetric and carries no gradient.
    As in OpenGraphAU, `l1` is the Euclidean distance and `l2` the sum of absolute differences.
    """
    nodes = nodes.detach()
    if metric in ("dots", "cosine"):
        nodes = F.normalize(nodes, dim=-1) if metric == "cosine" else nodes
        closeness = nodes @ nodes.transpose(1, 2)
    else:
        gaps = nodes[:, :, None] - nodes[:, None]  # (B, N, N, D)
        closeness = -(gaps.pow(2).sum(-1).sqrt() if metric == "l1" else gaps.abs().sum(-1))
    threshold = closeness.topk(neighbors, dim=-1).values[..., -1:]
    return (closeness >= threshold).to(nodes.dtype)


def normalise_graph(adjacency: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2 with the row degrees on both sides; adjacency (B, N, N)."""
    scale = adjacency.sum(-1).rsqrt()
    return scale[:, :, None] * adjacency * scale[:, None]


class NodeGraph(nn.Module):
    """Stage 1: one graph convolution over the similarity graph of the nodes."""

    def __init__(self, width: int, main: int, neighbors: int, metric: str) -> None:
        super().__init__()
        self.neighbors, self.metric = neighbors, metric
        self.U = _linear(width, width)
        self.V = _linear(width, width)
        self.bnv = nn.BatchNorm1d(main)  # a channel is a node: statistics over B and D

    def forward(self, nodes: Tensor) -> Tensor:
        """Nodes (B, N, D), all >= 0, of nodes (B, N, D)."""
        graph = normalise_graph(similarity_graph(nodes, self.neighbors, self.metric))
        return F.relu(nodes + self.bnv(graph @ self.V(nodes) + self.U(nodes)))


class CrossAttention(nn.Module):
    """Single-head attention whose queries and keys have half the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_q = _linear(width, width // 2)
        self.linear_k = _linear(width, width // 2)
        self.linear_v = _linear(width, width)

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Attention (..., P, P) of projected queries and keys (..., P, D/2)."""
        attention: Tensor = (queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5).softmax(-1)
        return attention

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """What each position of target (..., P, D) gathers from source (..., P, D)."""
        gathered: Tensor = self.weights(self.linear_q(target), self.linear_k(source)) @ self.linear_v(source)
        return gathered


class EdgeExtractor(nn.Module):
    """Stage 2: a feature for every ordered pair (receiving, sending) of AUs."""

    def __init__(self, width: int, main: int) -> None:
        super().__init__()
        self.FAM = CrossAttention(width)
        self.ARM = CrossAttention(width)
        self.edge_proj = _linear(width, width)
        self.bn = nn.BatchNorm2d(main * main)

    def forward(self, maps: Tensor, tokens: Tensor) -> Tensor:
        """Edges (B, E, D) of AU maps (B, N, P, D) and the shared tokens (B, P, D)."""
        maps = self.FAM(maps, tokens[:, None])
        queries, keys, values = self.ARM.linear_q(maps), self.ARM.linear_k(maps), self.ARM.linear_v(maps)
        # Edge (i, j): node i receives (keys, values), node j sends (queries).
        attention = self.ARM.weights(queries[:, None], keys[:, :, None])  # (B, N, N, P, P)
        if not self.training:  # what follows is affine then, so the mean over P may go first: P times less memory
            attention = attention.mean(-2, keepdim=True)
        edges = (attention @ values[:, :, None]).flatten(1, 2)  # (B, E, P or 1, D)
        features: Tensor = self.bn(self.edge_proj(edges)).mean(-2)
        return features


class GatedLayer(nn.Module):
    """Stage 2: one gated graph layer that renews nodes and edges."""

    def __init__(self, width: int, main: int) -> None:
        super().__init__()
        self.U, self.V, self.A, self.B, self.E = (_linear(width, width, bias=False) for _ in range(5))
        self.bnv = nn.BatchNorm1d(main)
        self.bne = nn.BatchNorm1d(main * main)

    def forward(self, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (B, N, D) and edges (B, E, D), same shapes in and out."""
        pairs = (self.A(nodes)[:, :, None] + self.B(nodes)[:, None]).flatten(1, 2)
        edges = edges + F.relu(self.bne(pairs + self.E(edges)))
        gates = torch.unflatten(edges.sigmoid(), 1, (nodes.shape[1], -1)).softmax(2)  # (B, N, N, D), over senders
        gathered = (gates * self.V(nodes)[:, None]).mean(2)
        return nodes + F.relu(self.bnv(self.U(nodes) + gathered)), edges


class EdgeGraph(nn.Module):
    """Stage 2: two gated layers."""

    def __init__(self, width: int, main: int) -> None:
        super().__init__()
        self.graph_layers = nn.ModuleList(GatedLayer(width, main) for _ in range(2))

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Nodes (B, N, D) of nodes (B, N, D) and edges (B, E, D)."""
        for layer in self.graph_layers:
            nodes, edges = layer(nodes, edges)
        return nodes


class AUHead(nn.Module):
    """From shared tokens to AU nodes and their cosine scores."""

    def __init__(self, config: AUGraphConfig) -> None:
        super().__init__()
        width, main, sub = config.nodes, config.main, config.sub
        self.main_class_linears = nn.ModuleList(LinearBlock(width, width) for _ in range(main))
        self.edge_extractor: EdgeExtractor | None = None
        self.gnn: nn.Module = NodeGraph(width, main, config.neighbors, config.metric)
        if config.stage == 2:
            self.edge_extractor = EdgeExtractor(width, main)
            self.gnn = EdgeGraph(width, main)
        self.main_sc = nn.Parameter(nn.init.xavier_uniform_(torch.empty(main, width)))
        self.sub_sc = nn.Parameter(nn.init.xavier_uniform_(torch.empty(sub, width))) if sub else None

    def forward(self, tokens: Tensor) -> AUOutput:
        """Scores (B, main + sub) and nodes (B, main, D) of tokens (B, P, D)."""
        maps = torch.stack([block(tokens) for block in self.main_class_linears], dim=1)  # (B, N, P, D)
        nodes = maps.mean(2)
        if self.edge_extractor is None:
            nodes = self.gnn(nodes)
        else:
            nodes = self.gnn(nodes, self.edge_extractor(maps, tokens))
        return AUOutput(self._scores(F.normalize(nodes, dim=-1)), nodes)

    def _scores(self, nodes: Tensor) -> Tensor:
        scores = (nodes * _direction(self.main_sc)).sum(-1)
        if self.sub_sc is not None:
            parents = nodes[:, SUB_PARENTS[: len(self.sub_sc) // 2]]  # (B, sub / 2, D)
            sides = parents.repeat_interleave(2, dim=1) * _direction(self.sub_sc)
            scores = torch.cat([scores, sides.sum(-1)], dim=-1)
        return scores.clamp(max=1)  # a cosine may pass 1 by a rounding error


class AUGraph(nn.Module):
    """The whole net: backbone, shared projection, AU head."""

    def __init__(self, config: AUGraphConfig | None = None) -> None:
        super().__init__()
        self.config = config or AUGraphConfig()
        self.backbone, channels = build_backbone(self.config.backbone)
        self.global_linear = LinearBlock(channels, self.config.nodes)
        self.head = AUHead(self.config)

    def forward(self, images: Tensor) -> AUOutput:
        """Scores (B, main + sub) and nodes (B, main, D) of normalised face crops (B, 3, H, W)."""
        if self.training or not self.config.mirror:
            return self._see(images)
        seen, other = self._see(images), self._see(images.flip(-1))
        main = self.config.main
        order = [*range(main), *(main + (i ^ 1) for i in range(self.config.sub))]  # left and right change places
        return AUOutput((seen.scores + other.scores[:, order]) / 2, (seen.nodes + other.nodes) / 2)

    def _see(self, images: Tensor) -> AUOutput:
        output: AUOutput = self.head(self.global_linear(self.backbone(images)))
        return output


def asymmetric_loss(scores: Tensor, labels: Tensor, weights: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """The weighted asymmetric loss, a scalar: easy negatives count by their own score.

    scores and labels (B, N); labels 1, 0 or -1 (unknown: left out of the mean); weights (N,).
    """
    positive = labels.clamp(min=0) * scores.clamp(min=eps).log()
    negative = (1 - labels.clamp(min=0)) * scores.detach() * (1 - scores).clamp(min=eps).log()
    known = (labels != UNKNOWN).to(scores.dtype)
    loss = (positive + negative) * known * (1 if weights is None else weights)
    return -loss.sum() / known.sum().clamp(min=1)


def class_weights(labels: Tensor) -> Tensor:
    """Weights (N,) inverse to the rate of each AU among its known labels (S, N), with the sum N.

    An AU that never occurs has weight 0: it has nothing to teach.
    """
    rates = (labels == 1).sum(0) / (labels != UNKNOWN).sum(0).clamp(min=1)
    inverse = torch.where(rates > 0, 1 / rates.clamp(min=1e-12), 0.0)
    return inverse * (len(rates) / inverse.sum().clamp(min=1e-12))


def freeze(module: nn.Module) -> nn.Module:
    """The module itself, without gradients and in eval mode even after a parent's .train(): BN stays."""
    module.eval().requires_grad_(False)
    module.train = partial(_stay_in_eval, module)  # type: ignore[method-assign]
    return module


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def _linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / outputs))
    return layer


def _direction(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.relu(), dim=-1)
