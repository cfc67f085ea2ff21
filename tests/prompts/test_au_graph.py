"""The AU graph net: keys and scores of the released layout, the graph's properties, the loss, freezing."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from prompts.action_units import MAIN_AUS, SUB_AUS, SUB_PARENTS
from prompts.au_graph import (
    AUGraph,
    AUGraphConfig,
    CrossAttention,
    EdgeExtractor,
    asymmetric_loss,
    build_backbone,
    class_weights,
    freeze,
    normalise_graph,
    similarity_graph,
)
from prompts.er_net import ERNet, ERNetConfig
from prompts.released import load_released


@pytest.fixture(scope="module")
def small() -> AUGraph:
    torch.manual_seed(0)
    return AUGraph(AUGraphConfig(backbone="small")).eval()


def released(model: nn.Module) -> dict[str, object]:
    """A checkpoint as the public training script writes it."""
    state = {f"module.{key}": value.clone() for key, value in model.state_dict().items()}
    return {"epoch": 3, "state_dict": state, "optimizer": {}}


def images(count: int = 2, size: int = 96) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_au_lists() -> None:
    assert len(MAIN_AUS) == 27
    assert list(MAIN_AUS)[9] == 12
    assert " ".join(SUB_AUS) == "L1 R1 L2 R2 L4 R4 L6 R6 L10 R10 L12 R12 L14 R14"


@pytest.mark.parametrize(
    ("backbone", "stage", "keys", "millions"),
    [("resnet18", 1, 327, 11.73), ("resnet50", 1, 525, 32.22), ("resnet50", 2, 565, 35.64)],
)
def test_released_layout(backbone: str, stage: int, keys: int, millions: float) -> None:
    model = AUGraph(AUGraphConfig(backbone, stage))
    state = model.state_dict()
    assert len(state) == keys
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    assert {"backbone.conv1.weight", "global_linear.bn.running_var", "head.sub_sc"} <= state.keys()
    assert ("head.gnn.graph_layers.1.bne.running_mean" in state) == (stage == 2)
    assert ("head.gnn.bnv.weight" in state) == (stage == 1)


def test_edge_keys_have_the_released_shapes() -> None:
    state = AUGraph(AUGraphConfig("small", 2, width=32)).state_dict()
    assert state["head.edge_extractor.FAM.linear_q.weight"].shape == (16, 32)
    assert state["head.edge_extractor.ARM.linear_v.bias"].shape == (32,)
    assert state["head.edge_extractor.bn.weight"].shape == (729,)
    assert state["head.gnn.graph_layers.0.bnv.bias"].shape == (27,)
    assert "head.gnn.graph_layers.0.U.bias" not in state


@pytest.mark.parametrize("stage", [1, 2])
def test_scores_and_nodes(stage: int) -> None:
    torch.manual_seed(0)
    model = AUGraph(AUGraphConfig("small", stage)).eval()
    with torch.no_grad():
        output, single = model(images()), model(images()[:1])
    assert output.scores.shape == (2, 41)
    assert output.nodes.shape == (2, 27, 64)
    assert output.nodes.min() >= 0
    assert 0 <= output.scores.min() <= output.scores.max() <= 1
    torch.testing.assert_close(single.scores, output.scores[:1])


@pytest.mark.parametrize("stage", [1, 2])
def test_gradient_reaches_every_parameter(stage: int) -> None:
    torch.manual_seed(0)
    model = AUGraph(AUGraphConfig("small", stage)).train()
    model(images(4)).scores.sum().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # a bias in front of a batch norm has no effect, and its gradient is rounding noise or nothing
    assert not [name for name in dead if not name.endswith("bias")]


def test_sub_aus_share_the_node_of_their_parent(small: AUGraph) -> None:
    """Each pair reads one node; the pair named 12 reads index 8, AU11, as the released weights do."""
    assert SUB_PARENTS == (0, 1, 2, 4, 7, 8, 11)
    assert list(MAIN_AUS)[SUB_PARENTS[5]] == 11
    nodes = torch.rand(1, 27, 64)
    before = small.head._scores(nodes / nodes.norm(dim=-1, keepdim=True))[0, 27:]
    for pair, parent in enumerate(SUB_PARENTS):
        changed = nodes.clone()
        changed[0, parent] = torch.rand(64)
        after = small.head._scores(changed / changed.norm(dim=-1, keepdim=True))[0, 27:]
        moved = (after != before).nonzero().flatten().tolist()
        assert moved == [2 * pair, 2 * pair + 1]


def test_mirrored_scores_do_not_care_which_way_a_face_looks(small: AUGraph) -> None:
    both = AUGraph(replace(small.config, mirror=True)).eval()
    both.load_state_dict(small.state_dict())
    images = torch.randn(2, 3, 64, 64)
    seen, turned, plain = both(images), both(images.flip(-1)), small.eval()(images)
    torch.testing.assert_close(seen.nodes, turned.nodes)
    torch.testing.assert_close(seen.scores[:, :27], turned.scores[:, :27])
    torch.testing.assert_close(seen.scores[:, 27::2], turned.scores[:, 28::2])  # what is left here is right there
    assert not torch.allclose(seen.scores, plain.scores)


@pytest.mark.parametrize("metric", ["dots", "cosine", "l1", "l2"])
def test_graph_marks_at_least_k_neighbours(metric: str) -> None:
    nodes = torch.rand(3, 27, 16, generator=torch.Generator().manual_seed(0))
    graph = similarity_graph(nodes, 4, metric)
    assert set(graph.unique().tolist()) == {0.0, 1.0}
    assert (graph.sum(-1) >= 4).all()
    if metric != "dots":
        assert (graph.diagonal(dim1=1, dim2=2) == 1).all()
    assert (graph != graph.transpose(1, 2)).any()  # a neighbour need not return the favour


def test_graph_metrics_are_named_as_in_opengraphau() -> None:
    """Node 1 is nearer to 0 in absolute differences (l2), node 2 in Euclidean distance (l1)."""
    nodes = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])
    assert similarity_graph(nodes, 2, "l1")[0, 0].tolist() == [1, 0, 1]
    assert similarity_graph(nodes, 2, "l2")[0, 0].tolist() == [1, 1, 0]


def test_ties_mark_more_than_k() -> None:
    assert similarity_graph(torch.ones(1, 5, 3), 2).sum() == 25


def test_graph_is_normalised_by_row_degrees() -> None:
    graph = torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])
    torch.testing.assert_close(normalise_graph(graph), torch.tensor([[[0.5, 0.5**0.5], [0.0, 1.0]]]))


def test_graph_carries_no_gradient() -> None:
    assert not similarity_graph(torch.rand(1, 5, 3, requires_grad=True), 2).requires_grad


def test_edges_pooled_early_equal_edges_pooled_late() -> None:
    """In eval mode the mean over positions moves in front of the affine part; the numbers stay."""
    torch.manual_seed(0)
    extractor = EdgeExtractor(8, 5)
    maps, tokens = torch.rand(2, 5, 9, 8), torch.rand(2, 9, 8)
    extractor(maps, tokens)  # moves the running statistics off 0 and 1
    early = extractor.eval()(maps, tokens)
    extractor.training = True
    extractor.bn.eval()
    torch.testing.assert_close(extractor(maps, tokens), early)


class Transparent(CrossAttention):
    """Leaves the maps as they are."""

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return target


def test_edge_direction() -> None:
    """Edge i * N + j receives from the map of i and asks with the map of j."""
    torch.manual_seed(0)
    extractor = EdgeExtractor(8, 3).eval()
    extractor.FAM = Transparent(8)
    maps = torch.rand(1, 3, 4, 8)
    edges = extractor(maps, torch.rand(1, 4, 8))
    wanted = extractor.edge_proj(extractor.ARM(maps[:, 2], maps[:, 1])).mean(1) / (1 + extractor.bn.eps) ** 0.5
    torch.testing.assert_close(edges[:, 1 * 3 + 2], wanted)


@pytest.mark.parametrize(("backbone", "stage"), [("small", 1), ("small", 2), ("resnet18", 1)])
def test_released_checkpoint_round_trip(tmp_path: Path, backbone: str, stage: int) -> None:
    torch.manual_seed(0)
    model = AUGraph(AUGraphConfig(backbone, stage)).eval()
    torch.save(released(model), tmp_path / "net.pth")
    loaded = load_released(tmp_path / "net.pth")
    assert loaded.config.backbone == backbone
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(images()).scores, model(images()).scores)


def test_swin_checkpoint_is_renamed() -> None:
    """The released Swin ends a stage by downsampling and stores two buffers that timm recomputes."""
    model = AUGraph(AUGraphConfig("swin_tiny"))
    state = {}
    for key, value in model.state_dict().items():
        for stage in (1, 2, 3):
            key = key.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")
        state[f"module.{key}"] = value
    state["module.backbone.layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    state["module.backbone.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    loaded = load_released(state)
    assert loaded.config.backbone == "swin_tiny"
    assert loaded.config.nodes == 384
    wanted = model.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in loaded.state_dict().items())


def test_root_code_checkpoint_loads(small: AUGraph) -> None:
    """The BP4D net: 12 AUs, no sub-AUs, `class_linears` and `sc`."""
    model = AUGraph(AUGraphConfig("small", main=12, sub=0))
    state = {key.replace("head.main_", "head."): value for key, value in model.state_dict().items()}
    assert "head.sc" in state
    loaded = load_released(state, neighbors=3)
    assert loaded.config == AUGraphConfig("small", main=12, sub=0, neighbors=3, width=64)
    assert loaded(images()).scores.shape == (2, 12)


def test_released_loader_names_what_is_missing(small: AUGraph) -> None:
    checkpoint = released(small)
    state = checkpoint["state_dict"]
    assert isinstance(state, dict)
    del state["module.head.gnn.U.weight"]
    state["module.head.edge_fc.weight"] = torch.zeros(4, 64)
    message = (
        r"does not fit a small stage-1 AU graph: 1 keys missing: head\.gnn\.U\.weight; "
        r"1 keys unexpected: head\.edge_fc\.weight"
    )
    with pytest.raises(ValueError, match=message):
        load_released(checkpoint)


def test_released_loader_names_wrong_shapes(small: AUGraph) -> None:
    state = small.state_dict()
    state["global_linear.bn.weight"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"1 keys of another shape: global_linear\.bn\.weight"):
        load_released(state)


def test_released_loader_refuses_strangers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"global_linear\.fc\.weight, head\.main_sc missing; it has fc\.weight"):
        load_released({"state_dict": {"module.fc.weight": torch.zeros(1)}})
    with pytest.raises(ValueError, match="unknown backbone of 768 channels"):
        load_released({"global_linear.fc.weight": torch.zeros(384, 768), "head.main_sc": torch.zeros(27, 384)})
    torch.save({"state_dict": {"a": Path("x")}}, tmp_path / "pickled.pth")
    with pytest.raises(ValueError, match=r"cannot read .*pickled\.pth as a checkpoint of weights"):
        load_released(tmp_path / "pickled.pth")
    with pytest.raises(ValueError, match=r"cannot read .*absent\.pth"):
        load_released(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"backbone": "resnet5"},
            r"unknown backbone 'resnet5' \(did you mean 'resnet50'\?\); allowed: resnet18,",
        ),
        ({"metric": "l3"}, "unknown metric 'l3'"),
        ({"stage": 3}, "unknown stage 3; allowed: 1, 2"),
        ({"neighbors": 28}, "neighbors is 28; allowed: 1 to 27"),
        ({"sub": 13}, "sub is 13; allowed: even numbers from 0 to 14"),
        ({"main": 8}, "14 sub-AUs need more than 8 main AUs"),
    ],
)
def test_config_says_what_is_allowed(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AUGraphConfig(**change)  # type: ignore[arg-type]


def test_loss_equals_the_hand_computed_number() -> None:
    """-(1/3) [2 log 0.8 + 0.5 * 0.4 log 0.6 + 1 * log 0.5]; the unknown label counts nowhere."""
    scores = torch.tensor([[0.8, 0.4], [0.9, 0.5]])
    labels = torch.tensor([[1, 0], [-1, 1]])
    weights = torch.tensor([2.0, 0.5])
    by_hand = -(2 * -0.2231436 + 0.5 * 0.4 * -0.5108256 + 0.5 * -0.6931472) / 3
    assert asymmetric_loss(scores, labels, weights).item() == pytest.approx(by_hand, abs=1e-6)


def test_loss_of_a_negative_has_no_gradient_through_its_own_weight() -> None:
    score = torch.tensor([[0.4]], requires_grad=True)
    asymmetric_loss(score, torch.tensor([[0]])).backward()
    assert score.grad is not None
    assert score.grad.item() == pytest.approx(0.4 / 0.6)


def test_loss_leaves_the_autograd_switch_alone() -> None:
    with torch.no_grad():
        asymmetric_loss(torch.tensor([[0.4]]), torch.tensor([[1]]))
        assert not torch.is_grad_enabled()


def test_loss_of_unknown_labels_only_is_zero() -> None:
    assert asymmetric_loss(torch.tensor([[0.4]]), torch.tensor([[-1]])).item() == 0


def test_class_weights() -> None:
    """Rates 1/2, 1/4 and none: weights 1 and 2 for the first two, zero for the third, sum 3."""
    labels = torch.tensor([[1, 1, 0], [0, 0, 0], [-1, 0, -1], [-1, 0, 0]])
    assert class_weights(labels).tolist() == pytest.approx([1.0, 2.0, 0.0])


def test_frozen_net_keeps_its_statistics() -> None:
    """A parent's .train() and an optimiser step change neither buffers nor weights of a frozen net."""
    frozen = freeze(AUGraph(AUGraphConfig("small")))
    parent = nn.ModuleDict({"frozen": frozen, "head": nn.Linear(64, 1)})
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in parent.parameters() if p.requires_grad], lr=1.0)
    parent.train()
    parent["head"](frozen(images()).nodes).sum().backward()
    optimizer.step()
    assert parent["head"].training
    assert not any(module.training for module in frozen.modules())
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())


def test_unfrozen_net_would_not(small: AUGraph) -> None:
    model = copy.deepcopy(small)
    before = model.global_linear.bn.running_mean
    assert before is not None
    before = before.clone()
    model.train()(images())
    assert not torch.equal(model.global_linear.bn.running_mean, before)  # type: ignore[arg-type]


def test_frozen_net_can_be_copied_and_pickled(small: AUGraph) -> None:
    frozen = freeze(copy.deepcopy(small))
    for twin in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert twin.train() is twin
        assert not twin.get_submodule("backbone").training


@pytest.mark.parametrize(("name", "shape"), [("resnet18", (1, 9, 512)), ("small", (1, 9, 160))])
def test_backbone_gives_tokens(name: str, shape: tuple[int, ...]) -> None:
    backbone, channels = build_backbone(name)
    assert backbone.eval()(images(1)).shape == shape
    assert channels == shape[-1]


def test_er_net() -> None:
    model = ERNet(ERNetConfig("small", classes=11)).eval()
    assert 0.3e6 < sum(p.numel() for p in model.parameters()) < 0.6e6
    output = model(images())
    assert output.features.shape == (2, model.width)
    torch.testing.assert_close(model.fc(output.features), output.logits)
    assert output.logits.shape == (2, 11)
