"""Writes a trained model as TorchScript or ONNX, which run without det2lite, and compares it with the model itself.

A traced model takes one image (C, H, W), channels in the order of INPUT.FORMAT, 0..255, resized as for testing. It
gives what `det2lite.export.predict_image` gives: boxes in pixels of its input, masks in the frame of their box.
"""

import argparse

from det2lite.engine.arguments import KeyValueParser as make_parser  # noqa: F401 - takes KEY VALUE pairs

EXAMPLES = """examples:

  a checkpoint of det2lite, which carries its config, as ONNX:
    $ {tool} --weights output/model_final.pth --format onnx --output model.onnx --sample-image street.jpg

  weights of another origin as TorchScript, to exported/model.ts, traced with an image of DATASETS.TEST:
    $ {tool} --config-file configs/Misc/mask_rcnn_R_50_FPN_3x_gn.yaml --output exported \\
        MODEL.DEVICE cpu MODEL.WEIGHTS weights.pkl

  evaluate what was exported:
    $ {tool} --weights output/model_final.pth --output exported --run-eval
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", default="", metavar="FILE", help="config file (YAML)")
    parser.add_argument("--weights", default="", metavar="FILE", help="checkpoint; one of det2lite carries its config")
    parser.add_argument(
        "--format", choices=["torchscript", "onnx", "caffe2"], default="torchscript", help="default: torchscript"
    )
    parser.add_argument(
        "--export-method",
        choices=["tracing", "scripting", "caffe2_tracing"],
        default="tracing",
        help="tracing records what is done with an image; scripting compiles the code (default: tracing)",
    )
    parser.add_argument(
        "--output", default="./output", metavar="PATH", help="file to write, or folder for model.ts or model.onnx"
    )
    parser.add_argument(
        "--sample-image", metavar="FILE", help="picture to trace and compare with (default: the first of DATASETS.TEST)"
    )
    parser.add_argument("--opset", type=int, metavar="N", help="ONNX operator set (default: 16)")
    parser.add_argument("--run-eval", action="store_true", help="evaluate the exported model on DATASETS.TEST")
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="changes of the config")


def run(args: argparse.Namespace) -> None:
    import os

    from det2lite.cli.common import base_config
    from det2lite.export.run import check_request, export_model
    from det2lite.utils.errors import BadValue

    if not (args.config_file or args.weights):
        raise BadValue("which model? give --weights FILE, a checkpoint of det2lite, or --config-file FILE")
    check_request(args.export_method, args.format)
    cfg, _ = base_config(args)
    if args.weights:
        cfg.MODEL.WEIGHTS = args.weights
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    report = export_model(
        cfg,
        args.output,
        method=args.export_method,
        format=args.format,
        sample=args.sample_image,
        opset=args.opset,
        run_eval=args.run_eval,
        overwrite=args.overwrite,
    )
    print(f"{report.path}: {os.path.getsize(report.path) / 2**20:.1f} MiB; on an image of {report.image_size}:")
    for name, shape, largest in report.differences:
        print(f"  {name:<22} {str(shape):<20} largest difference {largest:.2g}")
