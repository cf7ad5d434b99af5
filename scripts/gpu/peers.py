"""PyTorch's side of a comparison: prepares and runs models as the coordinator (peers.mjs) asks.

One JSON object a line on standard input, one a line on standard output for each; contestants.mjs is the other side and speaks the same:
  {"do": "prepare", "name", "model", "variant", "mode", "batch"} -> {"bytes", "secondsToPrepare"}: the peak of PyTorch's allocator in a run
  {"do": "run", "name", "runs", "wait"} -> {"seconds"}: of all runs, by the wall clock; "wait": "end" queues them and waits once, "each" after each
  {"do": "facts"} -> versions; {"do": "quit"}
What fails answers {"error"} and leaves the process usable.

A model is "resnet50", "mobilenetv2", or the path of a Python file with a function build() that returns an nn.Module, and, where they are not
(3, 224, 224), its input_shape without the batch. Call it with the device to use (default cuda).
"""

import importlib.util
import json
import os
import sys
import time

import torch
from torch import nn

DEVICE = sys.argv[1] if len(sys.argv) > 1 else "cuda"
CLASSES = 1000

# How a model is run: memory layout, compilation, and whether its weights are bfloat16 (inference only) or cast at each use by AMP.
VARIANTS = {
    "eager": {},
    "eager, channels-last": {"channels_last": True},
    "compiled, channels-last": {"channels_last": True, "compile": "default"},
    "compiled, CUDA graphs, channels-last": {"channels_last": True, "compile": "reduce-overhead"},
    "compiled, bfloat16 weights, channels-last": {"channels_last": True, "compile": "default", "weights": True},
}


def convolution(inputs, outputs, kernel, stride=1, groups=1, activation=None):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class Residual(nn.Module):
    """branch(x) + shortcut(x), then an activation where there is one."""

    def __init__(self, branch, shortcut, activation):
        super().__init__()
        self.branch, self.shortcut, self.activation = branch, shortcut, activation

    def forward(self, x):
        return self.activation(self.branch(x) + self.shortcut(x))


def resnet50():
    """ResNet-50 (He et al., 2016) with the stride in the 3x3 convolutions, as torchvision has it."""
    layers = [convolution(3, 64, 7, 2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, blocks, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            branch = nn.Sequential(
                convolution(inputs, width, 1, activation=nn.ReLU),
                convolution(width, width, 3, stride, activation=nn.ReLU),
                convolution(width, 4 * width, 1),
            )
            shortcut = convolution(inputs, 4 * width, 1, stride) if block == 0 else nn.Identity()
            layers.append(Residual(branch, shortcut, nn.ReLU(inplace=True)))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))


def mobilenetv2():
    """MobileNetV2 1.0 (Sandler et al., 2018)."""
    layers = [convolution(3, 32, 3, 2, activation=nn.ReLU6)]
    inputs = 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, outputs, blocks, first_stride in table:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            hidden = expansion * inputs
            widening = [convolution(inputs, hidden, 1, activation=nn.ReLU6)] if expansion > 1 else []
            branch = nn.Sequential(
                *widening, convolution(hidden, hidden, 3, stride, groups=hidden, activation=nn.ReLU6), convolution(hidden, outputs, 1)
            )
            layers.append(Residual(branch, nn.Identity(), nn.Identity()) if stride == 1 and inputs == outputs else branch)
            inputs = outputs
    layers += [convolution(inputs, 1280, 1, activation=nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(1280, CLASSES))


def torchvision_version():
    try:
        import torchvision
    except Exception:  # absent, or of another PyTorch
        return None
    return torchvision.__version__


def build(name):
    """The model, and the shape of one input. torchvision's own where it is installed."""
    if name in ("resnet50", "mobilenetv2"):
        if torchvision_version():
            from torchvision import models

            return (models.resnet50() if name == "resnet50" else models.mobilenet_v2()), (3, 224, 224)
        return (resnet50() if name == "resnet50" else mobilenetv2()), (3, 224, 224)
    sys.path.insert(0, os.path.dirname(os.path.abspath(name)))
    specification = importlib.util.spec_from_file_location("peer", name)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    if not callable(getattr(module, "build", None)):
        raise ValueError(f"{name} must define a function build() that returns an nn.Module")
    return module.build(), tuple(getattr(module, "input_shape", (3, 224, 224)))


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def prepare(model_name, variant, mode, batch):
    """A function that queues one run: inference, or a training step (forward, loss, backward, SGD with momentum at a learning rate of 0)."""
    options = VARIANTS[variant]
    torch.manual_seed(0)
    model, shape = build(model_name)
    layout = torch.channels_last if options.get("channels_last") and len(shape) == 3 else torch.contiguous_format
    model = model.to(DEVICE, memory_format=layout).train(mode == "training")
    weights = options.get("weights", False)
    if weights and mode == "training":
        raise ValueError("weights in bfloat16 are for inference")
    if weights:
        model = model.to(torch.bfloat16)
    images = torch.randn(batch, *shape, device=DEVICE, dtype=torch.bfloat16 if weights else torch.float32).contiguous(memory_format=layout)
    compiled = torch.compile(model, mode=options["compile"], dynamic=False) if "compile" in options else model

    def forward(x):
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=not weights):
            return compiled(x)

    if mode == "inference":

        def run():
            with torch.inference_mode():
                forward(images)

        return run

    targets = torch.arange(batch, device=DEVICE) % CLASSES
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=1e-4)

    def step():
        optimizer.zero_grad(set_to_none=True)
        output = forward(images)
        loss(output.float(), targets).backward()
        optimizer.step()

    return step


runs = {}


def do_prepare(request):
    started = time.perf_counter()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        others = torch.cuda.memory_allocated()
    run = prepare(request["model"], request["variant"], request["mode"], request["batch"])
    for _ in range(3):  # compiles, chooses cuDNN's algorithms, records CUDA graphs
        run()
    synchronize()
    runs[request["name"]] = run
    taken = torch.cuda.max_memory_allocated() - others if DEVICE == "cuda" else None
    return {"bytes": taken, "secondsToPrepare": time.perf_counter() - started}


def do_run(request):
    run = runs[request["name"]]
    each = request["wait"] == "each"
    synchronize()
    before = time.perf_counter()
    for _ in range(request["runs"]):
        run()
        if each:
            synchronize()
    synchronize()
    return {"seconds": time.perf_counter() - before}


def do_facts(_):
    facts = {"torch": torch.__version__, "torchvision": torchvision_version(), "python": sys.version.split()[0]}
    if DEVICE == "cuda":
        facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "device": torch.cuda.get_device_name(0)}
    return facts


def main():
    torch.backends.cudnn.benchmark = True
    # What libraries print belongs on standard error; the answers go where standard output led.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    actions = {"prepare": do_prepare, "run": do_run, "facts": do_facts}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "quit":
            break
        try:
            answer = actions[request["do"]](request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
