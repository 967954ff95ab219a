import subprocess
import sys

import pytest
import torch

from kfp_ratchet.components.train.optimizer import AdamW


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))


def gradients(net, seed):
    torch.manual_seed(seed)
    net(torch.randn(16, 5)).square().mean().backward()


def bits(net):
    return b"".join(tensor.numpy().tobytes() for tensor in net.state_dict().values())


def test_it_moves_parameters_as_torchs_own_class_does_bit_by_bit():
    net, reference = network(), network()
    own, theirs = AdamW(net.parameters(), 0.1), torch.optim.AdamW(reference.parameters(), weight_decay=0.1, fused=True)
    for step, rate in enumerate((1e-2, 3e-3, 1e-3)):
        gradients(net, step)
        own.step(rate)
        gradients(reference, step)
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
        theirs.zero_grad()
        assert bits(net) == bits(reference)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_it_goes_on_from_its_state():
    net, again = network(), network()
    whole, first = AdamW(net.parameters(), 0.1), AdamW(again.parameters(), 0.1)
    for step in range(2):
        for model, optimizer in ((net, whole), (again, first)):
            gradients(model, step)
            optimizer.step(1e-2)
    second = AdamW(again.parameters(), 0.1)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    for model, optimizer in ((net, whole), (again, second)):
        gradients(model, 2)
        optimizer.step(1e-2)
    assert bits(net) == bits(again)


@pytest.mark.slow
def test_a_fit_imports_neither_torchs_compiler_nor_what_it_needs():
    code = (
        "import sys\n"
        "from kfp_ratchet.components.train.tabular import Tabular\n"
        "from kfp_ratchet.testing.rules import RecordingContext\n"
        "from kfp_ratchet.testing.tables import example\n"
        "t = example('binary')\n"
        "Tabular.fit(t.rows, t.validation, t.columns, {'epochs': 1}, RecordingContext())\n"
        "print({'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
