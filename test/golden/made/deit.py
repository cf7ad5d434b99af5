"""Writes network-deit_tiny.json and network-kw1x_deit_tiny.json: DeiT in PyTorch, float64, as timm defines it, with the KernelWarehouse layers of the
paper's section 3 written independently of this package. The authors released no DeiT code, so these cases check our reconstruction's arithmetic,
not its choice of layers. Run with any Python that has PyTorch: python3 test/golden/made/deit.py OUTPUT_FOLDER
"""
import json
import math
import sys

import torch
from torch import nn
from torch.nn import functional as F

from filling import fill

WIDTH, HEADS, BLOCKS, PATCH, SIZE, BATCH, CLASSES = 192, 3, 12, 16, 32, 4, 10
torch.set_default_dtype(torch.float64)


class Warehouse:
    """The cells of a group of layers, d x d each, and the cells that were given out."""

    def __init__(self, index, cells):
        self.name, self.cells, self.next = f'warehouse_manager.weights.{index}', cells, 0


class Attention(nn.Module):
    """z from the mean over the tokens; alpha = (1 - tau) z / (sum |z| + 1e-3) + tau beta, the zero cell's column dropped."""

    def __init__(self, channels, mixtures, cells, start):
        super().__init__()
        hidden = max(channels // 16, 16)
        self.fc1, self.norm1 = nn.Linear(channels, hidden), nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, mixtures * (cells + 1))
        self.beta = torch.zeros(mixtures, cells + 1)
        for mixture in range(mixtures):
            self.beta[mixture, start + mixture] = 1

    def forward(self, x, tau):
        z = self.fc2(F.relu(self.norm1(self.fc1(x.mean(1))))).reshape(len(x), *self.beta.shape)
        alpha = (1 - tau) * z / (z.abs().sum(-1, keepdim=True) + 1e-3) + tau * self.beta
        return alpha[..., :-1]


