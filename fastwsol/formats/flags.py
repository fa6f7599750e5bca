"""Flags of the commands that write files for other tools."""

from typing import Annotated, Literal

import tyro

from fastwsol.formats.writing import AnyFormat

FormatFlag = Annotated[
    Literal["auto", AnyFormat],
    tyro.conf.arg(
        help="the format, whatever the ending; coco has masks as run lengths, coco-polygons as polygons; label-studio: "
        "tasks with pre-annotations; yolo, yolo-segments: images, labels and data.yaml; voc: an XML file an image; "
        "masks: PNG files alone; class-folders: images by their class, boxes.csv and masks, as pack takes them"
    ),
]

ImagePrefixFlag = Annotated[
    str,
    tyro.conf.arg(
        help="for label-studio: what to put before an image's name to make it an address that Label Studio can open"
    ),
]
