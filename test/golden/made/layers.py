"""Writes layer cases that the authors' files do not have: one- and three-dimensional convolutions, rectangular kernels. The KernelWarehouse layer is
written here from the paper's section 3 and independently of this package, in PyTorch and float64. Run with any Python that has PyTorch:
python3 test/golden/made/layers.py OUTPUT_FOLDER
"""
import json
import math
import struct
import sys

import torch
from torch import nn
from torch.nn import functional as F

from filling import fill

torch.set_default_dtype(torch.float64)
CONVOLUTIONS = {'conv1d': F.conv1d, 'conv2d': F.conv2d, 'conv3d': F.conv3d}
DIMENSIONS = {'conv1d': 1, 'conv2d': 2, 'conv3d': 3}

CASES = [
    {'name': 'conv1d', 'batch': 3, 'layers': [
        {'type': 'conv1d', 'in': 12, 'out': 24, 'kernel': 3, 'padding': 1, 'stride': 2, 'bias': True, 'input': [12, 11]},
        {'type': 'conv1d', 'in': 24, 'out': 12, 'kernel': 5, 'dilation': 2, 'groups': 2, 'input': [24, 13]}]},
    {'name': 'conv3d', 'batch': 3, 'layers': [
        {'type': 'conv3d', 'in': 8, 'out': 16, 'kernel': [3, 2, 1], 'padding': [1, 0, 0], 'stride': [2, 1, 1], 'input': [8, 5, 4, 3]},
        {'type': 'conv3d', 'in': 16, 'out': 8, 'kernel': 3, 'padding': 1, 'groups': 2, 'bias': True, 'input': [16, 3, 4, 5]}]},
    {'name': 'conv3d_nopartition', 'batch': 2, 'norm': 'ln', 'spatial_partition': False, 'layers': [
        {'type': 'conv3d', 'in': 8, 'out': 8, 'kernel': [3, 1, 2], 'dilation': [1, 1, 2], 'input': [8, 4, 3, 5]},
        {'type': 'conv3d', 'in': 16, 'out': 8, 'kernel': [3, 1, 2], 'input': [16, 4, 3, 5]}]},
    {'name': 'rectangular', 'batch': 3, 'layers': [
        {'in': 8, 'out': 8, 'kernel': [1, 5], 'padding': [0, 2], 'stride': [2, 1], 'input': [8, 7, 6]},
        {'in': 8, 'out': 16, 'kernel': [3, 2], 'dilation': [1, 3], 'padding': [1, 0], 'bias': True, 'input': [8, 5, 9]},
        {'in': 16, 'out': 16, 'kernel': [3, 1], 'stride': [1, 3], 'groups': 2, 'input': [16, 5, 9]}]},
]


def each(value, count):
    return list(value) if isinstance(value, list) else [value] * count


class Layer(nn.Module):
    """alpha mixes cells; mixture (s * Go + go) * Gi + gi is the part of the kernel at spatial cell s, output cell go, input cell gi."""

    def __init__(self, spec, cell, cells, start, layer_norm):
        super().__init__()
        kind = spec.get('type', 'conv2d')
        count = DIMENSIONS[kind]
        self.convolution, self.groups, self.cell = CONVOLUTIONS[kind], spec.get('groups', 1), cell
        self.options = {name: each(spec.get(name, default), count) for name, default in (('stride', 1), ('padding', 0), ('dilation', 1))}
        self.kernel = each(spec.get('kernel', 1), count)
        self.outputs, self.inputs = spec['out'], spec['in'] // self.groups
        self.mixtures = mixture_count(spec, cell)
        self.bias = nn.Parameter(torch.zeros(spec['out'])) if spec.get('bias') else None
        self.attention = nn.Module()
        self.attention.fc1 = nn.Linear(spec['in'], 16, bias=layer_norm)
        self.attention.norm1 = nn.LayerNorm(16) if layer_norm else nn.BatchNorm1d(16)
        self.attention.fc2 = nn.Linear(16, self.mixtures * (cells + 1))
        self.beta = torch.zeros(self.mixtures, cells + 1)
        for mixture in range(self.mixtures):
            self.beta[mixture, start + mixture] = 1

    def weight(self, alpha, cells):
        """Copies every mixture of one sample to its place."""
        out_cells, in_cells = self.outputs // self.cell[0], self.inputs // self.cell[1]
        weight = torch.zeros(self.outputs, self.inputs, *self.kernel)
        spatial = [range(0, size, step) for size, step in zip(self.kernel, self.cell[2:])]
        places = [()]
        for positions in spatial:
            places = [(*place, position) for place in places for position in positions]
        mixtures = iter(torch.einsum('mn,n...->m...', alpha, cells))
        for place in places:
            window = tuple(slice(begin, begin + size) for begin, size in zip(place, self.cell[2:]))
            for go in range(out_cells):
                for gi in range(in_cells):
                    rows = slice(go * self.cell[0], (go + 1) * self.cell[0])
                    columns = slice(gi * self.cell[1], (gi + 1) * self.cell[1])
                    weight[(rows, columns, *window)] = next(mixtures)
        return weight

    def forward(self, x, cells, tau):
        pooled = x.flatten(2).mean(-1)
        z = self.attention.fc2(F.relu(self.attention.norm1(self.attention.fc1(pooled)))).reshape(len(x), *self.beta.shape)
        alpha = ((1 - tau) * z / (z.abs().sum(-1, keepdim=True) + 1e-3) + tau * self.beta)[..., :-1]
        return torch.cat([
            self.convolution(sample[None], self.weight(attention, cells), self.bias, groups=self.groups, **self.options)
            for sample, attention in zip(x, alpha)])


