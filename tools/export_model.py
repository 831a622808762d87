#!/usr/bin/env python
"""Writes a trained model as TorchScript or ONNX, and compares what it computes with the model itself."""

import argparse
import importlib.util
import os
import sys

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import BadValue, UserError, exit_on_user_error

EXAMPLE = """example:

  $ {tool} --config-file configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml --format onnx \\
      --output model.onnx --sample-image street.jpg MODEL.DEVICE cpu MODEL.WEIGHTS output/model_final.pth

The exported model takes one image (C, H, W), channels in the order of INPUT.FORMAT, 0..255, resized as for testing.
It gives what `det2lite.export.predict_image` gives: boxes in pixels of its input, masks in the frame of their box.
"""


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="config file (YAML)")
    parser.add_argument("--format", choices=["torchscript", "onnx"], default="torchscript", help="default: torchscript")
    parser.add_argument("--output", required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--sample-image", metavar="FILE", help="picture to trace and compare with (default: the first of DATASETS.TEST)"
    )
    parser.add_argument("--opset", type=int, metavar="N", help="ONNX operator set (default: 16)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="changes of the config")
    return parser.parse_args(arguments)


def sample_image(cfg, path):
    """(C, H, W) float32 as the model takes it."""
    import torch

    from det2lite.data import build_detection_test_loader
    from det2lite.data import transforms as T
    from det2lite.data.detection_utils import read_image

    if path:
        image = read_image(path, cfg.INPUT.FORMAT)
        resize = T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
        image = resize.get_transform(image).apply_image(image)
        return torch.from_numpy(image.transpose(2, 0, 1).astype("float32"))
    if not cfg.DATASETS.TEST:
        raise BadValue("no image to trace with: give --sample-image, or a data set, DATASETS.TEST \"('name',)\"")
    return next(iter(build_detection_test_loader(cfg, cfg.DATASETS.TEST[0])))[0]["image"].float()


def runner(path, kind):
    """The file as a function from an image to its outputs."""
    import torch

    if kind == "torchscript":
        return torch.jit.load(path)
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        raise UserError("written; to compare it with the model, pip install onnxruntime") from None
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: [torch.from_numpy(x) for x in session.run(None, {"image": image.cpu().numpy()})]


def compare(model, schema, run, image):
    """Prints the largest difference in each output."""
    import torch

    from det2lite.export import flatten_to_tuple, predict_image

    with torch.no_grad():
        expected, _ = flatten_to_tuple(predict_image(model, image))
        found = run(image)
    for name, ours, theirs in zip(schema.names(), expected, found, strict=True):
        if ours.shape != theirs.shape:
            raise UserError(f"{name}: the model gives {tuple(ours.shape)}, the exported one {tuple(theirs.shape)}")
        difference = (ours.double().cpu() - theirs.double().cpu()).abs()
        largest = difference.max().item() if difference.numel() else 0.0
        print(f"  {name:<14}{str(tuple(ours.shape)):<22}largest difference {largest:.2g}")


@exit_on_user_error
def main(arguments=None):
    args = parse_arguments(arguments)
    from det2lite.engine import config_from_arguments
    from det2lite.engine.evaluate import load_weights
    from det2lite.export import export_onnx, export_torchscript
    from det2lite.modeling import build_model

    cfg = config_from_arguments(args)
    model = build_model(cfg).eval()
    load_weights(cfg, model)
    image = sample_image(cfg, args.sample_image).to(model.device)
    if args.format == "onnx":
        options = {"opset_version": args.opset} if args.opset else {}
        schema = export_onnx(model, image, args.output, **options)
    else:
        schema = export_torchscript(model, image, args.output)
    print(f"{args.output}: {os.path.getsize(args.output) / 2**20:.1f} MiB; on an image of {tuple(image.shape[1:])}:")
    compare(model, schema, runner(args.output, args.format), image)


if __name__ == "__main__":
    main()
