"""PKD in a project of one's own: two networks, exits, teachers, WISE and leaving early, on made-up data."""

import torch
from torch import nn

from pkdlib import distillation, early_exit, ensemble, models, training

torch.manual_seed(0)
labels = torch.randint(4, (300,))  # seen by two sensors, one of which is noisy; the first 200 samples train
data = {name: torch.eye(4)[labels] + noise * torch.randn(300, 4) for name, noise in (("noisy", 0.6), ("clear", 0.3))}
batches = [({name: x[i : i + 20] for name, x in data.items()}, labels[i : i + 20]) for i in range(0, 200, 20)]

backbones = {}
for name, x in data.items():  # two networks, trained in any way, each with two places for exits
    net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(100):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x[:200]), labels[:200]).backward()
        optimiser.step()
    backbones[name] = models.tapped(net, at=["1", "3"], example=x[:2])

# The exits learn from the labels, or from one network after the other.
schedules = {"cross-entropy": distillation.labels(), "PKD": distillation.progressive(noisy=1 / 3, clear=2 / 3)}
recipe = training.Recipe(epochs=30, lr=0.05)
for schedule, networks in distillation.train_exits(backbones, batches, schedules, recipe, num_classes=4).items():
    with torch.no_grad():  # 50 samples choose the weights and when to leave, for half of the cost; 50 others judge
        logits = torch.stack([z for name, net in networks.items() for z in net(data[name][200:250])], dim=1).numpy()
    chosen, costs = labels[200:250].numpy(), torch.arange(1, 7).numpy()  # of leaving at exit 1 to 6, in any unit
    weights = ensemble.wise_weights(logits, chosen)
    threshold = early_exit.choose_threshold(ensemble.weighted_scores(logits, weights), chosen, costs, budget=3)
    policy = early_exit.Policy(order=tuple(networks), weights=tuple(weights), threshold=threshold)
    answers = early_exit.execute(networks, lambda name, left: data[name][250:][left], 50, policy)
    right, left_at = (answers.labels == labels[250:].numpy()).mean(), answers.exits.mean() + 1
    print(f"{schedule}: {right:.0%} of 50 samples right, at exit {left_at:.1f} of 6 on average")