def mixture_count(spec, cell):
    kernel = each(spec.get('kernel', 1), len(cell) - 2)
    inputs = spec['in'] // spec.get('groups', 1)
    return spec['out'] // cell[0] * (inputs // cell[1]) * math.prod(size // step for size, step in zip(kernel, cell[2:]))


def cell_of(case):
    layers = case['layers']
    count = DIMENSIONS[layers[0].get('type', 'conv2d')]
    outputs = math.gcd(*(layer['out'] for layer in layers))
    inputs = math.gcd(*(layer['in'] // layer.get('groups', 1) for layer in layers))
    spatial = [1] * count if case.get('spatial_partition', True) else each(layers[0]['kernel'], count)
    return [outputs, inputs, *spatial]


class Network(nn.Module):
    def __init__(self, case):
        super().__init__()
        cell = cell_of(case)
        mixtures = [mixture_count(layer, cell) for layer in case['layers']]
        cells = sum(mixtures)
        self.warehouse_manager = nn.Module()
        self.warehouse_manager.weights = nn.ParameterList([nn.Parameter(torch.zeros(cells, *cell))])
        self.layers = nn.ModuleList([
            Layer(layer, cell, cells, sum(mixtures[:index]), case.get('norm') == 'ln') for index, layer in enumerate(case['layers'])])


def interval(name, shape):
    if name.endswith('running_var'):
        return 0.8, 1.2
    if 'norm1.weight' in name:
        return 0.9, 1.1
    if len(shape) == 1:
        return -0.1, 0.1
    return (-0.6, 0.6) if 'attention' in name else (-0.9, 0.9)


def run(case, tau, training, tensors):
    """One result of the case's file; its tensors are added to `tensors`."""
    name = case['name']
    network = Network(case).train(training)
    state = {key: value for key, value in network.state_dict().items() if 'num_batches' not in key}
    for key, value in state.items():
        value.copy_(fill(f'{name}/{key}', value.shape, *interval(key, value.shape)))
    prefix = f't{tau:g}_{"train" if training else "eval"}'
    layers, loss, xs = [], 0, []
    for index, (layer, spec) in enumerate(zip(network.layers, case['layers'])):
        x = fill(f'{name}/x{index}', (case['batch'], *spec['input']), -1, 1).requires_grad_()
        y = layer(x, network.warehouse_manager.weights[0], tau)
        loss = loss + (y * fill(f'{name}/g{index}', y.shape, -1, 1)).sum()
        xs.append((index, x, y))
    loss.backward()
    for index, x, y in xs:
        keys = {'y': f'{prefix}_l{index}_y', 'dx': f'{prefix}_l{index}_dx'}
        tensors[keys['y']], tensors[keys['dx']] = y.detach(), x.grad
        layers.append({'x': f'x{index}', 'g': f'g{index}', **keys})
    grads = {}
    for key, value in network.named_parameters():
        grads[key] = f'{prefix}_d_{key}'
        tensors[grads[key]] = value.grad
    running = {key: value.flatten()[:4].tolist() for key, value in state.items() if 'running' in key} if training else {}
    return {'tau': tau, 'train': training, 'layers': layers, 'grads': grads, 'running': running}


def write_tensors(path, tensors):
    header, offset = {}, 0
    for key, value in tensors.items():
        size = 8 * value.numel()
        header[key] = {'dtype': 'F64', 'shape': list(value.shape), 'data_offsets': [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for value in tensors.values():
            file.write(value.contiguous().numpy().tobytes())


def write(folder, case):
    tensors, network, cell = {}, Network(case), cell_of(case)
    results = [run(case, tau, training, tensors) for tau in (0.0, 0.4, 1.0) for training in (True, False)]
    params = []
    for key, value in network.state_dict().items():
        if 'num_batches' not in key:
            low, high = interval(key, value.shape)
            params.append({'name': key, 'key': f'{case["name"]}/{key}', 'shape': list(value.shape), 'lo': low, 'hi': high})
    mixtures = [layer.mixtures for layer in network.layers]
    data = {'case': case, 'params': params, 'results': results, 'cell': cell, 'n': sum(mixtures), 'mixtures': mixtures}
    with open(f'{folder}/layer-{case["name"]}.json', 'w') as file:
        json.dump(data, file, indent=1)
        file.write('\n')
    write_tensors(f'{folder}/layer-{case["name"]}.safetensors', tensors)


for each_case in CASES:
    write(sys.argv[1], each_case)
