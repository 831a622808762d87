"""Converts a data set: Pascal VOC, YOLO, VIA, LabelMe, CVAT, Cityscapes or a folder of images to COCO, and any of them
to YOLO or Pascal VOC. Nothing of the input is changed; the result is written whole or not at all."""

import argparse

EXAMPLES = """examples:

  $ {tool} --input VOC_cells --output cells
  $ {tool} --input balloon --output balloon_coco --classes balloon.txt
  $ {tool} --input photos --from folder --classes names.txt --output photos.json
  $ {tool} --input coco --to yolo --polygons --output coco_yolo --nproc 8

To COCO, --output is a folder, which gets annotations/instances_SPLIT.json, or a .json file where there is one split.
"""
FORMATS = ("voc", "yolo", "via", "labelme", "cvat", "cityscapes", "folder", "coco")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--input", required=True, metavar="DIR", help="the data set's folder")
    add("--output", required=True, metavar="PATH", help="folder or .json file to write")
    add("--from", dest="source", choices=FORMATS, metavar="FORMAT", help=f"{', '.join(FORMATS)} (recognised by files)")
    add("--to", choices=("coco", "yolo", "voc"), default="coco", help="default: %(default)s")
    add("--classes", metavar="FILE", help="class names, one on a line, in the order that they are to have")
    add("--class-key", metavar="KEY", help="region attribute of VIA that is the class")
    add("--skip-unknown", action="store_true", help="leave out objects of classes that --classes misses")
    add("--skip-broken", action="store_true", help="leave out annotation files that cannot be read")
    add("--polygons", action="store_true", help="to YOLO: polygons rather than boxes")
    add("--images", choices=("link", "copy"), default="link", help="to YOLO and VOC: default: %(default)s")
    add("--nproc", type=int, default=0, metavar="N", help="processes that read; default: this one")
    add("--overwrite", action="store_true", help="replace what an earlier conversion wrote")


def run(args: argparse.Namespace) -> None:
    from det2lite.data.converters import convert, recognise_layout
    from det2lite.data.converters.files import read_names

    layout = recognise_layout(args.input, format=args.source, class_key=args.class_key)
    print(f"{layout.folder}: {layout.title} ({layout.evidence})", flush=True)
    report = convert(
        layout,
        args.output,
        to=args.to,
        class_names=read_names(args.classes) if args.classes else None,
        skip_unknown=args.skip_unknown,
        skip_broken=args.skip_broken,
        polygons=args.polygons,
        images=args.images,
        nproc=args.nproc,
        overwrite=args.overwrite,
    )
    print(report.table())
    for split, (json_path, image_root) in report.splits.items():
        print(f"{split}: {json_path}, images in {image_root}")
    if not report.splits:
        print(f"written: {args.output}")