class Dynamic(nn.Module):
    """A linear layer whose matrix is, for each sample, a grid of mixtures of the warehouse's cells."""

    def __init__(self, inputs, outputs, network, warehouse):
        super().__init__()
        self.grid = (outputs // WIDTH, inputs // WIDTH)
        mixtures = self.grid[0] * self.grid[1]
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.attention = Attention(inputs, mixtures, warehouse.cells, warehouse.next)
        self.network, self.warehouse = [network], warehouse
        warehouse.next += mixtures

    def forward(self, x):
        network = self.network[0]
        cells = network.get_parameter(self.warehouse.name)[..., 0, 0]
        alpha = self.attention(x, network.tau).reshape(len(x), *self.grid, -1)
        weight = torch.einsum('boij,jfc->bofic', alpha, cells).reshape(len(x), self.grid[0] * WIDTH, self.grid[1] * WIDTH)
        return torch.einsum('btc,bfc->btf', x, weight) + self.bias


class Block(nn.Module):
    def __init__(self, index, layer, is_dynamic):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn, self.mlp, self.is_dynamic = nn.Module(), nn.Module(), is_dynamic
        if is_dynamic:
            self.attn.qk, self.attn.v = nn.Linear(WIDTH, 2 * WIDTH), layer(WIDTH, WIDTH, index)
        else:
            self.attn.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.attn.proj = layer(WIDTH, WIDTH, index)
        self.mlp.fc1, self.mlp.fc2 = layer(WIDTH, 4 * WIDTH, index), layer(4 * WIDTH, WIDTH, index)

    def forward(self, x):
        y = self.norm1(x)
        projected = torch.cat([self.attn.qk(y), self.attn.v(y)], -1) if self.is_dynamic else self.attn.qkv(y)
        query, key, value = projected.reshape(*x.shape[:2], 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) / math.sqrt(WIDTH // HEADS)).softmax(-1)
        x = x + self.attn.proj((weights @ value).transpose(1, 2).reshape(x.shape))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class Deit(nn.Module):
    def __init__(self, is_dynamic):
        super().__init__()
        self.tau = 0.0
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, (SIZE // PATCH) ** 2 + 1, WIDTH))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        warehouses = [Warehouse(index, 30) for index in range(4)]
        if is_dynamic:
            self.warehouse_manager = nn.Module()
            self.warehouse_manager.weights = nn.ParameterList([nn.Parameter(torch.zeros(30, WIDTH, WIDTH, 1, 1)) for _ in warehouses])
        layer = (lambda i, o, index: Dynamic(i, o, self, warehouses[index // 3])) if is_dynamic else (lambda i, o, _: nn.Linear(i, o))
        self.blocks = nn.ModuleList([Block(index, layer, is_dynamic) for index in range(BLOCKS)])
        self.norm, self.head = nn.LayerNorm(WIDTH, eps=1e-6), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        patches = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def interval(name, shape):
    if 'norm' in name and name.endswith('weight'):
        return 0.9, 1.1
    if len(shape) == 1:
        return -0.1, 0.1
    if name.startswith('warehouse'):
        bound = 1 / math.sqrt(WIDTH)
    elif 'fc2' in name and 'attention' in name:
        bound = 0.02
    else:
        bound = math.sqrt(3 / math.prod(shape[1:]))
    return -bound, bound


def digest(tensor):
    flat = tensor.flatten()
    places = sorted({0, 1, len(flat) // 3, len(flat) // 2, len(flat) - 1})
    return {'shape': list(tensor.shape), 'sum': flat.sum().item(), 'l2': flat.norm().item(), 'at': {str(i): flat[i].item() for i in places}}


def write(folder, name, is_dynamic, tau):
    network = Deit(is_dynamic)
    network.tau = tau
    params = []
    for tensor, value in network.named_parameters():
        low, high = interval(tensor, value.shape)
        value.data = fill(f'{name}/{tensor}', value.shape, low, high)
        params.append({'name': tensor, 'key': f'{name}/{tensor}', 'shape': list(value.shape), 'lo': low, 'hi': high})
    noise = fill(f'{name}/x', (BATCH, 3, SIZE, SIZE), -0.5, 0.5)
    colour = fill(f'{name}/x/colour', (BATCH, 3), -2, 2)
    x = (noise.float() + colour.float()[:, :, None, None]).double().requires_grad_()
    targets = torch.arange(BATCH) * 7 % CLASSES
    logits = network(x)
    loss = F.cross_entropy(logits, targets)
    loss.backward()
    model = 'kw_deit_tiny' if is_dynamic else 'deit_tiny'
    case = {'name': name, 'model': model, 'classes': CLASSES, 'batch': BATCH, 'size': SIZE, 'tau': tau}
    if is_dynamic:
        case['config'] = {'reduction': 0.0625, 'cell_num_ratio': 1, 'sharing_range': ['layer', 'linear']}
    warehouses = [{'name': f'group{i}_layer_linear', 'n': 30, 'cell': [WIDTH, WIDTH, 1, 1]} for i in range(4)] if is_dynamic else []
    train = {
        'targets': targets.tolist(),
        'logits': logits.tolist(),
        'loss': loss.item(),
        'dx': digest(x.grad),
        'float32_deviation': 0,
        'grads': {tensor: digest(value.grad) for tensor, value in network.named_parameters()},
        'unused': [],
    }
    data = {
        'case': case,
        'parameters': sum(value.numel() for value in network.parameters()),
        'params': params,
        'warehouses': warehouses,
        'eval': {'logits': logits.tolist(), 'float32_deviation': 0},
        'train': train,
    }
    with open(f'{folder}/network-{name}.json', 'w') as file:
        json.dump(data, file, indent=1)
        file.write('\n')


write(sys.argv[1], 'deit_tiny', False, 0.0)
write(sys.argv[1], 'kw1x_deit_tiny', True, 0.3)
