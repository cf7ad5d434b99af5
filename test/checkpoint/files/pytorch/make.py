"""Writes the files of this folder with PyTorch (2.14.1 made those that are here): python make.py"""
import argparse, pathlib
import torch

torch.manual_seed(0)
weight = torch.arange(6, dtype=torch.float32).reshape(2, 3)
tensors = {
    'weight': weight,
    'transposed': weight.t(),
    'parameter': torch.nn.Parameter(weight + 0.5),
    'channels_last': torch.arange(48, dtype=torch.float32).reshape(2, 3, 2, 4).contiguous(memory_format=torch.channels_last),
    'expanded': torch.tensor([1.5]).expand(3),
    'row': torch.arange(10, dtype=torch.int16)[3:7],
    'every_second': torch.arange(10, dtype=torch.float64)[1::2],
    'uint16': torch.tensor([1, 65535], dtype=torch.uint16),
    'uint32': torch.tensor([7, 4294967295], dtype=torch.uint32),
    'not_a_number': torch.tensor([0x7fa00001, -0x005fffff], dtype=torch.int32).view(torch.float32),
}
for protocol in (2, 3, 4, 5):
    torch.save({'model': tensors, 'epoch': 3}, f'protocol-{protocol}.pth', pickle_protocol=protocol)
attributed = torch.nn.Parameter(torch.ones(2)); attributed.note = 'x'
plain = torch.ones(2) * 2; plain.note = 'y'
args = argparse.Namespace(model='kw_resnet18', output_dir=pathlib.Path('runs'), device=torch.device('cpu'), dtype=torch.float32, betas=None, big=2**70, nan=float('nan'))
torch.save({'model': {'a': attributed, 'b': plain}, 'model_ema': {'a': torch.zeros(2)}, 'args': args}, 'attributes.pth')
torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict(), 'state-dict.pth')
torch.save(torch.nn.Linear(2, 3), 'whole-module.pth')
torch.save({'model': {'a': torch.zeros(2, dtype=torch.complex64)}}, 'complex.pth')
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), 'torchscript.pth')
torch.serialization.set_crc32_options(False)
torch.save({'model': tensors}, 'no-crc.pth')
torch.serialization.set_crc32_options(True)
torch.save({'model': tensors}, 'legacy.pth', _use_new_zipfile_serialization=False)
