"""Parameter groups: who is in which, against tables written by hand, and what torch's optimizers do with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from components.errors import UserError
from components.models.cnn.lenet5 import LeNet5
from components.optim.groups import freeze, layers_of, parameter_groups
from components.spec.schema import ParametersSpec


class MyNorm(nn.LayerNorm):
    """A subclass, as a model might have."""


class Network(nn.Module):
    """A parameter outside all layers, three layers, normalisation, biases."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.stem = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.body = nn.Linear(4, 4)
        self.head = nn.Sequential(MyNorm(4), nn.Linear(4, 2, bias=False))


class Ordered(Network):
    """The same, with an order of its own: the stem comes last, the head is no layer."""

    def layers(self) -> list[nn.Module]:
        return [self.body, self.stem]


class Tied(nn.Module):
    """The output layer has the embedding's weights (Press & Wolf 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.hidden = nn.Linear(3, 3)
        self.output = nn.Linear(3, 5)
        self.output.weight = self.embedding.weight


def names_of(network: nn.Module, **options: object) -> list[tuple[list[str], float, float | None]]:
    """Groups as (names, rate factor, weight decay)."""
    names = {p: name for name, p in network.named_parameters()}
    groups = parameter_groups(network, ParametersSpec(**options))
    return [([names[p] for p in g["params"]], g["rate_factor"], g.get("weight_decay")) for g in groups]


def rates_of(network: nn.Module, **options: object) -> dict[str, float]:
    return {name: factor for names, factor, _ in names_of(network, **options) for name in names}


def undecayed(network: nn.Module, *no_decay: str) -> set[str]:
    return {name for names, _, decay in names_of(network, no_decay=no_decay) for name in names if decay == 0.0}


@pytest.mark.parametrize("network", [Network(), Tied(), LeNet5()], ids=lambda n: type(n).__name__)
def test_by_default_there_is_one_group_in_the_network_s_order(network):
    (group,) = parameter_groups(network, ParametersSpec())
    assert group.keys() == {"params", "rate_factor"} and group["rate_factor"] == 1.0
    assert all(a is b for a, b in zip(group["params"], network.parameters(), strict=True))


def test_biases_and_norms_are_kinds():
    biases = {"stem.0.bias", "stem.1.bias", "body.bias", "head.0.bias"}
    norms = {"stem.1.weight", "stem.1.bias", "head.0.weight", "head.0.bias"}
    assert undecayed(Network(), "bias") == biases
    assert undecayed(Network(), "norm") == norms
    assert undecayed(Network(), "bias", "norm", "token") == biases | norms | {"token"}


def test_groups_come_in_the_order_of_their_first_parameter():
    assert names_of(Network(), no_decay=("bias", "norm")) == [
        (["token", "stem.0.weight", "body.weight", "head.1.weight"], 1.0, None),
        (["stem.0.bias", "stem.1.weight", "stem.1.bias", "body.bias", "head.0.weight", "head.0.bias"], 1.0, 0.0),
    ]


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(4),
        nn.BatchNorm2d(4),
        nn.BatchNorm3d(4),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.LayerNorm(4),
        nn.GroupNorm(2, 4),
        nn.RMSNorm(4),
        MyNorm(4),
    ],
    ids=lambda n: type(n).__name__,
)
def test_every_norm_of_torch_is_one(norm):
    network = nn.Sequential(nn.Linear(4, 4), norm)
    assert undecayed(network, "norm") == {name for name, _ in network.named_parameters() if name.startswith("1.")} != set()


def test_what_a_norm_computes_its_affine_parameters_with_is_no_norm():
    """An adaptive norm holds a linear layer; that one decays."""
    norm = MyNorm(4)
    norm.modulation = nn.Linear(2, 4)
    assert undecayed(nn.Sequential(norm), "norm") == {"0.weight", "0.bias"}


def test_biases_of_recurrent_and_attention_layers_are_found():
    assert undecayed(nn.LSTM(2, 3, bidirectional=True), "bias") == {"bias_ih_l0", "bias_hh_l0", "bias_ih_l0_reverse", "bias_hh_l0_reverse"}
    assert undecayed(nn.MultiheadAttention(4, 2), "bias") == {"in_proj_bias", "out_proj.bias"}


def test_a_kind_may_match_nothing_and_is_not_a_pattern():
    assert undecayed(nn.Linear(2, 2, bias=False), "bias", "norm") == set()
    network = nn.Module()
    network.norm = nn.Parameter(torch.zeros(1))  # by its name no normalisation
    assert undecayed(network, "norm") == set()


def test_patterns_are_the_shell_s_and_know_letters_from_capitals():
    assert undecayed(Network(), "stem.*") == {"stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias"}
    assert undecayed(Network(), "*.[01].bias") == {"stem.0.bias", "stem.1.bias", "head.0.bias"}
    with pytest.raises(UserError, match="matches no parameter"):
        undecayed(Network(), "Body.*")


def test_layer_decay_over_children():
    """Three children, the last at 1; the token lies outside and is as deep as the first."""
    quarter = ["token", "stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias"]
    assert names_of(Network(), layer_decay=0.5) == [
        (quarter, 0.25, None),
        (["body.weight", "body.bias"], 0.5, None),
        (["head.0.weight", "head.0.bias", "head.1.weight"], 1.0, None),
    ]


def test_layer_decay_over_the_layers_that_a_model_names():
    rates = rates_of(Ordered(), layer_decay=0.1)
    assert rates["stem.0.weight"] == 1.0
    assert rates["body.weight"] == rates["head.1.weight"] == rates["token"] == 0.1  # the last two lie outside


def test_a_beit_of_twelve_blocks_has_the_rates_of_its_paper():
    """Embedding, twelve blocks, head: 0.65^13, 0.65^12, ..., 1."""
    network = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(14)))
    assert list(rates_of(network, layer_decay=0.65).values()) == pytest.approx([0.65 ** (13 - depth) for depth in range(14)])


def test_a_model_s_attribute_layers_is_not_its_method():
    network = nn.Module()
    network.layers = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    network.head = nn.Linear(1, 1)
    assert layers_of(network) == [network.layers, network.head]
    assert rates_of(network, layer_decay=0.5)["layers.1.weight"] == 0.5


def test_a_network_without_children_is_one_layer():
    assert rates_of(nn.Linear(2, 2), layer_decay=0.5) == {"weight": 1.0, "bias": 1.0}


def test_rates_are_multiplied_with_each_other_and_with_the_layer_s():
    rates = rates_of(Network(), layer_decay=0.5, rates={"body.*": 4.0, "*.bias": 0.25})
    assert (rates["body.weight"], rates["body.bias"], rates["stem.0.bias"], rates["head.1.weight"]) == (2.0, 0.5, 0.0625, 1.0)


def test_rate_and_decay_make_groups_together():
    assert names_of(Network(), no_decay=("bias", "norm"), rates={"head.*": 10.0}) == [
        (["token", "stem.0.weight", "body.weight"], 1.0, None),
        (["stem.0.bias", "stem.1.weight", "stem.1.bias", "body.bias"], 1.0, 0.0),
        (["head.0.weight", "head.0.bias"], 10.0, 0.0),
        (["head.1.weight"], 10.0, None),
    ]


def test_tied_parameters_stand_once_and_answer_to_both_names():
    groups = names_of(Tied())
    assert [sorted(names) for names, *_ in groups] == [["embedding.weight", "hidden.bias", "hidden.weight", "output.bias"]]
    assert undecayed(Tied(), "output.weight") == {"embedding.weight"}
    assert rates_of(Tied(), rates={"output.weight": 3.0})["embedding.weight"] == 3.0
    assert rates_of(Tied(), layer_decay=0.5)["embedding.weight"] == 0.25  # of the first layer, not of the last
    assert rates_of(Tied(), rates={"*": 2.0})["embedding.weight"] == 2.0  # both names match, the factor counts once


def test_frozen_parameters_are_in_no_group():
    network = Network()
    freeze(network, ("stem.*", "token"))
    frozen = {"token", "stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias"}
    assert {name for name, p in network.named_parameters() if not p.requires_grad} == frozen
    assert rates_of(network, layer_decay=0.5, rates={"stem.*": 2.0}).keys() == {name for name, _ in network.named_parameters()} - frozen
    freeze(network, ("*",))
    assert parameter_groups(network, ParametersSpec()) == []


def test_freezing_leaves_the_values_and_stops_the_gradients():
    network = Network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    freeze(network, ())
    assert all(p.requires_grad for p in network.parameters())
    freeze(network, ("body.weight",))
    network.head(network.body(network.stem(torch.ones(2, 4)))).sum().backward()
    assert network.body.weight.grad is None and network.body.bias.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"no_decay": ("stm.*",)}, r"parameters\.no_decay matches no parameter, did you mean 'stem\.\*'"),
        ({"no_decay": ("body.weigth",)}, r"parameters\.no_decay matches no parameter, did you mean 'body\.weight'"),
        ({"rates": {"heads.1.weight": 2.0}}, r"parameters\.rates matches no parameter, did you mean 'head\.1\.weight'"),
        ({"rates": {"head.*": -1.0}}, r"parameters\.rates of 'head\.\*' is out of range"),
    ],
)
def test_a_pattern_that_matches_nothing_names_its_neighbour(options, told):
    with pytest.raises(UserError, match=told):
        parameter_groups(Network(), ParametersSpec(**options))


def test_freezing_what_is_not_there_names_its_neighbour():
    with pytest.raises(UserError, match=r"parameters\.frozen matches no parameter, did you mean 'stem\.\*'"):
        freeze(Network(), ("stem*.x",))
    with pytest.raises(UserError, match="there are none"):
        freeze(nn.ReLU(), ("*",))


def loss(network: nn.Module) -> Tensor:
    return sum((p.sum() for p in network.parameters()), torch.zeros(()))


def test_torch_s_sgd_decays_and_moves_each_group_as_told():
    """One step from weight 1 with gradient 1, rate 0.1 x factor, decay 0.5: w - rate (1 + 0.5 w)."""
    network = nn.Linear(1, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    optimizer = torch.optim.SGD(parameter_groups(network, ParametersSpec(no_decay=("bias",), rates={"weight": 2.0})), lr=0.1, weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] *= group["rate_factor"]
    loss(network).backward()
    optimizer.step()
    assert network.weight.item() == pytest.approx(1 - 0.2 * 1.5)
    assert network.bias.item() == pytest.approx(1 - 0.1)
