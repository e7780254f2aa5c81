import torch
from torch import nn

from likelier.plan.trace import LARGE_BLOCK, Operation, Tracer, bring_to_cpu, count_bytes, list_weights, without_data

META = torch.device("meta")


def build(*layers):
    with META:
        model = nn.Sequential(*(make() for make in layers))
    bring_to_cpu(model)
    return model


def test_forward_and_backward_pass_of_two_layers_by_hand():
    """x [5, 10] -> a [5, 20] -> tanh t [5, 20] -> b [5, 30]: the graph keeps t, and the sum has no need of b."""
    model = build(lambda: nn.Linear(10, 20), nn.Tanh, lambda: nn.Linear(20, 30))
    with without_data():
        x = torch.empty(5, 10)
        with Tracer([*list_weights(model), x]) as tracer:
            hooks = tracer.follow_gradients(model.parameters())
            loss = model(x).sum()
            assert tracer.live == {"activations": 4 * (5 * 20 + 1)}
            loss.backward()
            del loss
            trace = tracer.finish()
    [hook.remove() for hook in hooks]
    assert trace.kept == 4 * (10 * 20 + 20 + 20 * 30 + 30)
    # Forward 2 * 5 * 10 * 20 and 2 * 5 * 20 * 30; backward the same for the weights, and for t.
    assert sum(each.flops * count for each, count in trace.operations.items()) == 2000 + 6000 + 2000 + 2 * 6000


def test_the_peak_is_the_sum_of_what_lives_at_a_time():
    with without_data(), Tracer([]) as tracer:
        first = torch.empty(1000)
        second = first + 1
        del first
        third = second * 2
        view = third[:10]
        del second, third
        assert tracer.live == {"activations": 4000}
        del view
    trace = tracer.finish()
    assert (trace.peak, trace.kept, trace.most_small) == ({"activations": 8000}, 0, 8000)


def test_large_blocks_are_not_small_ones():
    with without_data(), Tracer([]) as tracer:
        kept = [torch.empty(LARGE_BLOCK, dtype=torch.uint8), torch.empty(LARGE_BLOCK - 1, dtype=torch.uint8)]
    assert tracer.finish().most_small == LARGE_BLOCK - 1
    assert len(kept) == 2


def test_kinds_of_memory():
    model = build(lambda: nn.Linear(8, 7, bias=False))
    with without_data():
        x = torch.empty(3, 8)
        with Tracer([*list_weights(model), x], vocabulary=7) as tracer, torch.autocast("cpu", torch.bfloat16):
            logits = model(x)
            assert logits.shape == (3, 7)
    # The weight and x in 16 bits, and the logits in 16 bits.
    assert tracer.finish().peak == {"weights": 2 * (8 * 7 + 3 * 8), "logits": 2 * 3 * 7}


def test_tied_weights_count_once():
    model = build(lambda: nn.Linear(4, 4), lambda: nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert count_bytes(list_weights(model)) == 4 * (16 + 4 + 4)


def test_an_embedding_reads_the_rows_of_its_tokens():
    model = build(lambda: nn.Embedding(1000, 4))
    with without_data(), Tracer(list_weights(model)) as tracer:
        tokens = torch.zeros(2, 3, dtype=torch.long)
        model(tokens)
    assert Operation(0, 8 * 6 + 4 * 6 * 4, False) in tracer.finish().operations
