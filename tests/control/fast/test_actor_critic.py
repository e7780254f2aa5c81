"""The gradient that is worked out by hand against autograd's and against differences; numpy against PyTorch."""

import pytest
import torch
from torch import nn

from likelier.control.fast.actor_critic import SMALL_SIZE, ActorCriticMLP, MLPFunction, activate, numpy_mlp

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


def towers(activation, hidden=(7, 5), outputs=3):
    made = ActorCriticMLP(4, hidden, outputs, activation)
    made.initialise(torch.Generator().manual_seed(0), 1.4, 0.5, 1.0)
    return made


def plain(made, tower, num_outputs):
    """The same numbers in PyTorch's own modules."""
    layers = []
    for weight, bias in zip(made.weights, made.biases, strict=True):
        layer = nn.Linear(weight.shape[2], weight.shape[1])
        layer.load_state_dict({"weight": weight[tower], "bias": bias[tower, 0]})
        layers += [layer, ACTIVATIONS[made.activation]()]
    return nn.Sequential(*layers[:-1]), num_outputs


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rows", [3, SMALL_SIZE])
def test_both_towers_are_what_pytorch_makes_of_them(activation, rows):
    made, features = towers(activation), torch.randn(rows, 4, requires_grad=True)
    outputs, values = made(features)
    (outputs.sum() + 2 * values.square().sum()).backward()
    found = features.grad.clone()

    features.grad = None
    actor, critic = (plain(made, tower, 3)[0] for tower in (0, 1))
    (actor(features).sum() + 2 * critic(features)[:, :1].square().sum()).backward()
    torch.testing.assert_close(outputs, actor(features))
    torch.testing.assert_close(values, critic(features)[:, :1])
    torch.testing.assert_close(found, features.grad, atol=1e-5, rtol=1e-4)
    for at, weight in enumerate(made.weights):
        for tower, net in enumerate((actor, critic)):
            torch.testing.assert_close(weight.grad[tower], net[2 * at].weight.grad, atol=1e-3, rtol=1e-4)
            torch.testing.assert_close(made.biases[at].grad[tower, 0], net[2 * at].bias.grad, atol=1e-3, rtol=1e-4)
    assert (made.weights[-1].grad[1, 1:] == 0).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_is_that_of_small_differences(activation):
    made = towers(activation).double()
    features = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    layers = [torch.randn_like(each).requires_grad_() for each in (*made.weights, *made.biases)]
    assert torch.autograd.gradcheck(lambda x, *layers: MLPFunction.apply(x, activation, *layers), (features, *layers))


def test_without_a_graph_the_numbers_are_the_same_bits():
    made, features = towers("tanh", hidden=(64, 64)), torch.randn(256, 4)
    with torch.no_grad():
        before = made(features)
    assert all(torch.equal(a, b) for a, b in zip(before, made(features), strict=True))


def test_tanh_of_many_numbers():
    z = torch.linspace(-30, 30, 2 * SMALL_SIZE).view(2, SMALL_SIZE, 1)
    given = activate(z - 0.5, torch.ones(2, 1, 1), torch.full((2, 1, 1), 0.5), "tanh")
    torch.testing.assert_close(given, z.tanh(), atol=4e-7, rtol=0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_policy_in_numpy_follows_the_weights(activation):
    made, features = towers(activation), torch.randn(5, 4)
    layers = made.policy_layers()
    for _ in range(2):
        found = numpy_mlp(features.numpy(), layers, activation)
        torch.testing.assert_close(torch.from_numpy(found), made(features)[0].detach())
        with torch.no_grad():
            made.weights[1].mul_(2)
